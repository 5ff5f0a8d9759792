"""Gates: what must not change from one run to another, judged on interval ends, so that noise stops no one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from audition.errors import UsageError, nearest
from audition.pick.changes import COMPARED, Change
from audition.pick.compare import Comparison
from audition.pick.sentences import figure, signed, signed_interval
from audition.summary.metrics import METRICS
from audition.summary.units import parse_duration, parse_size
from audition.text import one_line

EXAMPLE = "latency>5%,quality<0,failures>1%,peak_memory>200MB"
SCORES = ("quality", "failures")
"""Compared by difference, in points; there is no relative change of a score."""

_GATE = re.compile(r"\s*([\w-]+)\s*([<>])\s*([+-]?\d{1,15}(?:\.\d{1,15})?)(?![\d.])\s*(\S*)\s*")

Status = Literal["met", "not met", "undecided"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A change that fails: `latency>5%`.

    Attributes:
        text: As the person wrote it.
        limit: In parts (0.05 is 5 %) of A's figure, or in points; in the metric's unit where `absolute`.
        absolute: The limit is an amount, such as 50 ms.
    """

    text: str
    metric: str
    above: bool
    limit: float
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class GateResult:
    """How one gate stands to one pair of targets at one load level.

    Attributes:
        status: `undecided` when the limit lies inside the interval, or when there is none.
    """

    gate: str
    target: str
    status: Status
    sentence: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """All gates together.

    Attributes:
        met: Whether none has failed; where `strict`, whether each is shown to be met.
    """

    met: bool
    strict: bool
    results: tuple[GateResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def gate_metrics() -> tuple[str, ...]:
    """Return what a gate can be about."""
    return (*SCORES, *(metric.tag for metric in METRICS if metric.tag in COMPARED))


def parse_gates(text: str) -> tuple[Gate, ...]:
    """Read gates such as `latency>5%,quality<0`.

    Raises:
        UsageError: One cannot be read, or names no metric; with the nearest name and an example.
    """
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError("--fail-on names no gate", fix=f"such as --fail-on '{EXAMPLE}'")
    return tuple(map(_gate, parts))


def judge_gates(comparison: Comparison, gates: Sequence[Gate], *, strict: bool = False) -> Judgement:
    """Judge every gate for every pair of targets and load level.

    A gate is not met when the change is shown to be beyond its limit: the whole interval lies there. It is undecided
    when the limit lies inside the interval, and not met when a figure is unknown: what cannot be judged is not met.
    """
    results = []
    for gate in gates:
        for target in comparison.targets:
            for change in target.changes:
                if change.metric == gate.metric:
                    status, sentence = _judge(gate, change)
                    results.append(GateResult(gate.text, target.title, status, f"{change.title}: {sentence}"))
    allowed = ("met",) if strict else ("met", "undecided")
    return Judgement(all(result.status in allowed for result in results), strict, tuple(results))


def _gate(text: str) -> Gate:
    written = one_line(text, 60)
    match = _GATE.fullmatch(text)
    if match is None:
        raise UsageError(f'"{written}" is not a gate', fix=f"a metric, < or >, and a limit: {EXAMPLE}")
    metric, sign, number, unit = match.groups()
    known = gate_metrics()
    if metric not in known:
        hint = nearest(metric, known) or f"there are {', '.join(known)}"
        raise UsageError(f'the gate "{written}" names no metric that is compared', fix=f"{hint} Such as: {EXAMPLE}")
    limit = float(number)
    if unit == "%" or (limit == 0 and not unit):
        return Gate(written, metric, sign == ">", limit / 100)
    if metric in SCORES:
        if unit:
            raise UsageError(f'the gate "{written}" has a unit', fix=f"points: {metric}{sign}0.05, or {metric}{sign}5%")
        return Gate(written, metric, sign == ">", limit)
    return Gate(written, metric, sign == ">", limit * _factor(metric, unit, written), absolute=True)


def _factor(tag: str, unit: str, written: str) -> float:
    """Return how much of the metric's own unit one of a written unit is."""
    own = next(metric.unit for metric in METRICS if metric.tag == tag)
    if unit == own:
        return 1.0
    try:
        if own == "ms":
            return parse_duration(f"1{unit}")
        if own == "bytes":
            return parse_size(f"1{unit}")
    except UsageError:
        pass
    units = {"ms": "%, ms or s", "bytes": "%, MB or GB"}.get(own, f"% or {own}")
    raise UsageError(f'the gate "{written}" has no unit of {tag}', fix=f"{units}, such as {EXAMPLE}")


def _judge(gate: Gate, change: Change) -> tuple[Status, str]:
    if change.value is None:
        return "not met", f"cannot be judged, so it is not met: unknown {change.reason}"
    limit = _limit(gate, change)
    if limit is None:
        return "not met", f"cannot be judged: {gate.text} is an amount, and A has {figure(change.a, change.unit)}"
    said = f"{signed(change, change.value)}, limit {signed(change, limit)}"
    if change.low is None or change.high is None:
        return "undecided", f"{said}, no interval: {change.reason}"
    said = f"{signed(change, change.value)} {signed_interval(change)}, limit {signed(change, limit)}"
    # Turned so that more is beyond the limit.
    near, far = (change.low - limit, change.high - limit) if gate.above else (limit - change.high, limit - change.low)
    if far <= 0:
        return "met", said
    doubt = "the limit lies inside the interval" if near <= 0 else _doubt(change)
    return ("undecided", f"{said}: {doubt}") if doubt else ("not met", said)


def _doubt(change: Change) -> str | None:
    """Return why a change whose interval lies beyond a limit is not shown all the same; None when it is."""
    if change.verdict == "too small":
        return "too small to mean anything here"
    return change.reason if change.verdict == "no difference shown" else None


def _limit(gate: Gate, change: Change) -> float | None:
    """Return the limit in the change's own terms; None when an amount cannot be set against A's figure."""
    if not gate.absolute:
        return gate.limit
    return None if not change.a or math.isinf(change.a) else gate.limit / change.a
