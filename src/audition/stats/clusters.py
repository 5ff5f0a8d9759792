"""Means and medians of requests that are not independent: the same prompts again, several at a time in one load."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from audition.stats.components import Components, components, exponential, grouped
from audition.stats.quantiles import median, minimum_n, ranks, type_7
from audition.stats.student import quantile

# A residual counts for no more than this many (robust) standard deviations when the shift of a load is estimated, so
# that a stall in one load is not taken for a slow load.
_CLIP = 3.0
_MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class ClusteredInterval:
    """A mean or a median of requests, with its interval for requests like these: new cases of the kind, new loads.

    Attributes:
        value: Infinite when so many requests failed that it falls among them.
        low: Lower end; None, with a `reason`, where the data cannot carry an interval.
        high: Upper end; infinite when failures leave no bound.
        n: Requests.
        cases: Distinct cases.
        loads: Distinct loads.
        between_cases: Whether the interval contains what differs from case to case; not so with one case.
        between_loads: Likewise from load to load; not so with one load.
        reason: Why there is no interval.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    cases: int
    loads: int
    between_cases: bool
    between_loads: bool
    reason: str | None = None


class HasInterval(Protocol):
    """Anything with a value and two ends."""

    @property
    def value(self) -> float | None:
        """The estimate."""

    @property
    def low(self) -> float | None:
        """Its lower end."""

    @property
    def high(self) -> float | None:
        """Its upper end."""


def relative_half_width(interval: HasInterval) -> float | None:
    """Return half the width in parts of the value (0.05 for 5 %); None where there is no finite one."""
    value, low, high = interval.value, interval.low, interval.high
    if value is None or low is None or high is None or value == 0:
        return None
    width = (high - low) / 2 / abs(value)
    return width if math.isfinite(width) else None


def mean_interval(
    values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable], level: float = 0.95
) -> ClusteredInterval:
    """Return the mean of requests with its interval.

    Cases and loads are crossed random effects (see `components`). Latencies are skewed: Student's interval over a dozen
    prompts whose logarithms differ by 1 contains the mean in 85 % of runs. So the interval reaches further on the side
    of the tail, by Johnson's term (JASA 73, 1978). Where all values are above 0, it reaches in proportion above and by
    difference below, and with m prompts the chance of a miss is taken as one m-th smaller: 93 % then, with six too.

    What no interval can know is a stall that has not happened yet (Bahadur and Savage, Annals of Mathematical
    Statistics 27, 1956): rare and long ones, such as 3 % that take ten times as long, need hundreds of requests. Prefer
    the median for latencies.

    An infinite value makes the mean infinite, without an interval.

    Args:
        values: One per request, shape (n,), at least one.
        cases: The case of each request, shape (n,).
        loads: The load of each request, shape (n,).
        level: Confidence.

    Raises:
        ValueError: There are no values, one is NaN, or the three differ in length.
    """
    _check(values, cases, loads)
    n, count, load_count = len(values), len(set(cases)), len(set(loads))
    if any(map(math.isinf, values)):
        return _without(math.inf, n, count, load_count, "failed requests have no mean")
    mean = math.fsum(values) / n
    if n == 1:
        return _without(mean, n, count, load_count, "one request shows no spread: at least 1 more")
    parts = components(values, cases, loads)
    positive = min(values) > 0
    if positive:
        level = 1 - (1 - level) * (1 - 1 / (count if count > 1 else n))
    half, skew = parts.case_half_width(level), parts.skew(level)
    above, below = half + max(0.0, skew), half + max(0.0, -skew)
    if positive:
        above = mean * (exponential(above / mean) - 1)
    low, high = mean - parts.half_width(level, below), mean + parts.half_width(level, above)
    if positive:
        low = max(0.0, low)
    return ClusteredInterval(mean, low, high, n, count, load_count, count > 1, load_count > 1)


def median_interval(
    values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable], level: float = 0.95
) -> ClusteredInterval:
    """Return the median of requests with its interval: `quantile_interval` for one half."""
    return quantile_interval(values, cases, loads, 0.5, level)


