"""What a metric is: a name, a unit, a formula, and how to read it off the records."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from audition.bench.plan import Target
from audition.bench.sample import Load, Sample
from audition.stats import quantiles


@dataclass(frozen=True, slots=True)
class Records:
    """What a metric may read: one target's measured samples, its first requests, and its loads."""

    target: Target
    measured: Sequence[Sample]
    first: Sequence[Sample]
    loads: Sequence[Load]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric of one target.

    Attributes:
        value: The headline figure (a median, a maximum or a ratio, as `statistic` says); None with a `reason`.
        low: Ends of the 95 % interval; None where there is none.
        p95: The 95th percentile, None with `p95_reason` where the sample is too small.
        p95_high: Upper end of its interval.
        n: Records it rests on, failures included.
        failed: How many of them failed and count as infinitely slow.
    """

    statistic: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p95: float | None = None
    p95_high: float | None = None
    p95_reason: str | None = None
    n: int = 0
    failed: int = 0
    reason: str | None = None


class Metric(ABC):
    """One metric. A new one is a subclass and a line in `METRICS`."""

    tag: ClassVar[str]
    header: ClassVar[str]
    unit: ClassVar[str]
    formula: ClassVar[str]
    digits: ClassVar[int] = 1
    better: ClassVar[Literal["lower", "higher"]] = "lower"

    @abstractmethod
    def estimate(self, records: Records) -> Estimate:
        """Return the estimate for one target."""


class PerRequest(Metric):
    """A metric that every measured request has its own value of; the headline is the median."""

    failures_count: ClassVar[bool] = True
    """A failed request is infinitely slow; a rate of tokens per second leaves it out."""

    @abstractmethod
    def value(self, sample: Sample) -> float | None:
        """Return one request's value, or None when it has none."""

    def estimate(self, records: Records) -> Estimate:
        """Return median and 95th percentile over the measured requests."""
        values, failed, without = [], 0, 0
        for sample in records.measured:
            value = None if sample.status in ("failed", "timeout") else self.value(sample)
            if value is not None:
                values.append(value)
            elif sample.status in ("failed", "timeout"):
                failed += 1
            else:
                without += 1
        if not values:
            return Estimate("median", n=failed, failed=failed, reason=self._reason(failed, without))
        if self.failures_count:
            values += [math.inf] * failed
        return quantile_estimate(values, failed if self.failures_count else 0)

    def _reason(self, failed: int, without: int) -> str:
        if failed and not without:
            return "every request failed"
        return "no request has the records that it needs" if without else "nothing was measured"


class PerLoad(Metric):
    """A metric that every load of the target has its own value of."""

    statistic: ClassVar[Literal["median", "maximum"]]

    @abstractmethod
    def value(self, load: Load) -> float | None:
        """Return one load's value, or None when it has none."""

    def estimate(self, records: Records) -> Estimate:
        """Return the median or the maximum over the loads."""
        values = [value for load in records.loads if (value := self.value(load)) is not None]
        if not values:
            return Estimate(self.statistic, reason="no load has it")
        if self.statistic == "maximum":
            return Estimate("maximum", value=max(values), n=len(values))
        return quantile_estimate(values, 0, with_p95=False)


def quantile_estimate(values: Sequence[float], failed: int, *, with_p95: bool = True) -> Estimate:
    """Return the median with its interval, and a 95th percentile only where the sample can carry one."""
    middle = quantiles.estimate(values, 0.5)
    p95 = p95_high = p95_reason = None
    if with_p95:
        missing = quantiles.minimum_n(0.95) - len(values)
        if missing > 0:
            p95_reason = f"n = {len(values)} is too small: at least {missing} more requests are needed"
        else:
            tail = quantiles.estimate(values, 0.95)
            p95, p95_high = tail.value, tail.high
    return Estimate(
        "median",
        value=middle.value,
        low=middle.low,
        high=middle.high,
        p95=p95,
        p95_high=p95_high,
        p95_reason=p95_reason,
        n=len(values),
        failed=failed,
    )
