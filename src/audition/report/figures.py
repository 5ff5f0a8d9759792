"""How figures are written: rounded to what they carry, with their unit; an unknown one says so and is never 0."""

from __future__ import annotations

import math
from typing import Any

from audition.summary.summarize import number

UNKNOWN = "\N{EN DASH}"


def duration(ms: float) -> str:
    """Return milliseconds as `0.42 ms`, `87 ms` or `3.42 s`."""
    if math.isinf(ms):
        return "failed"
    return f"{_rounded(ms, 0)} ms" if round(ms) < 1000 else f"{ms / 1000:,.2f} s"


def size(n_bytes: float) -> str:
    """Return bytes as `0.42 MB`, `98 MB` or `4.37 GB` (decimal units)."""
    mb = n_bytes / 1e6
    return f"{_rounded(mb, 0)} MB" if round(mb) < 1000 else f"{n_bytes / 1e9:,.2f} GB"


def counted(n: int, noun: str) -> str:
    """Return `1 round` or `3 rounds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _rounded(value: float, decimals: int) -> str:
    """Return a number to so many decimals; one below 1 keeps two digits, or it would read as nothing at all."""
    return f"{value:.2g}" if 0 < value < 1 else f"{value:,.{decimals}f}"


def figure(metric: dict[str, Any], end: str = "value") -> str:
    """Return one figure of a metric of the summary, in its unit."""
    if metric[end] is None:
        return UNKNOWN
    value = number(metric[end])
    if metric["unit"] == "ms":
        return duration(value)
    if metric["unit"] == "bytes":
        return size(value)
    if metric["unit"] == "tokens":
        return f"{value:,.0f}"
    return _rounded(value, 1)


def marked(metric: dict[str, Any], end: str = "value") -> str:
    """Return the figure, with a mark where a guard that failed taints it."""
    text = figure(metric, end)
    return f"{text} !" if metric["tainted_by"] and text != UNKNOWN else text


def interval(metric: dict[str, Any]) -> str:
    """Return the 95 % interval as `[80 ms, 95 ms]`, or nothing where there is none."""
    if metric["low"] is None or metric["high"] is None:
        return ""
    return f"[{figure(metric, 'low')}, {figure(metric, 'high')}]"


def quality(target: dict[str, Any]) -> str:
    """Return the quality score, or the dash of what nothing has judged."""
    score = target["quality"]["score"]
    if score is None:
        return UNKNOWN
    return f"{score:.2f} !" if target["quality"]["tainted_by"] else f"{score:.2f}"
