"""The report: whole, true to the tables, readable without eyes, colours or a network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from study.analysis import claims
from study.analysis.readouts import measure_claim, readout_table, summary
from study.config import Claim
from study.errors import StudyError
from study.files import write_json
from study.report.claim_figures import forest_plot, rank_heat_map
from study.report.figures import FIGURES
from study.report.inline import inline_svg, panels
from study.report.page import write_all
from study.report.sections import title_of
from study.report.table import Table, capitalised, latex_escape, number, p_value, to_latex, to_markdown
from study.sweep.store import Store
from tests.synthetic import PUBLISHED, VARIANTS, diverge, made_up_run, results, results_folder

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
    pictures = page.all("svg")
    assert len(pictures) == len(page.all("figure")) == len(page.all("figcaption")) == 7
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        assert all(variant in picture.attributes["aria-label"] for variant in VARIANTS)


def test_figures_take_the_pages_colours_and_font(page: Page) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page.source, re.DOTALL))
    assert "DejaVu" not in drawn
    for neutral in ("#000000", "#444444", "#ffffff", "#e4e4e4"):
        assert neutral not in drawn


def test_the_same_folder_gives_the_same_page(folder: Path, page: Page, tmp_path: Path) -> None:
    assert write_all([folder], tmp_path / "again.html")[0].read_text(encoding="utf-8") == page.source


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
    assert page.text.index(verdict.verdict) < page.text.index("Curves")
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


def test_diverged_failed_and_missing_runs_are_told(tmp_path: Path) -> None:
    curves, runs = diverge(*results(), run="C-C-T-T-1")
    runs = runs[(runs["run"] != "ViT_REL-2") & (runs["run"] != "C-C-C-C-0")]
    folder = results_folder(tmp_path / "results", (curves, runs))
    store = Store(folder)
    failed = store.add(made_up_run(store.experiment, "ViT_REL", 2))
    write_json(
        failed / "failed.json", {"when": "2026-11-20", "exit_code": 1, "log": "many words\nMemoryError: no more\n"}
    )
    page = report_of(folder)
    assert "C-C-T-T seed 1 diverged" in page.text
    assert "ViT_REL seed 2 failed (exit code 1): MemoryError: no more" in page.text
    assert "Without a result: ViT_REL seed 2, C-C-C-C seed 0." in page.text
    assert "no value for C-C-T-T seed 1" in page.text
    assert [cell.text for cell in page.all("td")].count("diverged") == 3


def test_with_one_seed_there_is_no_verdict_and_the_reason(tmp_path: Path) -> None:
    page = report_of(results_folder(tmp_path / "results", results(seeds=(0,))))
    assert "untested: a verdict needs values from at least 2 seeds" in page.text
    assert not [element for element in page.elements if "verdict" in element.attributes.get("class", "").split()]
    assert len(page.all("svg")) == 5


def test_without_a_matched_region_the_answer_says_why(tmp_path: Path) -> None:
    curves, runs = results()
    early = curves[(curves["variant"] != "ViT_REL") | (curves["epoch"] < 3)]
    page = report_of(results_folder(tmp_path / "results", (early, runs)))
    assert page.all("article")[0].text.count("No matched region: ViT_REL seed") == 1


def test_a_claim_on_a_variant_without_runs_is_untested(tmp_path: Path) -> None:
    page = report_of(results_folder(tmp_path / "results", results(["C-C-C-C", "C-C-C-T"])))
    assert "untested: this experiment is without C-C-T-T, C-T-T-T, ViT_REL" in page.text
    assert "All pairs, explored: nothing was claimed of them" in page.text
    assert "C-C-C-C · C-C-C-T" in page.text


def test_a_claim_changed_after_runs_is_reported(folder: Path, page: Page, tmp_path: Path) -> None:
    assert "before any run was done" in page.text
    changed = shutil.copytree(folder, tmp_path / "results")
    other = (Claim(ranking=PUBLISHED, epsilon=0.015),)
    Store.create(changed, Store(changed).experiment.model_copy(update={"claims": other}))
    assert "when 15 runs were done" in report_of(changed).text


def test_committed_tables_without_runs_give_the_same_answers(folder: Path, page: Page, tmp_path: Path) -> None:
    committed = tmp_path / "results"
    shutil.copytree(folder, committed, ignore=shutil.ignore_patterns("runs", "report.html"))
    again = report_of(committed)
    assert again.text.replace("\n", " ").split("How it was made")[0] == page.text.split("How it was made")[0]
    (committed / "environments.json").unlink(missing_ok=True)
    assert "it stands in the runs' own folders" in report_of(committed).text


def test_several_folders_make_one_report(folder: Path, tmp_path: Path) -> None:
    claim = Claim(ranking="C-C-T-T ~ C-T-T-T > ViT_REL", readout="test_loss_after_samples", epsilon=0.1, delta=0.3)
    other = results_folder(tmp_path / "capacity", results(seeds=(0, 1)), (claim,), name="capacity")
    page = report_of(folder, other)
    assert not page.open
    links = [link.attributes["href"] for link in page.all("a")]
    assert links == ["#s1", "#s2"]
    assert {"s1", "s2"} <= {element.attributes.get("id") for element in page.elements}
    assert len(page.all("article")) == 2
    assert "Capacity on cifar100" in page.text
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


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


@pytest.mark.parametrize("name", ["train_loss", "accuracy_at_loss", "gap_curve", "loss_and_accuracy"])
def test_the_script_is_told_where_matplotlib_drew(name: str) -> None:
    """A curve's place by the page's formula and by matplotlib's own transform agree."""
    curves, runs = results(seeds=(0,))
    curves = curves.assign(gap=curves["probe_accuracy"] - curves["test_accuracy"])
    kind = FIGURES[name]
    figure = kind.draw(curves, runs)
    inline_svg(figure, "x", "")
    height = figure.get_figheight() * 72
    for panel, axes in zip(panels(figure, kind.panels), figure.axes, strict=True):
        for row in curves.iloc[::17].to_dict("records"):
            place = []
            for axis in (panel["x"], panel["y"]):
                scaled = np.log if axis["log"] else float
                (first, last), value = map(scaled, axis["limits"]), scaled(row[axis["column"]])
                start, end = axis["place"]
                place.append(start + (value - first) / (last - first) * (end - start))
            pixels = axes.transData.transform((row[panel["x"]["column"]], row[panel["y"]["column"]]))
            x, y = pixels * 72 / figure.dpi
            assert place == pytest.approx([x, height - y], abs=0.02)


