"""Figures: what they show is what was measured, and the same tables give the same files."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from study.analysis.curves import at_losses, difference_at_loss, matched_region
from study.config import STUDY_VARIANTS
from study.report import style
from study.report.drawing import draw_band, mean_and_interval, round_losses, save
from study.report.figures import FIGURES, drawable, plot_all
from study.report.inline import THEME
from study.report.stages import KINDS
from study.report.style import study_order, styles
from study.report.tables import who_leads
from tests.synthetic import VARIANTS, curve, diverge, results

Tables = tuple[pd.DataFrame, pd.DataFrame]
OF_VARIANTS = [
    kind for name, kind in FIGURES.items() if name not in ("difference_at_loss", "accuracy_by_cost")
]  # a line a variant


@pytest.fixture(scope="module")
def tables() -> Tables:
    return results()


def lines_of(figure: Figure, panel: int = 0) -> dict[str, mpl.lines.Line2D]:
    """The mean line of each variant."""
    return {str(line.get_label()): line for line in figure.axes[panel].lines if line.get_label() in VARIANTS}


def test_bands_are_scipys_t_intervals_at_each_point() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7))
    mean, low, high = mean_and_interval(values)
    for point in range(7):
        column = values[:, point]
        expected = stats.ttest_1samp(column, 0).confidence_interval(0.95)
        assert mean[point] == pytest.approx(column.mean())
        assert (low[point], high[point]) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("seeds", [1, 3, 4])
def test_of_three_seeds_or_fewer_every_one_is_drawn_and_of_more_the_band(seeds: int) -> None:
    curves, runs = results(seeds=range(seeds), epochs=6)
    for name in ("test_accuracy", "accuracy_at_loss"):
        figure = FIGURES[name].draw(curves, runs)
        axes, thin = figure.axes[0], seeds if 1 < seeds <= 3 else 0
        for label, look in styles(VARIANTS).items():
            own = [line for line in axes.lines if line.get_color() == look.colour and len(line.get_xdata()) > 2]
            widths = [line.get_linewidth() < 1 for line in own]
            assert widths.count(False) == 1, label
            assert widths.count(True) == thin or name == "accuracy_at_loss", label  # and seeds beyond the others
            assert widths.count(True) >= thin
        assert len(axes.collections) == (len(VARIANTS) if seeds > 3 else 0)
        assert (
            str(figure.get_label()).split(". ")[-1].startswith("Lines: mean over n = " if seeds > 1 else "n = 1 seed.")
        )
        assert f"n = {seeds} seed" in str(figure.get_label())


def test_a_band_ends_where_few_seeds_are_left_and_every_one_is_drawn() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4))
    values[2:, 3] = np.nan  # two seeds at the last point
    axes = Figure().subplots()
    draw_band(axes, np.arange(4.0), values, "A", next(iter(styles(["A"]).values())))
    (band,) = axes.collections
    assert max(path.vertices[:, 0].max() for path in band.get_paths()) == 2
    assert len(axes.lines) == 1 + 5


@pytest.mark.parametrize("name", FIGURES)
def test_limits_follow_bands(name: str) -> None:
    """Of four noisy seeds: nothing that is drawn lies outside of the axes."""
    figure = FIGURES[name].draw(*results(["C-C-C-C", "C-C-T-T"], seeds=range(4), epochs=20, noise=1))
    for axes in figure.axes:
        low, high = sorted(axes.get_ylim())
        drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
        drawn += [path.vertices[:, 1] for band in axes.collections for path in band.get_paths()]
        assert low <= np.nanmin(np.concatenate(drawn))
        assert np.nanmax(np.concatenate(drawn)) <= high
    if name == "difference_at_loss":
        (band,) = figure.axes[0].collections
        assert len(band.get_paths()[0].vertices) > 200


def test_lines_are_named_at_their_ends_where_names_collide_nowhere(tables: Tables) -> None:
    """Else in a legend: here with all five at one accuracy, and with a long name."""
    curves, runs = tables
    for shown, of in ((tables, "direct"), ((curves.assign(test_accuracy=0.5), runs), "legend"),
                      (results(["C-C-T-T[head_dim=64]", "ViT_REL"], epochs=3), "legend")):  # fmt: skip
        figure = FIGURES["test_accuracy"].draw(*shown)
        notes = [text for text in figure.axes[0].texts if text.get_text() in set(shown[1]["variant"])]
        assert (len(figure.legends), len(notes)) == ((0, 5) if of == "direct" else (1, 0))
        figure.draw_without_rendering()
        boxes = [note.get_window_extent() for note in notes]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        assert all(box.x1 <= figure.bbox.x1 for box in boxes)
        for note in notes:
            (line,) = [line for line in figure.axes[0].lines if line.get_label() == note.get_text()]
            assert (note.xy[1], note.get_color()) == (line.get_ydata()[-1], line.get_color())


def test_a_gap_that_is_not_there_is_left_out(tables: Tables) -> None:
    curves, runs = tables
    assert "gap_curve" in drawable(FIGURES, curves, runs)
    stream = curves.assign(probe_accuracy=curves["test_accuracy"] + 0.004)
    assert set(FIGURES) - set(drawable(FIGURES, stream, runs)) == {"gap_curve"}


def test_of_many_variants_each_is_compared_with_the_best_alone() -> None:
    labels = [*VARIANTS, "another", "one more"]
    figure = FIGURES["difference_at_loss"].draw(*results(labels, seeds=(0,), epochs=4))
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes if axes.get_title()]
    assert len(titles) == 6
    (best,) = {title.split(" − ")[0] for title in titles}
    assert f"Each is compared with {best}" in str(figure.get_label())


def test_accuracy_stands_over_each_cost_with_bars(tables: Tables) -> None:
    """Of three seeds from the lowest to the highest, of five the t-interval, never of a diverged one."""
    for seeds in (3, 5):
        curves, runs = diverge(*results(seeds=range(seeds + 1)), run="ViT_REL-0")
        figure = FIGURES["accuracy_by_cost"].draw(curves, runs)
        assert [axes.get_xlabel() for axes in figure.axes] == [
            "multiply-adds an image (millions)", "parameters (thousands)", "training time (s)"
        ]  # fmt: skip
        own = runs[(runs["variant"] == "ViT_REL") & (runs["status"] == "ok")]
        values = own["final_test_accuracy"].to_numpy()
        t = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        for axes, cost in zip(figure.axes, (31.25, 498.212, own["seconds"].mean()), strict=True):
            bar, _, point = [line for line in axes.lines if line.get_color() == styles(["ViT_REL"])["ViT_REL"].colour]
            assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx((cost, values.mean()))
            wanted = (values.min(), values.max()) if seeds == 3 else (t.low, t.high)
            assert tuple(bar.get_ydata()) == pytest.approx(wanted)


@pytest.mark.filterwarnings("error")
def test_level_lines_have_a_frame_around_them(tables: Tables) -> None:
    curves, runs = tables
    level = curves.assign(test_accuracy=0.5)
    low, high = FIGURES["test_accuracy"].draw(level, runs).axes[0].get_ylim()
    assert low < 0.5 < high


def test_lines_are_means_over_seeds(tables: Tables) -> None:
    curves, runs = tables
    accuracy = lines_of(FIGURES["test_accuracy"].draw(curves, runs))
    loss = lines_of(FIGURES["train_loss"].draw(curves, runs))
    gap = lines_of(FIGURES["gap_curve"].draw(curves, runs))
    assert set(accuracy) == set(VARIANTS)
    for variant in VARIANTS:
        rows = curves[curves["variant"] == variant]
        by_step = rows.groupby("step")
        np.testing.assert_array_equal(accuracy[variant].get_xdata(), sorted(rows["step"].unique()))
        np.testing.assert_allclose(accuracy[variant].get_ydata(), by_step["test_accuracy"].mean())
        np.testing.assert_allclose(loss[variant].get_ydata(), by_step["probe_loss"].agg(stats.gmean))
        gaps = by_step["probe_accuracy"].mean() - by_step["test_accuracy"].mean()
        np.testing.assert_allclose(gap[variant].get_ydata(), gaps)
        np.testing.assert_array_equal(gap[variant].get_xdata(), np.arange(1, 21))


def test_accuracy_at_loss_goes_to_the_right_and_shades_the_matched_region(tables: Tables) -> None:
    curves, runs = tables
    axes = FIGURES["accuracy_at_loss"].draw(curves, runs).axes[0]
    left, right = axes.get_xlim()
    assert left > right
    assert axes.get_xscale() == "log"
    (shade,) = [patch for patch in axes.patches if patch.get_gid() == "matched-region"]
    edges = shade.get_extents().transformed(axes.transData.inverted())
    assert sorted((edges.x0, edges.x1)) == pytest.approx(sorted(matched_region(curves) or ()))


def test_mean_accuracy_at_a_loss_covers_exactly_the_losses_all_seeds_pass(tables: Tables) -> None:
    curves, runs = tables
    for variant, line in lines_of(FIGURES["accuracy_at_loss"].draw(curves, runs)).items():
        rows = curves[curves["variant"] == variant]
        loss, accuracy = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert (loss[0], loss[-1]) == pytest.approx(matched_region(rows))
        np.testing.assert_allclose(accuracy, at_losses(rows, "test_accuracy", loss).mean())


def test_without_a_matched_region_nothing_is_shaded(tables: Tables) -> None:
    curves, runs = tables
    early = curves[(curves["variant"] != "ViT_REL") | (curves["epoch"] < 3)]
    assert matched_region(early) is None
    axes = FIGURES["accuracy_at_loss"].draw(early, runs).axes[0]
    assert not axes.patches


def test_a_diverged_run_is_shown_but_does_not_move_the_mean(tables: Tables) -> None:
    curves, runs = diverge(*tables, run="C-C-T-T-1")
    axes = FIGURES["test_accuracy"].draw(curves, runs).axes[0]
    line = lines_of(axes.figure)["C-C-T-T"]
    others = curves[(curves["variant"] == "C-C-T-T") & (curves["run"] != "C-C-T-T-1")]
    np.testing.assert_allclose(line.get_ydata(), others.groupby("step")["test_accuracy"].mean())
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    last = curves[curves["run"] == "C-C-T-T-1"].iloc[-1]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (last["step"], last["test_accuracy"])


def test_a_variant_whose_runs_all_diverged_does_not_break_a_figure(tables: Tables) -> None:
    curves, runs = tables
    for seed in range(3):
        curves, runs = diverge(curves, runs, f"ViT_REL-{seed}", after=seed)
    for kind in OF_VARIANTS:
        figure = kind.draw(curves, runs)
        assert set(lines_of(figure)) == set(VARIANTS) - {"ViT_REL"}


def test_a_variant_looks_the_same_in_every_figure_and_every_company(tables: Tables) -> None:
    curves, runs = tables
    for kind in OF_VARIANTS:
        for subset in (list(VARIANTS), ["C-T-T-T", "ViT_REL"]):
            for label, line in lines_of(kind.draw(curves[curves["variant"].isin(subset)], runs)).items():
                alone = styles([label])[label]
                assert (line.get_color(), line.get_marker()) == (alone.colour, alone.marker)


def test_looks_differ_within_a_figure_and_are_stable_for_any_label() -> None:
    labels = [
        *STUDY_VARIANTS,
        "coat_lite:1.5M",
        "timm:resnet18",
        "coatnet_0",
        "C-C-T-T[head_dim=64]",
        "T-C-C-T",
        "x",
        "y",
    ]
    chosen = styles(labels)
    assert len(set(chosen.values())) == len(labels)
    assert chosen == styles(reversed(labels))
    assert styles([*STUDY_VARIANTS, "timm:resnet18"])["timm:resnet18"] == styles(["timm:resnet18"])["timm:resnet18"]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2: relative luminance)."""
    parts = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in (one, other)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return float(light / dark)


