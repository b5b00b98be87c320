"""What the console shows of results: rankings and verdicts, and what stands at the end of a sweep, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from study.analysis.claims import test_claim
from study.analysis.scaling_types import TooFewSizes
from study.analysis.tables import read_table
from study.analysis.verdicts import ClaimVerdict
from study.analysis.views import View
from study.config import Claim, sentence
from study.errors import StudyError
from study.files import atomic, write_json
from study.report.drawing import save
from study.report.figures import plot_all
from study.report.gallery import plot
from study.report.scaling_figures import drawable
from study.report.scaling_tables import scaling_tables
from study.report.table import Table, number, print_json, say, show
from study.report.tables import readout_summary, relations
from study.report.transfer import TITLE, transfer_figure, transfer_frame, transfer_tables
from study.report.tuning_table import tuning_table
from study.results import Results, load
from study.sweep.tuned import NAME, Tuned

MOST_VALUES = 12  # of a variant's, that are printed one by one

# ---------------------------------------------------------------- study rank


def rank(
    results: Results, console: Console, as_json: bool = False, readouts: Sequence[str] = (), ranking: str | None = None,
    margins: Mapping[str, float] | None = None,
) -> None:  # fmt: skip
    """Readouts of a results folder and its claims, or one claim stated now, which is then called an exploration.

    All of it view by view: where learning rates are tuned, at these and again at the rate that all variants share.
    `margins`, of the claim stated now, are its epsilon, delta and alpha; without them those of the experiment's first
    claim by that readout, and 0.05.
    """
    ran = {variant for view in (results.view, *results.views[1:]) for variant in view.runs["variant"]}
    if not ran:
        raise StudyError(f"{results.folder} has no finished run to rank")
    claims, readouts = results.experiment.claims, [results.key(name) for name in readouts]
    if ranking is not None:
        known = {*results.experiment.variants, *ran}
        if strangers := [name for name in Claim(ranking=ranking).order.variants if name not in known]:
            raise StudyError(
                f"--claim names {', '.join(strangers)}, which {results.folder} lacks: it has {', '.join(sorted(known))}"
            )
        before = next(
            (claim for claim in claims if not readouts or claim.readout == readouts[0]), Claim(ranking=ranking)
        )
        chosen = {"epsilon": before.epsilon, "delta": before.delta} | dict(margins or {})
        claims = (stated_claim(ranking, (readouts or [before.readout])[0], **chosen),)
    elif margins:
        raise StudyError("--epsilon, --delta and --alpha go with --claim: the experiment's own claims keep theirs")
    names = list(readouts) or readouts_of(results)
    if as_json:
        print_json(_ranking_json(results, names, claims))
        return
    for view in results.views:
        _show_view(view, names, claims, console)
    for sentence_ in results.damaged:
        say(sentence_, console, "red")
    if ranking is not None:
        say("This ranking was stated after the runs: an exploration, not a test of a claim made before.", console)


def readouts_of(results: Results) -> list[str]:
    """The claims' readouts, then the final accuracy."""
    return list(dict.fromkeys([*(claim.readout for claim in results.experiment.claims), "final_test_accuracy"]))


def stated_claim(ranking: str, readout: str, epsilon: float, delta: float, alpha: float = 0.05) -> Claim:
    """A claim from the command line. Raises StudyError for margins that are not positive."""
    try:
        return Claim(ranking=ranking, readout=readout, epsilon=epsilon, delta=delta, alpha=alpha)
    except ValidationError as error:
        raise StudyError(f"--{sentence(error)}") from None


def _show_view(view: View, names: Sequence[str], claims: Sequence[Claim], console: Console) -> None:
    if view.title:
        say(f"\n{view.title}", console, "bold")
    for name in names if len(view.runs) else ():
        show(readout_summary(name, view), console)
    for caution in view.cautions:
        say(f"{caution}.", console, "yellow")
    if not len(view.runs):
        return
    for claim in claims:
        show_verdict(view.verdict(claim), view.find(claim.readout).unit, console)
    for verdict in view.explorations if claims == view.claims else []:
        readout = view.find(verdict.claim.readout)
        say(f"\nexplored  all pairs, by {readout.title}: no test of a claim made before", console, "bold")
        show_verdict(verdict, readout.unit, console)
    if claims and claims == view.claims and view.not_claimed:
        say(f"\n{view.not_claimed}", console)


def show_verdict(verdict: ClaimVerdict, unit: str, console: Console) -> None:
    """A claim: what is claimed, what was measured, the word for it, and the verdict on each relation."""
    if verdict.verdict != "explored":
        say(f"\nclaimed   {verdict.ranking}", console)
    if verdict.measured:
        say(f"measured  {verdict.measured}", console)
    say(f"verdict   {verdict.sentence}", console, "bold")
    if verdict.pairs:
        show(relations(verdict, unit), console)
    for caution in verdict.cautions:
        say(caution, console)


def rank_csv(path: Path, claim: Claim, larger_is_better: bool, console: Console, as_json: bool) -> None:
    """A claim tested on a table of columns variant, seed, value."""
    verdict = test_claim(read_table(path), claim, larger_is_better)
    if as_json:
        print_json(verdict.to_dict())
        return
    rows = []
    for row in verdict.variants:
        values = [number(value, "") for value in row.values.values()]
        shown = " ".join(values[:MOST_VALUES]) + (" …" if len(values) > MOST_VALUES else "")
        rows.append((row.variant, shown, str(row.n), number(row.mean, ""), number(row.sd, "")))
    show(Table(str(path), ("variant", "values", "n", "mean", "sd"), tuple(rows), words=2), console)
    show_verdict(verdict, "", console)