def test_forest_plot_and_heat_map_show_the_verdicts_numbers() -> None:
    curves, runs = results(seeds=range(5))
    claim = Claim(ranking=PUBLISHED)
    verdict = claims.test_claim(measure_claim(claim, curves, runs)[0], claim)
    axes = forest_plot(verdict, "points", 100).axes[0]
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


def test_markdown_and_latex_hold_the_same_cells(folder: Path, tmp_path: Path) -> None:
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "gap_curve.svg").write_text("<svg/>")
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
    table = Table("T", ("a|b", "n"), (("x|y", "1"),))
    assert r"| x\|y | 1 |" in to_markdown(table)
    assert "x|y & 1" in to_latex(table)


def test_explored_curves_are_the_measured_ones(page: Page) -> None:
    (script,) = [script for script in page.all("script") if script.attributes.get("id") == "curves"]
    told = json.loads(script.text)["s1"]
    curves, _ = results()
    assert len(told) == curves["run"].nunique()
    for run in told:
        rows = curves[(curves["variant"] == run["variant"]) & (curves["seed"] == run["seed"])]
        for column in ("step", "epoch", "probe_loss", "probe_accuracy", "test_accuracy"):
            np.testing.assert_allclose(run[column], rows[column], rtol=5e-5)


def test_the_looks_of_a_sequential_sweep_are_reported(folder: Path, tmp_path: Path) -> None:
    sequential = shutil.copytree(folder, tmp_path / "results")
    look = {"number": 1, "seeds": 5, "alpha": 0.00305}
    looks = {"planned": [look], "taken": [{**look, "verdicts": ["undecided: 4 of 10 relations"]}]}
    (sequential / "looks.json").write_text(json.dumps(looks))
    text = report_of(sequential).text
    assert "5 seeds at level 0.00305" in text
    assert "undecided: 4 of 10 relations" in text
