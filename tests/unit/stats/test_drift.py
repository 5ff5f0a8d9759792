from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from audition.stats.drift import drift_test

INF = math.inf


def test_a_steady_rise_is_found_with_its_size() -> None:
    times = [float(i) for i in range(40)]
    noise = np.random.default_rng(0).normal(0, 0.01, 40)
    found = drift_test(times, [100 * (1 + 0.2 * t / 39 + e) for t, e in zip(times, noise, strict=True)])
    assert found.low is not None and found.high is not None and found.p is not None
    # In parts of the median, which lies half-way up.
    assert found.change == pytest.approx(0.2 / 1.1, rel=0.1)
    assert 0.1 < found.low < found.high < 0.25
    assert found.p < 1e-6
    assert (found.n, found.reason) == (40, None)


def test_different_prompts_do_not_look_like_a_trend() -> None:
    # The slow prompts come last in each round; nothing drifts.
    rng = np.random.default_rng(1)
    groups = [i % 10 for i in range(50)]
    values = [100.0 * 2**g * float(np.exp(rng.normal(0, 0.02))) for g in groups]
    found = drift_test(range(50), values, groups)
    assert found.p is not None and found.p > 0.05
    slower = drift_test(range(50), [v * (1 + 0.004 * i) for i, v in enumerate(values)], groups)
    assert slower.p is not None and slower.p < 0.01
    assert slower.change == pytest.approx(0.18, abs=0.05)


def test_p_is_exact_for_small_samples() -> None:
    values = [3.0, 1.0, 4.0, 2.0, 7.0, 5.0, 8.0, 6.0]

    def s(order: tuple[float, ...]) -> int:
        return sum((b > a) - (b < a) for a, b in itertools.combinations(order, 2))

    as_extreme = [abs(s(order)) >= abs(s(tuple(values))) for order in itertools.permutations(values)]
    assert drift_test(range(8), values).p == pytest.approx(np.mean(as_extreme))


def test_p_is_exact_over_groups() -> None:
    # Two groups of four in perfect order: one in 24 each, either way.
    values = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]
    assert drift_test(range(8), values, [0, 1] * 4).p == pytest.approx(2 / 24**2)


def test_the_normal_approximation_with_ties_by_hand() -> None:
    values = [10.0, 22.0, 21.0, 30.0, 22.0, 30.0, 40.0, 40.0]
    # Three pairs of equal values.
    variance = (8 * 7 * 21 - 3 * 2 * 1 * 9) / 18
    s = sum((b > a) - (b < a) for a, b in itertools.combinations(values, 2))
    z = (s - 1) / math.sqrt(variance)
    assert drift_test(range(8), values).p == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_the_unit_of_time_and_of_the_values_is_no_matter() -> None:
    rng = np.random.default_rng(3)
    values = rng.lognormal(0, 0.1, 30)
    first = drift_test(range(30), values.tolist())
    second = drift_test([5.0 + 8 * i for i in range(30)], (4 * values).tolist())
    assert second == first


@pytest.mark.parametrize("n", [0, 1, 7])
def test_fewer_than_eight_say_nothing(n: int) -> None:
    found = drift_test(range(n), [1.0 + i for i in range(n)])
    assert (found.change, found.p, found.n) == (None, None, n if n > 1 else 0)
    assert found.reason == f"n = {found.n} is too small: at least {8 - found.n} more"


def test_prompts_asked_once_cannot_be_compared() -> None:
    found = drift_test(range(20), [1.0 + i for i in range(20)], range(20))
    assert (found.change, found.n) == (None, 0)


def test_values_that_are_all_the_same_have_no_trend_to_test() -> None:
    found = drift_test(range(10), [3.0] * 10)
    assert found.p is None and found.reason is not None
    assert drift_test([1.0] * 10, [float(i) for i in range(1, 11)]).p is None


def test_failures_at_the_end_are_a_rise() -> None:
    values = [100.0 + (i * 7) % 5 for i in range(30)] + [INF] * 12
    found = drift_test(range(42), values)
    assert found.p is not None and found.p < 0.001
    assert found.high is not None and found.low is not None and found.low > 0
    mostly = drift_test(range(20), [1.0] * 5 + [INF] * 15)
    assert (mostly.change, mostly.n) == (None, 0)


def test_long_runs_stay_quick_and_right() -> None:
    n = 20_000
    noise = np.random.default_rng(4).normal(0, 0.05, n)
    found = drift_test(range(n), (1 + 0.1 * np.arange(n) / n + noise).tolist())
    assert found.change == pytest.approx(0.1 / 1.05, rel=0.05)
    assert found.p is not None and found.p < 1e-9


def test_long_runs_of_many_prompts_too() -> None:
    n = 30_000
    noise = np.random.default_rng(5).normal(0, 0.05, n)
    found = drift_test(range(n), (1 + 0.1 * np.arange(n) / n + noise).tolist(), [i % 30 for i in range(n)])
    assert found.change == pytest.approx(0.1 / 1.05, rel=0.1)
    assert found.n == n


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ValueError, match="its time and its group"):
        drift_test([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="above 0"):
        drift_test([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="finite times"):
        drift_test([1.0, INF], [1.0, 2.0])
