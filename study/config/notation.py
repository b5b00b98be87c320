"""The ranking notation of the CoAtNet paper (arXiv 2106.04803, section 2.2): parse it, print it, read relations off it.

    C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL

| relation | ASCII    | A relation B says, for better readouts                          |
| -------- | -------- | --------------------------------------------------------------- |
| `≈`      | `~` `~=` | they differ by less than ε                                      |
| `≥`      | `>=`     | A is better, or worse by less than ε (non-inferiority)          |
| `>`      | `>`      | A is better                                                     |
| `≫`      | `>>`     | A is better by more than Δ                                      |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from study.config.variants import canonical_label
from study.errors import StudyError


class Relation(StrEnum):
    """The four relations, from the weakest to the strongest."""

    EQUAL = "≈"
    AT_LEAST = "≥"
    GREATER = ">"
    MUCH_GREATER = "≫"


SPELLINGS = {str(relation): relation for relation in Relation} | {
    "~=": Relation.EQUAL,
    "~": Relation.EQUAL,
    ">=": Relation.AT_LEAST,
    ">>": Relation.MUCH_GREATER,
}

_RELATION = re.compile(r"≈|≥|≫|~=|~|>=|>>|>")
_LABEL = re.compile(r"[^\[\]<>=~≈≥≫≤≪]+(\[[^\[\]]*\])?")


@dataclass(frozen=True)
class Ranking:
    """A parsed ranking: the variants in published order, and the relation between each and the next."""

    variants: tuple[str, ...]
    relations: tuple[Relation, ...]

    def __str__(self) -> str:
        rest = zip(self.relations, self.variants[1:], strict=True)
        return self.variants[0] + "".join(f" {relation} {variant}" for relation, variant in rest)

    def relation(self, first: int, second: int) -> Relation | None:
        """What the ranking says about two of its variants, given by their places (first < second).

        Between neighbours it is the relation written there. Between others it is the strongest relation on the way,
        as a reader takes it: `A ≈ B ≥ C > D` places A above D as much as it places C above D. One exception: a way of
        `≈` alone implies nothing (None), because margins add up: `A ≈ B ≈ C` lets A and C lie 2 ε apart.

        An implied relation is never inferred from the relations that imply it; it is tested on the values of its own
        two variants, so this reading decides what is asked and cannot make an answer wrong.

        >>> ranking = parse_ranking("A ~ B ~ C > D")
        >>> ranking.relation(0, 1), ranking.relation(0, 2), ranking.relation(0, 3)
        (<Relation.EQUAL: '≈'>, None, <Relation.GREATER: '>'>)
        """
        way = self.relations[first:second]
        strongest = max(way, key=list(Relation).index)
        return None if strongest is Relation.EQUAL and len(way) > 1 else strongest

    @property
    def levels(self) -> tuple[int, ...]:
        """A height for each variant, higher is better; variants joined by `≈` share theirs (ties for Kendall's τ)."""
        heights = [0]
        for relation in self.relations:
            heights.append(heights[-1] - (relation is not Relation.EQUAL))
        return tuple(heights)


def parse_ranking(text: str) -> Ranking:
    """A ranking in Unicode or ASCII. Labels may carry switches in brackets.

    Raises StudyError that names the place where the text is malformed.

    >>> str(parse_ranking("cccc ~= C-C-C-T >= cctt[relative_bias=none] >> vit_rel"))
    'C-C-C-C ≈ C-C-C-T ≥ C-C-T-T[relative_bias=none] ≫ ViT_REL'
    """
    variants: list[str] = []
    relations: list[Relation] = []
    place = 0
    while True:
        label = _LABEL.match(text, place)
        if label is None or not label[0].strip():
            raise _malformed(text, place, "a variant's name")
        variants.append(canonical_label(label[0]))
        place = label.end()
        if not text[place:].strip():
            break
        place += len(text[place:]) - len(text[place:].lstrip())
        relation = _RELATION.match(text, place)
        if relation is None:
            raise _malformed(text, place, "one of the relations ≈ (~), ≥ (>=), > or ≫ (>>)")
        relations.append(SPELLINGS[relation[0]])
        place = relation.end()
    if not relations:
        raise StudyError(f"ranking {text!r} names one variant: it needs at least two, such as 'C-C-T-T > ViT_REL'")
    for index, variant in enumerate(variants):
        if variant in variants[:index]:
            raise StudyError(f"ranking {text!r} names {variant} twice: each variant has one place in a ranking")
    return Ranking(tuple(variants), tuple(relations))


def _malformed(text: str, place: int, expected: str) -> StudyError:
    rest = text[place:].strip()
    where = f"at character {place + 1}, {rest!r}," if rest else "at its end"
    return StudyError(f"ranking {text!r} is malformed: {where} where {expected} is expected")