def test_every_colour_stands_out_from_white_and_from_the_dark_page() -> None:
    """By 3 to 1, what WCAG 2.2 asks of graphics; those that follow the page (inline.THEME) in the theme of each."""
    css = (Path(style.__file__).parent / "report.css").read_text()
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in css.split("@media (prefers", 2)[:2])
    labels = [*STUDY_VARIANTS, *(f"another {number}" for number in range(12))]
    drawn = {each.colour for each in styles(labels).values()} | {colour for _, colour, *_ in KINDS.values()}
    assert len(drawn) == 9
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    for ground in ("#FFFFFF", light["paper"], dark["paper"], dark["raised"]):
        assert {colour: contrast(colour, ground) for colour in drawn if contrast(colour, ground) < 3} == {}
    for theme in (light, dark):
        for name in {*THEME.values()} - {"paper", "grid"}:
            assert contrast(theme[name], theme["paper"]) > 3, name


def test_the_studys_variants_come_first() -> None:
    assert set(study_order([*STUDY_VARIANTS, "A"])[:-1]) == set(STUDY_VARIANTS)


def test_the_order_is_from_convolution_to_attention_then_by_name() -> None:
    assert study_order(["b", "ViT_REL", "a", "C-C-T-T"]) == ["C-C-T-T", "ViT_REL", "a", "b"]


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.9, 1.1), (1.7, 4.6), (0.1, 4.6), (0.003, 4.6), (1e-5, 5.0), (1e-12, 5.0), (2.24, 2.31), (2.0, 2.0)],
)
def test_loss_axes_have_a_few_round_labels(low: float, high: float) -> None:
    ticks = round_losses(low, high)
    assert len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    assert len(ticks) >= (3 if high > low else 1)
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)


