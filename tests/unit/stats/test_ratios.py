from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from audition.stats.paired import Observation, _dropped, load_difference, ratio_interval
from audition.stats.student import quantile

INF = math.inf


def rows(table: Sequence[Sequence[float]]) -> list[Observation]:
    """Return the observations of a table of a row per case and a column per load."""
    return [(case, load, value) for case, row in enumerate(table) for load, value in enumerate(row)]


def draw(cases: int, loads: int, factor: float = 1.0, seed: int = 0, shift: Sequence[float] = ()) -> list[Observation]:
    prompts = np.random.default_rng(99).lognormal(3, 1, (cases, 1))
    noise = np.random.default_rng(seed).normal(0, 0.03, (cases, loads))
    return rows((factor * prompts * np.exp(noise) * (np.array(shift) if shift else 1.0)).tolist())


def test_a_true_ratio_is_found_and_shown_although_prompts_differ_far_more() -> None:
    found = ratio_interval(draw(12, 3), draw(12, 3, 1.2, seed=1))
    assert found.low is not None and found.high is not None and found.value is not None
    assert 1 < found.low < found.value < found.high < 1.5
    assert (found.shown, found.n_cases, found.between_loads, found.reason) == (True, 12, True, None)


def test_the_mirror_image_has_the_inverse_interval() -> None:
    a, b = draw(9, 3), draw(9, 3, 1.1, seed=1)
    forth, back = ratio_interval(a, b), ratio_interval(b, a)
    assert forth.low is not None and forth.high is not None and forth.value is not None
    assert (back.value, back.low, back.high) == (
        pytest.approx(1 / forth.value),
        pytest.approx(1 / forth.high),
        pytest.approx(1 / forth.low),
    )


def test_no_difference_is_not_shown() -> None:
    found = ratio_interval(draw(12, 3), draw(12, 3, seed=1))
    assert found.low is not None and found.high is not None
    assert found.low <= 1 <= found.high and not found.shown


def test_loads_that_differ_keep_a_difference_from_being_shown() -> None:
    steady = ratio_interval(draw(12, 3), draw(12, 3, 1.1, seed=1))
    shifting = ratio_interval(draw(12, 3, shift=(1, 1.1, 0.9)), draw(12, 3, 1.1, seed=1, shift=(0.9, 1, 1.1)))
    assert steady.shown and not shifting.shown


def test_with_one_load_nothing_is_shown_and_it_says_why() -> None:
    found = ratio_interval(draw(12, 1), draw(12, 1, 1.5, seed=1))
    assert found.low is not None and found.low > 1
    assert not found.shown and not found.between_loads
    assert found.reason == "one load: a difference between loads may look like one between targets"


def test_without_loads_that_differ_it_is_wilcoxons_interval() -> None:
    # Hollander and Wolfe's Hamilton depression data (example 3.1), as differences of logarithms.
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    found = ratio_interval(rows([[math.exp(x)] for x in before]), rows([[math.exp(x)] for x in after]))
    assert found.value is not None and found.low is not None and found.high is not None
    assert math.log(found.value) == pytest.approx(-0.46)
    # 94.5 % is [-0.786, -0.010]; at 95 % and more the next means of pairs.
    walsh = sorted(
        (a + b) / 2
        for a, b in itertools.combinations_with_replacement([y - x for x, y in zip(before, after, strict=True)], 2)
    )
    assert (math.log(found.low), math.log(found.high)) == (pytest.approx(walsh[5]), pytest.approx(walsh[-6]))


@pytest.mark.parametrize(("n", "dropped"), [(5, None), (6, 0), (8, 3), (10, 8), (20, 52), (50, 434), (100, 1954)])
def test_the_ranks_are_the_tabulated_ones(n: int, dropped: int | None) -> None:
    # Critical values of the signed-rank sum at 2.5 %, one-sided: 0, 3, 8, 52, 434.
    assert _dropped(n, 0.95) == dropped


