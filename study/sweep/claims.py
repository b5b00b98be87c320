"""What a results folder has recorded of its claims: every version, since when, and how many runs were done by then."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from study.config import Claim, Experiment, Frozen, OwnReadout, parse_model
from study.environment import now
from study.errors import StudyError
from study.files import check_seal, damaged, read_json, sealed, write_json

NAME = "claims.json"


class Stated(Frozen):
    """An entry of `claims.json`: the claims from a moment on, and how many runs were done by then."""

    stated: datetime
    runs_done: int = Field(ge=0)
    claims: tuple[Claim, ...]
    readouts: dict[str, OwnReadout] = Field(default={}, description="of the user's own, with hashes of their source")
    checksums: dict[str, str] = Field(default={})


def read_claims(folder: Path) -> list[dict[str, Any]]:
    """Every version of a results folder's claims, the first one first."""
    path = folder / NAME
    history: list[dict[str, Any]] = read_json(path) if path.exists() else []
    try:
        for entry in history:
            parse_model(Stated, json.dumps(entry))
            check_seal(path, entry)
    except (TypeError, StudyError) as error:
        raise damaged(path, error) from None
    return history


def write_claims(folder: Path, history: list[dict[str, Any]]) -> None:
    """Record a history: one version more, or another folder's, with whose experiment this one is begun."""
    write_json(folder / NAME, history)


def record_claims(folder: Path, experiment: Experiment) -> None:
    """Add the experiment's claims, unless they are the last ones recorded."""
    dump = experiment.model_dump(mode="json", include={"claims", "readouts"})
    stated = {key: value for key, value in dump.items() if key == "claims" or value}
    history = read_claims(folder)
    if not history or any(history[-1].get(key, {}) != dump[key] for key in dump):
        done = len(list((folder / "runs").glob("*/result.json")))
        entry = {"stated": now(), "runs_done": done, **stated}
        write_claims(folder, [*history, sealed(folder / NAME, entry)])
