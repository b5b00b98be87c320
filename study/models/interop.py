"""Weights of others in our networks: from timm, from the official CoaT code, from local files.

`load_weights` fills a network from a file; `from_timm` renames a state dict. Both packages' networks compute what ours
compute, to rounding error, where they were built with the same options (tests hold them side by side).

What timm does differently from the paper, or cannot express
------------------------------------------------------------
CoAtNet (timm's `MaxxVit`, configured as `coatnet_0_224` to `coatnet_5_224`):

- pooling is average 2x2 by default; `max2` is ours, `max` (3x3) a third reading;
- the stride lies in the depthwise convolution by default; Eq. 5's, in the first 1x1, is `stride_mode="1x1"`;
- BatchNorm's eps is 1e-5 and LayerNorm's 1e-6 by default, and the stem's convolutions have no bias;
- a state dict shows neither pooling nor stride nor eps: weights of other options load, and compute something else;
- strides are 2 at every stage (study/bench/timm_twins.py sets those of S0 and S1 to 1 for small images), and S0 has
  two convolutions;
- hidden widths of MBConv are rounded to multiples of 8; heads must divide the width, where ours are rounded to fit;
- no blocks of two kinds and widths in one stage (CoAtNet-6 and -7), no post-softmax bias, no local or linear attention,
  no absolute positions; LayerNorm in MBConv replaces the stem's norm too, as ours does;
- the `_rw` networks differ more: activation after the pre-norm, expansion and SE from the input width, SiLU, attention
  widened in its output projection, no biases on shortcuts; their weights do not fit and are refused.

ViT_REL (timm's `VisionTransformerRelPos` with `rel_pos_type="bias"`): layer scale is on by default, LayerNorm's eps is
1e-6; a dense layer before the classifier and attention whose heads do not divide the width cannot be expressed.

CoaT: timm fixes the image size; it leaves out the final norms that the official code holds and never reads (ours are
kept at their initial values then). In timm's and in official state dicts, shared modules are stored with every block.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MethodType

import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from study.errors import StudyError
from study.models.attention import Attention
from study.models.blocks import TransformerStage
from study.models.coat import CoaT
from study.models.coatnet import CoAtNet, ViTRel

Weights = Mapping[str, Tensor]
FIRST_NAMES_OF_TIMM = {"patch_embed1.proj.weight", "stem.conv1.weight", "patch_embed.proj.weight"}  # CoaT, CoAtNet, ViT


def load_weights(network: nn.Module, path: str | Path, *, new_classifier: bool = False) -> None:
    """Fill `network` with the weights of a local file: safetensors, or a checkpoint that holds tensors.

    Names may be ours, timm's or (CoaT) the official code's; a checkpoint may wrap them under "model" or "state_dict".
    `new_classifier` leaves the file's classifier out and that of our network as it is: for another number of classes.
    Raises StudyError if the file cannot be read, or if any name or shape does not fit; the network is then unchanged.
    """
    weights = read_weights(Path(path))
    if isinstance(network, CoaT | CoAtNet | ViTRel) and weights.keys() & FIRST_NAMES_OF_TIMM:
        weights = from_timm(weights, network)
    own = network.state_dict()
    if new_classifier:
        weights = {**weights, **{name: own[name] for name in classifier_names(network)}}
    _check(own, weights, f"the weights in {path} do not fit this {type(network).__name__}")
    network.load_state_dict(weights)


def classifier_names(network: nn.Module) -> set[str]:
    """Names of the parameters of the last layer, whose outputs are the classes.

    The network says which it is by its method `get_classifier()`, which gives one module or several (timm's and ours
    have it; `with_classifier` adds it to others). Raises StudyError if it does not.
    """
    find = getattr(network, "get_classifier", None)
    found = find() if callable(find) else None
    layers = found if isinstance(found, tuple | list) else [found]
    last = {id(parameter) for layer in layers if isinstance(layer, nn.Module) for parameter in layer.parameters()}
    if not last:
        raise StudyError(
            f"which layer of {type(network).__name__} is the classifier cannot be told: add a method get_classifier() "
            "to it that returns the layer, a module with parameters"
        )
    return {name for name, parameter in network.named_parameters() if id(parameter) in last}


def with_classifier(network: nn.Module, classes: int) -> nn.Module:
    """The network with a method `get_classifier()`, if it had none and a default is found.

    That is the last linear layer with `classes` outputs, else the last 1x1 convolution with as many.
    """
    if hasattr(network, "get_classifier"):
        return network
    linear = [
        name for name, each in network.named_modules() if isinstance(each, nn.Linear) and each.out_features == classes
    ]
    pointwise = [
        name
        for name, each in network.named_modules()
        if isinstance(each, nn.Conv2d) and each.out_channels == classes and set(each.kernel_size) == {1}
    ]
    if found := linear or pointwise:
        last = found[-1]
        # bound, so that a copy of the network has its own
        object.__setattr__(network, "get_classifier", MethodType(lambda self: self.get_submodule(last), network))
    return network


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors in a safetensors file or in a checkpoint, which is read without running any code in it.

    Raises StudyError if there is no such file, or if it holds anything but named, dense tensors of finite numbers.
    """
    if not path.is_file():
        raise StudyError(f"there is no file of weights at {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise StudyError(f"{path} holds no named tensors, neither at the top nor under 'model' or 'state_dict'")
    for name, value in content.items():
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested:
            raise StudyError(f"{path}: {name} is no dense tensor with values: save the state dict of a plain network")
        if not torch.isfinite(value).all():
            raise StudyError(f"{path}: {name} holds values that are not finite (NaN or infinite)")
    return {str(name).removeprefix("module."): value for name, value in content.items()}  # "module.": DataParallel


def from_timm(weights: Weights, network: CoaT | CoAtNet | ViTRel) -> dict[str, Tensor]:
    """A state dict of timm, or of the official CoaT code, under the names and in the shapes of `network`.

    Unknown names are passed on as they are and missing ones stay missing, so that `load_state_dict` reports them.
    Raises StudyError if modules that `network` shares among blocks have different weights in the source.
    """
    rules = list(_rules(network))
    own = network.state_dict()
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in own and value.numel() == own[name].numel():
            value = _reshaped(name, value, network)
        if name in renamed and not torch.equal(renamed[name], value):
            raise StudyError(f"the weights hold two different versions of {name}, which this network shares")
        renamed[name] = value
    if isinstance(network, CoaT):  # timm leaves the unread norms out
        unread = {f"norms.{i}.{kind}" for i in range(network.first_read) for kind in ("weight", "bias")}
        renamed = {name: value for name, value in own.items() if name in unread} | renamed
    return renamed


def _rules(network: CoaT | CoAtNet | ViTRel) -> Iterator[tuple[str, str]]:
    """Regular expressions on names and what to put in their place, to be applied in this order."""
    if isinstance(network, CoaT):
        yield from _coat_rules()
        return
    if isinstance(network, ViTRel):
        yield r"^patch_embed\.proj\.", "stem."
        yield r"^norm\.", "head.norm."
        yield r"^head\.(weight|bias)$", r"head.classifier.\1"
        yield r"^blocks\.", "stages.0.blocks."
        yield from _transformer_rules(0)
        return
    yield r"^stem\.conv1\.", "stem.0."
    yield r"^stem\.norm1\.", "stem.1."
    yield r"^stem\.conv2\.", "stem.3."
    for i, stage in enumerate(network.stages):
        yield from _transformer_rules(i) if isinstance(stage, TransformerStage) else _mbconv_rules(i)
    yield r"^norm\.", "head.norm."
    yield r"^head\.pre_logits\.fc\.", "head.dense."
    yield r"^head\.fc\.", "head.classifier."


def _mbconv_rules(stage: int) -> Iterator[tuple[str, str]]:
    names = {
        "pre_norm": "norm",
        "conv1_1x1": "expand",
        "norm1": "expand_norm",
        "conv2_kxk": "depthwise",
        "norm2": "depthwise_norm",
        "se.fc1": "se.squeeze",
        "se.fc2": "se.excite",
        "conv3_1x1": "shrink",
        "shortcut.expand": "shortcut",
    }
    for timm, ours in names.items():
        yield rf"^stages\.{stage}\.blocks\.(\d+)\.{re.escape(timm)}\.", rf"stages.{stage}.\1.{ours}."


def _transformer_rules(stage: int) -> Iterator[tuple[str, str]]:
    names = {
        "norm1.norm": "attention_norm",
        "norm1": "attention_norm",
        "attn.qkv": "attention.qkv",
        "attn.proj": "attention.out",
        "norm2": "ffn_norm",
        "mlp.fc1": "ffn_expand",
        "mlp.fc2": "ffn_shrink",
        "shortcut.expand": "shortcut",
    }
    for timm, ours in names.items():
        yield rf"^(stages\.{stage}\.blocks\.\d+)\.{re.escape(timm)}\.", rf"\1.{ours}."
    yield rf"^(stages\.{stage}\.blocks\.\d+)\.attn\.rel_pos\.relative_position_bias_table$", r"\1.attention.bias_table"


def _coat_rules() -> Iterator[tuple[str, str]]:
    # what the blocks of a scale share is stored with each of them: all copies get the name of the first
    yield r"^serial_blocks(\d)\.\d+\.(?:factoratt_crpe\.)?(cpe|crpe)\.", r"\2\1."
    yield r"^parallel_blocks\.\d+\.factoratt_crpe(\d)\.crpe\.", r"crpe\1."
    yield r"\.mlp[234]\.", ".mlp."
    names = {
        r"patch_embed#\.proj": "embed",
        r"patch_embed#\.norm": "norm",
        r"cls_token#": "class_token",
        r"cpe#\.proj": "position.conv",
        r"crpe#\.conv_list": "relative_position.convs",
        r"serial_blocks#": "blocks",
    }
    for n in range(4):
        for timm, ours in names.items():
            yield f"^{timm.replace('#', str(n + 1))}\\b", f"scales.{n}.{ours}"
        yield rf"^norm{n + 1}\.", f"norms.{n}."
    for n in (1, 2, 3):  # the scales that the parallel blocks work on, which are 2, 3 and 4 there and 0, 1 and 2 here
        for timm, ours in {"norm1": "attention_norm", "norm2": "ffn_norm", "factoratt_crpe": "attention"}.items():
            yield rf"^parallel_blocks\.(\d+)\.{timm}{n + 1}\.", rf"parallel.\1.{ours}.{n - 1}."
    yield r"^parallel_blocks\.", "parallel."
    yield r"\.norm1\.", ".attention_norm."
    yield r"\.norm2\.", ".ffn_norm."
    yield r"\.factoratt_crpe\.", ".attention."
    yield r"(attention\b.*)\.proj\.", r"\1.out."
    yield r"\.mlp\.fc1\.", ".ffn.0."
    yield r"\.mlp\.fc2\.", ".ffn.2."
    yield r"^aggregate\.", "merge."
    yield r"^head\.", "classifier."


def _reshaped(name: str, value: Tensor, network: nn.Module) -> Tensor:
    """A tensor of timm as `network` stores it under `name`."""
    if name.endswith("attention.bias_table"):
        attention = network.get_submodule(name.removesuffix(".bias_table"))
        assert isinstance(attention, Attention)
        return rearrange(value, "(y x) h -> h y x", y=2 * attention.side[0] - 1)
    if isinstance(network, CoAtNet) and ".blocks." in name and value.ndim == 4:
        value = value.flatten(1)  # timm's Transformer blocks use 1x1 convolutions where ours use linear layers
    if isinstance(network, CoAtNet) and ".attention.qkv." in name:
        attention = network.get_submodule(name.rpartition(".qkv.")[0])
        assert isinstance(attention, Attention)
        return rearrange(value, "(h t d) ... -> (t h d) ...", h=attention.heads, t=3)
    return value


def _check(own: Weights, weights: Weights, sentence: str) -> None:
    """Raises StudyError, beginning with `sentence`, unless both have the same names and shapes."""
    missing, unknown = own.keys() - weights.keys(), weights.keys() - own.keys()
    if missing or unknown:
        parts = [f"{word} {_some(names)}" for word, names in (("it lacks", missing), ("it has", unknown)) if names]
        raise StudyError(f"{sentence}: {' and '.join(parts)}; build the variant that they were trained as")
    for name, value in own.items():
        if weights[name].shape != value.shape:
            shapes = f"{name} is {tuple(weights[name].shape)} there and {tuple(value.shape)} here"
            advice = "build the variant and the image side that they were trained as"
            if "classifier." in name:
                advice = "another number of classes needs new_classifier=True"
            raise StudyError(f"{sentence}: {shapes}; {advice}")


def _some(names: set[str]) -> str:
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:  # the last: dtypes of another torch
        raise StudyError(f"{path} is not a safetensors file that can be read: {error}") from None


def _read_checkpoint(path: Path) -> object:
    try:
        # the official CoaT training script puts its options, a plain Namespace, beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise almost anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudyError(f"{path} is not a checkpoint of tensors that can be read safely: {reason}") from None
