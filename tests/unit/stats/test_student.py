from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from audition.stats.student import quantile, tail


# Abramowitz and Stegun, table 26.10, and NIST/SEMATECH e-Handbook 1.3.6.7.2.
@pytest.mark.parametrize(
    ("p", "df", "t"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 10, 2.228),
        (0.975, 30, 2.042),
        (0.975, 120, 1.980),
        (0.95, 5, 2.015),
        (0.995, 4, 4.604),
        (0.999, 2, 22.327),
        (0.9, 7, 1.415),
    ],
)
def test_the_tabulated_values(p: float, df: int, t: float) -> None:
    assert quantile(p, df) == pytest.approx(t, abs=5e-4)


@pytest.mark.parametrize("p", [0.501, 0.6, 0.9, 0.975, 0.999, 0.999999])
def test_one_and_two_degrees_of_freedom_have_closed_forms(p: float) -> None:
    assert quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-9)
    assert quantile(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))), rel=1e-9)


@pytest.mark.parametrize("df", [0.5, 1.3, 2.7, 8, 100, 1e6])
@pytest.mark.parametrize("p", [0.51, 0.75, 0.975, 0.9999])
def test_it_is_the_inverse_of_the_tail(p: float, df: float) -> None:
    assert tail(quantile(p, df), df) == pytest.approx(1 - p, rel=1e-9)


def test_it_is_symmetric_about_0() -> None:
    assert quantile(0.025, 7) == -quantile(0.975, 7)
    assert quantile(0.5, 7) == 0


def test_many_degrees_of_freedom_are_the_normal_distribution() -> None:
    normal = NormalDist().inv_cdf(0.975)
    assert quantile(0.975, math.inf) == normal
    assert quantile(0.975, 1e8) == pytest.approx(normal, rel=1e-7)


@pytest.mark.parametrize(("p", "df"), [(0, 3), (1, 3), (0.9, 0), (0.9, -1), (math.nan, 3), (0.9, math.nan)])
def test_what_has_no_quantile_is_refused(p: float, df: float) -> None:
    with pytest.raises(ValueError, match="t quantile"):
        quantile(p, df)
