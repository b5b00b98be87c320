"""What is found out about an experiment at several sizes, as plain data (scaling.py finds it out)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from study.analysis.statistics import Floats
from study.analysis.verdicts import ClaimVerdict
from study.config import Claim
from study.errors import StudyError


class TooFewSizes(StudyError):
    """Fewer than two sizes have a finished run of every variant: a sweep that runs may bring them yet."""


@dataclass(frozen=True)
class Published:
    """A ranking with the number of training images that it was measured on."""

    images: int
    data: str
    ranking: str


PUBLISHED = (
    Published(1_281_167, "ImageNet-1K", "C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL"),
    Published(300_000_000, "JFT", "C-C-T-T ≈ C-T-T-T > ViT_REL > C-C-C-T > C-C-C-C"),
)  # CoAtNet (arXiv 2106.04803), section 2.2


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % bootstrap interval; the ends are None where a size has fewer than 2 seeds."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """A variant at a size: test accuracy and its interval over `seeds` seeds."""

    variant: str
    images: int
    seeds: int
    accuracy: Estimate


@dataclass(frozen=True)
class Crossing:
    """Where `overtakes` becomes better than `overtaken`, linear in log images between two sizes.

    `share` is the part of the bootstrap's draws in which it does so anywhere; the interval is of those.
    """

    overtakes: str
    overtaken: str
    images: Estimate
    share: float | None

    def __str__(self) -> str:
        if self.images.low is None or self.images.high is None or self.share is None:
            reach = "one seed: no interval"
        else:
            reach = f"{self.images.low:,.0f} to {self.images.high:,.0f}, in {self.share:.0%} of draws"
        return f"{self.overtakes} overtakes {self.overtaken} at {self.images.value:,.0f} images ({reach})"


@dataclass(frozen=True)
class SizeRanking:
    """A claim at one size, with its verdict there."""

    images: int
    claim: Claim
    verdict: ClaimVerdict
    readout: str  # its title

    @property
    def by_mean(self) -> str:
        """The variants in the order of their means, without any word on what is shown."""
        known = [variant for variant in self.verdict.variants if variant.mean is not None]
        sign = -1 if self.verdict.larger_is_better else 1
        return ", ".join(variant.variant for variant in sorted(known, key=lambda variant: sign * (variant.mean or 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        claim = {"images": self.images, "ranking": self.claim.ranking, "readout": self.claim.readout}
        return {**claim, "by_mean": self.by_mean, "verdict": self.verdict.to_dict()}


@dataclass(frozen=True)
class HeldOut:
    """A measured accuracy at a size that the law was not fitted on, against what it predicts there.

    `off` is predicted minus measured with the interval of that difference; `refuted` says whether that is without 0.
    """

    variant: str
    images: int
    measured: float
    predicted: float
    off: Estimate
    refuted: bool | None


@dataclass(frozen=True)
class VariantLaw:
    """error = a · images^-b + c of one variant, error being 1 - test accuracy."""

    variant: str
    a: Estimate
    b: Estimate
    c: Estimate
    rmse: float


@dataclass(frozen=True)
class Extrapolation:
    """The laws read at a number of images, best variant first, and what they say of a ranking published for it.

    `ranks[v][r]`: part of the draws in which the v-th of `variants` has rank r. `tau` is Kendall's τ_b with the
    published ranking, at most `attainable`; None if a variant of that ranking is not among these.
    """

    published: Published
    variants: tuple[str, ...]
    accuracies: tuple[Estimate, ...]
    ranks: tuple[tuple[float, ...], ...]
    tau: Estimate | None
    attainable: float | None


@dataclass(frozen=True)
class Scaling:
    """All that is said of a family of sweeps. `laws`, `held_out` and `extrapolations` are empty below 4 sizes."""

    sizes: tuple[int, ...]
    variants: tuple[str, ...]
    points: tuple[Point, ...]
    crossings: tuple[Crossing, ...]
    laws: tuple[VariantLaw, ...]
    held_out: tuple[HeldOut, ...]
    extrapolations: tuple[Extrapolation, ...]
    bands: dict[str, tuple[Floats, Floats, Floats]]  # of each law at `band_images`: best, low, high accuracy
    band_images: Floats
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the bands."""
        found = asdict(self)
        del found["bands"], found["band_images"]
        return found
