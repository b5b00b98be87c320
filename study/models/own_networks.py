"""Networks of the user's own: `FILE.py:NAME` or `package.module:NAME`, with switches in brackets.

NAME is called as `NAME(classes=..., image_size=..., **switches)` and returns an nn.Module from images (B, 3, S, S) to
logits (B, classes). Two methods may be added, by the names that timm gives them:

- `no_weight_decay()`: names of parameters that get none, beside all biases and norms (study/training/optimizer.py);
- `get_classifier()`: the last layer, which transfer replaces (`classifier_names` in study/models/interop.py).

Everything else, parameters, multiply-adds, memory and speed, is measured as for our networks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import OwnVariant, TimmVariant, Variant, label_with, parse_variant
from study.errors import StudyError
from study.models.interop import with_classifier
from study.models.sizing import TOLERANCE, Budget
from study.own_files import OwnFile, beside, blamed, find_file, import_own, plain_value

LARGEST_SWITCH = 2**16  # that is tried for a free one
MOST_REFUSED = 2**8  # numbers that a network may refuse before it takes one


def own_variant(
    reference: tuple[str, str], switches: Mapping[str, str], budget: Budget, files: Mapping[str, str], where: str
) -> OwnVariant:
    """The network that a reference names, checked; a free switch, `[width=?]`, gets the value that meets `budget`.

    `files` says where files lie that are not found from the current folder on. Raises StudyError, which begins with
    `where`, for whatever is wrong with the file, with the network (`check_network`), or with the budget.
    """
    for key in ("classes", "image_size"):
        if key in switches:
            raise StudyError(f"{where}{key} is given by the data: leave it out")
    file = find_file(files.get(reference[0], reference[0]))
    free = [key for key, value in switches.items() if value == "?"]
    if len(free) > 1:
        raise StudyError(f"{where}one switch can be free, not {' and '.join(free)}")
    variant = OwnVariant(
        name=reference[1],
        switches={key: _value(value) for key, value in switches.items() if key not in free},
        source=file.source,
        path=file.path,
        module=file.module,
    )
    if free:
        variant = _meeting(where, variant, free[0], budget)
    check_network(variant, budget.classes, budget.image_size)
    return variant


def _value(text: str) -> Any:
    """`2-2-6-2` as a list, all else as `plain_value` has it."""
    if re.fullmatch(r"\d+(-\d+)+", text):
        return [int(number) for number in text.split("-")]
    return plain_value(text)


def label_of(text: str, variant: Variant) -> str:
    """The label under which a variant stands in tables: as written, with the value that was found for a free switch."""
    if not isinstance(variant, OwnVariant):
        return text
    name, switches = parse_variant(text)
    found = {key: str(variant.switches[key]) if value == "?" else value for key, value in switches.items()}
    return label_with(name, found)


def own_network(variant: OwnVariant, classes: int, image_size: int) -> nn.Module:
    """The network, built by the user's code, whose text must be the one that the variant was described with."""
    file = file_of(variant)
    with torch.device("cpu"):  # what the file makes for itself is real, wherever its network is built
        module = import_own(file, variant.source)
    make = getattr(module, variant.name, None)
    if not callable(make):
        raise StudyError(f"{file.module or file.path} defines no class or function {variant.name}")
    with blamed(variant.path, variant.name), beside(file, variant.source):
        network = make(classes=classes, image_size=image_size, **variant.switches)
    if not isinstance(network, nn.Module):
        raise StudyError(f"{_what(variant)} returned {type(network).__name__}, not a torch.nn.Module")
    return with_classifier(network, classes)


def file_of(variant: OwnVariant | TimmVariant) -> OwnFile:
    """The file at the place where it was found, or, on another machine, the same module wherever it is installed."""
    if Path(variant.path).is_file():
        return OwnFile(path=variant.path, module=variant.module)
    if variant.module:
        return find_file(variant.module)
    raise StudyError(
        f"{variant.path} is not here, which this run's network is defined in: bring the file to that place"
    )


def _what(variant: OwnVariant | TimmVariant) -> str:
    named = variant.name if isinstance(variant, OwnVariant) else variant.model
    return f"{Path(variant.path).name}:{named}"


# ---------------------------------------------------------------- checks


