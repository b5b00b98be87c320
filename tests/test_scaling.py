"""Families of sweeps: nested sizes, crossings and scaling laws that are known beforehand, and what is said beyond."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.optimize import curve_fit
from typer.testing import CliRunner

from study import tracking
from study.analysis.laws import fit_law
from study.analysis.scaling import scale, zero_crossings
from study.analysis.scaling_types import PUBLISHED, Published
from study.cli import app
from study.config import Claim, Data, Experiment, Fractals, Training
from study.data import load
from study.designs import COMPLETE, INCOMPLETE, Options, Sizes, carry_out
from study.designs.sizes import on_parts
from study.errors import StudyError
from study.report.answer import of_sizes
from study.report.console import scale as show_scale
from study.report.gallery import plot
from study.report.live import watch
from study.report.page import Report, read_report, write_latex, write_markdown, write_page
from study.report.provenance import provenance
from study.report.scaling_figures import SCALING_FIGURES, drawable
from study.report.scaling_tables import scaling_tables
from study.results import Results
from study.results import load as load_results
from study.sweep.merge import merge
from study.sweep.plan import Facts, experiment_file, load_experiment, make_plan
from study.sweep.status import status_of
from tests.finished import pretend

SIZES = np.array([500.0, 1000, 2500, 5000, 10_000, 25_000, 50_000])
# error = a n^-b + c: convolution ahead with few images, attention with many
LAWS = {
    "C-C-C-C": (1.5, 0.15, 0.10),
    "C-C-C-T": (1.85, 0.18, 0.09),
    "C-C-T-T": (3.2, 0.25, 0.06),
    "C-T-T-T": (4.0, 0.27, 0.05),
    "ViT_REL": (5.0, 0.30, 0.07),
}


def error(variant: str, images: float) -> float:
    a, b, c = LAWS[variant]
    return a * images**-b + c


def points(noise: float = 0.0, seeds: int = 3, variants: tuple[str, ...] = tuple(LAWS), sizes=SIZES) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        (variant, seed, int(images), 1 - error(variant, images) + noise * random.standard_normal())
        for variant in variants
        for images in sizes
        for seed in range(seeds)
    ]
    table = pd.DataFrame(rows, columns=["variant", "seed", "images", "accuracy"])
    return table.assign(gap=0.5 - table["accuracy"] / 2)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("variant", LAWS)
def test_the_law_that_made_the_errors_is_found(variant: str) -> None:
    law = fit_law(SIZES, np.array([error(variant, images) for images in SIZES]))
    assert (law.a, law.b, law.c) == pytest.approx(LAWS[variant], rel=1e-4)
    assert law.rmse < 1e-7
    assert law(np.array([3e8]))[0] == pytest.approx(error(variant, 3e8), rel=1e-4)


def test_the_fit_is_the_least_squares_of_scipys_curve_fit() -> None:
    random = np.random.default_rng(1)
    for variant in LAWS:
        errors = np.array([error(variant, images) for images in SIZES]) + 0.004 * random.standard_normal(len(SIZES))
        law = fit_law(SIZES, errors)
        (a, b, c), _ = curve_fit(
            lambda n, a, b, c: a * (n / 5000) ** -b + c,
            SIZES,
            errors,
            p0=(0.4, 0.3, 0.1),
            bounds=([0, 0.01, 0], [np.inf, 3, 1]),
            xtol=1e-14,
            ftol=1e-14,
        )
        theirs = np.sqrt(np.mean((a * (SIZES / 5000) ** -b + c - errors) ** 2))
        assert law.rmse <= theirs * (1 + 1e-6)
        assert law(SIZES) == pytest.approx(a * (SIZES / 5000) ** -b + c, abs=2e-4)


def test_a_law_stays_within_its_bounds() -> None:
    straight = fit_law(SIZES, 5 * SIZES**-0.4 - 0.02)  # its best c is below 0
    assert straight.c == 0
    rising = fit_law(SIZES, 0.2 + 0.05 * np.log(SIZES / 500))  # errors that grow with the data
    assert rising.a == 0
    assert rising(np.array([1e9]))[0] == pytest.approx(np.mean(0.2 + 0.05 * np.log(SIZES / 500)))


def test_laws_that_hold_predict_the_sizes_held_out_and_a_broken_one_does_not() -> None:
    table = points(noise=0.002)
    broken = (table["variant"] == "C-T-T-T") & (table["images"] > 20_000)
    table.loc[broken, "accuracy"] -= 0.15
    found = scale(table, draws=100)
    assert {check.images for check in found.held_out} == {25_000, 50_000}
    refuted = {variant: {c.refuted for c in found.held_out if c.variant == variant} for variant in LAWS}
    assert refuted["C-T-T-T"] == {True}
    assert sum(refuted[variant] == {False} for variant in LAWS) >= 3  # a 95 % interval may miss, even of both sizes


def test_two_or_three_sizes_have_no_law_and_say_so() -> None:
    few = scale(points(sizes=SIZES[:3]), draws=10)
    assert few.laws == few.held_out == few.extrapolations == ()
    assert any("at least 4 sizes" in note for note in few.notes)
    assert "extrapolation" not in drawable(few)
    with pytest.raises(StudyError, match="at least 2"):
        scale(points(sizes=SIZES[:1]))


# ---------------------------------------------------------------- crossings


def test_a_crossing_lies_where_lines_in_log_images_meet() -> None:
    images = np.array([100.0, 1000, 10_000])
    assert zero_crossings(images, np.array([-1.0, 1, 2])) == [(pytest.approx(10**2.5), 1)]
    assert zero_crossings(images, np.array([3.0, 1, -1])) == [(pytest.approx(10**3.5), -1)]
    assert zero_crossings(images, np.array([-1.0, 0, 1])) == [(pytest.approx(1000), 1)]
    assert zero_crossings(images, np.array([0.1, 0, -0.3])) == [(pytest.approx(1000), -1)]
    equal = zero_crossings(np.append(images, 1e5), np.array([3.0, 0, 0, -1]))
    assert equal == [(pytest.approx(10**3.5), -1)]  # the middle of where they are
    assert zero_crossings(images, np.array([-1.0, 0, -1])) == []  # a touch
    assert zero_crossings(images, np.array([1.0, -1, 1])) == [(pytest.approx(10**2.5), -1), (pytest.approx(10**3.5), 1)]


def test_attention_overtakes_convolution_where_it_was_made_to() -> None:
    """Two lines in log images that meet at 4,000, worked by hand."""
    rows = [
        (variant, seed, int(images), 0.5 + slope * np.log10(images / 4000) + shift)
        for variant, slope in (("C-C-C-C", 0.10), ("ViT_REL", 0.25))
        for images in SIZES
        for seed, shift in enumerate((-0.004, 0.0, 0.004))
    ]
    found = scale(pd.DataFrame(rows, columns=["variant", "seed", "images", "accuracy"]), draws=200)
    (crossing,) = found.crossings
    assert (crossing.overtakes, crossing.overtaken) == ("ViT_REL", "C-C-C-C")
    assert crossing.images.value == pytest.approx(4000)
    assert crossing.images.low < 4000 < crossing.images.high
    assert crossing.share == 1
    assert str(crossing).startswith("ViT_REL overtakes C-C-C-C at 4,000 images (")


def test_a_leader_at_both_ends_that_was_overtaken_in_between_is_none_of_the_others() -> None:
    accuracies = {"A": (0.5, 0.6, 0.9), "B": (0.4, 0.7, 0.8), "C": (0.1, 0.2, 0.1), "D": (0.05, 0.1, 0.2)}
    rows = [(name, 0, 10 ** (k + 2), value) for name, own in accuracies.items() for k, value in enumerate(own)]
    table = pd.DataFrame(rows, columns=["variant", "seed", "images", "accuracy"])

    def told(names: str, shares: tuple[float, ...] = ()) -> str:
        some = table[table["variant"].isin([*names])]
        found = scale(some)
        if shares:
            found = replace(found, crossings=tuple(replace(found.crossings[0], share=share) for share in shares))
        results = SimpleNamespace(points=some, scaling=found)
        return of_sizes(cast("Results", results)).partition("10,000 training images A is first (90.00%)")[2]

    assert told("ABCD") == ", the same, overtaken in between by B; 1 crossing of the means among the others."
    assert told("AB") == ", the same, overtaken in between by B."
    assert told("ACD") == ", the same; 1 crossing of the means among the others."
    assert told("AC") == ", the same."
    several = ", the same; 2 crossings of the means among the others (in 53% and 98% of the bootstrap's draws)."
    assert told("ACD", shares=(0.531, 0.98)) == several


def test_noisier_seeds_give_wider_intervals_and_one_seed_none() -> None:
    pair = ("C-C-C-C", "ViT_REL")
    widths = []
    for noise in (0.001, 0.004):
        crossing = scale(points(noise, 5, pair), draws=200).crossings[0]
        widths.append(np.log(crossing.images.high / crossing.images.low))
    assert widths[0] < widths[1]
    single = scale(points(seeds=1, variants=pair))
    assert single.crossings[0].images.low is None
    assert single.crossings[0].share is None
    assert any("single seed" in note for note in single.notes)
    assert json.dumps(single.to_dict(), allow_nan=False)


def test_a_size_without_a_run_of_every_variant_is_left_out_and_named() -> None:
    table = points()
    table = table[(table["variant"] != "ViT_REL") | (table["images"] != 2500)]
    found = scale(table, draws=10)
    assert 2500 not in found.sizes
    assert any("2,500 images" in note for note in found.notes)


# ---------------------------------------------------------------- beyond the data


def test_the_ranking_beyond_the_data_is_that_of_the_laws() -> None:
    found = scale(points(noise=0.0005), draws=100)
    assert [each.published for each in found.extrapolations] == list(PUBLISHED)
    for each in found.extrapolations:
        truth = sorted(LAWS, key=lambda variant: error(variant, each.published.images))
        assert each.variants[0] == truth[0]
        assert np.allclose(np.sum(each.ranks, axis=0), 1)
        for variant, accuracy in zip(each.variants, each.accuracies, strict=True):
            assert accuracy.value == pytest.approx(1 - error(variant, each.published.images), abs=0.03)
            assert accuracy.low <= accuracy.value <= accuracy.high


def test_kendalls_tau_is_full_where_the_laws_lead_to_the_published_ranking_and_least_where_to_its_opposite() -> None:
    truth = " > ".join(sorted(LAWS, key=lambda variant: error(variant, 1e6)))
    opposite = " > ".join(sorted(LAWS, key=lambda variant: -error(variant, 1e6)))
    stated = (Published(1_000_000, "made up", truth), Published(1_000_000, "made up", opposite))
    found = scale(points(), stated, draws=20)
    assert [each.tau.value for each in found.extrapolations] == [1, -1]
    assert found.extrapolations[0].attainable == 1


def test_laws_read_beyond_what_a_run_could_see_are_cautioned_about() -> None:
    def cautioned(samples: int | None) -> bool:
        found = scale(points(), draws=5, samples_seen=samples)
        return any("could see more different ones" in note for note in found.notes)

    assert cautioned(128_000)
    assert not cautioned(10**9)
    assert not cautioned(None)


def test_intervals_widen_beyond_the_data() -> None:
    found = scale(points(noise=0.003), draws=100)
    for _, low, high in found.bands.values():
        width = high - low
        assert width[-1] > 2 * np.median(width[found.band_images <= SIZES[-1]])


def test_the_figure_says_where_data_end_and_extrapolation_begins() -> None:
    table = points(noise=0.002)
    figure = SCALING_FIGURES["extrapolation"].draw(table, scale(table, draws=30))
    (axes,) = figure.axes
    (grey,) = [patch for patch in axes.patches if patch.get_gid() == "extrapolated"]
    assert grey.get_x() == SIZES[-1]
    assert {text.get_text() for text in axes.texts} >= {"data end here", "extrapolated", "ImageNet-1K", "JFT"}
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata()) > 2]
    assert len(dashed) == len(LAWS)
    assert all(min(line.get_xdata()) >= SIZES[-1] for line in dashed)


def test_crossings_are_marked_on_the_figure() -> None:
    table = points(noise=0.002)
    found = scale(table, draws=30)
    (axes,) = SCALING_FIGURES["accuracy_by_images"].draw(table, found).axes
    marked = sorted(line.get_xdata()[0] for line in axes.lines if line.get_markerfacecolor() == "white")
    assert marked == [crossing.images.value for crossing in found.crossings]


# ---------------------------------------------------------------- families of sweeps

FAMILY = Experiment(
    name="grow",
    data=Data(image_size=16, fractals=Fractals(classes=4, train_images=320, test_images=40)),
    parts=(1.0, 0.1, 0.25, 0.5),
    training=Training(samples=320, batch_size=16, probe_size=32),
    variants=("C-C-T-T", "ViT_REL"),
    seeds=(0, 1),
    budget=60_000,
    claims=(Claim(ranking="C-C-T-T > ViT_REL", readout="final_test_accuracy"),),
)
QUIET = Console(quiet=True)


def accuracy(run) -> float:
    images = run.data.train_size or 320
    slope = {"C-C-T-T": 0.1, "ViT_REL": 0.3}[run.label]
    return 0.5 + slope * float(np.log10(images / 100)) + 0.002 * run.seed


def test_members_are_nested_subsets_at_an_equal_number_of_samples() -> None:
    found = on_parts(FAMILY, Facts())
    assert list(found) == [32, 80, 160, 320]
    seen = [{image.tobytes() for image in load(member.data).train_images} for member in found.values()]
    assert [len(images) for images in seen] == [32, 80, 160, 320]
    assert all(smaller < larger for smaller, larger in pairwise(seen))
    assert {make_plan(member).steps for member in found.values()} == {20}


def test_a_members_runs_are_those_of_a_plain_sweep_of_that_size() -> None:
    plain = FAMILY.model_copy(update={"parts": ()})
    whole, part = on_parts(FAMILY, Facts())[320], on_parts(FAMILY, Facts())[80]
    assert [run.id for run in make_plan(whole).runs] == [run.id for run in make_plan(plain).runs]
    smaller = plain.model_copy(update={"data": plain.data.model_copy(update={"train_size": 80})})
    assert [run.id for run in make_plan(part).runs] == [run.id for run in make_plan(smaller).runs]


def sweep(experiment: Experiment, folder: Path) -> int:
    options = Options(out=folder, device="cpu")
    return carry_out(Sizes(experiment, options, Facts()), options, QUIET).code


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sizes whose runs ended with accuracies that cross at 100 images."""
    folder = tmp_path_factory.mktemp("once") / "grow"
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, accuracy)
        assert sweep(FAMILY, folder) == COMPLETE
    return folder


