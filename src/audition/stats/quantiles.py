"""Quantiles of small samples, with distribution-free intervals from order statistics.

One definition everywhere: Hyndman and Fan's type 7 (The American Statistician 50, 1996), which is numpy's default.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

METHOD = "Hyndman-Fan type 7; intervals from order statistics (binomial), 95 %"


@dataclass(frozen=True, slots=True)
class QuantileEstimate:
    """A quantile with its interval.

    Attributes:
        value: Infinite when so many requests failed that the quantile falls among them.
        low: Lower end of the two-sided interval, None when the sample is too small for one.
        high: Upper end, likewise; infinite when failures leave no bound.
    """

    value: float
    low: float | None
    high: float | None
    n: int


def minimum_n(q: float, level: float = 0.95, *, two_sided: bool = False) -> int:
    """Return the smallest sample in which order statistics bound the quantile `q`.

    The maximum of n values exceeds the quantile with probability `1 - q**n` (n = 59 for q = 0.95). A two-sided
    interval may miss half as often at each end (n = 72).

    Args:
        q: The quantile, between 0 and 1, both excluded.
        level: The confidence.
        two_sided: Whether both ends are needed, or an upper bound alone.
    """
    missed = (1 - level) / 2 if two_sided else 1 - level
    extreme = max(q, 1 - q) if two_sided else q
    return math.ceil(round(math.log(missed) / math.log(extreme), 9))


def shortfall(n: int, q: float, level: float = 0.95, *, two_sided: bool = False) -> str | None:
    """Return what a sample of `n` lacks to bound the quantile `q`, in words; None when it is large enough."""
    missing = minimum_n(q, level, two_sided=two_sided) - n
    return f"n = {n} is too small: at least {missing} more" if missing > 0 else None


def median(ordered: Sequence[float]) -> float:
    """Return the median of sorted values (type 7); between a number and a failure lies a failure."""
    upper = len(ordered) // 2
    return ordered[upper] if len(ordered) % 2 else ordered[upper - 1] / 2 + ordered[upper] / 2


def ranks(n: int, q: float, level: float = 0.95) -> tuple[int, int] | None:
    """Return the ranks (from 1) of the values that bound the quantile `q` of `n` independent ones; None if too few."""
    low, high = _ranks(n, q, 1 - level)
    return None if low is None or high is None else (low, high)


def estimate(values: Sequence[float], q: float, level: float = 0.95) -> QuantileEstimate:
    """Return the quantile `q` of `values` and its two-sided interval.

    Args:
        values: Any order; a failed request counts as `math.inf`. At least one value.
        q: Between 0 and 1, both excluded.
        level: The confidence of the interval; order statistics make it at least that.

    Raises:
        ValueError: There are no values, or one is NaN.
    """
    ordered = sorted(values)
    if not ordered or any(math.isnan(value) for value in ordered):
        raise ValueError("a quantile needs values, and none of them NaN")
    low, high = _ranks(len(ordered), q, 1 - level)
    return QuantileEstimate(
        value=type_7(ordered, q),
        low=None if low is None else ordered[low - 1],
        high=None if high is None else ordered[high - 1],
        n=len(ordered),
    )


def type_7(ordered: Sequence[float], q: float) -> float:
    """Return the quantile `q` of sorted values; between a number and a failure lies a failure."""
    import numpy as np

    finite = [value for value in ordered if math.isfinite(value)]
    if len(finite) == len(ordered):
        return float(np.quantile(np.asarray(ordered), q, method="linear"))
    position = q * (len(ordered) - 1)
    below, above = ordered[math.floor(position)], ordered[math.ceil(position)]
    if below == above:
        return below
    return math.inf if math.isinf(above) else below + (position - math.floor(position)) * (above - below)


@functools.lru_cache(maxsize=1024)  # a run has the same few n again and again
def _ranks(n: int, q: float, alpha: float) -> tuple[int | None, int | None]:
    """Return the ranks (from 1) of the order statistics that bound the quantile, each missed with alpha/2 at most."""
    # P(X_(r) <= quantile) needs the number of values below the quantile, which is Binomial(n, q).
    cumulative, below = [], 0.0
    for k in range(n + 1):
        below += math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(q)
            + (n - k) * math.log1p(-q)
        )
        cumulative.append(below)
    low = max((r for r in range(1, n + 1) if cumulative[r - 1] <= alpha / 2), default=None)
    high = min((r for r in range(1, n + 1) if cumulative[r - 1] >= 1 - alpha / 2), default=None)
    return low, high
