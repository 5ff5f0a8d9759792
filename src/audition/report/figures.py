"""How figures are written: rounded to what they carry, with their unit; an unknown one says so and is never 0."""

from __future__ import annotations

import math
from typing import Any

from audition.summary.summarize import number

UNKNOWN = "\N{EN DASH}"


def duration(ms: float) -> str:
    """Return milliseconds as `87 ms` or `3.42 s`."""
    if math.isinf(ms):
        return "failed"
    return f"{ms:,.0f} ms" if ms < 1000 else f"{ms / 1000:,.2f} s"


def size(n_bytes: float) -> str:
    """Return bytes as `98 MB` or `4.37 GB` (decimal units)."""
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.2f} GB"


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
    return f"{value:,.1f}"


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
