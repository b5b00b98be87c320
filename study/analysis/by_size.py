"""The rankings of a family of sweeps: which claims hold at which number of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.analysis.claims import verdict_on
from study.analysis.readouts import find_readout
from study.analysis.verdicts import ClaimVerdict
from study.config import Claim
from study.errors import StudyError


@dataclass(frozen=True)
class SizeRanking:
    """A claim at one size. `verdict` is None, and `untested` says why, where not every variant has its runs."""

    images: int
    claim: Claim
    verdict: ClaimVerdict | None
    untested: str = ""

    @property
    def by_mean(self) -> str:
        """The variants in the order of their means, without any word on what is shown."""
        if self.verdict is None:
            return ""
        known = [variant for variant in self.verdict.variants if variant.mean is not None]
        sign = -1 if self.verdict.larger_is_better else 1
        return ", ".join(variant.variant for variant in sorted(known, key=lambda variant: sign * (variant.mean or 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "images": self.images,
            "ranking": self.claim.ranking,
            "readout": self.claim.readout,
            "by_mean": self.by_mean,
            "verdict": self.verdict.to_dict() if self.verdict else None,
            "untested": self.untested,
        }


def rankings(tables: Mapping[int, tuple[pd.DataFrame, pd.DataFrame]], claims: Sequence[Claim]) -> list[SizeRanking]:
    """Every claim tested at every size, claim by claim. `tables`: `runs` and `curves` by number of training images.

    Each test keeps its claim's error rate; over all sizes together nothing is corrected.
    """
    found = []
    for claim in claims:
        find_readout(claim.readout)  # an unknown readout is an error, not a claim that is untested at some size
        for images, (runs, curves) in sorted(tables.items()):
            try:
                if runs.empty:
                    raise StudyError("no run is finished")
                found.append(SizeRanking(images, claim, verdict_on(claim, curves, runs, draws=0)))
            except StudyError as error:
                found.append(SizeRanking(images, claim, None, str(error)))
    return found
