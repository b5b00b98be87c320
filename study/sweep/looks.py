"""What a sweep in planned looks has recorded: the plan, which its first look froze, and every look that was taken."""

from __future__ import annotations

from math import isclose
from pathlib import Path

from pydantic import Field

from study.config import MOST_SEEDS, Frozen, read_model
from study.errors import StudyError
from study.files import write_text

NAME = "looks.json"


class PlannedLook(Frozen):
    """The test after `seeds` seeds of each variant, at the nominal level `alpha` of the claim with the smallest α."""

    number: int = Field(ge=1)
    seeds: int = Field(ge=1, le=MOST_SEEDS)
    alpha: float = Field(gt=0, lt=0.5)


class TakenLook(PlannedLook):
    """A look that was taken, with a sentence on each claim; `decided` if no further seeds are needed."""

    verdicts: tuple[str, ...]
    decided: bool = False


class Looks(Frozen):
    """`looks.json`. The last of `taken` is what the results say; a look is recorded when all its runs have a result."""

    planned: tuple[PlannedLook, ...] = Field(min_length=1)
    taken: tuple[TakenLook, ...] = ()
    first_seed: int = Field(default=0, ge=0)

    def seeds(self, look: PlannedLook) -> range:
        """The seeds that a look tests: the following ones from the first."""
        return range(self.first_seed, self.first_seed + look.seeds)

    @property
    def last(self) -> TakenLook | None:
        """The look whose verdicts count; None before the first."""
        return self.taken[-1] if self.taken else None


def read_looks(folder: Path) -> Looks | None:
    """The looks of a results folder; None if its seeds were not planned in looks."""
    path = folder / NAME
    return read_model(Looks, path) if path.exists() else None


def plan_is_free(folder: Path, planned: tuple[PlannedLook, ...], first_seed: int = 0) -> Looks:
    """The looks of a folder that follows this plan, or has none yet.

    Raises StudyError if another plan was frozen: two plans would spend α twice.
    """
    looks = read_looks(folder)
    if looks is None:
        return Looks(planned=planned, first_seed=first_seed)
    if not same_plan(looks.planned, planned) or looks.first_seed != first_seed:
        seeds = ", ".join(str(look.seeds) for look in looks.planned)
        raise StudyError(
            f"{folder} is in looks at {seeds} seeds from {looks.first_seed} on, which its first look froze: give "
            f"--max-seeds {looks.planned[-1].seeds} and these seeds, or choose another folder with --out"
        )
    return looks


def same_plan(one: tuple[PlannedLook, ...], other: tuple[PlannedLook, ...]) -> bool:
    """Whether the looks come at the same seeds and levels: these are solved for, to digits that depend on the BLAS."""
    return len(one) == len(other) and all(
        (a.number, a.seeds) == (b.number, b.seeds) and isclose(a.alpha, b.alpha, rel_tol=1e-6)
        for a, b in zip(one, other, strict=True)
    )


def write_looks(folder: Path, looks: Looks) -> None:
    """Record the plan and the looks taken so far."""
    write_text(folder / NAME, looks.model_dump_json(indent=2) + "\n")
