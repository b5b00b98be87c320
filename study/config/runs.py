"""Data, training, run: everything that decides a result."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from study.config.base import Frozen, Seed, digest, identity
from study.config.variants import Variant, canonical_label
from study.errors import StudyError

MOST_EVALUATIONS = 10**6  # of one run
STREAMS = 2**16  # of fractals that never repeat: one for each of the first seeds (study/data/stream.py)
IMAGES_OF_A_STREAM = 2**32
FORMAT = 1  # raised whenever the numerics change, so that old and new runs are never taken for the same
OF_ONES_OWN = re.compile(r"(?s)hf:|npz:|.*\.py:[A-Za-z_]")  # names of data that are known by their content

Beta = Annotated[float, Field(ge=0, lt=1)]


class Fractals(Frozen):
    """Size and difficulty of the embedded data set (study/data/fractals.py)."""

    in_every_id: ClassVar = frozenset({"classes", "train_images", "test_images", "seed", "jitter"})

    classes: int = Field(default=20, ge=2, le=1000)
    train_images: int = Field(default=4000, ge=1, le=10**7)
    test_images: int = Field(default=2000, ge=1, le=10**7)
    seed: Seed = 0
    jitter: float = Field(
        default=0.05, ge=0, le=1, description="how far an instance's maps stray from its class's code"
    )
    stream: bool = Field(
        default=False,
        description="train on images that never repeat (study/data/stream.py); the train_images give the normalisation",
    )


class Data(Frozen):
    """A data set: `cifar10`, `cifar100`, `cifar100-coarse`, `fractals`, `folder:PATH`, `hf:NAME`, `npz:PATH`, or
    `FILE.py:NAME`; each may be followed by the classes to keep, as `[0:80]`.
    """

    in_every_id: ClassVar = frozenset({"name", "image_size", "train_size", "subset_seed", "fractals", "fingerprint"})

    name: str = "fractals"
    image_size: int = Field(default=32, ge=4, le=1024)
    train_size: int | None = Field(
        default=None, ge=1, le=10**9, description="a class-balanced subset of the training images"
    )
    subset_seed: Seed = 0
    validation: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="so many training images are kept back, to test on instead of the test images",
    )
    fractals: Fractals | None = None
    fingerprint: str = Field(default="", description="hash of the arrays that are used; filled in when loaded")

    @model_validator(mode="before")
    @classmethod
    def _only_fractals_have_sizes(cls, values: Any) -> Any:
        if isinstance(values, dict):
            is_fractals = str(values.get("name", "fractals")).partition("[")[0] == "fractals"
            if is_fractals and values.get("fractals") is None:
                return {**values, "fractals": Fractals()}
            if not is_fractals and values.get("fractals") is not None:
                raise ValueError(f"data.fractals has no meaning for {values['name']}")
        return values

    @model_validator(mode="after")
    def _fractals_fit_a_disk(self) -> Self:
        if self.fractals is not None:
            size = 3 * self.image_size**2 * (self.fractals.train_images + self.fractals.test_images)
            if size > 10**12:
                raise ValueError(f"fractals of {size / 1e12:,.1f} TB: make fewer or smaller ones, of 1 TB at the most")
        return self

    @model_validator(mode="after")
    def _a_stream_is_whole(self) -> Self:
        if self.stream and (self.train_size is not None or "[" in self.name):
            raise ValueError("a stream of fractals has no subset: leave out train_size, and classes in brackets")
        return self

    @property
    def stream(self) -> bool:
        """Whether the training images never repeat."""
        return self.fractals is not None and self.fractals.stream

    @property
    def by_content(self) -> bool:
        """Whether the data are known by their fingerprint alone, and the name only says where they were found."""
        return bool(self.fingerprint) and bool(OF_ONES_OWN.match(self.name))

    @property
    def slug(self) -> str:
        """The name as part of a folder's name."""
        name = self.name
        if OF_ONES_OWN.match(name):  # without the folders that it lies in
            path, bracket, rest = name.partition("[")
            kind, colon, where = path.partition(":") if path.startswith(("hf:", "npz:")) else ("", "", path)
            name = kind + colon + where.rpartition("/")[2] + bracket + rest
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class Training(Frozen):
    """The recipe: AdamW, linear warm-up, cosine decay, clipping; no augmentation and no regularization by default.

    Warm-up, decay, floor and clipping follow CoAtNet's Table 10 (10k of 94k steps, cosine, 1e-5 over 1e-3, 1.0).
    """

    in_every_id: ClassVar = frozenset({
        "epochs", "batch_size", "lr", "min_lr_ratio", "warmup", "decay", "weight_decay", "betas", "clip",
        "precision", "compile", "eval_every", "probe_size",
    })  # fmt: skip

    epochs: int | None = Field(default=20, ge=1, le=10**6, description="passes over the training images")
    samples: int | None = Field(default=None, ge=1, le=10**12, description="images seen in all, instead of epochs")
    batch_size: int = Field(default=128, ge=2, le=2**16)
    lr: float = Field(default=1e-3, gt=0, le=1000, description="peak learning rate")
    min_lr_ratio: float = Field(default=0.01, ge=0, le=1, description="final over peak learning rate")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="part of all steps in linear warm-up")
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0, le=1000)
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), strict=False)  # a list too: what JSON has before validators
    clip: float = Field(default=1.0, gt=0, le=1e30, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16 is autocast over fp32 weights")
    compile: bool = Field(default=False, description="torch.compile the network")
    eval_every: int | None = Field(
        default=None, ge=1, le=10**12, description="steps between evaluations; None: by the duration"
    )
    evaluations: int | None = Field(
        default=None,
        ge=1,
        le=MOST_EVALUATIONS,
        description="number of evaluations instead, dense where the loss moves: early in training",
    )
    probe_size: int = Field(default=2000, ge=1, le=10**9, description="training images measured in eval mode")
    freeze: bool = Field(default=False, description="train the classifier alone; all else stays as it is (probing)")

    @model_validator(mode="before")
    @classmethod
    def _one_duration(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("samples") is not None and "epochs" not in values:
                return {**values, "epochs": None}
            if (values.get("samples") is None) == (values.get("epochs", 20) is None):
                raise ValueError("training lasts for epochs or for samples: give one of them, and null for the other")
            if values.get("evaluations") is not None and values.get("eval_every") is not None:
                raise ValueError("evaluations come every so many steps or in a number: give eval_every or evaluations")
        return values

    @property
    def duration(self) -> str:
        """How long training lasts, in words."""
        return f"{self.epochs} epochs" if self.epochs else f"{self.samples:,} samples"

    def steps(self, train_images: int) -> int:
        """Updates in a run on `train_images` images: the one unit of time inside the loop."""
        if self.epochs is not None:
            return self.epochs * self.steps_per_epoch(train_images)
        assert self.samples is not None  # the validator sees to it
        return max(1, self.samples // self.batch_size)

    def evaluation_points(self, train_images: int) -> tuple[int, ...]:
        """The steps after which a run on `train_images` images is measured, ascending; the last is its last step.

        `evaluations` = n gives the points steps · (k/n)^1.5, k = 1..n: the loss moves fastest early. Else they lie
        `eval_every` steps apart: by default an epoch, or a twentieth of a run that is measured in samples.

        >>> Training(epochs=1, batch_size=10, evaluations=4).evaluation_points(1000)
        (13, 36, 65, 100)

        Raises StudyError if they are more than `MOST_EVALUATIONS`.
        """
        steps = self.steps(train_images)
        if self.evaluations is not None:
            count = self.evaluations
            return tuple(sorted({math.ceil(steps * (k / count) ** 1.5) for k in range(1, count + 1)}))
        every = self.eval_every
        if every is None:
            every = self.steps_per_epoch(train_images) if self.epochs is not None else max(1, steps // 20)
        if steps > every * MOST_EVALUATIONS:
            raise StudyError(
                f"{steps:,} steps with an evaluation every {every:,} are more than {MOST_EVALUATIONS:,} evaluations: "
                "raise training.eval_every"
            )
        return (*range(every, steps, every), steps)

    def steps_per_epoch(self, train_images: int) -> int:
        """Whole batches in one pass over `train_images` images."""
        if train_images < self.batch_size:
            raise StudyError(
                f"{train_images} training images are fewer than one batch of {self.batch_size}: lower --batch-size"
            )
        return train_images // self.batch_size


class Start(Frozen):
    """Trained weights that a run begins from, all but the classifier (study/training/start.py)."""

    in_every_id: ClassVar = frozenset({"run", "weights", "image_size"})

    in_no_id: ClassVar = frozenset(["path"])

    run: str = Field(default="", description="id of the run that trained them; empty for a file from elsewhere")
    weights: str = Field(description="fingerprint of the named tensors")
    image_size: int = Field(
        ge=1, le=1024, description="side they were trained at, from which position tables are resized"
    )
    path: str = Field(description="the file, seen from the run's folder if relative; not part of the identity")


class Run(Frozen):
    """One variant, one data set, one recipe, one seed; the weights that it starts from, if they are trained ones."""

    in_every_id: ClassVar = frozenset({"variant", "data", "training", "seed", "format"})

    in_no_id: ClassVar = frozenset(["label"])

    variant: Variant
    data: Data
    training: Training
    seed: Seed
    format: int = FORMAT
    label: str = Field(default="", description="the variant's name in tables; not part of the identity")
    start: Start | None = None

    @field_validator("label")
    @classmethod
    def _in_one_spelling(cls, label: str) -> str:
        return canonical_label(label) if label else ""

    @model_validator(mode="after")
    def _a_stream_lasts_for_samples(self) -> Self:
        if self.data.stream and self.training.samples is None:
            raise ValueError("a stream has no epochs: set training.samples, and training.epochs to null")
        if self.data.stream and self.seed >= STREAMS:
            raise ValueError(f"seed {self.seed} has no stream of fractals: seeds are below {STREAMS:,}")
        if self.data.stream and self.data.validation is not None and self.seed == 0:
            raise ValueError("the stream of seed 0 holds the validation images: take other seeds")
        if self.data.stream and (self.training.samples or 0) > IMAGES_OF_A_STREAM:
            raise ValueError(f"a stream has {IMAGES_OF_A_STREAM:,} images: lower training.samples")
        return self

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of SHA-256 over the canonical JSON of what decides a result (`identity`).

        Of data that are known by their content (`Data.by_content`) the name is left out too.
        """
        facts = identity(self)
        if self.data.by_content:
            del facts["data"]["name"]
        return digest(facts)
