"""What a metric comes to: one figure with its interval, its bad tail, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from audition.stats import quantiles
from audition.stats.clusters import median_interval
from audition.summary.units import counted

Tail = Literal["p95", "p5"]

_TAILS: Mapping[Tail, tuple[float, float]] = {"p95": (0.95, 0.99), "p5": (0.05, 0.01)}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric of one target under one load level.

    Attributes:
        statistic: What `value` is: a median, a maximum, a ratio of sums, ...
        value: The headline figure; None with a `reason`. Infinite when it falls among failed requests.
        low: Ends of the 95 % interval; None where there is none, with an `interval_reason` for medians.
        scope: What the interval is about: new prompts and new loads, or less.
        p95: The value that 95 % of the requests keep to, None with `p95_reason` where the sample is too small for it.
        p95_low: Ends of its two-sided interval from order statistics: about these prompts, asked again.
        p99: As `p95`, for 99 %.
        tail: Which end of the distribution is the bad one: `p5` for rates, where `p95` and `p99` then hold the 5th and
            the 1st percentile.
        n: Records it rests on, failures that count included.
        failed: How many of them failed: infinitely slow in a latency, time without tokens in a throughput.
        cases: Distinct cases among them.
        loads: Distinct loads among them.
        left_out: How many records were left out, by reason.
        token_source: Who counted the tokens, where tokens enter.
        label: What to call it where the metric's header would claim too much, such as `Decode, tokens estimated`.
    """

    statistic: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    interval_reason: str | None = None
    scope: str | None = None
    p95: float | None = None
    p95_low: float | None = None
    p95_high: float | None = None
    p95_reason: str | None = None
    p99: float | None = None
    p99_low: float | None = None
    p99_high: float | None = None
    p99_reason: str | None = None
    tail: Tail = "p95"
    n: int = 0
    failed: int = 0
    cases: int = 0
    loads: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    token_source: tuple[str, ...] = ()
    label: str | None = None
    reason: str | None = None

    def to_json(self, digits: int) -> dict[str, Any]:
        """Return it as plain JSON, numbers rounded once to `digits`, infinity as the string `"inf"`."""
        return {each.name: _plain(getattr(self, each.name), digits) for each in fields(self)}


def median_of_requests(
    values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable], tail: Tail = "p95"
) -> Estimate:
    """Return the median over requests, with the interval that respects cases and loads, and the bad tail.

    Args:
        values: One per request, shape (n,), at least one; a failed request is `math.inf`.
        cases: The case of each, shape (n,).
        loads: The load of each, shape (n,).
        tail: Which end is the bad one.
    """
    middle = median_interval(values, cases, loads)
    q95, q99 = _TAILS[tail]
    p95, p95_reason = _percentile(values, q95)
    p99, p99_reason = _percentile(values, q99)
    return Estimate(
        "median",
        value=middle.value,
        low=middle.low,
        high=middle.high,
        interval_reason=middle.reason,
        scope=None if middle.low is None else _scope(middle.between_cases, middle.between_loads),
        p95=p95.value if p95 else None,
        p95_low=p95.low if p95 else None,
        p95_high=p95.high if p95 else None,
        p95_reason=p95_reason,
        p99=p99.value if p99 else None,
        p99_low=p99.low if p99 else None,
        p99_high=p99.high if p99 else None,
        p99_reason=p99_reason,
        tail=tail,
        n=len(values),
        cases=middle.cases,
        loads=middle.loads,
    )


def median_of_gaps(gaps: Sequence[Sequence[float]], cases: Sequence[Hashable], loads: Sequence[Hashable]) -> Estimate:
    """Return median, 95th and 99th percentile of gaps that are pooled over requests.

    Gaps of one answer are alike, so that not they but the requests tell how sure the median is: its interval is that of
    the requests' own medians, refused where that of a latency would be, and made to reach the figure where long answers
    pull the pool away from the typical request. The tails have none.

    Args:
        gaps: Those of each request, shape (n, any), at least one in each.
        cases: The case of each request, shape (n,).
        loads: The load of each request, shape (n,).
    """
    import numpy as np

    pool = np.concatenate([np.asarray(each, dtype=np.float64) for each in gaps])
    middle = median_interval([float(np.median(each)) for each in gaps], cases, loads)
    value, p95, p99 = (float(found) for found in np.quantile(pool, (0.5, 0.95, 0.99), method="linear"))
    p95_reason, p99_reason = (_too_few_gaps(len(pool), len(gaps), q) for q in (0.95, 0.99))
    return Estimate(
        "median of gaps",
        value=value,
        low=None if middle.low is None else max(0.0, min(middle.low, value)),
        high=None if middle.high is None else max(middle.high, value),
        interval_reason=middle.reason,
        scope=None if middle.low is None else _scope(middle.between_cases, middle.between_loads),
        p95=None if p95_reason else p95,
        p95_reason=p95_reason,
        p99=None if p99_reason else p99,
        p99_reason=p99_reason,
        cases=middle.cases,
        loads=middle.loads,
    )


def median_of_loads(values: Sequence[float]) -> Estimate:
    """Return the median over loads, which are independent of each other; six or more have an interval.

    Args:
        values: One per load, shape (n,), at least one; a failed one is `math.inf`.
    """
    middle = quantiles.estimate(values, 0.5)
    known = middle.low is not None
    missing = quantiles.minimum_n(0.5, two_sided=True) - len(values)
    return Estimate(
        "median",
        value=middle.value,
        low=middle.low,
        high=middle.high,
        interval_reason=None if known else f"n = {len(values)} is too small: at least {missing} more loads are needed",
        scope="new loads" if known else None,
        n=len(values),
        loads=len(values),
    )


def _too_few_gaps(n: int, requests: int, q: float) -> str | None:
    """Return why so many gaps have no percentile; None when they have one."""
    missing = quantiles.minimum_n(q) - n
    if missing <= 0:
        return None
    pooled = f"{counted(n, 'gap')} of {counted(requests, 'request')}"
    return f"{pooled} are too few: at least {missing} more gaps are needed"


def _percentile(values: Sequence[float], q: float) -> tuple[quantiles.QuantileEstimate | None, str | None]:
    """Return the percentile, or why a sample of this size has none."""
    missing = quantiles.minimum_n(max(q, 1 - q)) - len(values)
    if missing > 0:
        return None, f"n = {len(values)} is too small: at least {missing} more requests are needed"
    return quantiles.estimate(values, q), None


def _scope(between_cases: bool, between_loads: bool) -> str:
    if between_cases:
        return "new prompts of this kind" + (" and new loads" if between_loads else ", this load only")
    return "this prompt, " + ("new loads" if between_loads else "this load only")


def _plain(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return "inf" if math.isinf(value) else round(value, digits)
    return list(value) if isinstance(value, tuple) else value