def check_network(variant: OwnVariant | TimmVariant, classes: int, image_size: int) -> None:
    """See, before any run, that a network can be trained and measured. Raises StudyError that says what to mend.

    Its logits have the right shape and are finite, they depend on the parameters, they are the same twice in eval mode,
    and two networks of one seed are the same and have nothing in common.
    """
    from study.models import build

    what = _what(variant)
    first, second = (build(variant, classes, image_size) for _ in range(2))
    parameters = [parameter for parameter in first.parameters() if parameter.requires_grad]
    if not parameters:
        raise StudyError(f"{what} has no parameters to train")
    if {id(tensor) for tensor in first.parameters()} & {id(tensor) for tensor in second.parameters()}:
        raise StudyError(f"{what} returns one and the same network twice: it must make a new one at each call")
    if unknown := _undecayed(what, variant, first) - {name for name, _ in first.named_parameters()}:
        raise StudyError(f"no_weight_decay() of {what} names {min(unknown)!r}, which is none of its parameters")
    one, other = first.state_dict(), second.state_dict()
    if one.keys() != other.keys() or not all(_same(one[key], other[key]) for key in one):
        raise StudyError(
            f"{what} is not deterministic: two networks of one seed differ; draw initial weights with torch's default "
            "generator, and with no other"
        )
    with torch.random.fork_rng(devices=[]):
        images_BCHW = torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
        forward = partial(_logits, what, variant, first, images_BCHW, classes)
        with torch.no_grad():
            first.eval()
            if not torch.allclose(forward(), forward(), rtol=1e-5, atol=1e-6):
                raise StudyError(
                    f"{what} is not deterministic: in eval mode two forward passes of the same images differ; noise "
                    "belongs into training mode"
                )
        first.train()
        _check_gradient(what, variant, forward(), parameters)


def _undecayed(what: str, variant: OwnVariant | TimmVariant, network: nn.Module) -> set[str]:
    find = getattr(network, "no_weight_decay", None)
    if not callable(find) or isinstance(variant, TimmVariant):  # timm names what only some of its networks have
        return set()
    with blamed(variant.path, f"no_weight_decay() of {what}"):
        return set(map(str, find()))


def _logits(
    what: str, variant: OwnVariant | TimmVariant, network: nn.Module, images_BCHW: Tensor, classes: int
) -> Tensor:
    with blamed(variant.path, f"the forward pass of {what}"):
        logits = network(images_BCHW)
    if not isinstance(logits, Tensor):
        raise StudyError(f"{what} gives {type(logits).__name__} for images, not a tensor of logits")
    wanted = (len(images_BCHW), classes)
    if logits.shape != wanted:
        raise StudyError(f"{what} gives logits of shape {tuple(logits.shape)} for 2 images: {wanted} is wanted")
    if not logits.is_floating_point() or not logits.isfinite().all():
        raise StudyError(f"{what} gives logits that are not finite numbers at the start")
    return logits


def _check_gradient(
    what: str, variant: OwnVariant | TimmVariant, logits_BK: Tensor, parameters: list[nn.Parameter]
) -> None:
    found: tuple[Tensor | None, ...] = ()
    if logits_BK.requires_grad:
        loss = F.cross_entropy(logits_BK, torch.arange(2) % logits_BK.shape[1])
        with blamed(variant.path, f"the backward pass of {what}"):
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
    if not any(gradient is not None and bool(gradient.any()) for gradient in found):
        raise StudyError(
            f"{what} is not differentiable: no gradient of the loss reaches a parameter (is there a detach, an argmax "
            "or a no_grad on the way?)"
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


# ---------------------------------------------------------------- size matching


def _meeting(where: str, variant: OwnVariant, key: str, budget: Budget) -> OwnVariant:
    """The variant with the whole number for `key` that comes nearest to the budget, of which it takes to grow.

    Numbers that the network refuses, such as a width that its heads do not divide, are passed over. Raises StudyError,
    naming the nearest, if none comes within the tolerance.
    """
    from study.models.cost import amount_of

    amounts: dict[int, int | None] = {}
    refused: list[StudyError] = []

    def sized(number: int) -> OwnVariant:
        return variant.model_copy(update={"switches": dict(sorted({**variant.switches, key: number}.items()))})

    def amount(number: int) -> int | None:
        if number not in amounts:
            try:
                amounts[number] = amount_of(sized(number), budget.classes, budget.image_size, budget.match)
            except StudyError as error:
                refused.append(error)
                amounts[number] = None
        return amounts[number]

    def first_taken(numbers: range) -> int | None:
        return next((number for number in numbers if amount(number) is not None), None)

    low, high = 0, 1  # low has less than the budget, high is the first that is known not to
    while high <= (LARGEST_SWITCH if len(refused) < len(amounts) or not amounts else MOST_REFUSED):
        taken = first_taken(range(high, 2 * high))
        if taken is not None and (amounts[taken] or 0) >= budget.amount:
            high = taken
            break
        low, high = taken or low, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        taken = first_taken(range(middle, high))
        if taken is not None and (amounts[taken] or 0) < budget.amount:
            low = taken
        else:
            high = middle
    known = {number: count for number, count in amounts.items() if count is not None}
    if not known:
        raise refused[-1]
    nearest = min(known, key=lambda number: abs(known[number] / budget.amount - 1))
    if abs(known[nearest] / budget.amount - 1) > TOLERANCE:
        raise StudyError(
            f"{where}no whole number for {key} comes within {TOLERANCE:.0%} of a budget of {budget.amount:,} "
            f"{budget.match}: the nearest, {key}={nearest}, has {known[nearest]:,}"
        )
    return sized(nearest)
