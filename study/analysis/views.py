"""A view: runs that are ranked and tested together. Each readout is measured once, and each claim tested once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import pandas as pd

from study.analysis.claims import explore, test_claim
from study.analysis.readouts import Measurement, Own, Readout, find_readout, measure, measure_claim, summary
from study.analysis.run_tables import without_result
from study.analysis.verdicts import ClaimVerdict, untested
from study.config import Claim, Experiment

T = TypeVar("T")
UNLIKE = 1.1  # largest over smallest number of parameters, from which on a comparison is cautioned about


@dataclass(frozen=True)
class View:
    """`runs` (one row a finished run) and `curves` (one row an evaluation) of an experiment.

    `title` is empty where a folder has a single view; `seeds` are those that are planned. `level` is the α
    of the look whose seeds these are, shared by the claims as `alpha` says; None for a sweep without looks. `untested`
    says why nothing is tested here, or is empty.
    """

    title: str
    experiment: Experiment
    runs: pd.DataFrame
    curves: pd.DataFrame
    level: float | None = None
    untested: str = ""
    seeds: tuple[int, ...] = ()
    own: Own = field(default_factory=dict, repr=False, compare=False)  # readouts of the user's own
    _known: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def _once(self, what: Hashable, find: Callable[[], T]) -> T:
        if what not in self._known:
            self._known[what] = find()
        found: T = self._known[what]
        return found

    # ------------------------------------------------------------ readouts

    def find(self, name: str) -> Readout:
        """A readout by its key, ours or the user's own. Raises StudyError for an unknown one."""
        return find_readout(name, self.own)[0]

    def measure(self, name: str) -> Measurement:
        """A readout with what must be said of it: the matched region, what was not reached."""
        return self._once(name, lambda: measure(name, self.curves, self.runs, self.own))

    def readout(self, name: str) -> pd.DataFrame:
        """Columns variant, seed, value; one row a run. Raises StudyError for an unknown readout."""
        return self.runs.set_index("run")[["variant", "seed"]].assign(value=self.measure(name).values)

    def summary(self, name: str) -> pd.DataFrame:
        """Columns variant, n, mean, sd, then every seed's value; the best variant first."""
        return summary(self.readout(name), name, self.own)

    # ------------------------------------------------------------ claims

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Those of the experiment: fixed before the runs."""
        return self.experiment.claims

    def alpha(self, claim: Claim) -> float:
        """The level at which a claim is tested: its own, or its share of the look's."""
        if self.level is None:
            return claim.alpha
        return self.level * claim.alpha / min((each.alpha for each in self.claims), default=claim.alpha)

    def measure_claim(self, claim: Claim) -> tuple[pd.DataFrame, Measurement]:
        """A claim's readout on the runs of the variants that it names: the table that is tested, and what is said."""
        variants = claim.order.variants
        if set(variants) >= set(self.runs["variant"]):
            return self.readout(claim.readout), self.measure(claim.readout)
        return self._once((claim.readout, variants), lambda: measure_claim(claim, self.curves, self.runs, self.own))

    def verdict(self, claim: Claim) -> ClaimVerdict:
        """The claim tested, or with the sentence that says why it is not. Raises StudyError for an unknown readout."""
        return self._once(claim, lambda: self._verdict(claim))

    def _verdict(self, claim: Claim) -> ClaimVerdict:
        larger = self.find(claim.readout).larger_is_better
        why, known = self.untested, set(self.runs["variant"])
        if not why and (absent := [name for name in claim.order.variants if name not in known]):
            chosen = [name for name in absent if name in self.experiment.variants]
            what = "no finished run of" if chosen else "this experiment is without"
            why = f"{what} {', '.join(chosen or absent)}"
        if why:
            return untested(claim, why, larger, self.alpha(claim))
        table = self._as_planned(self.measure_claim(claim)[0], claim.order.variants)
        return test_claim(table, claim, larger, alpha=self.alpha(claim))

    def _as_planned(self, table: pd.DataFrame, variants: Collection[str]) -> pd.DataFrame:
        """With a row without a value for each planned run that has no result."""
        absent = without_result(self.runs, filter(variants.__contains__, self.experiment.variants), self.seeds)
        rows = pd.DataFrame(absent, columns=["variant", "seed"]).assign(value=float("nan"))
        return pd.concat([table, rows]) if absent else table

    @property
    def verdicts(self) -> list[ClaimVerdict]:
        """On every claim of the experiment."""
        return [self.verdict(claim) for claim in self.claims]

    @cached_property
    def explorations(self) -> list[ClaimVerdict]:
        """All pairs of variants by the readout and margins of each claim that was left out, since variants were chosen.

        They are no tests of a claim made before.
        """
        found: dict[str, ClaimVerdict] = {}
        for claim in self.claims:
            left = [name for name in self.experiment.variants if name in claim.order.variants]
            due = not self.untested and len(left) < len(claim.order.variants) and claim.readout not in found
            if due and (explored := self.explore(claim)):
                found[claim.readout] = explored
        return list(found.values())

    def explore(self, claim: Claim) -> ClaimVerdict | None:
        """All pairs of the variants that have runs, by a claim's readout, margins and level; None for fewer than two.

        Nothing is claimed of them.
        """
        known = set(self.runs["variant"])
        variants = [name for name in self.experiment.variants if name in known]
        if len(variants) < 2:
            return None
        larger = self.find(claim.readout).larger_is_better
        table = self._as_planned(self.readout(claim.readout), variants)
        return explore(table, variants, claim, larger, self.alpha(claim))

    @cached_property
    def not_claimed(self) -> str:
        """One sentence of what the runs show by readouts of which nothing was claimed; empty where nothing is tested.

        Orders by the mean, with `>` where Holm's test of all pairs shows a difference, and `?` where it does not.
        """
        claimed = {claim.readout for claim in self.claims}
        base = self.claims[0] if self.claims else Claim(ranking="A > B")
        found = []
        for name in () if self.untested else ("final_test_accuracy", "probe_loss_after_samples"):
            explored = self.explore(base.model_copy(update={"readout": name})) if name not in claimed else None
            if explored is not None and explored.pairs:
                apart = {frozenset((p.first, p.second)) for p in explored.pairs if p.different_p < explored.alpha}
                best_first = self.summary(name)["variant"].tolist()
                order = best_first[0]
                for better, worse in pairwise(best_first):
                    order += f" {'>' if {better, worse} in apart else '?'} {worse}"
                pairs = f"{len(apart)} of {len(explored.pairs)} pairs apart"
                found.append(f"by {find_readout(name)[0].title} {order} ({pairs})")
        if not found:
            return ""
        return f"not claimed beforehand: {'; '.join(found)}; > apart by Holm's test at α = {self.alpha(base):g}, ? not"

    # ------------------------------------------------------------ what must be said

    @cached_property
    def cautions(self) -> list[str]:
        """Sentences that belong wherever these variants are compared: of unlike size, or not yet trained."""
        if not len(self.runs):
            where = f" {self.title[0].lower()}{self.title[1:]}" if self.title else ""
            return [f"no finished run{where} yet"]
        sizes = self.runs.groupby("variant")["parameters"].first()
        if len(sizes) < 2 or not sizes.max() > UNLIKE * sizes.min():
            return []
        large, small = str(sizes.idxmax()), str(sizes.idxmin())
        return [
            f"Variants of unlike size: {large} has {sizes.max():,.0f} parameters, {small} {sizes.min():,.0f}; "
            "what differs may be the size and not the stacking"
        ]
