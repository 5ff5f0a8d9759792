"""Gates: what must not change from one run to another, judged on interval ends: noise stops no one, nor proves."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from audition.errors import UsageError, nearest
from audition.pick.changes import COMPARED, Change
from audition.pick.compare import Comparison, plain_numbers
from audition.pick.sentences import figure, signed, signed_amount, signed_interval
from audition.summary.metrics import METRICS
from audition.summary.units import parse_duration, parse_size
from audition.text import one_line

EXAMPLE = "latency>5%,quality<-0.05,failures>5%,peak_memory>200MB"
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
        unit: Of the numbers: the metric's own where the limit is an amount, or for points; else `relative`, where
            0.05 is 5 % of A's figure.
        value: The change, None when it is unknown, as are the ends of its interval.
        limit: What it was judged against.
    """

    gate: str
    target: str
    status: Status
    sentence: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    limit: float


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
        return {**asdict(self), "results": [plain_numbers(asdict(result)) for result in self.results]}


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

    A gate is met when the whole interval lies within its limit, and not met when the whole interval lies beyond. It is
    undecided when the limit lies inside the interval or there is none, and not met when a figure is unknown: what
    cannot be judged is not met.
    """
    results = []
    for gate in gates:
        for target in comparison.targets:
            for change in target.changes:
                if change.metric == gate.metric:
                    results.append(_judge(gate, target.title, change))
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


def _judge(gate: Gate, target: str, change: Change) -> GateResult:
    unit = change.unit if gate.absolute or change.points else "relative"
    # What an amount is of: a relative change is turned into one by A's figure.
    scale = (change.a or math.inf) if gate.absolute else 1.0
    value, low, high = (
        None if number is None or math.isinf(scale) else number * scale
        for number in (change.value, change.low, change.high)
    )
    status, said = _verdict(gate, change, value, low, high)
    return GateResult(gate.text, target, status, f"{change.title}: {said}", unit, value, low, high, gate.limit)


def _verdict(
    gate: Gate, change: Change, value: float | None, low: float | None, high: float | None
) -> tuple[Status, str]:
    """Return the status and what is said of it; the numbers are in the gate's own terms."""
    if change.value is None:
        return "not met", f"cannot be judged, so it is not met: unknown {change.reason}"
    if value is None:
        return "not met", f"cannot be judged: {gate.text} is an amount, and A has {figure(change.a, change.unit)}"
    said = signed_amount(value, change.unit) if gate.absolute else signed(change, value)
    limit = f"limit {_written(gate) if gate.absolute else signed(change, gate.limit)}"
    if low is None or high is None:
        return "undecided", f"{said}, {limit}, no interval: {change.reason}"
    interval = signed_interval(change)
    if interval and gate.absolute:
        ends = ("no bound" if math.isinf(end) else signed_amount(end, change.unit) for end in (low, high))
        interval = f"[{', '.join(ends)}]"
    status, doubt = _place(gate, change, low, high)
    return status, f"{f'{said} {interval}'.strip()}, {limit}{doubt and f': {doubt}'}"


def _place(gate: Gate, change: Change, low: float, high: float) -> tuple[Status, str]:
    """Return where an interval lies, and what keeps it from deciding."""
    # Turned so that more is beyond the limit.
    near, far = (low - gate.limit, high - gate.limit) if gate.above else (gate.limit - high, gate.limit - low)
    if far <= 0:
        return "met", ""
    if near > 0:
        small = change.verdict == "too small"
        return ("undecided", "too small to mean anything here") if small else ("not met", "")
    if gate.limit == 0:
        room = f"{gate.metric}{'>' if gate.above else '<-'}{'0.05' if change.metric == 'quality' else '5%'}"
        return "undecided", f"only a change the other way proves a limit of 0; leave room, such as {room}"
    return "undecided", "the limit lies inside the interval"


def _written(gate: Gate) -> str:
    """Return an amount as the person wrote it, with its sign: `+50 ms`."""
    match = _GATE.fullmatch(gate.text)
    if match is None:
        raise AssertionError(f"{gate.text} was read before")
    number, unit = match[3], match[4]
    return f"{number if number[0] in '+-' else f'+{number}'} {unit}"
