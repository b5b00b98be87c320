"""The report: whole, true to the tables, readable without eyes, colours or a network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from study.analysis import claims
from study.analysis.curves import at_losses, difference_at_loss, matched_region, not_diverged
from study.analysis.readouts import find_readout, measure_claim, summary
from study.config import Claim
from study.errors import StudyError
from study.files import write_json
from study.report.answer import of_sweep
from study.report.card import Card, card_of
from study.report.claim_figures import forest_plot, rank_heat_map, relation_of
from study.report.console import finish_sweep
from study.report.drawing import mean_and_interval
from study.report.explore import of_curves, of_sizes
from study.report.gallery import plot
from study.report.inline import inline_svg
from study.report.live import watch
from study.report.page import read_report, write_all, write_markdown, write_page
from study.report.provenance import provenance
from study.report.sections import title_of
from study.report.table import Table, capitalised, latex_escape, number, p_value, show, to_latex, to_markdown
from study.results import Results, load
from study.sweep import attempts
from study.sweep.store import Store
from tests.synthetic import PUBLISHED, VARIANTS, diverge, made_up_run, readout_table, results, results_folder

FEW = ("C-C-T-T", "ViT_REL")  # where it is not about how many are drawn
VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """All elements of a page with their text, and what is not closed."""

    source: str
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    @property
    def text(self) -> str:
        return " ".join(self.all("body")[0].text.split())


def report_of(*folders: Path) -> Page:
    path = write_all(folders, folders[0] / "report.html")[0]
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return results_folder(tmp_path_factory.mktemp("results") / "generalization-cifar100", results())


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return report_of(folder)


# ---------------------------------------------------------------- the page as a document


def test_every_element_is_closed_and_ids_are_unique(page: Page) -> None:
    assert not page.open
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


def outside_references(page: Page) -> Iterator[str]:
    """Whatever would be loaded from elsewhere."""
    for element in page.elements:
        for name, value in element.attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data") and value[:1] != "#":
                yield value
    styles = [*page.all("style"), *(Element("", {}, element.attributes.get("style", "")) for element in page.elements)]
    for style in styles:
        yield from re.findall(r"url\((?!#)[^)]*\)|@import[^;]*", style.text)


def test_nothing_is_loaded_from_outside(page: Page) -> None:
    assert list(outside_references(page)) == ["data:,"]  # the empty icon, so that no browser asks for one
    assert "fetch(" not in page.source
    assert "import(" not in page.source


def test_references_inside_a_figure_find_their_element(page: Page) -> None:
    ids = {element.attributes.get("id") for element in page.elements}
    inside = re.findall(r'(?:xlink:href="|url\()#([^")]+)', page.source)
    assert inside
    assert set(inside) <= ids


def test_every_figure_has_a_text_alternative_and_a_caption(page: Page) -> None:
    pictures = [picture for picture in page.all("svg") if picture.attributes.get("class") != "samples"]
    assert len(pictures) == len(page.all("figure")) == len(page.all("figcaption")) == 8
    for picture in pictures:
        assert all(variant in picture.attributes["aria-label"] for variant in VARIANTS)
    assert {picture.attributes["role"] for picture in page.all("svg")} == {"img"}
    assert len(page.all("svg")) == 8 + len(VARIANTS)


def test_figures_take_the_pages_colours_and_font(page: Page) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page.source, re.DOTALL))
    assert "DejaVu" not in drawn
    for neutral in ("#000000", "#444444", "#ffffff", "#e4e4e4"):
        assert neutral not in drawn


def test_letters_of_a_figure_keep_their_digits() -> None:
    figure = Figure()
    figure.text(0.123456, 0.5, "se_ratio=0.125 and <0.0625>")
    svg = inline_svg(figure, "x", "")
    assert ">se_ratio=0.125 and &lt;0.0625&gt;</text>" in svg
    assert not re.search(r"<[^>]*\d\.\d{3}", svg)  # points: a hundredth is enough


def test_the_same_folder_gives_the_same_page(folder: Path, page: Page, tmp_path: Path) -> None:
    assert write_all([folder], tmp_path / "again.html")[0].read_text(encoding="utf-8") == page.source


@pytest.mark.usefixtures("one_figure")
def test_labels_are_escaped(tmp_path: Path) -> None:
    label = "a</script><b>&"
    page = report_of(results_folder(tmp_path / "results", results([label, "C-C-T-T"]), claims=()))
    assert not page.all("b")
    assert label in page.text


# ---------------------------------------------------------------- what it says


def test_every_seeds_value_of_every_readout_is_shown(page: Page) -> None:
    cells = [element.text.strip() for element in page.elements if element.tag in ("td", "th")]
    curves, runs = results()
    for name in ("accuracy_at_matched_loss", "final_test_accuracy", "final_gap"):
        table = summary(readout_table(name, curves, runs), name)
        for row in table.to_dict("records"):
            at = [i for i, cell in enumerate(cells) if cell == row["variant"]]
            expected = [f"{100 * row[column]:.2f}" for column in ("mean", "sd", "seed 0", "seed 1", "seed 2")]
            assert any(cells[i + 2 : i + 7] == expected for i in at), (name, row["variant"])


def test_the_answer_comes_first_with_each_relations_verdict(folder: Path, page: Page) -> None:
    curves, runs = results()
    claim = Store(folder).experiment.claims[0]
    verdict = claims.test_claim(measure_claim(claim, curves, runs)[0], claim)
    answer = page.all("article")[0]
    assert verdict.sentence in " ".join(answer.text.split())
    first = page.text[: page.text.index("How it was tested")]
    assert page.text.startswith("Which stacking has the highest test accuracy at equal training loss?")
    best = summary(readout_table(claim.readout, curves, runs), claim.readout).iloc[0]
    assert f"{best['variant']} is first with {100 * best['mean']:.2f}%" in first
    counts = [verdict.count(word) or "none" for word in ("confirmed", "contradicted", "undecided")]
    told = f"Of 10 claimed relations {counts[0]} {'is' if counts[0] in (1, 'none') else 'are'} confirmed"
    assert f"{told}, {counts[1]} contradicted and {counts[2]} undecided" in first
    assert "3 seeds are a pilot" in first
    words = [
        element.attributes["class"].split()[1]
        for element in page.elements
        if "verdict" in element.attributes.get("class", "").split()
    ]
    adjacent = [pair.verdict for pair in verdict.pairs if pair.adjacent]
    assert words[: len(adjacent)] == adjacent
    rows = [" ".join(row.text.split()) for row in page.all("tr")]
    for pair in verdict.pairs:
        (row,) = [row for row in rows if row.startswith(f"{pair.first} {pair.relation} {pair.second}")]
        assert pair.verdict in row
        assert f"{100 * pair.difference:+.2f}".replace("-", "−") in row
    published, measured = (" ".join(ranking.text.split()) for ranking in page.all("ol"))
    assert re.sub(r" [✓✗?] (confirmed|contradicted|undecided)", "", published) == PUBLISHED
    assert measured == verdict.measured
    assert "a paper, section 1" in answer.text
    paired = claims.paired_by_seed(measure_claim(claim, curves, runs)[0], claim, verdict)
    assert paired is not None
    assert f"Differences taken seed by seed instead: {paired.sentence}." in " ".join(answer.text.split())


def test_how_it_was_made_is_told(page: Page) -> None:
    made = page.text[page.text.index("How it was made") :]
    for fact in ("study sweep --dataset cifar100 --train-size 10000", "fedcba987654", "0123456789ab", "A Processor"):
        assert fact in made
    for fact in ("torch 2.6.0", "lr 0.001", "batch_size 128", "parameters", "none failed or diverged"):
        assert fact in made


@pytest.mark.parametrize("readout", ["final_test_accuracy", "best_test_accuracy"])
@pytest.mark.parametrize("validation", [None, 2000])
def test_what_is_measured_on_test_images_and_what_not_is_told(
    folder: Path, validation: int | None, readout: str
) -> None:
    found = load(folder)
    data = found.experiment.data.model_copy(update={"validation": validation})
    claims_ = (Claim(ranking="C-C-T-T > ViT_REL", readout=readout),)
    found.experiment = found.experiment.model_copy(update={"data": data, "claims": claims_})
    told = {row[0]: row[1] for row in provenance(found).table.rows}
    assert ("2,000 of the training images, for validation" in told["test images"]) == bool(validation)
    assert ("2,000 of them for validation" in told["training images"]) == bool(validation)
    assert ("no rate, epoch or variant" in told["test images"]) == (not validation and readout.startswith("final"))


@pytest.mark.usefixtures("one_figure")
def test_diverged_failed_and_missing_runs_are_told(tmp_path: Path) -> None:
    curves, runs = diverge(*results(), run="C-C-T-T-1")
    runs = runs[(runs["run"] != "ViT_REL-2") & (runs["run"] != "C-C-C-C-0")]
    folder = results_folder(tmp_path / "results", (curves, runs))
    store = Store(folder)
    failed = store.add(made_up_run(store.experiment, "ViT_REL", 2))
    attempts.fail(failed, "many words\nMemoryError: no more\n")
    page = report_of(folder)
    assert "C-C-T-T seed 1 diverged" in page.text
    assert "ViT_REL seed 2 failed (exit code 1): MemoryError: no more" in page.text
    assert "Without a result: ViT_REL seed 2, C-C-C-C seed 0." in page.text
    assert "no value for C-C-C-C seed 0, C-C-T-T seed 1, ViT_REL seed 2" in page.text
    assert "in the means of 2 to 3 seeds" in page.text
    assert [cell.text for cell in page.all("td")].count("diverged") == 3


def test_with_one_seed_there_is_no_verdict_and_the_reason(tmp_path: Path) -> None:
    claims = [Claim(ranking="C-C-T-T > ViT_REL")]
    page = report_of(results_folder(tmp_path / "results", results(FEW, seeds=(0,)), claims))
    assert "untested: a verdict needs values from at least 2 seeds" in page.text
    assert not [element for element in page.elements if "verdict" in element.attributes.get("class", "").split()]
    assert len(page.all("figure")) == 6


@pytest.mark.usefixtures("one_figure")
def test_without_a_matched_region_the_answer_says_why(tmp_path: Path) -> None:
    curves, runs = results()
    early = curves[(curves["variant"] != "ViT_REL") | (curves["epoch"] < 3)]
    page = report_of(results_folder(tmp_path / "results", (early, runs)))
    assert page.all("article")[0].text.count("No matched region: ViT_REL seed") == 1


@pytest.mark.usefixtures("one_figure")
def test_a_claim_on_a_variant_without_runs_is_untested(tmp_path: Path) -> None:
    page = report_of(results_folder(tmp_path / "results", results(["C-C-C-C", "C-C-C-T"])))
    assert "untested: this experiment is without C-C-T-T, C-T-T-T, ViT_REL" in page.text
    assert "All pairs, explored: nothing was claimed of them" in page.text
    assert "C-C-C-C · C-C-C-T" in page.text


def test_relations_of_claims_that_cannot_be_tested_are_counted(tmp_path: Path) -> None:
    stated = [Claim(ranking=ranking) for ranking in ("C-C-T-T > ViT_REL", "C-C-C-C ~ C-C-C-T ~ C-C-T-T > ViT_REL")]
    folder = results_folder(tmp_path / "results", results(FEW, (0, 1, 2, 3)), stated)
    told = "Of 6 claimed relations 1 is confirmed, none contradicted, none undecided and 5 untested; in the means"
    assert of_sweep(load(folder)).startswith(told)


@pytest.mark.usefixtures("one_figure")
def test_a_claim_changed_after_runs_is_reported(folder: Path, page: Page, tmp_path: Path) -> None:
    assert "before any run was done" in page.text
    changed = shutil.copytree(folder, tmp_path / "results")
    other = (Claim(ranking=PUBLISHED, epsilon=0.015),)
    Store.create(changed, Store(changed).experiment.model_copy(update={"claims": other}))
    assert "when 15 runs were done" in report_of(changed).text


@pytest.mark.usefixtures("one_figure")
def test_committed_tables_without_runs_give_the_same_answers(folder: Path, tmp_path: Path) -> None:
    committed = tmp_path / "results"
    shutil.copytree(folder, committed, ignore=shutil.ignore_patterns("runs", "report.html"))
    whole = Page(write_all([folder], tmp_path / "whole.html")[0].read_text(encoding="utf-8"))
    assert report_of(committed).text.split("How it was made")[0] == whole.text.split("How it was made")[0]
    (committed / "environments.json").unlink(missing_ok=True)
    assert "it stands in the runs' own folders" in report_of(committed).text


def test_what_only_later_environments_record_is_told(folder: Path, tmp_path: Path) -> None:
    committed = shutil.copytree(folder, tmp_path / "results", ignore=shutil.ignore_patterns("runs"))
    write_json(committed / "environments.json", [{"python": "3.11"}, {"python": "3.12", "host": "a-machine"}])
    rows = dict(provenance(load(committed)).table.rows)
    assert (rows["Python"], rows["machine"]) == ("3.11, 3.12", "a-machine")


@pytest.mark.parametrize("alive", [1, 0])
def test_variants_that_diverged_are_reported_without_a_comparison(tmp_path: Path, alive: int) -> None:
    tables = results(FEW, (0, 1), epochs=8)
    for variant in FEW[alive:]:
        for seed in (0, 1):
            tables = diverge(*tables, run=f"{variant}-{seed}")
    folder = results_folder(tmp_path / "results", tables)
    page = report_of(folder)
    assert "s1-difference_at_loss" not in {figure.attributes["data-name"] for figure in page.all("figure")}
    assert "ViT_REL seed 1 diverged within" in page.text
    assert plot(load(folder), ["difference_at_loss"], ["svg"])[0]  # by name it is drawn, empty


def test_runs_that_diverged_before_any_evaluation_end_a_sweep_and_have_no_figures(tmp_path: Path) -> None:
    tables = results(FEW, (0, 1), epochs=8)
    for run in tables[1]["run"]:
        tables = diverge(*tables, run=run, after=0)
    folder = results_folder(tmp_path / "results", tables)
    console = Console(file=StringIO(), width=200)
    finish_sweep(folder, console, console, as_json=False)
    assert "figures:" not in console.file.getvalue()  # type: ignore[attr-defined]
    paths, missing = plot(load(folder), ["train_loss"])
    assert (paths, missing) == ([], [f"{folder} has no curves to draw: none of its runs was evaluated"])


@pytest.mark.usefixtures("one_figure")
def test_several_folders_are_compared_claim_by_claim(tmp_path: Path) -> None:
    stated = [("C-C-T-T > ViT_REL", "final_test_accuracy"), ("C-C-T-T > ViT_REL", "accuracy_at_matched_loss")]
    other = [stated[0], ("C-C-T-T ~ ViT_REL", "test_loss_after_samples")]
    folders = [
        results_folder(tmp_path / name, results(FEW, (0, 1)), [Claim(ranking=r, readout=by) for r, by in claims], name)
        for name, claims in (("generalization", stated), ("capacity", other))
    ]
    report = read_report(folders)
    assert report.comparison is not None
    assert report.comparison.header == ("relation", "readout", "Generalization on cifar100", "Capacity on cifar100")
    rows = {row[:2]: row[2:] for row in report.comparison.rows}
    for column, folder in enumerate(folders):
        verdicts = load(folder).view.verdicts
        told = {(relation_of(verdict.pairs[0]), find_readout(verdict.claim.readout)[0].title) for verdict in verdicts}
        assert told == {key for key, cells in rows.items() if cells[column] != "–"}
        for verdict in verdicts:
            key = (relation_of(verdict.pairs[0]), find_readout(verdict.claim.readout)[0].title)
            assert rows[key][column].startswith(f"{verdict.pairs[0].verdict} ")
    word = rows["C-C-T-T > ViT_REL", "final test accuracy"][0].split()[0]
    assert report.answer == (
        "Of 1 claimed relations that more than one of 2 studies tested, 1 have the same verdict in each that did "
        f"(1 {word})."
    )
    page = Page(write_page(report, tmp_path / "report.html").read_text())
    assert not page.open
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert [each.text for each in page.all("h2")] == ["Generalization on cifar100", "Capacity on cifar100"]
    assert report.comparison.rows[0][0] in write_markdown(report, tmp_path / "report.md").read_text()


@pytest.mark.usefixtures("one_figure")
def test_studies_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = [Claim(ranking="C-C-T-T > ViT_REL", readout="final_test_accuracy")]
    monkeypatch.chdir(tmp_path)
    folders = [results_folder(Path(place, "results"), results(FEW, (0, 1)), claims) for place in ("laptop", "cluster")]
    report = read_report([*folders, results_folder(Path("results-3"), results(FEW, (0, 1)), claims)])
    assert report.comparison is not None
    assert report.comparison.header[2:] == ("laptop/results", "cluster/results", "results-3")


def test_a_folder_without_results_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not a results folder"):
        write_all([tmp_path], tmp_path / "report.html")
    curves, runs = results()
    empty = results_folder(tmp_path / "empty", (curves, runs))
    shutil.rmtree(empty / "runs")
    (empty / "runs").mkdir()
    with pytest.raises(StudyError, match="no finished run"):
        write_all([empty], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


# ---------------------------------------------------------------- its parts


def test_the_script_draws_the_means_and_intervals_that_matplotlib_draws() -> None:
    curves, runs = diverge(*results(seeds=range(4)), run="C-C-T-T-1")
    lines = of_curves(curves, runs)
    for mean in lines["time"]["means"]:
        own = curves[(curves["variant"] == mean["variant"]) & (curves["run"] != "C-C-T-T-1")]
        assert mean["n"] == own["run"].nunique() == (3 if mean["variant"] == "C-C-T-T" else 4)
        np.testing.assert_allclose(mean["step"], sorted(own["step"].unique()))
        table = own.pivot(index="run", columns="step", values="test_accuracy").to_numpy()
        np.testing.assert_allclose(mean["test_accuracy"], mean_and_interval(table), rtol=5e-5)
        losses = own.pivot(index="run", columns="step", values="probe_loss").to_numpy()
        np.testing.assert_allclose(mean["probe_loss"], np.exp(mean_and_interval(np.log(losses))), rtol=5e-5)
        np.testing.assert_allclose(mean["seconds"], own.groupby("step")["seconds"].mean(), rtol=5e-5)
    for mean in lines["loss"]["means"]:
        own = not_diverged(curves, runs).query("variant == @mean['variant']")
        at = at_losses(own, "test_accuracy", mean["probe_loss"]).to_numpy()[:, 1:-1]  # the ends are rounded
        np.testing.assert_allclose(np.array(mean["test_accuracy"])[:, 1:-1], mean_and_interval(at), rtol=2e-4)
    np.testing.assert_allclose(lines["loss"]["region"], matched_region(not_diverged(curves, runs)))


def test_lines_over_sizes_have_a_point_where_any_seed_has_one() -> None:
    rows = [("C-C-T-T", 0, 100, 0.1), ("C-C-T-T", 1, 100, 0.2), ("C-C-T-T", 0, 1000, 0.4)]
    points = pd.DataFrame(rows, columns=["variant", "seed", "images", "accuracy"]).assign(gap=0.5)
    (mean,) = of_sizes(points)["images"]["means"]
    assert (mean["images"], mean["n"], mean["accuracy"][0]) == ([100, 1000], 2, [0.15, 0.4])
    assert mean["accuracy"][1][1] is None  # a single seed has no interval


def test_forest_plot_and_heat_map_show_the_verdicts_numbers() -> None:
    curves, runs = results(seeds=range(5))
    claim = Claim(ranking=PUBLISHED)
    verdict = claims.test_claim(measure_claim(claim, curves, runs)[0], claim)
    axes = forest_plot(verdict, "accuracy").axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    drawn = {
        labels[int(line.get_ydata()[0])]: list(line.get_xdata())
        for line in axes.lines
        if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    }
    assert drawn == {
        f"{pair.first} {pair.relation} {pair.second}": [100 * pair.low, 100 * pair.high] for pair in verdict.pairs
    }
    heat = rank_heat_map(verdict).axes[0]
    assert verdict.ranks is not None
    shades = np.array([patch.get_alpha() for patch in heat.patches]).reshape(5, 5)
    np.testing.assert_allclose(shades, verdict.ranks.matrix)


def test_numbers_are_printed_in_their_unit() -> None:
    assert number(0.43216, "accuracy") == "43.22"
    assert number(-0.0101, "points", "+") == "−1.01"
    assert number(float("nan"), "accuracy") == "–"
    assert number(123456.7, "samples") == "123,457"
    assert number(0.00421, "nats") == "0.0042"
    assert [p_value(p) for p in (0.0004, 0.0312, 1.0, None)] == ["<.001", ".031", "1.000", "–"]


def test_a_sentence_that_begins_with_a_symbol_keeps_it() -> None:
    assert capitalised("two seeds") == "Two seeds"
    assert capitalised("ε is small") == "ε is small"


def test_titles_are_words(folder: Path) -> None:
    experiment = Store(folder).experiment.model_copy(update={"name": "data_scale"})
    assert title_of(experiment) == "Data scale on cifar100"


@pytest.mark.usefixtures("one_figure")
def test_markdown_and_latex_hold_the_same_cells(folder: Path, tmp_path: Path) -> None:
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "accuracy_at_loss.svg").write_text("<svg/>")  # the figures of the claim are not here
    written = write_all([folder], tmp_path / "report.html", latex=True)
    markdown, latex = (path.read_text(encoding="utf-8") for path in written[1:])
    curves, runs = results()
    for value in summary(readout_table("accuracy_at_matched_loss", curves, runs), "accuracy_at_matched_loss")["seed 1"]:
        assert f" {100 * value:.2f} |" in markdown
        assert f" {100 * value:.2f} " in latex
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1
    assert PUBLISHED in markdown
    links = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert len(links) == 1
    assert (tmp_path / links[0]).exists()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 7
    for columns, body in re.findall(r"\\begin{tabular}{([lr]+)}(.*?)\\end{tabular}", latex, re.DOTALL):
        for row in re.findall(r"^(.*) \\\\$", body, re.MULTILINE):
            assert len(re.split(r"(?<!\\)&", row)) == len(columns)
    assert not re.search(r"[≈≥≫−ε–]|(?<!\\)_", latex)


def test_latex_and_markdown_escape_what_would_break_them() -> None:
    assert latex_escape("ViT_REL 50% & a\\b {x}") == r"ViT\_REL 50\% \& a\textbackslash{}b \{x\}"
    assert latex_escape("A ≳ B") == r"A $\stackrel{>}{\sim}$ B"  # \gtrsim is of amssymb
    table = Table("T", ("a|b", "n"), (("x|y", "1"),))
    assert r"| x\|y | 1 |" in to_markdown(table)
    assert "x|y & 1" in to_latex(table)


def test_words_are_aligned_on_the_left_and_numbers_on_the_right() -> None:
    table = Table("T", ("a", "b", "m", "n", "o"), (("x", "y", "1", "2", "3"),), ("why",), words=2)
    assert to_markdown(table) == (
        "### T\n\n| a | b | m | n | o |\n| --- | --- | ---: | ---: | ---: |\n| x | y | 1 | 2 | 3 |\n\nwhy\n"
    )
    assert r"\begin{tabular}{llrrr}" in to_latex(table)
    console = Console(file=StringIO(), width=80)
    show(Table("", ("word", "number"), (("x", "1"),)), console)
    (row,) = [line for line in console.file.getvalue().splitlines() if "x" in line]  # type: ignore[attr-defined]
    assert row == "│ x    │      1 │"


def test_explored_curves_are_the_measured_ones(page: Page) -> None:
    (script,) = [script for script in page.all("script") if script.attributes.get("id") == "data"]
    told = json.loads(script.text)["lines"]["s1"]["time"]["runs"]
    curves, runs = results()
    assert len(told) == curves["run"].nunique()
    for run in told:
        rows = curves[(curves["variant"] == run["variant"]) & (curves["seed"] == run["seed"])]
        for column in ("step", "epoch", "samples", "seconds", "probe_loss", "probe_accuracy", "test_accuracy"):
            np.testing.assert_allclose(run[column], rows[column], rtol=5e-5)
        assert run["macs"] == runs.set_index("variant")["macs"][run["variant"]].iloc[0]


@pytest.mark.usefixtures("one_figure")
def test_the_looks_of_a_sequential_sweep_are_reported(folder: Path, tmp_path: Path) -> None:
    sequential = shutil.copytree(folder, tmp_path / "results")
    look = {"number": 1, "seeds": 5, "alpha": 0.00305}
    looks = {"planned": [look], "taken": [{**look, "verdicts": ["undecided: 4 of 10 relations"]}]}
    (sequential / "looks.json").write_text(json.dumps(looks))
    text = report_of(sequential).text
    assert "5 seeds at level 0.00305" in text
    assert "undecided: 4 of 10 relations" in text


def test_a_card_is_read_without_running_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Depth: is deeper better?\n\nClaim     yes\n          and no\nCaveat    one rate\n"""\nraise SystemExit\n'
    )
    folder = results_folder(tmp_path / "results", results(FEW, (0, 1)), name="mine")
    (folder / "commands.txt").write_text(f"study sweep {path} --seeds 0-1\nstudy sweep other.py\n")
    card = card_of(load(folder))
    assert (card.question, card.fields["Claim"], card.caveat) == ("Is deeper better?", "yes and no", "One rate.")
    family = SimpleNamespace(commands=[], members=[load(folder)], experiment=load(folder).experiment)
    assert card_of(cast("Results", family)) == card
    path.write_text("no Python at all")
    assert card_of(load(folder)) == Card()


