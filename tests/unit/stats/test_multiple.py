from __future__ import annotations

import math

import pytest

from audition.stats.multiple import holm, pairs_with_best


def test_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03; the last is raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_one_comparison_is_not_corrected() -> None:
    assert holm([0.03]) == (0.03,)


def test_none_is_none() -> None:
    assert holm([]) == ()


def test_nothing_is_more_than_certain() -> None:
    assert holm([0.9, 0.8, 0.7]) == (1.0, 1.0, 1.0)


def test_comparisons_left_out_count_as_showing_nothing() -> None:
    assert holm([0.01, 0.02], among=3) == pytest.approx(holm([0.01, 0.02, 1.0])[:2])


@pytest.mark.parametrize(("others", "pairs"), [(0, 0), (1, 1), (2, 3), (7, 28)])
def test_looking_for_the_best_compares_every_pair(others: int, pairs: int) -> None:
    assert pairs_with_best(others) == pairs == math.comb(others + 1, 2)


@pytest.mark.parametrize("p_values", [[-0.1], [1.1], [math.nan]])
def test_what_is_no_p_value_is_refused(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(p_values)


def test_more_than_they_were_chosen_from_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot come from"):
        holm([0.1, 0.2], among=1)