def quantile_interval(
    values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable], q: float, level: float = 0.95
) -> ClusteredInterval:
    """Return the quantile `q` of requests with its interval.

    Order statistics bound the quantile of independent requests (Hahn and Meeker, Statistical Intervals, 5.2). Requests
    of one case are not, so they count for as many as would leave the share below the quantile equally uncertain
    (Woodruff, JASA 47, 1952; Korn and Graubard, Survey Methodology 24, 1998), and never for fewer than there are cases:
    for cases that differ far more than their repeats this is the exact interval over cases.

    With two or three loads ranks would say next to nothing about loads. So the shift of each load is estimated from the
    cases against themselves in other loads, taken out, and its uncertainty added to the ends (MOVER, Zou and Donner,
    Statistics in Medicine 27, 2008).

    Args:
        values: One per request, shape (n,), at least one; a failed request counts as `math.inf`.
        cases: The case of each request, shape (n,).
        loads: The load of each request, shape (n,).
        q: Between 0 and 1, both excluded.
        level: Confidence.

    Raises:
        ValueError: There are no values, one is NaN, or the three differ in length.
    """
    _check(values, cases, loads)
    n, case_count, load_count = len(values), len(set(cases)), len(set(loads))
    value = type_7(sorted(values), q)
    # Loads shift latencies and rates in proportion; what can be 0 has no proportion.
    proportional = min(values) > 0
    scaled = [math.log(v) for v in values] if proportional else values
    shift = load_shift(scaled, cases, loads)
    if shift is None:
        levelled = values
    else:
        levelled = [v - shift.shifts.get(load, 0.0) for v, load in zip(scaled, loads, strict=True)]
    ordered = sorted(levelled)
    centre = type_7(ordered, q)
    worth, lacking = _independent(levelled, centre, cases, loads, q, level)
    found = ranks(worth, q, level)
    if found is None:
        counts = {"prompts": case_count, "loads": load_count, "requests": n}
        reason = _too_few(lacking, counts[lacking], worth, minimum_n(q, level, two_sided=True))
        return _without(value, n, case_count, load_count, reason)
    low, high = ordered[math.floor((found[0] - 1) * n / worth)], ordered[math.ceil(found[1] * n / worth) - 1]
    moved = 0.0 if shift is None else shift.half_width(level, 0.0) * _reach(q)

    def end(bound: float, sign: int) -> float:
        if math.isinf(bound) or shift is None:
            return bound
        # Between failures there is no distance to measure from: the bound stands for itself.
        offset = sign * math.hypot(bound - centre if math.isfinite(centre) else 0.0, moved)
        if not proportional:
            return (value if math.isfinite(centre) else bound) + offset
        return (value if math.isfinite(centre) else math.exp(bound)) * exponential(offset)

    return ClusteredInterval(
        value, end(low, -1), end(high, 1), n, case_count, load_count, case_count > 1, load_count > 1
    )


def _reach(q: float) -> float:
    """Return how much more the quantile `q` of a normal sample varies than its mean: few loads are such a sample."""
    normal = NormalDist()
    return math.sqrt(q * (1 - q)) / normal.pdf(normal.inv_cdf(q))


def load_shift(values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable]) -> Components | None:
    """Return the components of what is left of `values` without their cases' medians, large residuals clipped.

    Args:
        values: One per request; infinite ones tell nothing of how fast a load was and are left out.
        cases: The case of each.
        loads: The load of each.

    Returns:
        None with one load, or where nothing can be compared.
    """
    kept = [(v, case, load) for v, case, load in zip(values, cases, loads, strict=True) if math.isfinite(v)]
    if len({load for _, _, load in kept}) < 2:
        return None
    finite, cases, loads = zip(*kept, strict=True)
    pairs = set(zip(cases, loads, strict=True))
    nested = len(pairs) == len(set(cases))
    centre = {case: median(sorted(members)) for case, members in grouped(finite, cases).items()}
    overall = median(sorted(finite))
    residuals = [v - (overall if nested else centre[case]) for v, case in zip(finite, cases, strict=True)]
    # A median of three leaves one of them without a residual; that says nothing of their spread.
    moving = sorted(abs(r) for r in residuals if r)
    if not moving:
        return None
    bound = _CLIP * _MAD_TO_SD * median(moving)
    parts = components([max(-bound, min(bound, r)) for r in residuals], cases, loads)
    # Where every request has a load of its own, there is nothing else that a load's shift could be told from.
    return parts if parts.df_within > 0 else None


def _independent(
    values: Sequence[float],
    centre: float,
    cases: Sequence[Hashable],
    loads: Sequence[Hashable],
    q: float,
    level: float,
) -> tuple[int, str]:
    """Return how many independent requests would tell as much of the quantile, and what more there should be of."""
    n = len(values)
    # A tie counts in part, so that the share below is q as far as the data allow.
    parts = components([1.0 if v < centre else q if v == centre else 0.0 for v in values], cases, loads)
    normal, one = quantile(0.5 + level / 2, math.inf), q * (1 - q)
    between_cases, between_loads = one / n, 0.0
    if parts.cases > 1:
        most = one * math.fsum(len(members) ** 2 for members in grouped(values, cases).values()) / n**2
        inflation = (quantile(0.5 + level / 2, parts.cases - 1) / normal) ** 2
        between_cases = min(most, max(between_cases, parts.between_cases * inflation))
    # Shifts are out already; what is left is loads that failed altogether.
    if parts.loads > 1 and parts.df_within > 0 and parts.among_loads > parts.within:
        inflation = (quantile(0.5 + level / 2, parts.loads - 1) / normal) ** 2
        between_loads = (parts.among_loads - parts.within) * inflation
    worth = math.floor(one / (between_cases + between_loads) + 1e-9)
    lacking = "loads" if between_loads > between_cases else "prompts" if parts.cases > 1 else "requests"
    return max(1, min(n, worth)), lacking


def _check(values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable]) -> None:
    if not len(values) == len(cases) == len(loads):
        raise ValueError(f"each value needs its case and its load: {len(values)}, {len(cases)}, {len(loads)}")
    if len(values) == 0 or any(map(math.isnan, values)):
        raise ValueError("an interval needs values, and none of them NaN")


def _without(value: float, n: int, cases: int, loads: int, reason: str) -> ClusteredInterval:
    return ClusteredInterval(value, None, None, n, cases, loads, cases > 1, loads > 1, reason)


def _too_few(noun: str, count: int, worth: int, needed: int) -> str:
    """Return in words how many there should be: `needed` that count for one each, more where they count for less."""
    return f"an interval needs about {max(needed, math.ceil(count * needed / worth))} {noun}; this figure has {count}"
