"""Frozen, strict models; reading them from JSON and changing them by dotted names, with errors in one sentence."""

from __future__ import annotations

import hashlib
import json
import reprlib
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from study.errors import StudyError
from study.files import damaged, read_text


class Frozen(BaseModel):
    """Base of all nouns: immutable, no unknown keys, no silent conversions, finite numbers alone.

    Every number is bounded where its field stands: generously, but by what some machine could serve, so that whatever
    is out of bounds is refused before anything is searched, allocated or made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    in_every_id: ClassVar[frozenset[str]] = frozenset()  # the settings of the first records: see `identity`
    in_no_id: ClassVar[frozenset[str]] = frozenset()  # what decides no result


Seed = Annotated[int, Field(ge=0, lt=2**31)]


def identity(noun: Frozen) -> dict[str, Any]:
    """What an id is the hash of: a noun's settings as JSON values, nested.

    A setting at its default is left out, so that a new one changes no id of a run that does not use it. Those that the
    first records had (`in_every_id`), and what tells families of networks apart, are in at any value.
    """
    found = {}
    dump = noun.model_dump(mode="json")
    for name, field in type(noun).model_fields.items():
        value = getattr(noun, name)
        kept = name in noun.in_every_id or name == "family"
        if name in noun.in_no_id or (not kept and value == field.get_default(call_default_factory=True)):
            continue
        found[name] = identity(value) if isinstance(value, Frozen) else dump[name]
    return found


M = TypeVar("M", bound="Frozen")


def override(model: M, assignments: dict[str, str], where: str = "") -> M:
    """A copy of `model` with dotted fields set from text, for example `{"training.lr": "3e-4"}`.

    Raises StudyError that names an unknown key (and the known ones) or a value that does not fit.
    """
    dump = json.loads(model.model_dump_json())
    for key, text in assignments.items():
        *parents, leaf = key.split(".")
        target = dump
        for parent in [*parents, leaf]:
            if not isinstance(target, dict) or parent not in target:
                known = ", ".join(target) if isinstance(target, dict) else "nothing below it"
                raise StudyError(f"{where}there is no setting {key!r}: {parent!r} is not one of {known}")
            holder, target = target, target[parent]
        try:
            holder[leaf] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, or numbers and nesting beyond what Python reads
            holder[leaf] = text
    try:
        return parse_model(type(model), json.dumps(dump), where)
    except RecursionError:
        raise StudyError(f"{where}lists within lists, thousands deep, are no setting") from None


def parse_model(kind: type[M], text: str, where: str = "") -> M:
    """A noun from its JSON. Raises StudyError in one sentence that names the field."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise StudyError(where + sentence(error)) from None
    except StudyError as error:  # a validator's own sentence
        raise StudyError(f"{where}{error}") from None


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def read_model(kind: type[M], path: Path) -> M:
    """A noun from its file. Raises StudyError, naming the file, if it is missing or holds something else."""
    text = read_text(path)
    try:
        return parse_model(kind, text)
    except StudyError as error:
        raise damaged(path, error) from None


def sentence(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as one sentence."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    given = _SHORT.repr(first["input"])
    return f"{field}: {message} (given {given})" if field and first["type"] != "value_error" else message


def digest(value: Any) -> str:
    """12 hexadecimal digits that name a JSON value: SHA-256 of it with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
