"""Experiment and claim."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from study.config.base import Frozen, Seed
from study.config.notation import Ranking, parse_ranking
from study.config.readouts import OwnReadout, reference_to
from study.config.runs import Data, Training
from study.config.variants import STUDY_VARIANTS, Blocks, canonical_label
from study.errors import StudyError

MOST_SEEDS = 1000
LARGEST = {"parameters": 10**9, "macs": 10**12}  # budgets up to which sizes are searched for (study/models/sizing.py)

Label = Annotated[str, AfterValidator(canonical_label)]  # of a variant, in one spelling
Part = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1000)]


def check_budget(amount: int, match: Literal["parameters", "macs"]) -> None:
    """Raises StudyError for a budget beyond what is searched."""
    if amount > LARGEST[match]:
        raise StudyError(
            f"a budget of {amount:,} {match} is beyond {LARGEST[match]:,}, up to which sizes are searched for: name a "
            "published network, such as coatnet_6"
        )


class Claim(Frozen):
    """A ranking in the paper's notation with the readout it is about, fixed before the runs start.

    It is parsed when it is made. The readout is one of ours by its key, or one's own: a function of a run's curve, or
    `FILE.py:NAME` of one. Raises StudyError for a malformed ranking, for margins that exclude each other, and for a
    function that cannot be found again.
    """

    ranking: str
    readout: str = "accuracy_at_matched_loss"
    epsilon: float = Field(
        default=0.01, gt=0, le=1e9, description="≈ and ≥ hold within this margin, in the readout's unit"
    )
    delta: float = Field(default=0.03, gt=0, le=1e9, description="≫ means more than this")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="family-wise error rate")
    source: str = Field(default="", description="where the ranking is published")

    @field_validator("ranking")
    @classmethod
    def _is_canonical(cls, ranking: str) -> str:
        return str(parse_ranking(ranking))

    @field_validator("readout", mode="before")
    @classmethod
    def _is_a_name(cls, readout: Any) -> Any:
        return reference_to(readout) if callable(readout) else readout

    @model_validator(mode="after")
    def _margins_fit(self) -> Self:
        if self.delta < 2 * self.epsilon * (1 - 1e-9):
            raise StudyError(
                f"delta {self.delta:g} is below twice epsilon {self.epsilon:g}: ≫ must stand clear of ≈, raise delta"
            )
        return self

    @property
    def order(self) -> Ranking:
        """The ranking, parsed."""
        return parse_ranking(self.ranking)


class Pretraining(Frozen):
    """What the weights were trained on that a transfer experiment starts from."""

    name: str = Field(description="the pretraining experiment, or the file of weights")
    data: Data | None = Field(default=None, description="None for a file from elsewhere")
    training: Training | None = None
    rates: dict[Label, Rate] = Field(default={}, description="learning rates other than the recipe's, by variant")


class Experiment(Frozen):
    """Variants x seeds under one recipe on one data set, and the claims they test."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    data: Data = Data()
    training: Training = Training()
    variants: tuple[Label, ...] = Field(default=STUDY_VARIANTS, max_length=1000)
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), max_length=MOST_SEEDS)
    budget: int = Field(default=500_000, ge=1, le=max(LARGEST.values()), description="what each layout is matched to")
    match: Literal["parameters", "macs"] = "parameters"
    depths: Literal["shared", "free"] = Field(
        default="shared", description="one vector of depths for all layouts, or the best for each (study/models)"
    )
    geometry: Literal["auto", "paper", "fine", "cheap"] = Field(
        default="auto", description="strides of S0-S4 and ViT_REL's patch: study/models/sizing.py"
    )
    parts: tuple[Part, ...] = Field(
        default=(),
        max_length=1000,
        description="parts of the training images: everything is trained on each (study/designs/sizes.py)",
    )
    rates: dict[Label, Rate] = Field(
        default={}, description="tuned peak learning rates by label, instead of the recipe's (study/designs/rates.py)"
    )
    with_shared_rate: bool = Field(
        default=True, description="where there are tuned rates, all variants are run at the recipe's too"
    )
    blocks: Blocks = Blocks()
    files: dict[str, str] = Field(
        default={},
        description="where files lie that variants and readouts name and that are beside the experiment's; filled in",
    )
    sources: dict[str, str] = Field(
        default={}, description="hash of the source of each variant of the user's own, by label; filled in when planned"
    )
    claims: tuple[Claim, ...] = ()
    readouts: dict[str, OwnReadout] = Field(
        default={}, description="what the claims' readouts of the user's own are, by name; filled in when planned"
    )
    pretraining: Pretraining | None = None

    @property
    def runs_twice(self) -> bool:
        """Whether variants are run at their tuned rates and at the one that all share."""
        return bool(self.rates) and self.with_shared_rate

    def rates_of(self, label: str) -> set[float]:
        """The peak learning rates at which a variant is run."""
        own = self.rates.get(label, self.training.lr)
        return {own, self.training.lr} if self.runs_twice else {own}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what, values in (("variants", self.variants), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"an experiment needs at least one of its {what}")
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are named twice in {list(values)}")
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts are different fractions above 0 and up to 1, not {list(self.parts)}")
        check_budget(self.budget, self.match)
        if self.data.stream and (self.parts or self.training.samples is None):
            raise ValueError("a stream has no epochs and no parts: set training.samples, and training.epochs to null")
        return self
