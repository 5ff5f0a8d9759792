from __future__ import annotations

import math
import random

import numpy as np
import pytest

from audition.stats.quantiles import estimate, median, minimum_n, ranks, shortfall

INF = math.inf


@pytest.mark.parametrize(("q", "n"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_the_smallest_sample_that_bounds_a_quantile(q: float, n: int) -> None:
    assert minimum_n(q) == n
    # By its definition: the largest of n values is above the quantile with probability 1 - q**n.
    assert 1 - q**n >= 0.95 > 1 - q ** (n - 1)


@pytest.mark.parametrize(("q", "n"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.05, 72)])
def test_the_smallest_sample_with_both_ends(q: float, n: int) -> None:
    assert minimum_n(q, two_sided=True) == n
    assert ranks(n, q) is not None and ranks(n - 1, q) is None


def test_what_a_sample_lacks_is_said() -> None:
    assert shortfall(50, 0.95) == "n = 50 is too small: at least 9 more"
    assert shortfall(59, 0.95, two_sided=True) == "n = 59 is too small: at least 13 more"
    assert shortfall(59, 0.95) is shortfall(72, 0.95, two_sided=True) is None


def test_the_median_of_sorted_values() -> None:
    assert [median([1, 2, 9]), median([1, 2, 4, 9]), median([1, INF])] == [2, 3, INF]


@pytest.mark.parametrize(("q", "level", "n"), [(0.75, 0.578125, 3), (0.2, 0.9984, 4), (0.1, 0.9, 1)])
def test_a_bound_that_is_met_exactly_is_not_rounded_up(q: float, level: float, n: int) -> None:
    assert minimum_n(q, level) == n


@pytest.mark.parametrize("q", [0.05, 0.5, 0.75, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 3, 9, 20, 21, 101])
def test_the_value_is_numpys_default_quantile(q: float, n: int) -> None:
    values = np.random.default_rng(n).lognormal(5, 1, n)
    assert estimate(values.tolist(), q).value == pytest.approx(np.quantile(values, q), rel=1e-12)


def test_the_value_by_hand() -> None:
    # Type 7: position q * (n - 1) from 0, so p75 of four values lies a quarter of the way from the third to the fourth.
    assert estimate([10, 40, 20, 30], 0.75).value == 32.5
    assert estimate([3, 1, 2], 0.5).value == 2


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(5, None, None), (6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (20, 6, 15), (100, 40, 61)],
)
def test_the_ranks_of_the_medians_interval_are_the_tabulated_ones(n: int, low: int | None, high: int | None) -> None:
    found = estimate(range(1, n + 1), 0.5)
    assert (found.low, found.high, found.n) == (low, high, n)


def test_a_p95_has_an_upper_bound_from_72_values_on() -> None:
    assert estimate(range(71), 0.95).high is None
    assert estimate(range(72), 0.95).high == 71


def test_the_level_can_be_chosen() -> None:
    assert estimate(range(1, 6), 0.5, level=0.9).low == 1
    assert estimate(range(1, 11), 0.5, level=0.99).low == 1


def test_a_failure_among_the_values_moves_the_median_like_a_very_slow_request() -> None:
    slow = estimate([1, 2, 3, 4, 5, 6, 1e9], 0.5)
    failed = estimate([1, 2, 3, 4, 5, 6, INF], 0.5)
    assert (failed.value, failed.low, failed.high) == (slow.value, slow.low, INF)


@pytest.mark.parametrize("n", [5, 6, 7, 10])
def test_the_median_is_finite_while_failures_are_fewer_than_half(n: int) -> None:
    for failures in range(n + 1):
        found = estimate([float(i) for i in range(n - failures)] + [INF] * failures, 0.5)
        assert math.isfinite(found.value) == (failures < n / 2), failures


def test_between_a_number_and_a_failure_lies_a_failure() -> None:
    assert estimate([1, 2, INF, INF], 0.5).value == INF
    # But a position that falls on a number is that number, whatever comes after it.
    assert estimate([1, 2, INF], 0.5).value == 2


def test_nothing_but_failures() -> None:
    found = estimate([INF] * 8, 0.5)
    assert (found.value, found.low, found.high, found.n) == (INF, INF, INF, 8)


@pytest.mark.parametrize("failures", range(9))
def test_there_is_never_a_nan(failures: int) -> None:
    for q in (0.01, 0.25, 0.5, 0.75, 0.95, 0.99):
        found = estimate([5.0] * (8 - failures) + [INF] * failures, q)
        assert not any(math.isnan(x) for x in (found.value, found.low, found.high) if x is not None)


def test_the_order_of_the_values_is_no_matter() -> None:
    values = [float(i**2 % 37) for i in range(40)] + [INF]
    shuffled = random.Random(3).sample(values, len(values))
    assert estimate(shuffled, 0.5) == estimate(values, 0.5)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.nan]])
def test_no_values_or_nan_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="quantile needs values"):
        estimate(values, 0.5)
