"""Python files of the user's own: what they consist of, importing them, and what they raise as one sentence.

Importing a file runs it. Only planning, measuring and training do, for what the experiment names; records are read
without it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import math
import sys
import tokenize
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from study.config import Frozen, digest
from study.errors import StudyError

_kept: dict[str, dict[str, ModuleType]] = {}  # by file and source: the modules of its folder that it imported


class OwnFile(Frozen):
    """Where a user's code lies: a file, or a module of a package (then `module` is its dotted name)."""

    path: str
    module: str = ""

    @property
    def folder(self) -> Path:
        """From where it is imported: the file's folder, or the one that holds the package."""
        path = Path(self.path)
        if not self.module:
            return path.parent
        levels = self.module.count(".") + (path.name == "__init__.py")
        return path.parents[levels]

    @property
    def source(self) -> str:
        """12 hexadecimal digits for the text of the file and of what it imports from its own folder or package.

        Docstrings at the top of a file do not count, nor do statements `... = Experiment(...)`, so that the card and
        the seeds of an experiment that defines a network may change. Raises StudyError if there is no such file.
        """
        if not Path(self.path).is_file():
            raise StudyError(f"there is no file {self.path}")
        files = sorted((file.relative_to(self.folder).as_posix(), _text(file)) for file in self.files())
        return digest(files)

    def files(self) -> set[Path]:
        """The file and the modules of its folder, or package, that it imports, directly or by way of each other."""
        within = self.folder / self.module.partition(".")[0] if self.module else self.folder
        found, todo = set(), [Path(self.path)]
        while todo:
            file = todo.pop()
            found.add(file)
            for parts, base in _imported(file, self.folder):
                for length in range(1, len(parts) + 1):
                    beside = base.joinpath(*parts[:length])
                    near = (beside.with_name(f"{beside.name}.py"), beside / "__init__.py")
                    todo += [
                        other
                        for other in near
                        if other not in found and within in other.parents and not _is_ours(other) and other.is_file()
                    ]
        return found


def _is_ours(file: Path) -> bool:
    """Whether a file is part of this package: what it computes is in every id by a number of its own."""
    return Path(__file__).parent in file.parents and "experiments" not in file.relative_to(Path(__file__).parent).parts


def _imported(file: Path, folder: Path) -> Iterator[tuple[list[str], Path]]:
    """The names that a file imports, taken apart, each with the folder in which it is looked for."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return  # running it says what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split("."), folder) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            module = node.module.split(".") if node.module else []
            yield from (([*module, alias.name], base) for alias in node.names)


def _text(file: Path) -> str:
    """A file's text without its docstring and without its experiments; all of it if it is not Python."""
    try:
        with tokenize.open(file) as opened:
            lines = opened.read().splitlines()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise StudyError(f"{file} cannot be read as Python ({error}): save it as UTF-8") from None
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return "\n".join(lines)
    for number, statement in enumerate(tree.body):
        is_docstring = number == 0 and ast.get_docstring(tree) is not None
        if is_docstring or _makes_an_experiment(statement):
            for line in range(statement.lineno - 1, statement.end_lineno or statement.lineno):
                lines[line] = ""
    return "\n".join(line for line in lines if line.strip())


def _makes_an_experiment(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Call):
        return False
    made = value.func
    return (made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")) == "Experiment"


# ---------------------------------------------------------------- importing


def find_file(text: str) -> OwnFile:
    """The file that `FILE.py`, from the current folder on, or `package.module` names; the latter's packages are run.

    Raises StudyError if there is none.
    """
    if text.endswith(".py"):
        path = Path(text).expanduser().absolute()
        if not path.is_file():
            raise StudyError(f"there is no file {path}")
        return OwnFile(path=str(path))
    with blamed(text), _first(Path.cwd()):
        try:
            spec = importlib.util.find_spec(text)
        except ModuleNotFoundError:
            spec = None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise StudyError(f"there is no Python module {text!r}, neither installed nor in the current folder")
    return OwnFile(path=str(Path(spec.origin).absolute()), module=text)


def import_own(file: OwnFile, source: str) -> ModuleType:
    """The module of a file whose text is still `source`, run once in a process and once more when it has changed.

    Modules beside a file are its own: another file's of the same name do not take their place. Raises StudyError if
    the text has changed, and for whatever the file raises.
    """
    what = file.module or file.path
    if file.source != source:
        raise StudyError(
            f"{what}, or what it imports from beside it, is not what this run was planned with: bring the old text "
            "back, or plan anew for a run with the new one"
        )
    with blamed(what), beside(file, source):
        if file.module:
            return _import_module(file, source)
        name = f"own_{Path(file.path).stem}_{digest([file.path, source])}"
        if name in sys.modules:
            return sys.modules[name]
        return run_file(Path(file.path), name)


def run_file(path: Path, name: str) -> ModuleType:
    """The module that a Python file makes; under its name in sys.modules, where dataclasses look up annotations."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(file: OwnFile, source: str) -> ModuleType:
    module = importlib.import_module(file.module)
    if getattr(module, "__file__", None) != file.path:
        raise StudyError(f"{file.module} was imported from {getattr(module, '__file__', None)}, not from {file.path}")
    known = module.__dict__.setdefault("__study_source__", source)
    if known != source:  # packages are not run twice in a process
        raise StudyError(f"{file.module} has changed since this process imported it: start Python again")
    return module


@contextmanager
def beside(file: OwnFile, source: str = "") -> Iterator[None]:
    """What lies beside a file can be imported in the block, and is that file's alone."""
    key = digest([file.path, source])
    near = set() if file.module else file.files() - {Path(file.path)}
    names = {other.relative_to(file.folder).parts[0].removesuffix(".py") for other in near}

    def taken() -> dict[str, ModuleType]:
        found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
        for name in found:
            del sys.modules[name]
        return found

    others = taken()
    sys.modules.update(_kept.get(key, {}) if source else {})
    importlib.invalidate_caches()
    try:
        with _first(file.folder):
            yield
    finally:
        _kept[key] = taken()
        sys.modules.update(others)


@contextmanager
def _first(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


CONSTANTS = {"True": True, "False": False, "None": None}  # as Python writes them; JSON's are read as JSON


def plain_value(text: str) -> Any:
    """What is written after `=` for a callable: `64` a number, `true` or `True` a truth value, else text."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    try:
        value = json.loads(text, parse_constant=str)  # NaN is no JSON
    except (ValueError, RecursionError):
        return text
    return text if value in (math.inf, -math.inf) else value  # 1e999, which no record could hold


@contextmanager
def blamed(what: str, name: str = "") -> Iterator[None]:
    """Whatever the user's code raises in the block becomes one sentence, with the last line of the file that it names.

    Sentences of ours pass unchanged, and so do signals: Ctrl-C while the user's code runs is not that code's fault.
    """
    try:
        yield
    except StudyError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == what]
        where = f"{what}, line {lines[-1]}:" if lines else f"{what}:"
        if isinstance(error, SyntaxError) and error.filename:
            where = f"{error.filename}, line {error.lineno}:"
        who = f"{name} raised" if name else "running it raised"
        raise StudyError(f"{where} {who} {type(error).__name__}: {' '.join(str(error).split())}") from error
