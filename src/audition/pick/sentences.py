"""A change from one run to another in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from audition.summary.units import counted, duration, rounded, size
from audition.text import one_line

if TYPE_CHECKING:
    from audition.pick.changes import Change

_REASON = 100
"""Characters of the reason why a figure is unknown."""


def change_sentence(change: Change) -> str:
    """Return one plain sentence: how much, how sure, over what, and what speaks against it."""
    taints = f"; tainted by {', '.join(change.tainted_by)}" if change.tainted_by else ""
    return f"{change.title}: {_body(change)}{taints}."


def unknown_sentences(changes: Sequence[Change]) -> list[str]:
    """Return one sentence for each of both, A and B, on what is unknown there, grouped by the reason."""
    places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        if change.value is None:
            for where, why in _places(change.reason or ""):
                places[where][why].append(change.title)
    said = {where: [f"{', '.join(names)} ({_short(why)})" for why, names in of.items()] for where, of in places.items()}
    return [f"Unknown{where}: {'; '.join(parts)}." for where, parts in said.items()]


def signed(change: Change, value: float, more: int = 0) -> str:
    """Return `+3.0 %`, or points of a score or of a share; `more` adds decimals."""
    if math.isinf(value):
        return "infinite"
    if change.points and change.unit == "score":
        return _no_minus_zero(f"{value:+.{2 + more}f}")
    decimals = more if abs(value) >= 0.0995 and not change.points else 1 + more
    return f"{_no_minus_zero(f'{100 * value:+.{decimals}f}')} {'points' if change.points else '%'}"


def signed_interval(change: Change) -> str:
    """Return `[-6.0 %, +3.0 %]`, or nothing."""
    if change.low is None or change.high is None or change.basis == "exact":
        return ""
    return f"[{', '.join(_ends(change, change.low, change.high))}]"


def signed_amount(value: float, unit: str) -> str:
    """Return a difference in a metric's unit, as `+78 ms`."""
    return "infinite" if math.isinf(value) else f"{'-' if value < 0 else '+'}{figure(abs(value), unit)}"


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
    before, after = figure(change.a, change.unit), figure(change.b, change.unit)
    facts = f"{before} in both" if before == after else f"{before} -> {after}"
    whole = f"{signed(change, change.value)} {signed_interval(change)}".strip()
    if change.low is None or change.high is None:
        return f"{whole} ({facts}), no interval: {change.reason}"
    if change.verdict == "no difference shown":
        return _alike(change, f"{whole}; {facts}")
    if change.verdict == "too small":
        if change.noise is not None and change.a is not None:
            facts = f"{facts}; the client's own noise is {figure(change.noise * change.a, change.unit)}"
        return f"too small to mean anything here ({whole}; {facts})"
    much = "infinitely" if math.isinf(change.value) else signed(change, change.value).lstrip("+-")
    much = f"{much} {words(change)[change.value > 0]}"
    ends = ", ".join(text.lstrip("+-") for text in _ends(change, *sorted((change.low, change.high), key=abs)))
    interval = "" if change.basis == "exact" else f" [{ends}]"
    return f"{much}{interval} ({facts}){_over(change)}"


def _alike(change: Change, facts: str) -> str:
    if change.basis == "exact":
        return f"the same ({figure(change.a, change.unit)})"
    return f"no difference shown ({facts}){_over(change)}"


def _places(reason: str) -> list[tuple[str, str]]:
    """Return where a figure is unknown, such as ` in B`, and why there; `in A: ...; in B: ...` are two places."""
    if not reason.startswith(("in A: ", "in B: ", "in both: ")):
        return [("", reason)]
    parts = reason.split("; in B: ")
    where, _, why = parts[0].partition(": ")
    return [(f" {where}", why), *((" in B", part) for part in parts[1:])]


def _short(reason: str) -> str:
    """Return a reason, cut between two words; the whole is in `--json`."""
    cut = one_line(reason, _REASON)
    return cut if not cut.endswith("…") else cut.rpartition(" ")[0].rstrip(" ,;") + "…"


def _over(change: Change) -> str:
    a, b = change.n
    if change.basis == "exact":
        return ""
    if change.basis == "cases":
        return f", over {counted(a, 'prompt')} paired"
    return f", over {a} and {counted(b, change.basis[:-1])}"


def _ends(change: Change, low: float, high: float) -> list[str]:
    """Return both ends of an interval, with so many decimals that a narrow one does not look like none."""
    texts: list[str] = []
    for more in range(3):
        texts = ["no bound" if math.isinf(end) else signed(change, end, more) for end in (low, high)]
        if low == high or texts[0] != texts[1]:
            break
    return texts


def _no_minus_zero(text: str) -> str:
    return f"+{text[1:]}" if not text.strip("-0.") else text
