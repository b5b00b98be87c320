"""Networks of timm, by their names there (the extra `timm`)."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from study.config import TimmVariant
from study.environment import install
from study.errors import StudyError
from study.models.interop import with_classifier
from study.models.own_networks import file_of
from study.own_files import OwnFile, import_own

# torchvision names these operators while it is imported, before it knows whether its compiled library was loaded.
TORCHVISION_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []  # an operator lives as long as the Library that defines it


def import_timm() -> ModuleType:
    """timm, also where torchvision was compiled for another torch and so fails to import.

    A torchvision for CUDA beside a CPU build of torch raises `operator torchvision::nms does not exist` and takes
    timm with it, although no network of timm calls these operators. Only then are their signatures registered, without
    a kernel, and the import is tried once more; where torchvision works, nothing is registered.

    Raises StudyError if timm is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise StudyError(f"networks of timm need the extra timm: {install('timm')}") from None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in TORCHVISION_OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)
    _libraries.append(library)
    return importlib.import_module("timm")


def registered(model: str) -> TimmVariant:
    """The variant of a name of timm's. If it is not timm itself that knows it, but a file that was imported, with that
    file, so that other processes can import it too."""
    timm = import_timm()
    module = timm.model_entrypoint(model).__module__ if timm.is_model(model) else "timm"
    if module.partition(".")[0] == "timm":
        return TimmVariant(model=model)
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None:
        raise StudyError(
            f"timm:{model} was registered in a notebook or shell: put it into a Python file and import that"
        )
    file = OwnFile(path=str(Path(path).absolute()), module=module if "." in module else "")
    return TimmVariant(model=model, source=file.source, path=file.path, module=file.module)


def timm_network(variant: TimmVariant, classes: int, image_size: int) -> nn.Module:
    """timm's network of that name, for images of one side where it must know. Weights are random, never downloaded.

    Raises StudyError if timm is missing, has no such model, or cannot build it for this side.
    """
    timm = import_timm()
    if variant.source:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Overwriting .* in registry")  # the experiment's file, imported once more
            import_own(file_of(variant), variant.source)
    if not timm.is_model(variant.model):
        raise StudyError(f"timm {timm.__version__} has no model named {variant.model!r}: see timm.list_models()")
    try:
        network = timm.create_model(variant.model, num_classes=classes, img_size=image_size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        network = timm.create_model(variant.model, num_classes=classes)  # such as ResNets, which take any side
    except (AssertionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StudyError(
            f"timm cannot build {variant.model} for images of side {image_size}: {reason}; try another --image-size"
        ) from None
    return with_classifier(network, classes)
