"""What one run leaves that is small, and is committed: `run.json`, `metrics.jsonl`, `result.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import Run, parse_model
from study.errors import StudyError
from study.files import checksum, read_json, seal

FILES = ("run.json", "metrics.jsonl", "result.json")
REQUIRED = {"status", "samples", "seconds", "final", "environment"}  # of result.json


class Damaged(StudyError):
    """A record whose parts do not fit together, or cannot be read. It counts in nothing; a sweep trains it again."""

    def __init__(self, path: Path, what: str):
        super().__init__(f"{path} is damaged ({what}): the same command trains this run again, or bring back a copy")


@dataclass(frozen=True, eq=False)
class Record:
    """A finished run: its configuration, its result, and a row for each evaluation."""

    run: Run
    result: dict[str, Any]
    rows: list[dict[str, Any]]


def read_run(folder: Path) -> Run:
    """The configuration in a run's folder. Raises Damaged if it cannot be read or does not give the folder's id."""
    path = folder / "run.json"
    try:
        run = parse_model(Run, path.read_text(encoding="utf-8"))
    except (OSError, ValueError, StudyError) as error:
        raise Damaged(path, str(error)) from None
    if run.id != folder.name:
        raise Damaged(path, f"its content is that of run {run.id}, not {folder.name}")
    return run


def read_record(folder: Path) -> Record:
    """The record of a finished run, each file read once. Raises Damaged, naming the file, if the parts do not fit.

    The curve is that of which `result.json` has the checksum; records made before there were checksums have none, and
    for them as for the others the last row is the result's.
    """
    run = read_run(folder)
    path, curve = folder / "result.json", folder / "metrics.jsonl"
    try:
        result = read_json(path)
    except StudyError as error:
        raise Damaged(path, str(error)) from None
    if not isinstance(result, dict) or (missing := REQUIRED - result.keys()):
        raise Damaged(path, "it is not a result" if not isinstance(result, dict) else f"it lacks {min(missing)}")
    if result.get("id", run.id) != run.id:
        raise Damaged(path, f"it is that of run {result['id']}")
    checksums = result.get("checksums", {})
    if not isinstance(checksums, dict) or checksums.get("result.json", seal(result)) != seal(result):
        raise Damaged(path, "its checksum is not that of its content")
    if "run" in result and result["run"] != run.model_dump(mode="json") and not _same_run(result["run"], run):
        raise Damaged(path, "its configuration is not that of run.json")
    try:
        rows = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
        sound = "metrics.jsonl" not in checksums or checksums["metrics.jsonl"] == checksum(curve)
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(curve, str(error)) from None
    if not sound or any(not isinstance(row, dict) for row in rows):
        raise Damaged(curve, "it is not the curve that result.json knows")
    if (rows[-1] if rows else None) != (result["final"] or None):
        raise Damaged(curve, "its last row is not the end that result.json has")
    return Record(run, result, rows)


def read_records(folder: Path) -> tuple[list[Record], list[tuple[Run, dict[str, Any]]], dict[str, str]]:
    """The runs of a results folder: records of the finished ones; those that failed, with what their last attempt left;
    by id those that are damaged, each with a sentence that says what is wrong.
    """
    records, failed, damaged = [], [], {}
    for path in sorted((folder / "runs").glob("*/")):
        try:
            if (path / "result.json").exists():
                records.append(read_record(path))
            elif (path / "run.json").exists():
                run = read_run(path)
                if (path / "failed.json").exists():
                    failed.append((run, read_json(path / "failed.json")))
        except StudyError as error:
            damaged[path.name] = str(error)
    return records, failed, damaged


def sound_weights(folder: Path) -> Path:
    """The path of a finished run's weights. Raises Damaged if they are not those that its result knows."""
    path = folder / "weights.pt"
    known = read_record(folder).result.get("checksums", {}).get("weights.pt")
    if known is not None and path.exists() and checksum(path) != known:
        raise Damaged(path, "its checksum is not that in result.json")
    return path


def _same_run(description: Any, run: Run) -> bool:
    """Whether a result's configuration has the run's id: what is not part of it, such as paths, may have changed."""
    try:
        return parse_model(Run, json.dumps(description)).id == run.id
    except StudyError:
        return False
