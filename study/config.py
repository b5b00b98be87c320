"""The nouns of a study: variant, data, training, run, experiment, claim.

All are frozen, strict pydantic models: an unknown key or a wrong type is an error, never ignored. A run's `id` is a
hash of everything that decides its result and of nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from study.errors import StudyError

FORMAT = 1  # raised whenever the numerics change, so that old and new runs are never taken for the same

LAYOUTS = ("C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T")
STUDY_VARIANTS = ("ViT_REL", *LAYOUTS)


class Frozen(BaseModel):
    """Base of all nouns: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


M = TypeVar("M", bound="Frozen")

# ---------------------------------------------------------------- variants


class Blocks(Frozen):
    """How the blocks are built: the switches that the paper's ablations turn. The defaults are the paper's.

    Sources: CoAtNet (arXiv 2106.04803) section 2, appendix A.1 and Tables 3, 6, 8, 9.
    """

    head_dim: int = Field(default=32, ge=1, description="width of an attention head (Table 3; Table 8 tries 64)")
    expansion: int = Field(default=4, ge=1, description="hidden width over the block's output width, MBConv and FFN")
    se_ratio: float = Field(default=0.25, ge=0, le=1, description="squeeze width over output width; 0 is no SE")
    relative_bias: Literal["pre", "post", "none"] = Field(
        default="pre", description="relative attention before or after the softmax (Eq. 3), or none (Table 6)"
    )
    absolute_positions: bool = Field(default=False, description="a learned position added before the first T block")
    attention: Literal["global", "local", "linear"] = Field(default="global", description="section 2.2: A, B, C")
    window: int = Field(default=7, ge=1, description="side of the neighbourhood of local attention, odd")
    conv_norm: Literal["batch", "layer"] = Field(default="batch", description="norm in MBConv (Table 8)")
    stride_in: Literal["expand", "depthwise"] = Field(
        default="expand", description="stride in the first 1x1 (Eq. 5) or in the depthwise convolution (Table 9)"
    )
    dense_head: bool = Field(default=False, description="pool, norm, dense, tanh before the classifier, as in MaxViT")
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1, description="drop rate of the last block; 0 in the study")
    attention_first: bool = Field(default=False, description="allow T before C, against the paper's constraint")

    @model_validator(mode="after")
    def _window_is_odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError("window must be odd: a neighbourhood has a centre")
        return self


class CoAtNetVariant(Frozen):
    """A multi-stage network: stages S0 (stem) to S4, each with its depth, width and stride.

    `layout` names S1 to S4, for example `C-C-T-T`.
    """

    family: Literal["coatnet"] = "coatnet"
    layout: str
    depths: tuple[int, int, int, int, int]
    widths: tuple[int, int, int, int, int]
    strides: tuple[int, int, int, int, int]
    split: tuple[int, int] | None = Field(
        default=None, description="CoAtNet-6/7: (depth, width) of the MBConv blocks that open S3 before its T blocks"
    )
    blocks: Blocks = Blocks()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[CT](-[CT]){3}", self.layout):
            raise ValueError(f"layout {self.layout!r} is not four letters C or T, such as C-C-T-T")
        if "T-C" in self.layout and not self.blocks.attention_first:
            raise ValueError(
                f"{self.layout} has T before C; the paper (section 2.2) constrains convolution stages to come before "
                "Transformer stages (set attention_first=true to insist)"
            )
        if min(self.depths) < 1 or min(self.widths) < 1 or min(self.strides) < 1:
            raise ValueError("depths, widths and strides are at least 1")
        return self


class ViTRelVariant(Frozen):
    """ViT_REL: a patch stem, then Transformer blocks with the same relative attention (section 2.2)."""

    family: Literal["vit_rel"] = "vit_rel"
    patch: int = Field(ge=1)
    depth: int = Field(ge=1)
    width: int = Field(ge=1)
    hidden: int | None = Field(default=None, ge=1, description="width inside the FFN; None is expansion x width")
    blocks: Blocks = Blocks()