def _ranking_json(results: Results, names: Sequence[str], claims: Sequence[Claim]) -> dict[str, Any]:
    own, *others = results.views
    found = _view_json(own, names, claims)
    for shared in others:
        rates = {"rates": results.experiment.rates, "shared_rate": results.experiment.training.lr}
        found |= {**rates, "at_shared_rate": _view_json(shared, names, claims)}
    return found | ({"damaged": results.damaged} if results.damaged else {})


def _view_json(view: View, names: Sequence[str], claims: Sequence[Claim]) -> dict[str, Any]:
    if not len(view.runs):
        return {"readouts": {}, "claims": [], "cautions": view.cautions}
    readouts = {
        name: {
            "ranking": json.loads(view.summary(name).to_json(orient="records")),
            "notes": list(view.measure(name).notes),
        }
        for name in names
    }
    found: dict[str, Any] = {"readouts": readouts, "claims": [view.verdict(claim).to_dict() for claim in claims]}
    if claims == view.claims and view.explorations:
        found["explorations"] = [verdict.to_dict() for verdict in view.explorations]
    if claims and claims == view.claims and view.not_claimed:
        found["not_claimed"] = view.not_claimed
    return found | ({"cautions": view.cautions} if view.cautions else {})


# ---------------------------------------------------------------- the end of a sweep


def write_tables_and_figures(results: Results) -> tuple[list[Path], list[Path]]:
    """What a folder of runs shows without being asked, made from its records; figures if there is a finished run."""
    written = results.write_tables()
    figures = plot_all(results.view.curves, results.view.runs, results.folder / "figures", formats=("svg",))
    return written, figures


def finish_sweep(folder: Path, console: Console, say_to: Console, as_json: bool, claims: bool = True) -> None:
    """Tables, figures and the ranking of a folder; the verdicts on its claims if that is due (`claims`).

    Figures are SVG: `study plot` writes PDF too, whose fonts take longer than all the rest.
    Looks have verdicts of their own level at any time: those of the last one that was taken.
    """
    results = load(folder)
    written, figures = write_tables_and_figures(results)
    if any(len(view.runs) for view in results.views):
        stated = results.experiment.claims if claims or results.looks else ()
        if as_json:
            print_json(_ranking_json(results, readouts_of(results), stated))
        else:
            for view in results.views:
                _show_view(view, readouts_of(results), stated, console)
        if figures:
            say("figures: " + ", ".join(map(str, figures)), say_to)
    elif as_json:
        print_json({"readouts": {}, "claims": []})
    for damaged in results.damaged:
        say(damaged, say_to, "red")
    say("tables:  " + ", ".join(map(str, written)), say_to)
    say(f"next:    study report {folder}", say_to)


def finish_sizes(folder: Path, console: Console, say_to: Console, as_json: bool) -> None:
    """Every member's tables; then the crossings and laws, if every variant has a run at two sizes, else why not."""
    results = load(folder)
    for member in results.members:
        member.write_tables()
    try:
        scale(results, console, as_json)
    except TooFewSizes as error:
        say(f"no scaling yet: {error}", say_to)
        if as_json:
            print_json({"rankings": [each.to_dict() for each in results.by_size]})


def scale(results: Results, console: Console, as_json: bool = False) -> None:
    """Tables and crossings of an experiment at several sizes; they are written, with the figures, to its folder.

    Raises StudyError if fewer than two sizes are finished.
    """
    scaling, folder = results.scaling, results.folder
    told = {**scaling.to_dict(), "rankings": [each.to_dict() for each in results.by_size]}
    if as_json:
        print_json(told)
    else:
        for table in scaling_tables(results.points, scaling, results.by_size):
            show(table, console)
        for crossing in scaling.crossings:
            say(str(crossing), console)
    write_json(folder / "scaling.json", told)
    with atomic(folder / "points.csv") as temporary:
        results.points.to_csv(temporary, index=False)
    written = [folder / "points.csv", folder / "scaling.json", *plot(results, list(drawable(scaling)))[0]]
    if not as_json:
        say("written: " + ", ".join(map(str, written)), console)


def finish_transfer(folder: Path, console: Console, say_to: Console, as_json: bool) -> None:
    """Every member's tables and figures, `transfer.csv`, its figure; the table over sides, every verdict at each."""
    results = load(folder)
    members = [member for member in results.members if len(member.runs)]
    if not members:
        say(f"{folder} has no finished run yet", say_to)
        if as_json:
            print_json({"folders": [], "runs": [], "claims": {}})
        return
    frame = transfer_frame(results)
    for member in members:
        write_tables_and_figures(member)
    with atomic(folder / "transfer.csv") as temporary:
        frame.to_csv(temporary, index=False)
    save(transfer_figure(frame, results.experiment.training.freeze), folder / "figures" / "transfer.svg", TITLE)
    if as_json:
        claims = {str(member.number): [each.to_dict() for each in member.view.verdicts] for member in members}
        rows = json.loads(frame.to_json(orient="records"))
        print_json({"folders": [str(member.folder) for member in members], "runs": rows, "claims": claims})
        return
    for table in transfer_tables(results, frame):
        show(table, console)
    for member in members:
        for verdict in member.view.verdicts:
            say(f"\n{member.number} pixels", console, "bold")
            show_verdict(verdict, member.view.find(verdict.claim.readout).unit, console)
    say("folders: " + ", ".join(str(member.folder) for member in members), say_to)


def show_tuned(found: Mapping[Path, Tuned], console: Console, as_json: bool = False) -> None:
    """What was frozen: the mean validation accuracy of every rate, and each variant's choice."""
    if as_json:
        print_json({str(folder): tuned.model_dump(mode="json") for folder, tuned in found.items()})
        return
    for folder, tuned in found.items():
        show(tuning_table(tuned), console)
        say(f"frozen in {folder / NAME}", console)
