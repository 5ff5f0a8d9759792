"""Rates and mean scores between 0 and 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean between 0 and 1 with its interval; `n` is the number of independent cases behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(mean: float, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval (JASA 22, 1927) of a rate.

    A mean of scores between 0 and 1 varies at most as much as a rate of the same size, so for such a mean the
    interval is on the safe side.

    Args:
        mean: Between 0 and 1.
        n: Independent cases, at least 1.
        level: Confidence.

    Raises:
        ValueError: `mean` or `n` is out of range.
    """
    if not 0 <= mean <= 1 or n < 1:
        raise ValueError(f"a rate lies between 0 and 1 and has a sample: {mean}, {n}")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return Interval(mean, max(0.0, centre - half), min(1.0, centre + half), n)
