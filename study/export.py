"""A trained network out of a results folder: safetensors, its configuration as JSON, ONNX.

Reading it back, anywhere the package is installed:

    from study.export import load_exported
    network = load_exported("results/x/export/C-C-T-T-seed0-4f0c...")  # the folder that was written
    logits = network(images)  # (B, 3, S, S), normalised with config.json's mean and deviation
"""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.config import Run, parse_model
from study.data import Dataset, load
from study.environment import install
from study.errors import StudyError
from study.files import atomic, read_json, write_json
from study.models import build
from study.models.interop import load_weights, read_weights
from study.sweep.records import read_record, sound_weights
from study.training.evaluate import Normalisation

TOLERANCE = 1e-5  # between torch's logits and ONNX's, beside their size
WEIGHTS, CONFIG, ONNX = "weights.safetensors", "config.json", "network.onnx"


def export_run(folder: Path, out: Path, onnx: bool = True, data_dir: Path | None = None) -> list[Path]:
    """Write a finished run's network into `out`: weights, configuration and, if asked for, ONNX; the files.

    The run's data are loaded for what the images are normalised with. ONNX takes any number of images and has been
    compared with torch on random ones. Raises StudyError if the run is not done or has no weights here, if its data are
    missing, if ONNX's libraries are, or the file of a network of the user's own, or if ONNX and torch differ.
    """
    record = read_record(folder)
    run, result = record.run, record.result
    weights = sound_weights(folder)
    if not weights.is_file():
        raise StudyError(f"{folder} has no weights.pt: weights are not committed, train the run again or bring them")
    if onnx:
        _need_onnx()
    data = load(run.data, data_dir)
    if onnx:  # for weights and configuration a network of the user's own is not built
        try:
            network = build(run.variant, data.classes, run.data.image_size).eval()
        except StudyError as error:
            raise StudyError(f"{error}; or give --no-onnx") from None
        load_weights(network, weights)
    written = [out / WEIGHTS, out / CONFIG]
    from safetensors.torch import save_file

    with atomic(written[0]) as temporary:
        # as safetensors stores them: contiguous, none a view of another
        tensors = {name: tensor.contiguous().clone() for name, tensor in read_weights(weights).items()}
        save_file(tensors, temporary, metadata={"run": run.id})
    write_json(written[1], _described(run, result, data))
    if onnx:
        written.append(out / ONNX)
        export_onnx(network, run.data.image_size, written[-1])
    return written


def load_exported(folder: str | Path) -> nn.Module:
    """The network of a folder that `export_run` wrote, with its weights, in eval mode. A network of the user's own is
    built by their file, which is run; weights and configuration run nothing. Raises StudyError if anything is missing.
    """
    folder = Path(folder)
    described = read_json(folder / CONFIG)
    try:
        run = parse_model(Run, json.dumps(described["run"]), f"{folder / CONFIG}: ")
        classes = int(described["classes"])
    except (KeyError, TypeError, ValueError):
        raise StudyError(f"{folder / CONFIG} is not what study export writes") from None
    network = build(run.variant, classes, run.data.image_size)
    load_weights(network, folder / WEIGHTS)
    return network.eval()


def folder_name(run: Run) -> str:
    """The name of a run's export: label, seed and the beginning of its id.

    >>> from study.config import Data, TimmVariant, Training
    >>> net = TimmVariant(model="m")
    >>> folder_name(Run(variant=net, data=Data(), training=Training(), seed=3, label="m.py:Net[a=1]"))
    'm.py-Net-a-1-seed3-6df6e2'
    """
    return f"{re.sub(r'[^A-Za-z0-9_.]+', '-', run.label).strip('-.')}-seed{run.seed}-{run.id[:6]}"


def _described(run: Run, result: dict[str, Any], data: Dataset) -> dict[str, Any]:
    normalise = Normalisation.from_levels(data.levels, torch.device("cpu"))
    mean, deviation = (each.flatten().tolist() for each in (normalise.mean, normalise.std))
    return {
        "run": run.model_dump(mode="json"),
        "id": run.id,
        "label": run.label,
        "classes": data.classes,
        "input": {
            "shape": [None, 3, run.data.image_size, run.data.image_size],
            "mean": mean,
            "deviation": deviation,
            "meaning": "grey levels 0 to 255, minus mean, over deviation, by channel",
        },
        "final": result["final"],
    }


def _need_onnx() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise StudyError(
            f"ONNX needs the extra export ({', '.join(missing)} missing): {install('export')}; or give --no-onnx"
        )


def export_onnx(network: nn.Module, image_size: int, path: Path) -> None:
    """Write `images` (B, 3, S, S) -> `logits` (B, classes) as ONNX. Raises StudyError if it computes something else."""
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(3, 3, image_size, image_size, generator=generator)
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (images_BCHW[:2],),
                temporary,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            why = " ".join(str(error).split())[:200]
            raise StudyError(f"{type(network).__name__} cannot be written as ONNX ({why}): give --no-onnx") from error
        with torch.no_grad():
            wanted = network(images_BCHW)
        session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
        (found,) = session.run(["logits"], {"images": images_BCHW.numpy()})
        apart = float((torch.from_numpy(found) - wanted).abs().max())
        if not apart <= TOLERANCE * max(1.0, float(wanted.abs().max())):
            raise StudyError(f"ONNX computes logits that are {apart:.1e} apart from torch's, more than {TOLERANCE:g}")