@pytest.mark.usefixtures("one_figure")
def test_a_page_that_watches_a_sweep_renews_itself_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = results_folder(tmp_path / "results", results(FEW, (0, 1))), tmp_path / "report.html"
    last = next(folder.glob("runs/*/result.json"))
    kept = last.read_text()
    last.unlink()
    seen: list[str] = []

    def sleep(seconds: float) -> None:
        seen.append(path.read_text())
        if len(seen) == 2:
            last.write_text(kept)

    monkeypatch.setattr("study.report.live.time.sleep", sleep)
    told: list[str] = []
    assert watch([folder], path, 7, told.append)
    assert len(seen) == 2
    assert all('http-equiv="refresh" content="7"' in page and "3 of 4 runs have a result" in page for page in seen)
    assert told == [f"{path}: 3 of 4 runs have a result", f"{path}: 4 of 4 runs have a result"]
    assert "<meta http-equiv" not in path.read_text()
    assert "3 of 4" not in path.read_text()


@pytest.mark.usefixtures("one_figure")
def test_watching_says_so_before_any_run_is_done_and_stops_where_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = results_folder(tmp_path / "results", results(FEW, (0,))), tmp_path / "report.html"
    for result in folder.glob("runs/*/result.json"):
        result.unlink()

    def interrupt(seconds: float) -> None:
        assert "0 of 2 runs have a result" in path.read_text()
        raise KeyboardInterrupt

    monkeypatch.setattr("study.report.live.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        watch([folder], path, 1, lambda told: None)
    assert "0 of 2 runs have a result" in path.read_text()
    assert "<meta http-equiv" not in path.read_text()
    for run in folder.glob("runs/*/"):
        (run / "failed.json").write_text('{"when": "2026-11-20", "exit_code": 1, "log": ""}')
    assert not watch([folder], path, 1, lambda told: None)  # nothing will come: failed runs wait for --retry-failed


def test_watching_says_at_once_what_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = results_folder(tmp_path / "results", results(FEW, (0, 1)))
    next(folder.glob("runs/*/result.json")).unlink()
    (folder / "claims.json").write_text("[{}]")
    monkeypatch.setattr("study.report.live.time.sleep", lambda seconds: pytest.fail("it waits for more runs"))
    with pytest.raises(StudyError, match=r"claims\.json is damaged"):
        watch([folder], tmp_path / "report.html", 1, lambda told: None)


def test_numbers_of_figures_that_no_script_draws_can_be_downloaded_whole(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "made", results(FEW, seeds=(0, 1)), claims=())
    (section,) = read_report([folder]).sections
    tables = {figure.name: pd.read_csv(StringIO(figure.csv)) for figure in section.figures if figure.csv}
    assert set(tables) == {"difference_at_loss", "accuracy_by_cost"}
    difference, cost = tables["difference_at_loss"], tables["accuracy_by_cost"]
    assert list(difference) == ["first", "second", "loss", "difference", "low", "high"]
    wanted = difference_at_loss(load(folder).curves, *difference.loc[0, ["first", "second"]], points=50)
    np.testing.assert_allclose(difference[list(wanted)], wanted, rtol=1e-4)
    assert list(cost) == ["variant", "seed", "parameters", "macs", "seconds", "final_test_accuracy"]
    assert len(cost) == 4
