"""Whatever is written on the command line: an answer, or one sentence and exit code 2; soon, and never a traceback.

The suite takes a fixed round. A longer one, other each time: `STUDY_FUZZ=5000 python -m pytest tests/test_fuzz.py`.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from study import cli
from study.config import Blocks, Experiment
from study.errors import StudyError

ROUND = os.environ.get("STUDY_FUZZ")
fuzz = settings(
    max_examples=int(ROUND or 20),
    derandomize=ROUND is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SECONDS = 60  # of the processor, for one call, on busy cores too


def settings_of(value: object, path: str = "") -> Iterator[str]:
    """Dotted names of all settings of an experiment."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"{path}{key}"
            yield from settings_of(part, f"{path}{key}.")


KEYS = sorted(settings_of(Experiment(name="x").model_dump()))
SWITCHES = sorted(
    [*Blocks.model_fields, "depths", "widths", "strides", "split", "patch", "depth", "heads", "mlp_ratios"]
)
NAMES = [
    "cctt",
    "C-T-T-T",
    "vit_rel",
    "ttcc",
    "coatnet_0",
    "coatnet_7",
    "coat_lite_tiny",
    "coat_lite",
    "coat",
    "timm:x",
]
EDGES = [
    "", " ", "0", "-1", "1", "2", "3", "0.5", "null", "true", "[]", "{}", "[1]", "nan", "NaN", "Infinity", "-inf",
    "1e999", "_1", "1__0", "1_000", "300K", "5T", "200K", "0-10000000000", "0-3", "3-0", "9" * 400, "9" * 5000,
    "[" * 9999,
    '{"a":' * 5000, "2-2-3-5-2", "2-2-3-5-99999", "64-64-96-192-1000000000", "1-1-1-1-1", "0-0-0-0-0",
    "%s", "\\", "cheap", "paper", "macs", "bf16", "fractals", "fractals[0:3]", "fractals[3:0]", "cifar10[0:0]",
    "folder:",
    "npz:", "hf:", "/", ".", "x.py:f", "local", "linear", "\ud800", "٣", "[red]", "[/red]", "a\nb", "\x1b[31m",
]  # fmt: skip

values = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
)
switches = st.lists(st.tuples(st.sampled_from(SWITCHES), values).map("=".join), max_size=2).map(",".join)
variants = st.tuples(st.sampled_from(NAMES) | values, switches).map(lambda pair: f"{pair[0]}[{pair[1]}]")
options = st.one_of(
    st.tuples(st.sampled_from(["--budget", "--match", "--geometry", "--dataset", "--precision"]), values),
    st.tuples(st.sampled_from(["--batch-size", "--image-size"]), values),
    st.tuples(st.just("--variants"), st.lists(variants, min_size=1, max_size=2).map(",".join)),
    st.tuples(st.just("-o"), st.tuples(st.sampled_from(KEYS) | values, values).map("=".join)),
)
of_sweeps = st.one_of(
    options,
    st.tuples(
        st.sampled_from(["--seeds", "--epochs", "--samples", "--train-size", "--time-limit", "--device"]), values
    ),
    st.tuples(st.sampled_from(["--out", "--wandb", "--max-seeds", "--data-dir"]), values),
)


def called(*arguments: str) -> tuple[int, str]:
    """Exit code and standard error of the command line, in this process. Whatever else it raises goes through."""
    code, _, err = spoken(*arguments)
    return code, err


def spoken(*arguments: str) -> tuple[int, str, str]:
    """The same with standard output, as the second."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")  # as Python opens them
    code: int | str | None = 0
    with mock.patch.object(sys, "argv", ["study", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code
    assert isinstance(code, int), f"left with {code!r}"
    for stream in (out, err):
        stream.flush()
    return code, *(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined,return-value]


def check(*arguments: str) -> None:
    began = time.process_time()
    code, err = called(*arguments)
    took = time.process_time() - began
    said = f"study {shlex.join(arguments)[:2000]}: exit code {code}: {err[:2000]}"
    assert code in (0, 2), said
    assert code == 0 or err.strip(), said
    assert "Traceback" not in err, said
    assert len(err) < 20_000, said
    assert took < SECONDS, f"{took:.1f} s: {said}"


@fuzz
@given(st.lists(options, max_size=3))
@example([("--variants", "cctt[expansion=100000000000000000000]")])
@example([("--variants", "coatnet_0[widths=64-96-192-384-1000000000]")])
@example([("--variants", "coatnet_0[depths=2-2-3-5-99999]")])
@example([("--variants", "cctt[depths=2-2-3-5-" + "9" * 5000 + "]")])
@example([("--variants", "coat_lite:_1")])
@example([("-o", "training.lr=" + "9" * 5000)])
@example([("-o", "training.lr=" + "[" * 100_000)])
@example([("--budget", "9" * 400)])
def test_sizes_of_any_arguments(chosen: list[tuple[str, str]]):
    check("models", "--no-speed", "--no-signals", *(part for option in chosen for part in option))


@fuzz
@given(st.lists(of_sweeps, max_size=4))
@example([("--seeds", "0-10000000000")])
@example([("-o", "training.clip=Infinity")])
@example([("-o", 'rates={"cctt": -1}')])
@example([("-o", "training.epochs=1" + "0" * 30)])
@example([("-o", "data.fractals.seed=1" + "0" * 30)])
@example([("-o", "data.fractals.classes=1000000")])
def test_a_planned_sweep_of_any_arguments(chosen: list[tuple[str, str]]):
    """Up to where data are made, which takes as long as there are data."""
    made = StudyError("here the data would be made")
    with mock.patch("study.data.load", side_effect=made):
        check("sweep", "--dry-run", *(part for option in chosen for part in option))


@pytest.mark.parametrize(
    "text", ["raise SystemExit", "import sys; sys.exit(0)", "raise SystemExit('bye')", "1/0", "(", ""]
)
def test_an_experiment_file_that_leaves_is_a_sentence(text: str, tmp_path: Path):
    (tmp_path / "leaving.py").write_text(text)
    code, err = called("sweep", str(tmp_path / "leaving.py"), "--dry-run")
    assert code == 2
    assert err.count("\n") == 1
