"""Every figure of a results folder by its name: of curves, of claims, of sizes, of the networks themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from study.errors import StudyError
from study.report.drawing import save
from study.report.figures import FIGURES, FORMATS, drawable
from study.report.scaling_figures import SCALING_FIGURES
from study.report.scaling_figures import drawable as drawable_over_sizes
from study.report.stages import networks_of, stage_strip
from study.results import Results

CLAIMS = {"forest": "Differences of all pairs", "ranks": "Probability of each rank"}
NETWORKS = {"stages": "Stages to scale", "relative_bias": "Learned relative biases"}
TITLES = {
    **{name: kind.title for name, kind in FIGURES.items()},
    **CLAIMS,
    **{name: kind.title for name, kind in SCALING_FIGURES.items()},
    **NETWORKS,
}


def check(names: Sequence[str]) -> None:
    """Raises StudyError for a name that no figure has."""
    if unknown := [name for name in names if name not in TITLES]:
        raise StudyError(f"there is no figure {unknown[0]!r}: the figures are {', '.join(TITLES)}")


def figure(results: Results, name: str) -> Figure:
    """A figure by name; the first of those of which there are several.

    Raises StudyError for an unknown name, and with what is missing if it cannot be drawn.
    """
    return next(figures(results, name))[1]


def figures(results: Results, name: str) -> Iterator[tuple[str, Figure]]:
    """The figures of that name, each with the name of its file: one; of claims one a claim, of biases one a variant.

    Raises StudyError for an unknown name, and with what is missing if there is none.
    """
    check([name])
    if name == "relative_bias":
        yield from _biases(results)
    elif name in CLAIMS:
        yield from _of_claims(results, name)
    elif name == "stages":
        networks = networks_of(results)
        if not networks:
            raise StudyError(f"{results.folder} does not tell what its networks are: it holds no record of a run")
        yield name, stage_strip(networks, (results.members or [results])[0].experiment.data.image_size)
    elif name in SCALING_FIGURES:
        if results.design != "sizes":
            raise StudyError(f"{name} is drawn of an experiment at several numbers of training images")
        if name not in drawable_over_sizes(results.scaling):
            raise StudyError(f"{name} takes scaling laws, and {results.folder} has none")
        yield name, SCALING_FIGURES[name].draw(results.points, results.scaling)
    elif results.view.curves.empty:
        raise StudyError(f"{results.folder} has no curves to draw: none of its runs was evaluated")
    else:
        yield name, FIGURES[name].draw(results.view.curves, results.view.runs)


def _of_claims(results: Results, name: str) -> Iterator[tuple[str, Figure]]:
    """Of each claim of the experiment that can be tested, by its number."""
    tested = [(number, verdict) for number, verdict in enumerate(results.view.verdicts, 1) if verdict.pairs]
    if not tested:
        what = "none of its claims can be tested yet" if results.experiment.claims else "its experiment claims nothing"
        raise StudyError(f"{results.folder} has no verdicts to draw: {what}")
    for number, verdict in tested:
        yield f"{name}-{number}", results.forest(verdict) if name == "forest" else results.ranks(verdict)


def _biases(results: Results) -> Iterator[tuple[str, Figure]]:
    """Of each variant that has learned biases, the first seed whose weights are here."""
    from study.report.biases import bias_maps, read_trained

    drawn: set[str] = set()
    weights = False
    for member in results.members or [results]:
        for record in member.records:
            folder = member.folder / "runs" / record.run.id
            if record.run.label not in drawn and (folder / "weights.pt").is_file():
                weights = True
                try:
                    maps = bias_maps(read_trained(folder))
                except StudyError:  # a network without any
                    continue
                drawn.add(record.run.label)
                yield f"relative_bias-{re.sub(r'[^A-Za-z0-9_]+', '-', record.run.label).strip('-')}", maps
    if not drawn:
        what = "none of its networks has relative biases" if weights else "no weights of finished runs are here"
        raise StudyError(f"{results.folder} has no learned biases to draw: {what}")


def plot(results: Results, names: Sequence[str] = (), formats: Sequence[str] = FORMATS) -> tuple[list[Path], list[str]]:
    """Write the figures of these names, by default every one that shows something, to `figures` in the folder.

    Of a folder with members those of curves are each member's. The paths, and a sentence for each that could not be
    drawn. Raises StudyError for an unknown name.
    """
    check(names)
    paths: list[Path] = []
    missing: list[str] = []
    for name in names or TITLES:
        if name not in names and name in SCALING_FIGURES and results.design != "sizes":
            continue
        for each in results.members if name in (*FIGURES, *CLAIMS) and results.joined else [results]:
            if name in FIGURES and not (len(each.runs) and (name in names or drawable([name], each.curves, each.runs))):
                continue
            if name in CLAIMS and name not in names and not each.experiment.claims:
                continue
            try:
                for file, drawn in figures(each, name):
                    paths += [save(drawn, each.folder / "figures" / f"{file}.{kind}", TITLES[name]) for kind in formats]
            except StudyError as error:
                missing.append(str(error))
    return paths, missing


def plot_trained(folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """The two figures of a single network, of a finished run's folder or one that `study export` wrote, in `figures`.

    Raises StudyError if it has no weights here.
    """
    from study.report.biases import bias_maps, read_trained

    trained = read_trained(folder)
    drawn = {"stages": stage_strip({trained.label: trained.variant}, trained.image_size)}
    with suppress(StudyError):  # a network without any
        drawn["relative_bias"] = bias_maps(trained)
    return [
        save(each, folder / "figures" / f"{name}.{kind}", TITLES[name])
        for name, each in drawn.items()
        for kind in formats
    ]
