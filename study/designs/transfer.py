"""A sweep for each image side of a transfer: pretrained networks, fine-tuned, beside their like from scratch.

The paper's question (arXiv 2106.04803, section 2.2 and Table 2): pretrained alike, which does better on other images?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from study.config import Data, parse_model
from study.designs.base import Design, Member, check_claims
from study.designs.sources import Sources, plan_transfer, transfer_experiment
from study.errors import StudyError
from study.report.console import finish_transfer
from study.report.table import say as tell
from study.sweep.members import Members, join_members, read_members
from study.sweep.plan import Facts
from study.sweep.store import Store


@dataclass
class Transfer(Design):
    """`experiment`'s recipe over `sources` at each of `sides` (pixels), in `X/32px`, `X/48px` of the results folder X.

    Raises StudyError for claims whose readout is unknown; when it starts, for a folder with runs from other weights.
    """

    sources: Sources
    sides: tuple[int, ...]
    scratch: bool
    say: Console

    def __post_init__(self) -> None:
        check_claims(self.experiment, [variant for claim in self.experiment.claims for variant in claim.order.variants])

    @property
    def members(self) -> Members:
        sides = tuple(sorted(set(self.sides)))
        whole = transfer_experiment(self.experiment, self.sources, self.experiment.data, self.scratch)
        return Members(design="transfer", experiment=whole, numbers=sides, pretraining=self.sources.reached)

    def prepare(self) -> None:
        for sentence in self.sources.skipped:
            tell(f"left out: {sentence}", self.say)
        if (old := read_members(self.folder)) is not None:
            for folder in old.started(self.folder).values():  # of other sides too: they share what pretraining reached
                _check_weights(folder, self.sources)
        join_members(self.folder, self.members)

    def stages(self) -> Iterator[Sequence[Member]]:
        members, facts = self.members, Facts(self.options.data_dir)
        found = []
        for side in members.numbers:
            data = self.experiment.data.model_copy(update={"image_size": side, "fingerprint": ""})
            data = parse_model(Data, data.model_dump_json(), "--image-size: ")
            experiment = transfer_experiment(self.experiment, self.sources, data, self.scratch)
            plan = plan_transfer(experiment, self.sources, self.scratch, facts)
            found.append(Member.of(members.folder(self.folder, side), plan))
            _check_weights(found[-1].folder, self.sources)
        yield found

    def show(self, console: Console, say: Console, as_json: bool, complete: bool) -> None:
        """The paper's Table 2 with error bars, and every claim at every side."""
        finish_transfer(self.folder, console, say, as_json)


def _check_weights(folder: Path, sources: Sources) -> None:
    """Raises StudyError if the same label and seed started from other weights here: one of them has one fine-tuning."""
    if not (folder / "experiment.json").exists():
        return
    known = {(run.label, run.seed): run.start.weights for run in Store(folder).runs() if run.start}
    for source in sources.networks:
        if known.get((source.label, source.seed), source.start.weights) != source.start.weights:
            raise StudyError(
                f"{folder} has {source.label} seed {source.seed} from other weights: choose another folder with --out"
            )
