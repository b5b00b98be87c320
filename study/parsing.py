"""What users write on the command line, as values: amounts, lists, durations."""

from __future__ import annotations

import math
import re

from study.config import MOST_SEEDS
from study.errors import StudyError

LONGEST = 100 * 365 * 86400.0  # seconds


def amount(text: str) -> int:
    """A count with an optional K, M or G.

    >>> amount("1.5M"), amount("500k"), amount("4_000")
    (1500000, 500000, 4000)
    """
    match = re.fullmatch(r"((?:[0-9]+(?:_[0-9]+)*)?(?:\.[0-9]+)?)\s*([KMGB]?)", text.strip().upper(), re.ASCII)
    number = float(match[1] or 0) if match else 0.0
    if not match or not 0 < number < 1e18:
        raise StudyError(f"{_short(text)} is not an amount such as 1.5M, 500K or 4000")
    return round(number * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}[match[2]])


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers and ranges, separated by commas: seeds, of which an experiment has at most MOST_SEEDS.

    >>> whole_numbers("0,3-5")
    (0, 3, 4, 5)
    """
    numbers: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18}))?\s*", item, re.ASCII)
        if not match:
            raise StudyError(f"{_short(text)} is not a list of whole numbers such as 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise StudyError(f"{_short(text)}: the range {first}-{last} ends before it begins")
        if len(numbers) + last - first >= MOST_SEEDS:
            raise StudyError(f"{_short(text)} are more numbers than {MOST_SEEDS:,}, the most that are taken")
        numbers += range(first, last + 1)
    return tuple(numbers)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas.

    >>> numbers("3e-4, 1e-3")
    (0.0003, 0.001)
    """
    try:
        found = tuple(float(item) for item in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise StudyError(f"{_short(text)} is not a list of numbers such as 3e-4,1e-3")
    return found


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas; commas within brackets belong to the name.

    >>> names("cctt, ViT_REL[relative_bias=none,head_dim=64]")
    ('cctt', 'ViT_REL[relative_bias=none,head_dim=64]')
    """
    return tuple(name.strip() for name in re.split(r",(?![^\[]*\])", text) if name.strip())


def seconds(text: str) -> float:
    """A duration: seconds, or numbers with s, m, h, d.

    >>> seconds("90"), seconds("9m"), seconds("1h30m")
    (90.0, 540.0, 5400.0)
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text, re.ASCII)
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        found = float(text)
    elif parts and "".join(number + unit for number, unit in parts) == text:
        found = sum(float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)
    else:
        raise StudyError(f"{_short(text)} is not a duration such as 90s, 9m or 1h30m")
    if found > LONGEST:
        raise StudyError(f"{_short(text)} is longer than a hundred years: leave the limit out")
    return found


def assignments(items: list[str], option: str = "-o", example: str = "training.lr=3e-4") -> dict[str, str]:
    """`key=value` items, as an option was given them, as a dict.

    >>> assignments(["training.lr=3e-4"])
    {'training.lr': '3e-4'}
    """
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise StudyError(f"{option} {_short(item)} is not key=value, such as {example}")
        found[key.strip()] = value.strip()
    return found


def _short(text: str) -> str:
    """A text as a sentence quotes it."""
    return repr(text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}")