class CoaTVariant(Frozen):
    """CoaT (parallel depth above 0) or CoaT-Lite (0): arXiv 2104.06399."""

    family: Literal["coat"] = "coat"
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    parallel_depth: int = Field(default=0, ge=0)
    mlp_ratios: tuple[int, int, int, int]
    heads: int = Field(default=8, ge=1)
    patch: int = Field(default=4, ge=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class TimmVariant(Frozen):
    """Any network of timm, by its name there (the extra `timm`)."""

    family: Literal["timm"] = "timm"
    model: str


Variant = Annotated[CoAtNetVariant | ViTRelVariant | CoaTVariant | TimmVariant, Field(discriminator="family")]


# ---------------------------------------------------------------- data


class Fractals(Frozen):
    """Size and difficulty of the embedded data set (study/data/fractals.py)."""

    classes: int = Field(default=20, ge=2)
    train_images: int = Field(default=4000, ge=1)
    test_images: int = Field(default=2000, ge=1)
    seed: int = Field(default=0, ge=0)
    jitter: float = Field(
        default=0.05, ge=0, le=1, description="how far an instance's maps stray from its class's code"
    )
    stream: bool = Field(
        default=False,
        description="train on images that never repeat (study/data/stream.py); the train_images give the normalisation",
    )


class Data(Frozen):
    """A data set: `cifar10`, `cifar100`, `cifar100-coarse`, `fractals` or `folder:PATH`."""

    name: str = "fractals"
    image_size: int = Field(default=32, ge=4)
    train_size: int | None = Field(default=None, ge=1, description="a class-balanced subset of the training images")
    subset_seed: int = Field(default=0, ge=0)
    validation: int | None = Field(
        default=None, ge=1, description="so many training images are kept back, to test on instead of the test images"
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
    def _a_stream_is_whole(self) -> Self:
        if self.stream and (self.train_size is not None or "[" in self.name):
            raise ValueError("a stream of fractals has no subset: leave out train_size, and classes in brackets")
        return self

    @property
    def stream(self) -> bool:
        """Whether the training images never repeat."""
        return self.fractals is not None and self.fractals.stream

    @property
    def slug(self) -> str:
        """The name as part of a folder's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


# ---------------------------------------------------------------- training, run


class Training(Frozen):
    """The recipe: AdamW, linear warm-up, cosine decay, clipping; no augmentation and no regularization by default.

    Warm-up, decay, floor and clipping follow CoAtNet's Table 10 (10k of 94k steps, cosine, 1e-5 over 1e-3, 1.0).
    """

    epochs: int | None = Field(default=20, ge=1, description="passes over the training images")
    samples: int | None = Field(default=None, ge=1, description="images seen in all, instead of epochs")
    batch_size: int = Field(default=128, ge=2)
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    min_lr_ratio: float = Field(default=0.01, ge=0, le=1, description="final over peak learning rate")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="part of all steps in linear warm-up")
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999), strict=False
    )  # a list too: what JSON has before validators
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16 is autocast over fp32 weights")
    compile: bool = Field(default=False, description="torch.compile the network")
    eval_every: int | None = Field(default=None, ge=1, description="steps between evaluations; None: by the duration")
    probe_size: int = Field(default=2000, ge=1, description="training images measured in eval mode")
    freeze: bool = Field(default=False, description="train the classifier alone; all else stays as it is (probing)")

    @model_validator(mode="before")
    @classmethod
    def _one_duration(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("samples") is not None and "epochs" not in values:
                return {**values, "epochs": None}
            if (values.get("samples") is None) == (values.get("epochs", 20) is None):
                raise ValueError("training lasts for epochs or for samples: give one of them, and null for the other")
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

    def evaluation_steps(self, train_images: int) -> int:
        """Steps between evaluations: as given, else an epoch, or a twentieth of a run that is measured in samples."""
        if self.eval_every is not None:
            return self.eval_every
        if self.epochs is not None:
            return self.steps_per_epoch(train_images)
        return max(1, self.steps(train_images) // 20)

    def steps_per_epoch(self, train_images: int) -> int:
        """Whole batches in one pass over `train_images` images."""
        if train_images < self.batch_size:
            raise StudyError(
                f"{train_images} training images are fewer than one batch of {self.batch_size}: lower --batch-size"
            )
        return train_images // self.batch_size


class Start(Frozen):
    """Trained weights that a run begins from, all but the classifier (study/training/start.py)."""

    run: str = Field(default="", description="id of the run that trained them; empty for a file from elsewhere")
    weights: str = Field(description="fingerprint of the named tensors")
    image_size: int = Field(ge=1, description="side they were trained at, from which position tables are resized")
    path: str = Field(description="the file they lie in; not part of the identity")


class Run(Frozen):
    """One variant, one data set, one recipe, one seed; the weights that it starts from, if they are trained ones."""

    variant: Variant
    data: Data
    training: Training
    seed: int = Field(ge=0)
    format: int = FORMAT
    label: str = Field(default="", description="the variant's name in tables; not part of the identity")
    start: Start | None = None

    @model_validator(mode="after")
    def _a_stream_lasts_for_samples(self) -> Self:
        if self.data.stream and self.training.samples is None:
            raise ValueError("a stream has no epochs: set training.samples, and training.epochs to null")
        return self

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of SHA-256 over the canonical JSON of all but the label and `start.path`."""
        return digest(_without_later(self.model_dump(mode="json", exclude={"label": True, "start": {"path"}})))


# Settings that came after the first runs were made: while they have these values, they are left out of a run's id.
LATER_DEFAULTS = {"start": None, "freeze": False, "samples": None, "stream": False, "validation": None}


def _without_later(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    later = {key for key, default in LATER_DEFAULTS.items() if key in value and value[key] == default}
    return {key: _without_later(part) for key, part in value.items() if key not in later}


def digest(value: Any) -> str:
    """12 hexadecimal digits that name a JSON value: SHA-256 of it with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ---------------------------------------------------------------- experiment


class Claim(Frozen):
    """A ranking in the paper's notation with the readout it is about, fixed before the runs start."""

    ranking: str
    readout: str = "accuracy_at_matched_loss"
    epsilon: float = Field(default=0.01, gt=0, description="≈ and ≥ hold within this margin, in the readout's unit")
    delta: float = Field(default=0.03, gt=0, description="≫ means more than this")
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="family-wise error rate")
    source: str = Field(default="", description="where the ranking is published")


class Pretraining(Frozen):
    """What the weights were trained on that a transfer experiment starts from."""

    name: str = Field(description="the pretraining experiment, or the file of weights")
    data: Data | None = Field(default=None, description="None for a file from elsewhere")
    training: Training | None = None


class Experiment(Frozen):
    """Variants x seeds under one recipe on one data set, and the claims they test."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    data: Data = Data()
    training: Training = Training()
    variants: tuple[str, ...] = STUDY_VARIANTS
    seeds: tuple[int, ...] = (0, 1, 2)
    budget: int = Field(default=500_000, ge=1, description="what each layout is matched to")
    match: Literal["parameters", "macs"] = "parameters"
    geometry: Literal["auto", "paper", "fine", "cheap"] = Field(
        default="auto", description="strides of S0-S4 and ViT_REL's patch: study/models/sizing.py"
    )
    parts: tuple[float, ...] = Field(
        default=(), description="parts of the training images: everything is trained on each (study/sweep/family.py)"
    )
    rates: dict[str, float] = Field(
        default={}, description="tuned peak learning rates by label, instead of the recipe's (study/tuning.py)"
    )
    blocks: Blocks = Blocks()
    claims: tuple[Claim, ...] = ()
    pretraining: Pretraining | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for what, values in (("variants", self.variants), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"an experiment needs at least one of its {what}")
            if len(set(values)) < len(values):
                raise ValueError(f"{what} are named twice in {list(values)}")
        if any(not 0 < part <= 1 for part in self.parts) or len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts are different fractions above 0 and up to 1, not {list(self.parts)}")
        if self.data.stream and (self.parts or self.training.samples is None):
            raise ValueError("a stream has no epochs and no parts: set training.samples, and training.epochs to null")
        return self


# ---------------------------------------------------------------- reading and changing


def canonical_layout(name: str) -> str:
    """`cctt`, `C-C-T-T` and `c_c_t_t` are `C-C-T-T`; `vit_rel`, `ViTREL` are `ViT_REL`; other names stay.

    >>> canonical_layout("cctt"), canonical_layout("vit-rel"), canonical_layout("coatnet_0")
    ('C-C-T-T', 'ViT_REL', 'coatnet_0')
    """
    plain = re.sub(r"[-_ ]", "", name).upper()
    if plain == "VITREL":
        return "ViT_REL"
    if re.fullmatch(r"[CT]{4}", plain):
        return "-".join(plain)
    return name.strip()


def parse_variant(text: str) -> tuple[str, dict[str, str]]:
    """A variant as users write it: a name, then switches of its blocks in brackets.

    >>> parse_variant("cctt[relative_bias=none, head_dim=64]")
    ('C-C-T-T', {'relative_bias': 'none', 'head_dim': '64'})
    """
    match = re.fullmatch(r"\s*([^\[\]]+?)\s*(?:\[([^\[\]]*)\])?\s*", text)
    if not match:
        raise StudyError(f"variant {text!r} is not NAME or NAME[switch=value,...]")
    switches = {}
    for item in filter(None, (part.strip() for part in (match[2] or "").split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise StudyError(f"variant {text!r}: {item!r} is not switch=value")
        switches[key.strip()] = value.strip()
    return canonical_layout(match[1]), switches


def override(model: M, assignments: dict[str, str], where: str = "") -> M:
    """A copy of `model` with dotted fields set from text, for example `{"training.lr": "3e-4"}`.

    Raises StudyError that names an unknown key (and the known ones) or a value that does not fit.
    """
    dump = json.loads(model.model_dump_json())
    for key, text in assignments.items():
        *parents, leaf = key.split(".")
        target = dump
        for parent in [*parents, leaf]:
            if not isinstance(target, dict) or parent not in target:
                known = ", ".join(target) if isinstance(target, dict) else "nothing below it"
                raise StudyError(f"{where}there is no setting {key!r}: {parent!r} is not one of {known}")
            holder, target = target, target[parent]
        try:
            holder[leaf] = json.loads(text)
        except json.JSONDecodeError:
            holder[leaf] = text
    return parse_model(type(model), json.dumps(dump), where)


def parse_model(kind: type[M], text: str, where: str = "") -> M:
    """A noun from its JSON. Raises StudyError in one sentence that names the field."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise StudyError(where + sentence(error)) from None


def sentence(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as one sentence."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message} (given {first['input']!r})" if field and first["type"] != "value_error" else message
