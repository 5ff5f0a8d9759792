from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest

from audition.stats import quantiles
from audition.stats.clusters import (
    ClusteredInterval,
    mean_interval,
    median_interval,
    quantile_interval,
    relative_half_width,
)
from audition.stats.student import quantile

INF = math.inf


def design(cases: int, loads: int) -> tuple[list[int], list[int]]:
    return np.repeat(np.arange(cases), loads).tolist(), np.tile(np.arange(loads), cases).tolist()


def draw(cases: int, loads: int, between: float, shift: float = 0.0, seed: int = 0) -> list[float]:
    rng = np.random.default_rng(seed)
    logs = rng.normal(0, between, (cases, 1)) + rng.normal(0, shift, loads) + rng.normal(0, 0.05, (cases, loads))
    return (100 * np.exp(logs)).ravel().tolist()  # type: ignore[no-any-return]


def width(found: ClusteredInterval) -> float:
    assert found.low is not None and found.high is not None
    return found.high - found.low


def test_the_mean_of_symmetric_cases_has_students_interval() -> None:
    values = [-2.0, -1.0, 0.0, 1.0, 2.0]
    found = mean_interval(values, range(5), [0] * 5)
    half = quantile(0.975, 4) * float(np.std(values, ddof=1)) / math.sqrt(5)
    assert (found.value, found.low, found.high) == (0, pytest.approx(-half), pytest.approx(half))
    assert (found.n, found.cases, found.loads) == (5, 5, 1)
    assert (found.between_cases, found.between_loads, found.reason) == (True, False, None)


def test_the_means_interval_reaches_further_towards_the_tail() -> None:
    found = mean_interval([1.0, 1.0, 2.0, 2.0, 3.0, 20.0], range(6), [0] * 6)
    assert found.low is not None and found.high is not None
    assert found.high - found.value > 1.5 * (found.value - found.low)
    assert found.low >= 0


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_asking_the_same_cases_again_says_nothing_new_about_other_cases(interval) -> None:  # type: ignore[no-untyped-def]
    once = draw(12, 1, between=1.0)
    again = np.repeat(once, 20).tolist()
    first, second = interval(once, *design(12, 1)), interval(again, *design(12, 20))
    assert (second.low, second.high) == (pytest.approx(first.low), pytest.approx(first.high))


def test_like_cases_count_for_all_their_requests() -> None:
    cases, loads = design(12, 12)
    values = draw(12, 12, between=0.0)
    as_if_independent = quantiles.estimate(values, 0.5)
    assert as_if_independent.low is not None and as_if_independent.high is not None
    assert width(median_interval(values, cases, loads)) < 2 * (as_if_independent.high - as_if_independent.low)


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_loads_that_differ_widen_it(interval) -> None:  # type: ignore[no-untyped-def]
    cases, loads = design(30, 3)
    alike = draw(30, 3, between=0.1)
    shifted = [v * (1.0, 1.1, 1.2)[load] for v, load in zip(alike, loads, strict=True)]
    assert width(interval(shifted, cases, loads)) > 3 * width(interval(alike, cases, loads))
    assert interval(shifted, cases, loads).between_loads


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_one_load_is_said(interval) -> None:  # type: ignore[no-untyped-def]
    found = interval(draw(8, 1, 0.3), *design(8, 1))
    assert found.low is not None and not found.between_loads and found.between_cases
    one_case = interval(draw(1, 8, 0.3), *design(1, 8))
    assert one_case.low is not None and one_case.between_loads and not one_case.between_cases


def test_the_median_of_one_request_a_case_has_the_tabulated_ranks() -> None:
    for n, low, high in ((6, 1, 6), (9, 2, 8), (20, 6, 15), (100, 40, 61)):
        found = median_interval([float(i) for i in range(1, n + 1)], range(n), [0] * n)
        assert (found.low, found.high) == (low, high)


def test_one_case_asked_once_a_load_has_the_tabulated_ranks_too() -> None:
    found = median_interval([float(i) for i in range(1, 10)], [0] * 9, range(9))
    assert (found.low, found.high) == (2, 8)


