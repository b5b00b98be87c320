"""Tables of one value per variant and seed, from other programs too: the columns variant, seed, value."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from study.config import canonical_label
from study.errors import StudyError

COLUMNS = ("variant", "seed", "value")


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV file with a header and the columns variant, seed, value; others are left aside.

    An empty value, or one such as `nan`, stands for a run without one. Raises StudyError in one sentence for a file
    that cannot be read or whose content is anything else.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True, dtype={"variant": str})
    except FileNotFoundError:
        raise StudyError(f"{path}: there is no such file") from None
    except pd.errors.EmptyDataError:
        raise StudyError(f"{path} is empty: it needs a header with the columns {', '.join(COLUMNS)}") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not a CSV file: {str(error).strip()}") from None
    except Exception as error:  # compressed files fail in ways of their own
        why = str(getattr(error, "strerror", None) or error).strip() or "it ends early"
        raise StudyError(f"{path} cannot be read: {why.splitlines()[0]}") from None
    table.columns = table.columns.str.strip()
    return check_table(table, str(path), first_line=2)


def check_table(table: pd.DataFrame, where: str, first_line: int = 0) -> pd.DataFrame:
    """The three columns with their types (str, int, float), labels in canonical spelling, row order kept.

    Raises StudyError that names the row (counted from `first_line`) of what is wrong: a column that is missing or there
    twice, no rows, a row without variant, a seed that is no whole number, a value that is no number, a variant's seed
    given twice.
    """
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        has = ", ".join(map(str, table.columns))
        raise StudyError(f"{where} lacks the column {' and '.join(absent)}: it has {has or 'none'}")
    if twice := [column for column in COLUMNS if list(table.columns).count(column) > 1]:
        raise StudyError(f"{where} has the column {' and '.join(twice)} twice: keep one")
    if table.empty:
        raise StudyError(f"{where} has no rows: give one row per variant and seed")
    table = table[list(COLUMNS)].reset_index(drop=True)
    row = "line" if first_line else "row"

    def refuse(bad: pd.Series[bool], column: str, what: str) -> None:
        if bad.any():
            place = int(bad.to_numpy().argmax())
            given = table[column].iloc[place]
            raise StudyError(f"{where}, {row} {place + first_line}: {column} {str(given)!r} {what}")

    refuse(table["variant"].isna(), "variant", "is missing: name the variant")
    seeds = pd.to_numeric(table["seed"], errors="coerce")
    refuse(seeds.isna() | (seeds % 1 != 0), "seed", "is not a whole number")
    values = pd.to_numeric(table["value"], errors="coerce")
    refuse(values.isna() & table["value"].notna(), "value", "is not a number; leave it empty for a run without one")
    spellings = {variant: canonical_label(str(variant)) for variant in table["variant"].unique()}
    checked = pd.DataFrame(
        {
            "variant": table["variant"].map(spellings),
            "seed": seeds.astype(int),
            "value": values.astype(float),
        }
    )
    refuse(checked.duplicated(["variant", "seed"]), "seed", "is given twice for its variant")
    return checked
