"""The results folder: what is done, running, failed or missing, and the tidy tables read from it.

    results/<experiment>-<dataset>/
        experiment.json  claims.json  commands.txt  environments.json  runs.csv  curves.csv  figures/
        runs/<run id>/   run.json  metrics.jsonl  result.json  weights.pt  checkpoint.pt  failed.json  log.txt  lock

A run is done if and only if its `result.json` exists. It is running if and only if somebody holds its `lock`, which the
system frees when the holder dies, however it dies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from study.config import Experiment, Run, parse_model
from study.errors import StudyError
from study.files import atomic, write_json, write_text

FAMILY = "family.json"  # marks the folder of a family of results folders: study/sweep/family.py
TUNING = "tuning"  # holds the results folders of the rates that were tried: study/tuning.py
SHARED = "-shared-rate"  # in the names of tables at the shared rate, where there are tuned ones
STATES = ("done", "diverged", "running", "failed", "interrupted", "missing")

RUN_COLUMNS = [
    "run",
    "variant",
    "seed",
    "status",
    "parameters",
    "macs",
    "activation_bytes",
    "steps",
    "samples",
    "seconds",
    "images_per_second",
    "final_probe_loss",
    "final_probe_accuracy",
    "final_test_loss",
    "final_test_accuracy",
    "best_test_accuracy",
]
CURVE_COLUMNS = [
    "run",
    "variant",
    "seed",
    "step",
    "epoch",
    "samples",
    "running_loss",
    "probe_loss",
    "probe_accuracy",
    "test_loss",
    "test_accuracy",
    "lr",
    "seconds",
    "images_per_second",
]


class Store:
    """One results folder. Opening an existing one needs nothing else; `create` starts or joins one."""

    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / "experiment.json").exists():
            raise StudyError(_not_results(folder, "it has no experiment.json"))
        text = (folder / "experiment.json").read_text(encoding="utf-8")
        self.experiment = parse_model(Experiment, text, f"{folder / 'experiment.json'}: ")

    @classmethod
    def create(cls, folder: Path, experiment: Experiment) -> Store:
        """Start a folder for `experiment`, or join one that holds the same experiment.

        Joining may add variants and seeds, and tuned rates where there were none. Anything else that differs would put
        runs side by side that cannot be compared: StudyError, naming what differs. So does a folder that holds
        something else.
        """
        path = folder / "experiment.json"
        if path.exists():
            old = cls(folder).experiment
            rates = {**old.rates, **experiment.rates}
            fixed, asked = (each.model_dump(exclude={"variants", "seeds", "claims"}) for each in (old, experiment))
            fixed["rates"], asked["rates"] = {**rates, **old.rates}, rates
            if differs := differences(fixed, asked):
                raise StudyError(f"{folder} holds another experiment ({differs}): choose another folder with --out")
            variants = dict.fromkeys([*old.variants, *experiment.variants])
            seeds = dict.fromkeys([*old.seeds, *experiment.seeds])
            joined = {"variants": tuple(variants), "seeds": tuple(seeds), "rates": rates}
            experiment = experiment.model_copy(update=joined)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder} exists and holds no results of a study: choose another folder with --out")
        write_json(path, experiment.model_dump(mode="json"))
        store = cls(folder)
        store._record_claims()
        return store

    # ------------------------------------------------------------ runs

    def path(self, run_id: str) -> Path:
        return self.folder / "runs" / run_id

    def add(self, run: Run) -> Path:
        """The run's folder, with its configuration in it; until it is done, with what is not part of its identity too.

        So a run finds the weights that it starts from after they have moved.
        """
        folder = self.path(run.id)
        if not (folder / "result.json").exists():
            write_json(folder / "run.json", run.model_dump(mode="json"))
        return folder

    def runs(self, shared_rate: bool = False) -> list[Run]:
        """Every run that was ever started here, by label and seed.

        Where learning rates are tuned, those at each variant's own rate, or those at the recipe's, which all share.
        """
        paths = sorted((self.folder / "runs").glob("*/run.json"))
        runs = [parse_model(Run, path.read_text(encoding="utf-8"), f"{path}: ") for path in paths]
        if rates := self.experiment.rates:
            shared = self.experiment.training.lr
            at = {run.label: shared if shared_rate else rates.get(run.label, shared) for run in runs}
            runs = [run for run in runs if run.training.lr == at[run.label]]
        order = {label: i for i, label in enumerate(self.experiment.variants)}
        return sorted(runs, key=lambda run: (order.get(run.label, len(order)), run.label, run.seed))

    def state(self, run_id: str) -> str:
        """One of STATES."""
        folder = self.path(run_id)
        if (folder / "result.json").exists():
            return "diverged" if self.result(run_id)["status"] == "diverged" else "done"
        if (folder / "lock").exists() and not can_lock(folder):
            return "running"
        if (folder / "failed.json").exists():
            return "failed"
        return "interrupted" if (folder / "checkpoint.pt").exists() else "missing"

    def result(self, run_id: str) -> dict[str, Any]:
        """What `result.json` holds. Raises StudyError if it cannot be read."""
        return _read_json(self.path(run_id) / "result.json")

    def failure(self, run_id: str) -> dict[str, Any]:
        """The last failed attempt: when, exit code, end of its log."""
        return _read_json(self.path(run_id) / "failed.json")

    # ------------------------------------------------------------ tables

    def results(self, shared_rate: bool = False) -> pd.DataFrame:
        """`runs`: one row a finished run (columns RUN_COLUMNS), as `runs` chooses them."""
        rows = []
        for run in self.runs(shared_rate):
            if not (self.path(run.id) / "result.json").exists():
                continue
            result = self.result(run.id)
            final = result["final"] or {}
            speed = result["samples"] / result["seconds"] if result["seconds"] else None
            row = {**result, "run": run.id, "variant": run.label, "images_per_second": speed}
            row |= {
                f"final_{key}": final.get(key) for key in ("probe_loss", "probe_accuracy", "test_loss", "test_accuracy")
            }
            rows.append({column: row.get(column) for column in RUN_COLUMNS})
        return pd.DataFrame(rows, columns=RUN_COLUMNS)

    def curves(self, shared_rate: bool = False) -> pd.DataFrame:
        """`curves`: one row an evaluation of a finished run (columns CURVE_COLUMNS), as `runs` chooses them."""
        rows = []
        for run in self.runs(shared_rate):
            folder = self.path(run.id)
            if (folder / "result.json").exists():
                for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                    rows.append({"run": run.id, "variant": run.label, "seed": run.seed, **json.loads(line)})
        return pd.DataFrame(rows, columns=CURVE_COLUMNS)

    def write_tables(self) -> list[Path]:
        """Remake `runs.csv`, `curves.csv` and `environments.json` (where it was made) from the runs' own files.

        Where learning rates are tuned, those of the shared rate are `runs-shared-rate.csv`, `curves-shared-rate.csv`.
        """
        environments: list[Any] = []
        for run in self.runs():
            if (self.path(run.id) / "result.json").exists():
                made = self.result(run.id)["environment"]
                environments += [made] if made not in environments else []
        write_json(self.folder / "environments.json", environments)
        paths = []
        tables = {"runs": self.results(), "curves": self.curves()}
        if self.experiment.rates:
            tables |= {f"runs{SHARED}": self.results(True), f"curves{SHARED}": self.curves(True)}
        for name, table in tables.items():
            with atomic(self.folder / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
            paths.append(self.folder / f"{name}.csv")
        return paths

    def record_command(self, command: str) -> None:
        """Add a line to `commands.txt`, unless it is there."""
        path = self.folder / "commands.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if command not in lines:
            write_text(path, "\n".join([*lines, command]) + "\n")

    # ------------------------------------------------------------ claims

    def claims_history(self) -> list[dict[str, Any]]:
        """Every version of the claims, with when it was stated and how many runs were done by then."""
        path = self.folder / "claims.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def _record_claims(self) -> None:
        claims = [claim.model_dump(mode="json") for claim in self.experiment.claims]
        history = self.claims_history()
        if not history or history[-1]["claims"] != claims:
            done = len(list((self.folder / "runs").glob("*/result.json")))
            entry = {"stated": datetime.now(UTC).isoformat(timespec="seconds"), "runs_done": done, "claims": claims}
            write_json(self.folder / "claims.json", [*history, entry])


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a run's lock for the block; the value says whether it could be had. Freed by the system if we die."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def can_lock(folder: Path) -> bool:
    """Whether nobody holds the run's lock right now."""
    with locked(folder) as held:
        return held


