"""What users write on the command line, as values: amounts, lists, durations."""

from __future__ import annotations

import re

from study.errors import StudyError


def amount(text: str) -> int:
    """A count with an optional K, M or G.

    >>> amount("1.5M"), amount("500k"), amount("4_000")
    (1500000, 500000, 4000)
    """
    match = re.fullmatch(r"([0-9_]*\.?[0-9]+)\s*([KMGB]?)", text.strip().upper())
    if not match or not float(match[1]):
        raise StudyError(f"{text!r} is not an amount such as 1.5M, 500K or 4000")
    return round(float(match[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}[match[2]])


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers and ranges, separated by commas.

    >>> whole_numbers("0,3-5")
    (0, 3, 4, 5)
    """
    numbers: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+))?\s*", item)
        if not match:
            raise StudyError(f"{text!r} is not a list of whole numbers such as 0,1,2 or 0-4")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(numbers)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas.

    >>> numbers("3e-4, 1e-3")
    (0.0003, 0.001)
    """
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise StudyError(f"{text!r} is not a list of numbers such as 3e-4,1e-3") from None


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
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise StudyError(f"{text!r} is not a duration such as 90s, 9m or 1h30m")
    return sum(float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)


def assignments(items: list[str]) -> dict[str, str]:
    """`key=value` items as a dict.

    >>> assignments(["training.lr=3e-4"])
    {'training.lr': '3e-4'}
    """
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise StudyError(f"-o {item!r} is not key=value, such as training.lr=3e-4")
        found[key.strip()] = value.strip()
    return found
