"""A short round of the storms that tests/storm.py can make longer by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import storm

ROUNDS: dict[str, Callable[[storm.Storm, Path], None]] = {
    "kills": lambda round_, work: storm.kills(round_, 2, work),
    "resumes": lambda round_, work: storm.resumes(round_, 2, work),
    "files": lambda round_, work: storm.files(round_, 4, work),
}


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("name", [pytest.param("kills", marks=pytest.mark.slow), "resumes", "files"])
def test_a_storm_changes_no_number_and_nothing_goes_unnoticed(name: str, tmp_path: Path) -> None:
    found = storm.Storm(seed=1, minutes=5)
    ROUNDS[name](found, tmp_path)
    assert found.wrong == []
    assert found.counts[name] == {"kills": 2, "resumes": 2, "files": 4}[name]
