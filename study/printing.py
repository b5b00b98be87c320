"""Rankings and verdicts on the console, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.analysis.claims import ClaimVerdict, test_claim, verdicts_on
from study.analysis.readouts import find_readout, measure, summary
from study.analysis.tables import read_table
from study.config import Claim, Experiment, sentence
from study.errors import StudyError
from study.report.tables import Table as Tabulated
from study.report.tables import relations
from study.sweep.store import Store, read_tables


def readouts_of(experiment: Experiment) -> list[str]:
    """The claims' readouts, then the final accuracy."""
    return list(dict.fromkeys([*(claim.readout for claim in experiment.claims), "final_test_accuracy"]))


def stated_claim(ranking: str, readout: str, epsilon: float, delta: float, alpha: float) -> Claim:
    """A claim from the command line. Raises StudyError for margins that are not positive."""
    try:
        return Claim(ranking=ranking, readout=readout, epsilon=epsilon, delta=delta, alpha=alpha)
    except ValidationError as error:
        raise StudyError(f"--{sentence(error)}") from None


def folder_ranking(
    folder: Path, console: Console, as_json: bool = False, readouts: Sequence[str] = (), ranking: str | None = None,
    margins: Mapping[str, float] | None = None, alpha: float = 0.05,
) -> None:  # fmt: skip
    """Readouts of a results folder and its claims, or one claim stated now, which is then called an exploration.

    Where learning rates are tuned, all of it at these and again at the rate that all variants share.
    """
    experiment = Store(folder).experiment
    tables = read_tables(folder)
    if not len(tables[0]):
        raise StudyError(f"{folder} has no finished run to rank")
    claims = experiment.claims
    if ranking is not None:
        before = next((claim for claim in claims if not readouts or claim.readout in readouts), Claim(ranking=ranking))
        chosen = {"epsilon": before.epsilon, "delta": before.delta} | dict(margins or {})
        claims = (stated_claim(ranking, (readouts or [before.readout])[0], alpha=alpha, **chosen),)
    elif margins:
        raise StudyError("--epsilon and --delta go with --claim: the experiment's own claims keep their margins")
    names = list(readouts) or readouts_of(experiment)
    if as_json:
        found = _ranking_json(*tables, names, claims)
        if experiment.rates:
            shared = _ranking_json(*read_tables(folder, shared_rate=True), names, claims)
            found |= {"rates": experiment.rates, "shared_rate": experiment.training.lr, "at_shared_rate": shared}
        print(json.dumps(found, indent=2))
        return
    views = {"": tables}
    if experiment.rates:
        shared_rate = f"At the learning rate {experiment.training.lr:g} for all"
        views = {"At tuned learning rates": tables, shared_rate: read_tables(folder, shared_rate=True)}
    for title, (runs, curves) in views.items():
        if title:
            console.print(f"\n[bold]{title}[/bold]", highlight=False)
        rankings(names, curves, runs, console)
        for verdict in verdicts_on(claims, curves, runs):
            print_verdict(verdict, find_readout(verdict.claim.readout)[0].unit, console)
    if ranking is not None:
        console.print("This ranking was stated after the runs: an exploration, not a test of a claim made before.")


def _ranking_json(
    runs: pd.DataFrame, curves: pd.DataFrame, names: list[str], claims: Sequence[Claim]
) -> dict[str, Any]:
    verdicts = [verdict.to_dict() for verdict in verdicts_on(claims, curves, runs)]
    return {"readouts": _rankings(names, curves, runs), "claims": verdicts}


def csv_claim(path: Path, claim: Claim, larger_is_better: bool, console: Console, as_json: bool) -> None:
    """A claim tested on a table of columns variant, seed, value."""
    verdict = test_claim(read_table(path), claim, larger_is_better)
    if as_json:
        print(json.dumps(verdict.to_dict(), indent=2))
        return
    table = Table(title=str(path), title_justify="left")
    for title in ("variant", "n", "mean", "sd", "values"):
        table.add_column(title, justify="left" if title in ("variant", "values") else "right")
    for row in verdict.variants:
        values = " ".join(cell(value) for value in row.values.values())
        table.add_row(escape(row.variant), str(row.n), cell(row.mean), cell(row.sd), values)
    console.print(table)
    print_verdict(verdict, "", console)


def rankings(
    names: list[str], curves: pd.DataFrame, runs: pd.DataFrame, console: Console, as_json: bool = False
) -> None:
    """A table for each readout, the best variant first, with what must be said of it below."""
    if as_json:
        print(json.dumps(_ranking_json(runs, curves, names, ()), indent=2))
        return
    for name in names:
        ranking = summary(curves, runs, name)
        table = Table(title=find_readout(name)[0].title, title_justify="left")
        for column in ranking.columns:
            table.add_column(column, justify="left" if column == "variant" else "right")
        for row in ranking.itertuples(index=False):
            table.add_row(*(cell(value) for value in row))
        console.print(table)
        for note in measure(name, curves, runs).notes:
            console.print(note, soft_wrap=True, highlight=False)


def print_verdict(verdict: ClaimVerdict, unit: str, console: Console) -> None:
    """A claim: what is claimed, what was measured, the word for it, and the verdict on each relation."""
    console.print(f"\n[bold]claimed[/bold]   {escape(verdict.ranking)}", highlight=False, soft_wrap=True)
    if verdict.measured:
        console.print(f"[bold]measured[/bold]  {escape(verdict.measured)}", highlight=False, soft_wrap=True)
    console.print(f"[bold]verdict[/bold]   {escape(verdict.sentence)}", highlight=False, soft_wrap=True)
    if verdict.relations:
        console.print(rich_table(relations(verdict, unit)))
    for caution in verdict.cautions:
        console.print(escape(caution), highlight=False, soft_wrap=True)


def cell(value: Any) -> str:
    """A value in a table: four digits, a dash for what is missing."""
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return escape(str(value))


def _rankings(names: list[str], curves: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name in names:
        rows = json.loads(summary(curves, runs, name).to_json(orient="records"))
        found[name] = {"ranking": rows, "notes": list(measure(name, curves, runs).notes)}
    return found


def rich_table(table: Tabulated, title: str | None = None) -> Table:
    """A table of the report as the console shows it."""
    shown = Table(title=title, title_justify="left")
    for i, title in enumerate(table.header):
        shown.add_column(title, justify="left" if i < table.words else "right")
    for row in table.rows:
        shown.add_row(*(escape(text) for text in row))
    return shown
