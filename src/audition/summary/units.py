"""How numbers are written in sentences and tables, rounded to what they carry, and how people write them."""

from __future__ import annotations

import math
import re
from typing import Any

from audition.errors import UsageError
from audition.sizes import rounded, size

__all__ = ["counted", "duration", "number", "parse_duration", "parse_size", "rounded", "size"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h)", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?))?B", re.IGNORECASE)
_MS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0, "m": 60_000.0, "h": 3_600_000.0}


def duration(ms: float) -> str:
    """Return milliseconds as `0.42 ms`, `87 ms` or `3.42 s`; too many failures make a latency infinite."""
    if math.isinf(ms):
        return "infinite"
    return f"{rounded(ms, 0)} ms" if round(ms) < 1000 else f"{ms / 1000:,.2f} s"


def number(value: Any) -> float:
    """Return a number as the summary holds it: `"inf"` is infinite."""
    return math.inf if value == "inf" else float(value)


def counted(n: int, noun: str) -> str:
    """Return `1 round` or `3 rounds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def parse_duration(text: str) -> float:
    """Return milliseconds from `800ms`, `2s`, `10m` or `1.5h`.

    Raises:
        UsageError: There is no unit, or it is another one.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < math.inf:
        raise UsageError(f'"{text}" is not a duration', fix="write 800ms, 2s, 10m or 1.5h")
    return float(match[1]) * _MS[match[2].lower()]


def parse_size(text: str) -> float:
    """Return bytes from `512MB`, `2GB` or `1.5GiB`.

    Raises:
        UsageError: There is no unit, or it is another one.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < math.inf:
        raise UsageError(f'"{text}" is not a size', fix="write 512MB, 2GB or 1.5GiB")
    return float(match[1]) * float(1024 if match[3] else 1000) ** " KMGT".index((match[2] or " ").upper())
