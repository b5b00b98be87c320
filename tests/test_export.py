"""A trained network leaves a results folder, and is read back elsewhere; the verbs about single runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from study.cli import app
from study.cli.runs import plot
from study.config import Blocks, CoAtNetVariant, Variant, ViTRelVariant
from study.data import load
from study.errors import StudyError
from study.export import export_onnx, load_exported
from study.models import build
from study.models.published import COAT
from study.sweep.plan import make_plan
from study.sweep.store import Store
from study.training.evaluate import Normalisation, evaluate
from study.training.loop import train
from tests.test_sweep import EXPERIMENT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of two runs, one of which is done."""
    plan = make_plan(EXPERIMENT)
    store = Store.create(tmp_path_factory.mktemp("results") / "exported", plan.experiment)
    store.plan(plan.runs)
    train(plan.runs[0], store.path(plan.runs[0].id))
    (store.path(plan.runs[0].id) / "log.txt").write_text("something was said\n")
    return store.folder


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and isinstance(done.exception, StudyError):
        raise done.exception
    return done.exit_code, done.output


def test_an_exported_network_has_the_test_accuracy_of_its_run_in_torch_and_in_onnx(folder: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    code, said = invoke("export", folder)
    assert code == 0
    files = [Path(line) for line in said.split()]
    assert [file.name for file in files] == ["weights.safetensors", "config.json", "network.onnx"]
    described = json.loads(files[1].read_text())
    data = load(EXPERIMENT.data)
    final = described["final"]
    normalise = Normalisation.from_levels(data.levels, torch.device("cpu"))
    labels = torch.from_numpy(data.test_labels)
    network = load_exported(files[0].parent)
    assert evaluate(network, data.test_images, labels, normalise, "fp32") == (
        final["test_loss"],
        final["test_accuracy"],
    )

    mean, deviation = (
        np.array(described["input"][key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "deviation")
    )
    images = (data.test_images.astype(np.float32) - mean) / deviation
    (logits,) = onnxruntime.InferenceSession(files[2]).run(None, {"images": images})
    assert (logits.argmax(1) == data.test_labels).mean() == pytest.approx(final["test_accuracy"])
    with torch.no_grad():
        np.testing.assert_allclose(logits, network(torch.from_numpy(images)).numpy(), atol=1e-5)


FAMILIES: dict[str, Variant] = {  # beside C-C-T-T, which is the run above
    "local attention": CoAtNetVariant(
        layout="C-C-T-T", depths=(1,) * 5, widths=(8, 8, 16, 32, 32), strides=(1, 1, 2, 2, 2),
        blocks=Blocks(attention="local", window=3),
    ),
    "ViT_REL": ViTRelVariant(patch=4, depth=1, width=32),
    "coat_lite_tiny": COAT["coat_lite_tiny"].variant,
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "coat_lite_tiny")) for name in FAMILIES]
)
def test_every_family_can_be_written_as_onnx(name: str, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    export_onnx(build(FAMILIES[name], 4, 32).eval(), 32, tmp_path / "network.onnx")
    assert (tmp_path / "network.onnx").stat().st_size > 10_000


def test_onnx_that_computes_something_else_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("study.export.TOLERANCE", -1.0)
    with pytest.raises(StudyError, match="apart from torch's"):
        export_onnx(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval(), 4, tmp_path / "network.onnx"
        )
    assert not list(tmp_path.iterdir())


def test_a_run_without_weights_is_said_so(folder: Path, tmp_path: Path):
    store = Store(folder)
    done = next(run for run in store.runs() if store.state(run.id) == "done")
    weights = store.path(done.id) / "weights.pt"
    weights.rename(tmp_path / "weights.pt")
    try:
        with pytest.raises(StudyError, match=r"has no weights\.pt"):
            invoke("export", store.path(done.id), "--no-onnx", "--out", tmp_path / "out")
    finally:
        (tmp_path / "weights.pt").rename(weights)
    assert not (tmp_path / "out").exists()


def test_runs_are_listed_and_one_is_shown_whole(folder: Path):
    code, said = invoke("runs", folder, "--json")
    rows = json.loads(said)
    assert (code, [row["state"] for row in rows]) == (0, ["done", "missing"])
    code, said = invoke("runs", folder)
    assert code == 0
    assert rows[0]["run"] in said
    code, said = invoke("runs", folder, rows[0]["run"][:6])
    for part in ("C-C-T-T, seed 0: done", "training.lr", "•", "something was said", "torch"):
        assert part in said
    code, said = invoke("runs", folder, rows[1]["run"])
    assert "ViT_REL, seed 0: missing" in said
    with pytest.raises(StudyError, match="no run whose id begins with 'zz'"):
        invoke("runs", folder, "zz")


def test_a_curve_that_does_not_move_is_drawn_too():
    assert plot([(1, 0.5)], width=5, height=3).count("•") == 1