def test_five_cases_that_differ_carry_no_median_and_the_reason_says_how_many_more() -> None:
    found = median_interval(draw(5, 4, between=1.0), *design(5, 4))
    assert (found.low, found.high) == (None, None)
    assert found.reason == "an interval needs about 6 prompts; this figure has 5"
    assert found.value > 0


def test_a_p95_needs_72_that_are_independent() -> None:
    assert quantile_interval(draw(72, 1, 1.0), *design(72, 1), q=0.95).high is not None
    few = quantile_interval(draw(24, 3, 1.0), *design(24, 3), q=0.95)
    assert few.high is None and few.reason is not None
    assert few.reason == "an interval needs about 72 prompts; this figure has 24"


def test_failures_are_slower_than_anything() -> None:
    values = draw(12, 3, 0.5)
    values[0] = values[7] = INF
    found = median_interval(values, *design(12, 3))
    assert math.isfinite(found.value) and found.high is not None and found.low is not None
    mean = mean_interval(values, *design(12, 3))
    assert (mean.value, mean.low, mean.high) == (INF, None, None)
    assert mean.reason == "failed requests have no mean"


def test_half_the_requests_failed() -> None:
    values = [INF if i % 2 else 5.0 + i for i in range(40)]
    found = median_interval(values, *design(40, 1))
    assert (found.value, found.high) == (INF, INF)
    assert found.low is not None and math.isfinite(found.low)
    everything = median_interval([INF] * 24, *design(8, 3))
    assert (everything.value, everything.low, everything.high) == (INF, INF, INF)


def test_a_load_that_failed_altogether_is_not_24_failures() -> None:
    cases, loads = design(24, 3)
    values = [INF if load == 2 else v for v, load in zip(draw(24, 3, 0.0), loads, strict=True)]
    found = median_interval(values, cases, loads)
    assert found.low is None and found.reason is not None and found.reason.endswith(" loads; this figure has 3")


def test_the_reason_never_asks_for_what_is_there() -> None:
    one = median_interval([1.0, 2.0, 3.0], ["a"] * 3, range(3))
    assert one.reason == "an interval needs about 6 requests; this figure has 3"
    # Eight prompts, two of them asked twenty times as often as the others, are worth fewer than six.
    values = [1.0] * 20 + [9.0] * 20 + [5.0] * 6
    uneven = median_interval(values, [0] * 20 + [1] * 20 + list(range(2, 8)), [0] * 46)
    assert uneven.reason is not None
    needed, there = (int(word) for word in re.findall(r"\d+", uneven.reason))
    assert needed > there == 8


def test_values_that_may_be_0_are_shifted_by_difference() -> None:
    values = [0.0, 1.0, 2.0] * 12
    found = median_interval(values, *design(12, 3))
    assert found.low is not None and found.high is not None and found.low <= 1 <= found.high


def test_one_request_shows_no_spread() -> None:
    found = mean_interval([3.0], ["a"], [0])
    assert (found.value, found.low) == (3.0, None)
    assert found.reason == "one request shows no spread: at least 1 more"


@pytest.mark.parametrize("interval", [mean_interval, median_interval])
def test_what_has_no_interval_is_refused(interval) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="needs values"):
        interval([], [], [])
    with pytest.raises(ValueError, match="none of them NaN"):
        interval([1.0, math.nan], [0, 1], [0, 0])
    with pytest.raises(ValueError, match="its case and its load"):
        interval([1.0, 2.0], [0], [0, 0])


@dataclass(frozen=True)
class Ends:
    value: float | None
    low: float | None
    high: float | None


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (Ends(10, 9, 11), 0.1),
        (Ends(-10, -12, -8), 0.2),
        (Ends(10, None, 11), None),
        (Ends(10, 9, INF), None),
        (Ends(INF, 9, INF), None),
        (Ends(0, -1, 1), None),
        (Ends(None, None, None), None),
    ],
)
def test_the_relative_half_width(ends: Ends, expected: float | None) -> None:
    found = relative_half_width(ends)
    assert found == (None if expected is None else pytest.approx(expected))