@pytest.fixture
def grown(tmp_path: Path, once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; further sweeps end as they did there, and intervals are of a few draws."""
    pretend(monkeypatch, accuracy)
    monkeypatch.setattr("study.results.scale", partial(scale, draws=40))
    return Path(shutil.copytree(once, tmp_path / "grow"))


def test_sizes_that_were_interrupted_continue_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "grow"
    first = pretend(monkeypatch, accuracy, stop_after=5)
    assert sweep(FAMILY, folder) == INCOMPLETE
    assert len(first.ended) == 5
    assert [len(member.runs) for member in load_results(folder).members] == [4, 1, 0, 0]
    shutil.rmtree(folder / "320-images")  # as if the limit had come a moment before
    assert provenance(load_results(folder)).troubles == (
        "80-images: Without a result: C-C-T-T seed 1, ViT_REL seed 0, ViT_REL seed 1.",
        "160-images: Without a result: C-C-T-T seed 0, C-C-T-T seed 1, ViT_REL seed 0, ViT_REL seed 1.",
        "320-images: not begun.",
    )
    second = pretend(monkeypatch, accuracy)
    assert sweep(FAMILY, folder) == COMPLETE
    assert len(second.ended) == 4 * 4 - 5
    assert not {run.id for _, run in first.ended} & {run.id for _, run in second.ended}


def test_a_mistake_before_the_first_run_does_not_block_the_folder(tmp_path: Path, monkeypatch) -> None:
    mistaken = FAMILY.model_copy(update={"training": FAMILY.training.model_copy(update={"batch_size": 1000})})
    with pytest.raises(StudyError, match="batch"):
        sweep(mistaken, tmp_path / "grow")
    pretend(monkeypatch, accuracy, stop_after=1)
    assert sweep(FAMILY, tmp_path / "grow") == INCOMPLETE
    with pytest.raises(StudyError, match="holds another experiment"):
        sweep(mistaken, tmp_path / "grow")


def test_further_sizes_join_and_another_experiment_is_refused(grown: Path) -> None:
    sweep(FAMILY.model_copy(update={"parts": (0.75,)}), grown)
    assert [member.number for member in load_results(grown).members] == [32, 80, 160, 240, 320]
    longer = FAMILY.model_copy(update={"training": FAMILY.training.model_copy(update={"samples": 640})})
    with pytest.raises(StudyError, match=r"training\.samples is 320, asked for 640"):
        sweep(longer, grown)


def test_a_member_that_a_merge_began_is_taken_up(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As 10,000 images of CIFAR-100 are the study itself and a member of generalization_data.py."""
    assert len(merge(tmp_path / "new/80-images", [grown / "80-images"]).added) == 4
    made = pretend(monkeypatch, accuracy)
    assert sweep(FAMILY.model_copy(update={"name": "other"}), tmp_path / "new") == COMPLETE
    assert len(made.ended) == 3 * 4
    (tmp_path / "else/80-images").mkdir(parents=True)
    (tmp_path / "else/notes.txt").touch()
    with pytest.raises(StudyError, match="holds no members"):
        sweep(FAMILY, tmp_path / "else")


def test_sizes_of_the_first_form_keep_opening(grown: Path) -> None:
    state = json.loads((grown / "members.json").read_text())
    old = {"experiment": {k: v for k, v in state["experiment"].items() if k != "depths"}, "images": state["numbers"]}
    (grown / "members.json").unlink()
    (grown / "family.json").write_text(json.dumps(old))
    found = load_results(grown)
    assert [member.number for member in found.members] == [32, 80, 160, 320]
    assert found.experiment.depths == "free"
    (grown / "family.json").write_text(json.dumps({**old, "images": ["../../elsewhere"]}))
    with pytest.raises(StudyError, match="family"):
        load_results(grown)


def test_who_watches_sizes_waits_for_the_second(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (80, 160, 320):
        for result in (grown / f"{number}-images").glob("runs/*/result.json"):
            result.unlink()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("study.report.live.time.sleep", interrupt)
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        watch([grown], tmp_path / "report.html", 1, told.append)
    assert [line.partition(": ")[2] for line in told] == ["4 of 16 runs have a result"]


def test_the_points_over_sizes_are_the_runs(grown: Path) -> None:
    table = load_results(grown).points
    assert len(table) == 4 * 2 * 2
    assert set(table["images"]) == {32, 80, 160, 320}
    row = table[(table["variant"] == "ViT_REL") & (table["seed"] == 1) & (table["images"] == 160)].iloc[0]
    assert row["accuracy"] == pytest.approx(0.5 + 0.3 * np.log10(1.6) + 0.002)
    assert row["gap"] == pytest.approx(0.9 - row["accuracy"])


def test_sizes_are_told_one_by_one(grown: Path) -> None:
    found = load_results(grown)
    (crossing,) = found.scaling.crossings
    assert crossing.overtakes == "ViT_REL"
    assert crossing.images.value == pytest.approx(100, rel=1e-6)
    assert {each.images: each.verdict.measured for each in found.by_size} == {
        32: "C-C-T-T ≫ ViT_REL",
        80: "C-C-T-T > ViT_REL",  # 0.019 apart: not above Δ
        160: "ViT_REL ≫ C-C-T-T",
        320: "ViT_REL ≫ C-C-T-T",
    }
    assert {each.images: each.by_mean for each in found.by_size}[320] == "ViT_REL, C-C-T-T"
    show_scale(found, QUIET)
    state = json.loads((grown / "scaling.json").read_text())
    assert state["rankings"][0]["verdict"]["measured"] == "C-C-T-T ≫ ViT_REL"
    assert (grown / "points.csv").exists()
    assert (grown / "figures" / "accuracy_by_images.svg").exists()


@pytest.mark.usefixtures("one_figure")
def test_a_family_opens_with_its_own_answer_and_folds_its_members(grown: Path) -> None:
    found = load_results(grown)
    plot(found, ["accuracy_by_images"], ["svg"])
    report = read_report([grown])
    (section,) = report.sections
    assert [member.folder.name for member in section.members] == [f"{size}-images" for size in (32, 80, 160, 320)]
    assert section.answer.startswith("With 32 training images C-C-T-T is first (")
    assert ", with 320 training images ViT_REL is first (" in section.answer
    assert "ViT_REL overtakes C-C-T-T at 100 images" in section.answer
    text = write_markdown(report, grown / "report.md").read_text()
    assert re.findall("^# .*", text, re.MULTILINE)[1:] == [f"# {size} training images" for size in (32, 80, 160, 320)]
    assert text.index("### Crossings") < text.index("### Size and cost")
    assert "| ViT_REL | C-C-T-T | 100 |" in text
    assert "figures/accuracy_by_images.svg" in text
    html = write_page(report, grown / "report.html").read_text()
    words = [
        section.answer[:22],
        "Scaling laws, and where they lead",
        "data end here",
        "One by one",
        'id="s1m1"',
        "<article",
    ]
    assert sorted(map(html.index, words)) == list(map(html.index, words))
    assert html.count('<details class="member"') == 4
    assert '<details class="member" open' not in html
    assert (html.count('class="sheet"'), html.count("was not at hand")) == (1, 0)  # once for all members
    latex = write_latex(Report([replace(section, members=[])]), grown / "report.tex").read_text()
    count = len(scaling_tables(found.points, found.scaling, found.by_size))
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == count >= 3
    assert "ViT\\_REL & C-C-T-T & 100 &" in latex
    made = dict(section.provenance.table.rows)  # summed over the members
    assert made["training time"] == "0.3 minutes over 16 runs, evaluation excluded"  # a second each


def test_a_size_that_lacks_a_seed_stays_in_the_figures_with_its_n_marked(tmp_path: Path) -> None:
    """Promise 8: it was dropped."""
    table = points(noise=0.01)
    table = table[~((table["variant"] == "C-C-T-T") & (table["images"] == 5000) & (table["seed"] == 2))]
    table = table.assign(gap=1 - table["accuracy"])
    found = scale(table, draws=30)
    for name, column in (("accuracy_by_images", "accuracy"), ("gap_by_images", "gap")):
        axes = SCALING_FIGURES[name].draw(table, found).axes[0]
        (line,) = [line for line in axes.lines if line.get_label() == "C-C-T-T"]
        assert list(line.get_xdata()) == list(SIZES)
        own = table[(table["variant"] == "C-C-T-T") & (table["images"] == 5000)]
        assert line.get_ydata()[list(SIZES).index(5000)] == pytest.approx(own[column].mean())
        assert [note.get_text() for note in axes.texts if note.get_gid() == "n"] == ["n=2"]


def test_the_status_of_a_family_is_that_of_its_members(grown: Path) -> None:
    found = status_of(grown)
    assert [Path(each["folder"]).name for each in found] == [f"{size}-images" for size in (32, 80, 160, 320)]
    assert all(each["counts"]["done"] == 4 for each in found)


def test_sizes_open_in_a_notebook(grown: Path) -> None:
    found = load_results(grown)
    assert (found.design, found.scaling.sizes) == ("sizes", (32, 80, 160, 320))
    assert {each.images: each.verdict.measured for each in found.by_size}[320] == "ViT_REL ≫ C-C-T-T"
    assert found.at(80).summary("final_test_accuracy")["variant"].tolist() == ["C-C-T-T", "ViT_REL"]
    assert len(found.figure("accuracy_by_images").axes) == 1
    with pytest.raises(StudyError, match="no results at 33: it has 32, 80, 160, 320"):
        found.at(33)
    with pytest.raises(StudyError, match="accuracy_by_images"):
        found.figure("nope")
    with pytest.raises(StudyError, match="for each of its members"):
        found.summary("final_test_accuracy")


def test_plots_and_the_wandb_mirror_of_a_family_are_those_of_its_members(
    grown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(app, ["plot", str(grown), "gap_curve"])
    assert done.exit_code == 0, done.output
    for size in (32, 80, 160, 320):
        assert {path.suffix for path in (grown / f"{size}-images" / "figures").glob("gap_curve.*")} == {".pdf", ".svg"}
    pushed = []
    monkeypatch.setattr(tracking, "check", lambda mode: None)
    monkeypatch.setattr(tracking, "push", lambda folder, project, mode: pushed.append((folder.name, mode)) or [])
    empty = CliRunner().invoke(app, ["wandb", "push", str(grown), "--mode", "offline"])
    assert "no finished run to push" in str(empty.exception)
    assert pushed == [(f"{size}-images", "offline") for size in (32, 80, 160, 320)]


def test_parts_that_come_to_one_size_are_refused() -> None:
    with pytest.raises(StudyError, match="different numbers"):
        on_parts(FAMILY.model_copy(update={"parts": (0.5, 0.5001)}), Facts())


def test_the_data_scale_experiment_covers_one_to_a_hundred_percent() -> None:
    experiment = load_experiment(experiment_file("data_scale"))
    assert experiment.parts == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    assert experiment.training.samples
    assert [claim.ranking for claim in experiment.claims] == [each.ranking for each in PUBLISHED]
