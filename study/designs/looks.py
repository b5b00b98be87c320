"""Seeds in planned looks: they are added until every relation is decided, each look at its own level.

The looks and their levels follow from the most seeds and from α (analysis/sequential.py) and are frozen by the first:
another plan in the same folder is refused, since it would spend α a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from study.analysis.sequential import decided, plan_looks
from study.analysis.views import View
from study.config import Experiment
from study.designs.base import Design, Member
from study.designs.plain import member_of
from study.errors import StudyError
from study.report.table import say as tell
from study.results import load
from study.sweep.looks import Looks, PlannedLook, TakenLook, plan_is_free, write_looks
from study.sweep.plan import Facts
from study.sweep.tuned import check_seeds, read_tuned


@dataclass
class InLooks(Design):
    """One sweep whose seeds come in looks, from the experiment's first one on.

    Raises StudyError for an experiment without claims or with one of variants that it lacks, with sizes, or with seeds
    that do not follow each other.
    """

    say: Console
    max_seeds: int

    def __post_init__(self) -> None:
        if not self.experiment.claims:
            raise StudyError(f"--until-decided: the experiment {self.experiment.name} states no claim to decide")
        for claim in self.experiment.claims:
            if absent := [name for name in claim.order.variants if name not in self.experiment.variants]:
                raise StudyError(
                    f"--until-decided: no look could decide {claim.ranking} without {', '.join(absent)}: keep them in "
                    "--variants, or state another claim in an experiment file"
                )
        if self.experiment.parts:
            raise StudyError("--until-decided goes with one sweep: name one size with --train-size and -o parts=[]")
        if list(self.experiment.seeds) != list(range(self.first_seed, self.first_seed + len(self.experiment.seeds))):
            raise StudyError("--until-decided takes one seed after the other: name the first ones, such as --seeds 5-9")

    @property
    def first_seed(self) -> int:
        """The looks take as many seeds as they need from this one on."""
        return self.experiment.seeds[0]

    @property
    def alpha(self) -> float:
        """The level that the looks share: of the claim with the smallest."""
        return min(claim.alpha for claim in self.experiment.claims)

    @property
    def looks(self) -> Looks:
        """The plan, with what the folder has recorded of it. Raises StudyError if another plan is frozen there."""
        return plan_is_free(self.folder, plan_looks(self.max_seeds, self.alpha), self.first_seed)

    def stages(self) -> Iterator[Sequence[Member]]:
        facts, plan = Facts(self.options.data_dir), self.looks
        if tuned := read_tuned(self.folder):
            check_seeds(tuned.seeds, self._with_seeds(plan.seeds(plan.planned[-1])))
        for look in plan.planned:
            if (taken := self._taken(look)) is None:
                self.say.print(f"look {look.number} of {len(plan.planned)}: {look.seeds} seeds, level {look.alpha:.5f}")
                yield [member_of(self.folder, self._with_seeds(plan.seeds(look)), facts)]
                # another sweep may have taken it meanwhile; another plan is refused
                taken = self._taken(look) or self._take(look)
            for sentence in taken.verdicts:
                tell(f"  {sentence}", self.say)
            if taken.decided:
                self.say.print("every relation is decided: no further seeds are needed")
                return

    def _with_seeds(self, seeds: range) -> Experiment:
        return self.experiment.model_copy(update={"seeds": tuple(seeds)})

    def _taken(self, look: PlannedLook) -> TakenLook | None:
        return next((each for each in self.looks.taken if each.number == look.number), None)

    def _take(self, look: PlannedLook) -> TakenLook:
        """Test the claims at the look's level, on its seeds, and record what was seen."""
        tables, looks = load(self.folder), self.looks
        seeds = tuple(looks.seeds(look))
        runs = tables.runs[tables.runs["seed"].isin(seeds)]
        curves = tables.curves[tables.curves["run"].isin(runs["run"])]
        verdicts = View("", tables.experiment, runs, curves, look.alpha, seeds=seeds, own=tables.own).verdicts
        taken = TakenLook(
            **look.model_dump(),
            verdicts=tuple(f"{verdict.ranking}: {verdict.sentence}" for verdict in verdicts),
            decided=all(map(decided, verdicts)),
        )
        write_looks(self.folder, looks.model_copy(update={"taken": (*looks.taken, taken)}))
        return taken
