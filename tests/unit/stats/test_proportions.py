from __future__ import annotations

import math

import pytest

from audition.stats.proportions import wilson


# Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_published_values(hits: int, n: int, low: float, high: float) -> None:
    found = wilson(hits / n, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert (found.value, found.n) == (hits / n, n)


def test_the_ends_solve_wilsons_equation() -> None:
    found = wilson(0.7, 10)
    for end in (found.low, found.high):
        assert abs(0.7 - end) / math.sqrt(end * (1 - end) / 10) == pytest.approx(1.959964, abs=1e-5)


def test_the_mirror_image_has_the_mirrored_interval() -> None:
    a, b = wilson(0.2, 15), wilson(0.8, 15)
    assert (a.low, a.high) == (pytest.approx(1 - b.high), pytest.approx(1 - b.low))


def test_all_right_is_not_certainly_perfect() -> None:
    found = wilson(1.0, 9)
    assert found.high == pytest.approx(1.0)
    assert found.low == pytest.approx(0.7009, abs=1e-4)


def test_more_cases_and_less_confidence_make_it_narrower() -> None:
    def width(n: int, level: float = 0.95) -> float:
        found = wilson(0.5, n, level)
        return found.high - found.low

    assert width(10) > width(40) > width(1000)
    assert width(10, 0.99) > width(10) > width(10, 0.5)


@pytest.mark.parametrize(("mean", "n"), [(-0.01, 5), (1.01, 5), (0.5, 0), (math.nan, 5)])
def test_what_is_no_rate_is_refused(mean: float, n: int) -> None:
    with pytest.raises(ValueError, match="a rate lies between 0 and 1"):
        wilson(mean, n)
