"""What `study transfer` does: fine-tune every network of a pretraining sweep, at one side or several, and compare.

Each side has a results folder of its own, made by an ordinary sweep; the table at the end is over all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from study import printing
from study.analysis.claims import verdicts_on
from study.analysis.readouts import find_readout
from study.config import Data, Experiment, parse_model
from study.files import atomic
from study.report.figures import plot_all
from study.report.transfer import seed_differences, transfer_frame, transfer_table
from study.session import COMPLETE, FAILURES, INCOMPLETE, Options, Session
from study.sweep.plan import Plan
from study.sweep.store import Store
from study.sweep.transfer import Sources, plan_transfer, transfer_experiment


def run_transfer(
    template: Experiment, sources: Sources, sides: Sequence[int], options: Options, say: Console, scratch: bool = True
) -> tuple[list[Store], int]:
    """Sweep `template`'s recipe over `sources` at each side; the folders that there are then, and the exit code.

    `options.out` is the stem of the folders' names, by default results/NAME-DATASET; `-<side>px` is added to it. Claims
    whose variants are not all among the sources are left out. Raises StudyError for whatever cannot be planned.
    """
    labels = {source.label for source in sources.networks}
    claims = tuple(claim for claim in template.claims if labels >= set(claim.order.variants))
    template = template.model_copy(update={"claims": claims})
    for sentence in sources.skipped:
        say.print(f"left out: {sentence}", soft_wrap=True, highlight=False)

    def planner(experiment: Experiment, data_dir: Path | None) -> Plan:
        return plan_transfer(experiment, sources, scratch, data_dir)

    stores, codes = [], []
    for side in sides:
        data = template.data.model_copy(update={"image_size": side, "fingerprint": ""})
        data = parse_model(Data, data.model_dump_json(), "--image-size: ")
        stem = options.out or Path("results") / f"{template.name}-{data.slug}"
        own = replace(options, out=stem.with_name(f"{stem.name}-{side}px"))
        store, code = Session(transfer_experiment(template, sources, data, scratch), own, say, planner).run()
        stores += [store] if store else []
        codes.append(code)
        if code == INCOMPLETE or (code == FAILURES and options.fail_fast):
            break
    return stores, next((code for code in (INCOMPLETE, FAILURES) if code in codes), COMPLETE)


def report_transfer(sources: Sources, stores: Sequence[Store], console: Console, as_json: bool = False) -> None:
    """Write each folder's tables and figures, and `transfer.csv`; show the table over all and every claim's verdict."""
    stores = [store for store in stores if len(store.results())]
    if not stores:
        return
    frame = transfer_frame(sources, stores)
    for store in stores:
        store.write_tables()
        plot_all(store.curves(), store.results(), store.folder / "figures")
        with atomic(store.folder / "transfer.csv") as temporary:
            frame.to_csv(temporary, index=False)
    verdicts = {
        store.experiment.data.image_size: verdicts_on(store.experiment.claims, store.curves(), store.results())
        for store in stores
    }
    if as_json:
        claims = {str(side): [verdict.to_dict() for verdict in found] for side, found in verdicts.items()}
        rows: list[Any] = json.loads(frame.to_json(orient="records"))
        folders = [str(store.folder) for store in stores]
        print(json.dumps({"folders": folders, "runs": rows, "claims": claims}, indent=2))
        return
    variants = list(dict.fromkeys(source.label for source in sources.networks))
    freeze = stores[0].experiment.training.freeze
    tables = [transfer_table(frame, variants, freeze)]
    for claim in stores[0].experiment.claims:
        named = claim.order.variants
        tables.append(seed_differences(frame, named[0], named[-1], freeze))
    for table in tables:
        console.print(printing.rich_table(table, table.title))
        for note in table.notes:
            console.print(note, soft_wrap=True, highlight=False)
    for side, found in verdicts.items():
        for verdict in found:
            console.print(f"\n[bold]{side} pixels[/bold]")
            printing.print_verdict(verdict, find_readout(verdict.claim.readout)[0].unit, console)
    console.print("folders: " + ", ".join(str(store.folder) for store in stores), soft_wrap=True, highlight=False)
