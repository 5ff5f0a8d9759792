"""Constraints: what a target must keep to, judged on interval bounds, so that luck does not let one through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from audition.errors import UsageError
from audition.models.spec import LicenceClass
from audition.summary.units import duration, number, size

Verdict = Literal["met", "broken", "uncertain"]


@dataclass(frozen=True, slots=True)
class Constraints:
    """What the person demands; None demands nothing.

    Attributes:
        max_latency_ms: Of the median latency.
        max_memory_bytes: Of the peak.
        licences: Licence classes that are allowed.
        min_quality: Of the mean case score, 0 to 1.

    Raises:
        UsageError: A limit is not a number.
    """

    max_latency_ms: float | None = None
    max_memory_bytes: float | None = None
    max_disk_bytes: float | None = None
    licences: tuple[str, ...] = ()
    min_quality: float | None = None

    def __post_init__(self) -> None:
        limits = (self.max_latency_ms, self.max_memory_bytes, self.max_disk_bytes, self.min_quality)
        if any(limit is not None and not math.isfinite(limit) for limit in limits):
            raise UsageError("a limit must be a finite number", fix="leave the option out to demand nothing")

    def demands(self) -> list[str]:
        """Return each demand in words."""
        return [
            *([] if self.max_latency_ms is None else [f"median latency at most {duration(self.max_latency_ms)}"]),
            *([] if self.max_memory_bytes is None else [f"peak memory at most {size(self.max_memory_bytes)}"]),
            *([] if self.max_disk_bytes is None else [f"disk at most {size(self.max_disk_bytes)}"]),
            *([f"licence {' or '.join(self.licences)}"] if self.licences else []),
            *([] if self.min_quality is None else [f"quality at least {self.min_quality:.2f}"]),
        ]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one target stands to one constraint; `miss` is how far off it is, as a share of the limit."""

    constraint: str
    verdict: Verdict
    sentence: str
    miss: float = 0.0


def judge(target: dict[str, Any], constraints: Constraints) -> list[Judgement]:
    """Return how a target of the summary stands to every constraint that is set."""
    metrics = target["metrics"]
    out = []
    if constraints.max_latency_ms is not None:
        out.append(_latency(metrics["latency"], constraints.max_latency_ms))
    if constraints.max_memory_bytes is not None:
        out.append(_ceiling("max_memory", "peak memory", metrics["peak_memory"], constraints.max_memory_bytes))
    if constraints.max_disk_bytes is not None:
        out.append(_ceiling("max_disk", "disk", metrics["disk"], constraints.max_disk_bytes))
    if constraints.licences:
        out.append(_licence(target, constraints.licences))
    if constraints.min_quality is not None:
        out.append(_quality(target["quality"], constraints.min_quality))
    return out


def _latency(metric: dict[str, Any], limit: float) -> Judgement:
    if metric["value"] is None:
        return Judgement("max_latency", "uncertain", f"its latency is unknown: {metric['reason']}")
    value = number(metric["value"])
    if metric["low"] is None or metric["high"] is None:
        verdict: Verdict = "uncertain"
        interval = f"{metric['n']} requests are too few for an interval"
    else:
        low, high = number(metric["low"]), number(metric["high"])
        verdict = "met" if high <= limit else "broken" if low > limit else "uncertain"
        interval = f"95 % interval {duration(low)} to {duration(high)}"
    sentence = f"median latency {duration(value)} ({interval}), limit {duration(limit)}"
    return Judgement("max_latency", verdict, sentence, max(0.0, value / limit - 1))


def _ceiling(name: str, what: str, metric: dict[str, Any], limit: float) -> Judgement:
    if metric["value"] is None:
        return Judgement(name, "uncertain", f"its {what} is unknown: {metric['reason']}")
    value = number(metric["value"])
    sentence = f"{what} {size(value)}, limit {size(limit)}"
    return Judgement(name, "met" if value <= limit else "broken", sentence, max(0.0, value / limit - 1))


def _licence(target: dict[str, Any], allowed: tuple[str, ...]) -> Judgement:
    cls = target["licence_class"]
    name = f"licence {target['licence'] or 'not stated'} ({cls}), allowed: {', '.join(allowed)}"
    if cls in allowed:
        return Judgement("licence", "met", name)
    # Unknown is not a yes: nobody may ship what nobody has permitted.
    return Judgement("licence", "broken", name, 1.0 if cls == LicenceClass.UNKNOWN else 2.0)


def _quality(quality: dict[str, Any], least: float) -> Judgement:
    if quality["score"] is None:
        return Judgement("min_quality", "uncertain", f"its quality is unknown: {quality['reason']}")
    value, low, high = quality["score"], quality["low"], quality["high"]
    verdict: Verdict = "met" if low >= least else "broken" if high < least else "uncertain"
    sentence = f"quality {value:.2f} (95 % interval {low:.2f} to {high:.2f}), at least {least:.2f} asked"
    miss = (least - value) / least if value < least else 0.0
    return Judgement("min_quality", verdict, sentence, miss)
