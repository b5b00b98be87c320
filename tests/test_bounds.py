"""What users, files and the command line may give: bounded by the config, before anything is searched or allocated."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from study import parsing
from study.config import (
    Blocks,
    Claim,
    CoAtNetVariant,
    Data,
    Experiment,
    Fractals,
    Run,
    Training,
    ViTRelVariant,
    override,
)
from study.errors import StudyError
from study.models.interop import load_weights, read_weights
from study.sweep.claims import read_claims
from study.sweep.executors.local import slots
from study.sweep.looks import read_looks
from study.sweep.measure import measure
from study.sweep.members import read_members
from study.sweep.store import Store
from study.sweep.tuned import read_tuned

BEYOND = {
    "a rate that is not finite": (Training, {"lr": math.inf}),
    "a rate that is no number": (Training, {"lr": math.nan}),
    "a rate of a million": (Training, {"lr": 1e6}),
    "a norm that is not finite": (Training, {"clip": math.inf}),
    "betas of 1": (Training, {"betas": (0.9, 1.0)}),
    "negative betas": (Training, {"betas": (-0.1, 0.9)}),
    "a decay that is no number": (Training, {"weight_decay": math.nan}),
    "epochs beyond any machine": (Training, {"epochs": 10**9}),
    "samples beyond any machine": (Training, {"samples": 10**15}),
    "a batch beyond any machine": (Training, {"batch_size": 10**8}),
    "evaluations beyond any table": (Training, {"evaluations": 10**9}),
    "a side beyond any machine": (Data, {"image_size": 10**6}),
    "a seed beyond 31 bits": (Data, {"subset_seed": 2**31}),
    "classes beyond any search": (Fractals, {"classes": 10**6}),
    "fractals beyond any disk": (Data, {"image_size": 1024, "fractals": Fractals(train_images=10**6)}),
    "a width beyond any machine": (Blocks, {"expansion": 10**20}),
    "heads beyond any machine": (Blocks, {"head_dim": 10**9}),
    "a window beyond any image": (Blocks, {"window": 10**9 + 1}),
    "an epsilon that is not finite": (Claim, {"ranking": "a > b", "epsilon": math.inf, "delta": math.inf}),
    "a budget beyond the search": (Experiment, {"name": "x", "budget": 10**9 + 1}),
    "a seed of an experiment": (Experiment, {"name": "x", "seeds": (2**31,)}),
    "more seeds than anyone runs": (Experiment, {"name": "x", "seeds": tuple(range(1001))}),
    "a rate of -1": (Experiment, {"name": "x", "rates": {"cctt": -1.0}}),
    "a rate of NaN": (Experiment, {"name": "x", "rates": {"cctt": math.nan}}),
    "a part of NaN": (Experiment, {"name": "x", "parts": (math.nan,)}),
    "a part of nothing": (Experiment, {"name": "x", "parts": (0.0,)}),
    "a patch beyond any image": (ViTRelVariant, {"patch": 10**9, "depth": 1, "width": 32}),
    "a depth beyond any machine": (ViTRelVariant, {"patch": 4, "depth": 99999, "width": 32}),
}


@pytest.mark.parametrize("case", BEYOND)
def test_numbers_are_finite_and_bounded(case: str):
    kind, values = BEYOND[case]
    with pytest.raises((ValueError, StudyError)):
        kind(**values)


@pytest.mark.parametrize("field", ["depths", "widths", "strides"])
@pytest.mark.parametrize("number", [0, -1, 10**9])
def test_stages_are_bounded(field: str, number: int):
    five = {"depths": (1,) * 5, "widths": (32,) * 5, "strides": (1, 1, 2, 2, 2), field: (1, 1, 1, 1, number)}
    with pytest.raises(ValueError, match=f"{field}.4"):
        CoAtNetVariant(layout="C-C-T-T", **five)


def test_a_run_is_not_measured_more_often_than_a_table_holds():
    with pytest.raises(StudyError, match=r"raise training\.eval_every"):
        Training(epochs=10**6, batch_size=2, eval_every=1).evaluation_points(10**6)
    assert len(Training(epochs=10**6, batch_size=2).evaluation_points(10**6)) == 10**6


def test_a_stream_has_seeds_and_images_of_its_own():
    variant = ViTRelVariant(patch=4, depth=1, width=32)
    data = Data(fractals=Fractals(stream=True))
    Run(variant=variant, data=data, training=Training(samples=2**32), seed=2**16 - 1)
    with pytest.raises(ValueError, match="seeds are below"):
        Run(variant=variant, data=data, training=Training(samples=1000), seed=2**16)
    with pytest.raises(ValueError, match="4,294,967,296 images"):
        Run(variant=variant, data=data, training=Training(samples=2**32 + 1), seed=0)


@pytest.mark.parametrize(
    "text", ["_1", "1__0", "1_", "9" * 400, "9" * 5000, "٣", "1e9", "", ".", "-1", "0", "0.0", "nan", "inf", "1T", "G"]
)
def test_what_is_no_amount_is_refused_in_a_short_sentence(text: str):
    with pytest.raises(StudyError, match="is not an amount") as refused:
        parsing.amount(text)
    assert len(str(refused.value)) < 200


def test_amounts_have_underscores_between_digits():
    assert [parsing.amount(text) for text in ("1_000", "1.5M", ".5K", "2 g", "3b")] == [
        1000, 1_500_000, 500, 2 * 10**9, 3 * 10**9,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0-10000000000", "5-3", "9" * 5000, "0-" + "9" * 5000, "٣", ",", "0-500,0-500"])
def test_lists_of_seeds_are_bounded_before_they_are_made(text: str):
    with pytest.raises(StudyError) as refused:
        parsing.whole_numbers(text)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("text", ["nan", "1,inf", "-inf", "1,,2", "9" * 5000])
def test_lists_of_numbers_are_finite(text: str):
    with pytest.raises(StudyError):
        parsing.numbers(text)


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "d", "٣s", "40000d", "", "s", "1h1"])
def test_durations_are_bounded(text: str):
    with pytest.raises(StudyError):
        parsing.seconds(text)


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1" + "0" * 400 + ".0", "[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 3000, "1e999", "NaN"]
)
@pytest.mark.parametrize("key", ["training.lr", "seeds", "data.fractals", "rates"])
def test_settings_of_any_length_and_depth_are_one_short_sentence(key: str, value: str):
    with pytest.raises(StudyError) as refused:
        override(Experiment(name="x"), {key: value})
    assert len(str(refused.value)) < 500


# ---------------------------------------------------------------- weights


def _cut(path: Path) -> None:
    torch.save({"weight": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-200])


NO_WEIGHTS: dict[str, Any] = {
    "text": lambda path: path.write_text("these are no weights"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "cut": _cut,
    "an empty dict": lambda path: torch.save({}, path),
    "a list": lambda path: torch.save([torch.zeros(2)], path),
    "numbers": lambda path: torch.save({"weight": 1.0}, path),
    "sparse": lambda path: torch.save({"weight": torch.eye(2).to_sparse()}, path),
    "meta": lambda path: torch.save({"weight": torch.empty(2, 2, device="meta")}, path),
    "not finite": lambda path: torch.save({"weight": torch.full((2, 2), torch.nan)}, path),
    "code": lambda path: torch.save({"weight": argparse.ArgumentParser}, path),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("case", NO_WEIGHTS)
def test_a_file_that_holds_no_weights_is_one_sentence_that_names_it(case: str, suffix: str, tmp_path: Path):
    path = tmp_path / f"weights.{suffix}"
    NO_WEIGHTS[case](path)
    with pytest.raises(StudyError, match=path.name) as refused:
        read_weights(path)
    assert "\n" not in str(refused.value)


def test_weights_that_fit_are_read(tmp_path: Path):
    torch.save({"module.weight": torch.ones(2, 2), "module.bias": torch.ones(2)}, tmp_path / "w.pt")
    network = nn.Linear(2, 2)
    load_weights(network, tmp_path / "w.pt")
    assert torch.equal(network.weight, torch.ones(2, 2))


# ---------------------------------------------------------------- damaged text

RESULTS = Path(__file__).parents[1] / "results"
LOOKS = '{"planned": [{"number": 1, "seeds": 5, "alpha": 0.01}], "taken": []}'
TUNED = (
    '{"grid": [0.001], "shared_rate": 0.001, "seeds": [1], "duration": "1 epoch", "training_images": 10, '
    '"validation_images": 5, "subset_seed": 0, "values": {"ViT_REL": {"0.001": [0.5]}}, "rates": {"ViT_REL": 0.001}}'
)
CLAIM = '{"ranking": "a > b", "epsilon": 0.01, "delta": 0.03, "alpha": 0.05, "readout": "x", "source": ""}'
EXPERIMENT = Experiment(name="x", data=Data(name="cifar10")).model_dump_json()
TEXTS: dict[str, tuple[str, Any]] = {
    "looks.json": (LOOKS, read_looks),
    "tuned.json": (TUNED, read_tuned),
    "members.json": (f'{{"design": "sizes", "experiment": {EXPERIMENT}, "numbers": [10, 20]}}', read_members),
    "family.json": (f'{{"experiment": {EXPERIMENT}, "images": [10, 20]}}', read_members),
    "experiment.json": (EXPERIMENT, Store),
    "claims.json": (
        f'[{{"stated": "2026-01-01T00:00:00+00:00", "runs_done": 0, "claims": [{CLAIM}]}}]',
        read_claims,
    ),
}
DAMAGE: dict[str, Any] = {
    "cut": lambda text: text[: len(text) // 2].encode(),
    "emptied": lambda text: b"",
    "zeros": lambda text: bytes(len(text)),
    "no UTF-8": lambda text: text.encode()[:9] + b"\xff" + text.encode()[10:],
    "a list": lambda text: b"[1, [2], null]",
    "null": lambda text: b"null",
    "an object": lambda text: b'{"colour": 1}',
    "a string": lambda text: b'"text"',
    "thousands deep": lambda text: b"[" * 100_000,
    "a number of 5,000 digits": lambda text: re.sub(r"(?<=[:\[ ])\d+", "9" * 5000, text, count=1).encode(),
    "not finite": lambda text: text.replace("0.0", "NaN").replace("10", "NaN").replace("1.0", "NaN").encode(),
}


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder"])
@pytest.mark.parametrize("name", TEXTS)
def test_damaged_text_is_one_sentence_that_names_the_file(name: str, damage: str, tmp_path: Path):
    text, read = TEXTS[name]
    (tmp_path / "experiment.json").write_text(EXPERIMENT)
    (tmp_path / name).write_text(text)
    read(tmp_path)  # undamaged
    (tmp_path / name).unlink()
    if damage == "a folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(DAMAGE[damage](text))
    with pytest.raises(StudyError, match=name) as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700 + len(str(tmp_path))


def test_measuring_that_the_system_kills_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(StudyError, match=r"the system killed it, as it does where memory runs out; .* --no-speed"):
        measure({}, Training(), 10, 32, slots("cpu", 1))
