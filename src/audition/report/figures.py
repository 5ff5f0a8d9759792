"""How figures are written: rounded to what they carry, with their unit; an unknown one says so and is never 0."""

from __future__ import annotations

from typing import Any

from audition.summary.units import duration, number, rounded, size

__all__ = ["UNKNOWN", "duration", "figure", "interval", "marked", "quality", "size", "typical_latency"]

UNKNOWN = "\N{EN DASH}"
QUALITY_FORMULA = (
    "mean over prompts of the weighted mean of a prompt's checks; repeats of a prompt are averaged first; empty, cut "
    "and failed answers score 0, what nothing judged is left out; Wilson interval over prompts"
)


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
    if metric["unit"] == "%":
        return f"{rounded(value, 0)} %"
    return rounded(value, 1)


def marked(metric: dict[str, Any], end: str = "value") -> str:
    """Return the figure, with a mark where a guard that failed taints it."""
    text = figure(metric, end)
    return f"{text} !" if metric["tainted_by"] and text != UNKNOWN else text


def interval(metric: dict[str, Any]) -> str:
    """Return the 95 % interval as `[80 ms, 95 ms]`, or nothing where there is none."""
    if metric["low"] is None or metric["high"] is None:
        return ""
    return f"[{figure(metric, 'low')}, {figure(metric, 'high')}]"


def typical_latency(entry: dict[str, Any] | None) -> str:
    """Return the typical latency on a run's own prompts, with its interval for new loads where there is one."""
    if entry is None or entry["value_ms"] is None:
        return UNKNOWN
    value = duration(number(entry["value_ms"]))
    if entry["low_ms"] is None or entry["high_ms"] is None:
        return value
    return f"{value} [{duration(number(entry['low_ms']))}, {duration(number(entry['high_ms']))}]"


def quality(target: dict[str, Any]) -> str:
    """Return the quality score, or the dash of what nothing has judged."""
    score = target["quality"]["score"]
    if score is None:
        return UNKNOWN
    return f"{score:.2f} !" if target["quality"]["tainted_by"] else f"{score:.2f}"
