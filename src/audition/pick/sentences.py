"""A change from one run to another in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from audition.summary.units import counted, duration, rounded, size

if TYPE_CHECKING:
    from audition.pick.changes import Change


def change_sentence(change: Change) -> str:
    """Return one plain sentence: how much, how sure, over what, and what speaks against it."""
    taints = f"; tainted by {', '.join(change.tainted_by)}" if change.tainted_by else ""
    return f"{change.title}: {_body(change)}{taints}."


def signed(change: Change, value: float) -> str:
    """Return `+3.0 %`, or points of a score or of a share."""
    if math.isinf(value):
        return "infinite"
    if change.points:
        return _no_minus_zero(f"{value:+.2f}") if change.unit == "score" else f"{_tenth(value)} points"
    return f"{value:+.0%}".replace("%", " %") if abs(value) >= 0.0995 else f"{_tenth(value)} %"


def signed_interval(change: Change) -> str:
    """Return `[-6.0 %, +3.0 %]`, or nothing."""
    if change.low is None or change.high is None or change.basis == "exact":
        return ""
    return f"[{end(change, change.low)}, {end(change, change.high)}]"


def figure(value: float | None, unit: str) -> str:
    """Return a figure in its unit."""
    if value is None:
        return "unknown"
    if unit == "ms":
        return duration(value)
    if unit == "bytes":
        return size(value)
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.2f}" if unit == "score" else f"{rounded(value, 1)} {unit}"


def words(change: Change) -> tuple[str, str]:
    """Return the words for a lower and for a higher figure: `faster` and `slower`."""
    if change.metric == "quality":
        return "worse", "better"
    if change.metric == "failures":
        return "fewer", "more"
    if change.unit == "ms":
        return "faster", "slower"
    return ("less", "more") if change.better == "lower" else ("lower", "higher")


def _body(change: Change) -> str:
    if change.value is None:
        return f"unknown {change.reason}"
    facts = f"{figure(change.a, change.unit)} -> {figure(change.b, change.unit)}"
    whole = f"{signed(change, change.value)} {signed_interval(change)}".strip()
    if change.low is None or change.high is None:
        return f"{whole} ({facts}), no interval: {change.reason}"
    if change.verdict == "no difference shown":
        return _alike(change, f"{whole}; {facts}")
    if change.verdict == "too small" and change.noise is not None and change.a is not None:
        noise = figure(change.noise * change.a, change.unit)
        return f"too small to mean anything here ({whole}; {facts}; the client's own noise is {noise})"
    much = f"{_size(change, change.value)} {words(change)[change.value > 0]}"
    ends = ", ".join(_size(change, end) for end in sorted((change.low, change.high), key=abs))
    interval = "" if change.basis == "exact" else f" [{ends}]"
    return f"{much}{interval} ({facts}){_over(change)}"


def _alike(change: Change, facts: str) -> str:
    if change.low == change.high == 0:
        return f"the same ({figure(change.a, change.unit)}){_over(change)}"
    reason = f"; {change.reason}" if change.reason else ""
    return f"no difference shown ({facts}){_over(change)}{reason}"


def _over(change: Change) -> str:
    a, b = change.n
    if change.basis == "exact":
        return ""
    if change.basis == "cases":
        return f", over {counted(a, 'prompt')} paired"
    return f", over {a} and {counted(b, change.basis[:-1])}"


def end(change: Change, value: float) -> str:
    """Return one end of an interval."""
    return "no bound" if math.isinf(value) else signed(change, value)


def _tenth(value: float) -> str:
    return _no_minus_zero(f"{100 * value:+.1f}")


def _no_minus_zero(text: str) -> str:
    return f"+{text[1:]}" if not text.strip("-0.") else text


def _size(change: Change, value: float) -> str:
    return "infinitely" if math.isinf(value) else signed(change, abs(value)).lstrip("+")
