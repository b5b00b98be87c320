"""What a tested claim looks like: plain, frozen data with the words for people and the rows for tables.

The word for a whole claim:

| word         | when                                                                                       |
| ------------ | ------------------------------------------------------------------------------------------ |
| contradicted | at least one relation is contradicted                                                      |
| reproduced   | none is, and every strict relation (> and ≫) is confirmed; without strict ones, every one  |
| undecided    | none is, and more relations are undecided than confirmed                                   |
| consistent   | none is, otherwise                                                                         |
| untested     | a variant has no runs or fewer than 2 values, or there is no spread over seeds at all      |
| explored     | nothing was claimed: all pairs are looked at                                               |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter

from study.analysis.decisions import MAX_SEEDS, Word
from study.analysis.statistics import Improvement, Kendall, Spread
from study.config import Claim, Relation

ClaimWord: TypeAlias = Literal["reproduced", "consistent", "contradicted", "undecided", "untested", "explored"]


@dataclass(frozen=True)
class VariantSummary:
    """One variant's values in the readout's unit; `values` maps a seed to its value, None where the run has none."""

    variant: str
    n: int
    mean: float | None
    sd: float | None
    values: Mapping[int, float | None]


@dataclass(frozen=True)
class Pair:
    """Two variants, the one that is published first named first, and the verdict on what the ranking says of them.

    `difference` is positive if the first is better, in the readout's unit; [low, high] is the interval that decided its
    verdict (`Decisions.interval`), `simultaneous` that of all pairs together.
    The p-values are adjusted by Holm within their families; `not_worse_p` only where ≥ is claimed. `relation` is
    None, and the verdict empty, where nothing is claimed. `more_seeds` is how many seeds to add to each of the two
    for a power of 0.8, given for undecided relations; None there means more than `decisions.MAX_SEEDS` in all.
    """

    first: str
    second: str
    relation: str | None
    adjacent: bool
    verdict: Word | Literal[""]
    shown: str
    difference: float
    low: float
    high: float
    simultaneous: tuple[float, float]
    different_p: float
    equivalent_p: float
    not_worse_p: float | None
    hedges_g: float | None
    improvement: Improvement
    more_seeds: int | None

    @property
    def more_seeds_text(self) -> str:
        """The number of seeds to add, in words for a table; empty unless undecided."""
        if self.verdict != "undecided":
            return ""
        return f"{self.more_seeds} more" if self.more_seeds is not None else f"more than {MAX_SEEDS} in all"


@dataclass(frozen=True)
class RankProbabilities:
    """Parametric bootstrap: `matrix[v][r]` is P(variant v has rank r), in published order; rank 0 is the best.

    `order_holds` is P(all relations of the ranking hold for the true means), with ≈ and ≥ within ε and ≫ beyond Δ.
    """

    matrix: tuple[tuple[float, ...], ...]
    order_holds: float
    draws: int


@dataclass(frozen=True)
class Counted:
    """A claim's word and the verdicts on its relations, without what led to them."""

    word: ClaimWord
    verdicts: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The word and the counts."""
        counts = [f"{self.verdicts.count(word)} {word}" for word in ("confirmed", "contradicted", "undecided")]
        return f"{self.word}: {', '.join(counts)} of {len(self.verdicts)} relations"


@dataclass(frozen=True)
class ClaimVerdict:
    """What a table says of a claim. Without verdicts (`untested` says why) there are no pairs and nothing measured.

    `alpha` is the level of these tests: the claim's, or a look's. `missing` lists the (variant, seed) without a
    value, those of planned runs without a result among them; the tests are of the others. `cautions` are sentences that
    belong next to the verdict.
    """

    claim: Claim
    ranking: str
    larger_is_better: bool
    alpha: float
    variants: tuple[VariantSummary, ...]
    missing: tuple[tuple[str, int], ...]
    cautions: tuple[str, ...]
    untested: str = ""
    spread: Spread | None = None
    pairs: tuple[Pair, ...] = ()
    measured: str = ""
    kendall: Kendall | None = None
    ranks: RankProbabilities | None = None

    @property
    def relations(self) -> tuple[Pair, ...]:
        """The pairs of which the ranking says something: its m relations, adjacent and implied."""
        return tuple(pair for pair in self.pairs if pair.relation)

    def count(self, word: Word) -> int:
        """How many relations have this verdict."""
        return sum(pair.verdict == word for pair in self.relations)

    @property
    def verdict(self) -> ClaimWord:
        """The word for the whole claim, by the table at the top of this file."""
        if self.untested:
            return "untested"
        return claim_word([(pair.relation, pair.verdict) for pair in self.relations])

    @property
    def sentence(self) -> str:
        """The headline: the word, the counts, and the values that are missing."""
        missing = f"; {name_missing(self.missing)}" if self.missing else ""
        if self.untested:
            return f"untested: {self.untested}{missing}"
        if self.verdict == "explored":
            return f"explored: no relation was claimed of these {len(self.pairs)} pairs{missing}"
        return Counted(self.verdict, tuple(pair.verdict for pair in self.relations)).sentence + missing

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a pair, for a table."""
        rows = []
        for pair in self.pairs:
            row = dict(vars(pair))
            improvement, simultaneous = row.pop("improvement"), row.pop("simultaneous")
            row |= {
                "simultaneous_low": simultaneous[0],
                "simultaneous_high": simultaneous[1],
                "improvement": improvement.probability,
                "improvement_low": improvement.low,
                "improvement_high": improvement.high,
                "more_seeds": pair.more_seeds_text,
            }
            rows.append(row)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what has no finite value is None."""
        return {"verdict": self.verdict, "sentence": self.sentence, **json.loads(_JSON.dump_json(self))}


_JSON = TypeAdapter(ClaimVerdict)


def claim_word(relations: Sequence[tuple[str | None, str]]) -> ClaimWord:
    """The word for a claim, from each of its relations and the verdict on it."""
    verdicts = [verdict for _, verdict in relations]
    if not relations:
        return "explored"
    if "contradicted" in verdicts:
        return "contradicted"
    strict = [verdict for relation, verdict in relations if relation in (Relation.GREATER, Relation.MUCH_GREATER)]
    if all(verdict == "confirmed" for verdict in strict or verdicts):
        return "reproduced"
    return "undecided" if verdicts.count("undecided") > verdicts.count("confirmed") else "consistent"


def untested(claim: Claim, why: str, larger_is_better: bool, alpha: float) -> ClaimVerdict:
    """A claim that is not tested at all, for instance since variants have no runs."""
    return ClaimVerdict(claim, claim.ranking, larger_is_better, alpha, (), (), (), untested=why)


def name_missing(missing: Sequence[tuple[str, int]]) -> str:
    """The (variant, seed) without a value, as part of a sentence."""
    seeds: dict[str, list[int]] = {}
    for variant, seed in missing:
        seeds.setdefault(variant, []).append(seed)
    return "no value for " + ", ".join(f"{variant} seed {_in_short(numbers)}" for variant, numbers in seeds.items())


def _in_short(numbers: Sequence[int]) -> str:
    """`0, 3 to 19` of ascending numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
