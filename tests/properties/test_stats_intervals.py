"""What holds for intervals of arbitrary samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.stats.clusters import ClusteredInterval, mean_interval, median_interval, quantile_interval
from audition.stats.drift import drift_test
from audition.stats.multiple import holm
from audition.stats.paired import Ratio, bounded_difference, ratio_interval
from audition.stats.student import quantile

Row = tuple[int, int, float]
latency = st.floats(0.001, 1e6) | st.sampled_from([1.0, 2.0])
request = st.tuples(st.integers(0, 9), st.integers(0, 3), latency)
requests = st.lists(request, min_size=1, max_size=60)
maybe_failed = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 3), latency | st.just(math.inf)), min_size=1, max_size=60
)
Interval = Callable[..., ClusteredInterval]


def p95(*arguments: Any, **options: Any) -> ClusteredInterval:
    return quantile_interval(*arguments, q=0.95, **options)


intervals = pytest.mark.parametrize("interval", [mean_interval, median_interval, p95])


def of(interval: Interval, rows: list[Row], level: float = 0.95) -> ClusteredInterval:
    return interval([row[2] for row in rows], [row[0] for row in rows], [row[1] for row in rows], level=level)


def ends(found: ClusteredInterval | Ratio) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


@intervals
@given(maybe_failed)
def test_the_value_lies_in_its_interval_and_without_one_there_is_a_reason(interval: Interval, rows: list[Row]) -> None:
    found = of(interval, rows)
    assert not math.isnan(found.value)
    if (bounds := ends(found)) is None:
        assert found.low is None and found.high is None and found.reason
    else:
        assert not any(map(math.isnan, bounds))
        # The last digits belong to the logarithm.
        assert bounds[0] <= found.value * (1 + 1e-9) and found.value <= bounds[1] * (1 + 1e-9)


@intervals
@given(maybe_failed, st.randoms(use_true_random=False))
def test_the_order_of_the_requests_changes_no_digit(interval: Interval, rows: list[Row], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert of(interval, shuffled) == of(interval, rows)


@intervals
@given(maybe_failed)
def test_names_of_cases_and_loads_are_no_matter(interval: Interval, rows: list[Row]) -> None:
    renamed = [(f"case {9 - case}", ("load", load), value) for case, load, value in rows]
    assert of(interval, renamed) == of(interval, rows)  # type: ignore[arg-type]


@intervals
@given(requests, st.sampled_from([0.001, 0.5, 1000.0]))
def test_the_unit_is_no_matter(interval: Interval, rows: list[Row], unit: float) -> None:
    found, scaled = of(interval, rows), of(interval, [(case, load, unit * value) for case, load, value in rows])
    assert scaled.value == pytest.approx(unit * found.value)
    bounds = ends(found)
    if interval is mean_interval and bounds is not None:
        assert ends(scaled) == pytest.approx((unit * bounds[0], unit * bounds[1]), rel=1e-6, abs=1e-6 * unit)


@given(st.lists(latency, min_size=1, max_size=90), st.sampled_from([0.5, 0.25, 1024.0]))
def test_the_unit_is_no_matter_to_the_last_digit_with_one_load(values: list[float], unit: float) -> None:
    found = of(median_interval, [(case, 0, value) for case, value in enumerate(values)])
    scaled = of(median_interval, [(case, 0, unit * value) for case, value in enumerate(values)])
    assert scaled.value == unit * found.value
    bounds = ends(found)
    assert ends(scaled) == (None if bounds is None else (unit * bounds[0], unit * bounds[1]))


@intervals
@given(requests)
def test_more_confidence_is_wider(interval: Interval, rows: list[Row]) -> None:
    narrow, wide = ends(of(interval, rows, level=0.8)), ends(of(interval, rows, level=0.95))
    if wide is not None:
        assert narrow is not None
        assert wide[0] <= narrow[0] * (1 + 1e-9) and narrow[1] <= wide[1] * (1 + 1e-9)


@intervals
@given(maybe_failed, st.integers(0, 59))
def test_a_failure_more_never_makes_it_faster(interval: Interval, rows: list[Row], index: int) -> None:
    failed = list(rows)
    case, load, _ = failed[index % len(rows)]
    failed[index % len(rows)] = (case, load, math.inf)
    assert of(interval, failed).value >= of(interval, rows).value


@given(st.lists(latency | st.just(math.inf), min_size=1, max_size=60), st.integers(0, 59))
def test_of_one_load_a_failure_more_never_lowers_an_upper_bound(values: list[float], index: int) -> None:
    rows = [(case, 0, value) for case, value in enumerate(values)]
    failed = list(rows)
    failed[index % len(rows)] = (index % len(rows), 0, math.inf)
    before, after = ends(of(median_interval, rows)), ends(of(median_interval, failed))
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after[1] >= before[1] and after[0] >= before[0]


@given(requests, requests, st.randoms(use_true_random=False))
def test_a_comparison_has_no_order(a: list[Row], b: list[Row], random: Any) -> None:
    found = ratio_interval(a, b)
    other_a, other_b = list(a), list(b)
    random.shuffle(other_a)
    random.shuffle(other_b)
    assert ratio_interval(other_a, other_b) == found


@given(maybe_failed, maybe_failed)
def test_a_ratio_lies_in_its_interval_and_is_shown_only_outside_1(a: list[Row], b: list[Row]) -> None:
    found = ratio_interval(a, b)
    bounds = ends(found)
    if bounds is None:
        assert found.reason and not found.shown
        return
    assert found.value is not None and not any(map(math.isnan, (found.value, *bounds)))
    assert bounds[0] <= found.value * (1 + 1e-9) and found.value <= bounds[1] * (1 + 1e-9)
    assert not (found.shown and bounds[0] <= 1 <= bounds[1])


@given(requests, requests)
def test_a_ratio_the_other_way_round_is_the_inverse(a: list[Row], b: list[Row]) -> None:
    forth, back = ratio_interval(a, b), ratio_interval(b, a)
    assert (forth.value is None) == (back.value is None) and forth.shown == back.shown
    if (bounds := ends(forth)) is not None and bounds[0] > 1e-300 and bounds[1] < 1e300:
        assert ends(back) == pytest.approx((1 / bounds[1], 1 / bounds[0]), rel=1e-6)


@given(requests)
def test_a_target_is_no_better_than_itself(rows: list[Row]) -> None:
    assert not ratio_interval(rows, rows).shown


weighted = st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-3, 1e3)), min_size=1, max_size=60)


@given(weighted, st.randoms(use_true_random=False))
def test_a_bounded_difference_has_a_width_holds_its_mean_and_has_a_mirror(
    cases: list[tuple[float, float]], random: Any
) -> None:
    differences, weights = [d for d, _ in cases], [w for _, w in cases]
    found = bounded_difference(differences, weights)
    assert -1 <= found.low < found.high <= 1
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    mirrored = bounded_difference([-d for d in differences], weights)
    assert (mirrored.low, mirrored.high) == (-found.high, -found.low)
    random.shuffle(cases)
    shuffled = bounded_difference([d for d, _ in cases], [w for _, w in cases])
    assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high))


@given(st.lists(st.floats(0, 1), max_size=12))
def test_adjusting_keeps_the_order_and_lowers_nothing(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    ranked = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


@given(st.floats(0.01, 0.99), st.floats(0.5, 1e4), st.floats(1.01, 10))
def test_students_quantile_is_monotone(p: float, df: float, factor: float) -> None:
    assert quantile(p, df) <= quantile(p + (1 - p) / 2, df)
    # Fewer degrees of freedom, heavier tails.
    assert abs(quantile(p, df)) >= abs(quantile(p, df * factor)) * (1 - 1e-9)


@given(st.lists(st.tuples(st.integers(0, 50), latency | st.just(math.inf), st.integers(0, 4)), max_size=50))
def test_a_trend_backwards_is_the_opposite(rows: list[tuple[int, float, int]]) -> None:
    times, values, groups = [t for t, _, _ in rows], [v for _, v, _ in rows], [g for _, _, g in rows]
    found, back = drift_test(times, values, groups), drift_test([-t for t in times], values, groups)
    assert found.p == back.p and found.n == back.n
    if found.change is not None and found.low is not None and found.high is not None:
        assert 0 < (found.p or 0) <= 1
        assert found.low <= found.change <= found.high