def test_plot_all_writes_svg_and_pdf_that_are_the_same_every_time(tables: Tables, tmp_path: Path) -> None:
    once = plot_all(*tables, tmp_path / "once", ["test_accuracy", "gap_curve"])
    again = plot_all(*tables, tmp_path / "again", ["test_accuracy", "gap_curve"])
    names = ["test_accuracy.svg", "test_accuracy.pdf", "gap_curve.svg", "gap_curve.pdf"]
    assert [path.name for path in once] == names
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == sorted(names)
    for left, right in zip(once, again, strict=True):
        assert left.read_bytes() == right.read_bytes()


def test_letters_are_letters_in_a_font_with_fallbacks(tables: Tables, tmp_path: Path) -> None:
    """In SVG text that can be edited and searched, in PDF TrueType; the caption with n is in the file."""
    figure = FIGURES["test_accuracy"].draw(*tables)
    svg = save(figure, tmp_path / "a.svg", "Test accuracy").read_text()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"test accuracy (%)", "step", *VARIANTS} <= set(words)
    fonts = re.search(r"font(-family)?: [^;\"]*Arial[^;\"]*", svg)
    assert fonts
    assert re.findall(r"'([^']+)'", fonts[0])[:4] == ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"]
    assert "n = 3 seeds" in svg
    assert "<dc:date>" not in svg
    pdf = save(figure, tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/FontFile3" not in pdf
    with Image.open(save(figure, tmp_path / "a.png")) as image:
        assert image.width == 990
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert "n = 3 seeds" in image.info["Description"]


def test_drawing_changes_no_global_state(tables: Tables) -> None:
    before = dict(mpl.rcParams)
    for kind in FIGURES.values():
        kind.draw(*tables)
    assert dict(mpl.rcParams) == before
    assert not Gcf.figs  # pyplot's list of open figures


def test_the_ranking_turns_over_where_it_was_made_to() -> None:
    """Of A and B, whose accuracies cross at a loss of 1, the figure and the table name the leader on either side."""
    losses = np.geomspace(3, 0.3, 30)
    pieces = []
    for variant, slope in (("A", 0.02), ("B", 0.12)):
        for seed in range(4):
            accuracy = 0.5 - slope * np.log(losses) + 0.001 * seed
            pieces.append(curve(f"{variant} {seed}", list(losses), list(accuracy)))
    curves = pd.concat(pieces, ignore_index=True)
    runs = curves.drop_duplicates("run")[["run", "variant", "seed"]].assign(status="ok")
    found = difference_at_loss(curves, "A", "B")
    assert (found["loss"].iloc[0], found["loss"].iloc[-1]) == pytest.approx((3, 0.3))
    np.testing.assert_allclose(found["difference"], 0.1 * np.log(found["loss"]), atol=1e-12)
    expected = stats.ttest_ind(0.001 * np.arange(4), 0.001 * np.arange(4), equal_var=False).confidence_interval()
    np.testing.assert_allclose(found["high"] - found["difference"], expected.high, atol=1e-12)
    axes = FIGURES["difference_at_loss"].draw(curves, runs).axes[0]
    assert axes.get_xscale() == "log"
    for line, ahead in zip(axes.lines[1:], (found["loss"] > 1, found["loss"] < 1), strict=True):
        x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
        drawn = x[np.isfinite(y)]
        assert (drawn.min(), drawn.max()) == pytest.approx(
            (found["loss"][ahead].min(), found["loss"][ahead].max()), rel=0.03
        )
    table = who_leads(curves, runs)
    assert table is not None
    ((first, second, ahead_a, ahead_b, turns, _),) = table.rows
    assert (first, second) == ("A", "B")
    assert ahead_a.startswith("3 to 1.0")
    assert ahead_b.endswith("to 0.3")
    assert float(turns) == pytest.approx(1, abs=0.02)


def test_losses_that_not_all_seeds_of_a_pair_pass_are_not_compared(tables: Tables) -> None:
    curves, _ = tables
    found = difference_at_loss(curves, "C-C-C-C", "ViT_REL")
    own = curves[curves["variant"].isin(["C-C-C-C", "ViT_REL"])]
    assert (found["loss"].iloc[0], found["loss"].iloc[-1]) == matched_region(own)
    assert difference_at_loss(curves, "C-C-C-C", "nobody").empty


def test_one_variant_has_no_differences(tmp_path: Path) -> None:
    curves, runs = results(["C-C-T-T"], seeds=(0,))
    names = {path.stem for path in plot_all(curves, runs, tmp_path)}
    assert names == set(FIGURES) - {"difference_at_loss"}
    assert FIGURES["difference_at_loss"].draw(curves, runs).axes
