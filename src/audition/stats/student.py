"""Student's t distribution, without a dependency that would be a hundred times the size of this package."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_PRECISION = 1e-15


def tail(t: float, df: float) -> float:
    """Return P(T > t) for t >= 0 and `df` > 0 degrees of freedom, which need not be whole.

    Half the regularised incomplete beta function I_x(df/2, 1/2) at x = df / (df + t**2) (Abramowitz & Stegun 26.7.1).
    """
    return 0.5 * _incomplete_beta(df / (df + t * t), df / 2, 0.5)


@lru_cache(maxsize=4096)
def quantile(p: float, df: float) -> float:
    """Return the value that a t-distributed variable stays below with probability `p`.

    Newton's method for log(tail) over log(t), which is nearly a straight line; it agrees with printed tables to the
    last digit from half a degree of freedom on.

    Args:
        p: Between 0 and 1, both excluded.
        df: Degrees of freedom, above 0; `math.inf` is the normal distribution.

    Raises:
        ValueError: `p` or `df` is out of range.
    """
    if not 0 < p < 1 or not df > 0:
        raise ValueError(f"a t quantile needs 0 < p < 1 and degrees of freedom above 0: {p}, {df}")
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -quantile(1 - p, df)
    if math.isinf(df):
        return NormalDist().inv_cdf(p)
    target = math.log(1 - p)
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    x = math.log(NormalDist().inv_cdf(p))
    for _ in range(100):
        t = math.exp(x)
        above = tail(t, df)
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        step = (math.log(above) - target) * above / (density * t)
        x += max(-2.0, min(2.0, step))
        if abs(step) < 1e-14:
            break
    return math.exp(x)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return I_x(a, b) by its continued fraction (Lentz's method; Numerical Recipes, 6.4)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # The fraction converges fast on this side of the mean only; the other side is its mirror image.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return result