def read_tables(folder: Path, shared_rate: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`runs` and `curves` of a results folder: from the runs' files if they are here, else from its tables.

    `shared_rate`: where learning rates are tuned, of the runs at the rate that all variants share.
    """
    if (folder / "runs").is_dir():
        store = Store(folder)
        return store.results(shared_rate), store.curves(shared_rate)
    suffix = SHARED if shared_rate else ""
    if not (folder / f"runs{suffix}.csv").exists():
        raise StudyError(_not_results(folder, f"it has neither runs nor runs{suffix}.csv"))
    return pd.read_csv(folder / f"runs{suffix}.csv"), pd.read_csv(folder / f"curves{suffix}.csv")


def _not_results(folder: Path, why: str) -> str:
    if (folder / FAMILY).exists():
        return f"{folder} holds a results folder for each size of the training set: name one of them, or study scale it"
    return f"{folder} is not a results folder: {why}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error})") from None
    return value


def differences(old: Any, new: Any, where: str = "") -> str:
    """The first few settings that differ, as `training.epochs 10, asked for 20`."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = [differences(old.get(key), new.get(key), f"{where}.{key}".lstrip(".")) for key in {**old, **new}]
        return ", ".join(filter(None, found))
    return "" if old == new else f"{where} is {old}, asked for {new}"