def test_three_cases_have_students_interval_of_the_logarithms() -> None:
    logs = [0.1, 0.2, 0.3]
    found = ratio_interval(rows([[1.0]] * 3), rows([[math.exp(x)] for x in logs]))
    half = quantile(0.975, 2) * 0.1 / math.sqrt(3)
    assert (found.value, found.low, found.high) == tuple(
        pytest.approx(math.exp(0.2 + side * half)) for side in (0, -1, 1)
    )


def test_too_few_cases() -> None:
    assert ratio_interval([], []).reason == "they share no case"
    assert ratio_interval(draw(3, 2), [("other", 0, 1.0)]).value is None
    one, two = ratio_interval(draw(1, 3), draw(1, 3)), ratio_interval(draw(2, 3), draw(2, 3))
    assert (one.low, one.reason) == (None, "n = 1 is too small: at least 2 more cases")
    assert (two.low, two.reason) == (None, "n = 2 is too small: at least 1 more case")


def test_cases_of_one_alone_are_left_out() -> None:
    a, b = draw(8, 2), draw(8, 2, 1.1, seed=3)
    assert (
        ratio_interval(a, [*b, ("only b", 0, 1e9)])
        == ratio_interval([*a, ("only a", 1, INF)], b)
        == ratio_interval(a, b)
    )


def test_a_target_that_fails_in_most_cases_is_slower_without_end() -> None:
    b = [(case, load, INF if case < 9 else value) for case, load, value in draw(12, 3)]
    found = ratio_interval(draw(12, 3), b)
    assert (found.value, found.high) == (INF, INF)
    back = ratio_interval(b, draw(12, 3))
    assert (back.value, back.low) == (0.0, 0.0)


def test_one_failure_among_many_repeats_is_no_more_than_that() -> None:
    b = draw(20, 3, 1.3, seed=1)
    found = ratio_interval(draw(20, 3), [(b[0][0], b[0][1], INF), *b[1:]])
    assert found.shown and found.high is not None and math.isfinite(found.high)


def test_where_both_fail_it_could_be_either() -> None:
    a = [(case, load, INF if case < 9 else value) for case, load, value in draw(12, 3)]
    b = [(case, load, INF if case < 9 else value) for case, load, value in draw(12, 3, 2.0, seed=1)]
    found = ratio_interval(a, b)
    assert found.value == pytest.approx(2, rel=0.1)
    assert (found.low, found.high, found.shown) == (0.0, INF, False)
    nothing = ratio_interval([(0, 0, INF)], [(0, 0, INF)])
    assert (nothing.value, nothing.reason) == (None, "both failed in every case that they share")


def test_failures_among_few_cases_leave_no_interval() -> None:
    b = [(case, load, INF if case < 2 else value) for case, load, value in draw(4, 2)]
    found = ratio_interval(draw(4, 2), b)
    assert (found.low, found.reason) == (None, "with failures, n = 4 is too small: at least 2 more cases")


def test_two_loads_far_apart_bound_next_to_nothing() -> None:
    # So wide that a float cannot hold the upper end.
    found = ratio_interval(draw(12, 2, shift=(1, 1e9)), draw(12, 2, shift=(1e9, 1)), level=0.9999)
    assert (found.high, found.shown) == (INF, False)


def test_thousands_of_cases() -> None:
    found = ratio_interval(draw(2500, 1), draw(2500, 1, 1.02, seed=1))
    assert found.low is not None and found.high is not None
    assert 1.015 < found.low < 1.02 < found.high < 1.025


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_ratio_of_nothing_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ratio_interval([(0, 0, 1.0)], [(0, 0, value)])


def test_a_difference_of_loads_is_welchs() -> None:
    a, b = [100.0, 101.0, 103.0], [110.0, 110.5, 111.0, 110.5]
    found = load_difference(a, b)
    va, vb = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 4
    df = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
    assert found is not None
    assert found.value == pytest.approx(np.mean(b) - np.mean(a))
    assert found.high - found.value == pytest.approx(quantile(0.975, df) * math.sqrt(va + vb))
    assert found.value - found.low == pytest.approx(found.high - found.value)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([1.0, 1.0], [2.0, 2.0]), ([], [])])
def test_loads_that_tell_nothing_of_how_loads_vary_have_no_interval(a: list[float], b: list[float]) -> None:
    assert load_difference(a, b) is None
