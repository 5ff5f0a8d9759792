from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from audition.stats.components import Components, components
from audition.stats.student import quantile


def split(table: list[list[float]]) -> Components:
    """Split a table of a row per case and a column per load."""
    cells = [(value, case, load) for case, row in enumerate(table) for load, value in enumerate(row)]
    values, cases, loads = zip(*cells, strict=True)
    return components(values, cases, loads)


def test_a_balanced_design_is_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(0, 1, (7, 1)) + rng.normal(0, 1, (1, 4)) + rng.normal(0, 1, (7, 4))
    found = split(table.tolist())
    rows, columns, mean = table.mean(1), table.mean(0), table.mean()
    residual = table - rows[:, None] - columns + mean
    assert found.between_cases == pytest.approx(4 * rows.var(ddof=1) / 28)
    assert found.among_loads == pytest.approx(7 * columns.var(ddof=1) / 28)
    assert found.within == pytest.approx((residual**2).sum() / 18 / 28)
    assert (found.cases, found.loads, found.df_within) == (7, 4, 18)
    assert found.between_loads == pytest.approx(found.among_loads - 0.6 * found.within)
    assert found.shifts == pytest.approx(dict(enumerate(columns - mean)))


def test_loads_that_differ_by_less_than_chance_add_nothing() -> None:
    # Each load is fast for one case and slow for the other.
    found = split([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert found.among_loads == found.between_loads == 0
    assert found.half_width(0.95, 1.5) == 1.5


def test_each_part_has_the_t_quantile_of_its_own_degrees_of_freedom() -> None:
    found = split([[1.0, 2.0, 4.0], [11.0, 12.0, 14.5], [5.0, 6.0, 8.0]])
    expected = math.hypot(
        quantile(0.95, 2) * math.sqrt(found.between_cases), quantile(0.95, 2) * math.sqrt(found.between_loads)
    )
    assert found.half_width(0.9, found.case_half_width(0.9)) == pytest.approx(expected)


def test_a_load_that_lost_its_slow_cases_does_not_look_fast() -> None:
    cells = [(value, case, load) for load in range(3) for case, value in enumerate((1.0, 2.0, 3.0, 100.0))]
    values, cases, loads = zip(*(cell for cell in cells if cell[1:] != (3, 2)), strict=True)
    found = components(values, cases, loads)
    assert found.among_loads == pytest.approx(0, abs=1e-20)


def test_with_one_case_loads_are_what_is_independent() -> None:
    found = components([1.0, 2.0, 4.0], ["a"] * 3, [0, 1, 2])
    assert found.df_within == 0
    assert found.half_width(0.95, found.case_half_width(0.95)) == pytest.approx(
        quantile(0.975, 2) * float(np.std([1, 2, 4], ddof=1)) / math.sqrt(3)
    )


def test_cases_that_met_one_load_each_are_the_repeats_of_that_load() -> None:
    found = components([1.0, 2.0, 11.0, 12.0], list("abcd"), [0, 0, 1, 1])
    assert found.among_loads == pytest.approx(np.var([1.5, 11.5], ddof=1) / 2)
    assert found.shifts == {0: -5.0, 1: 5.0}
    # One case to a load: the spread between cases is the spread between loads.
    assert components([1.0, 2.0, 4.0], list("abc"), [0, 1, 2]).between_loads == 0


def test_the_skewness_is_that_of_the_mean() -> None:
    values = [1.0, 1.0, 1.0, 9.0]
    n, m2, m3 = 4, 12.0, (3 * (-2.0) ** 3 + 6**3) / 4
    g1 = m3 / m2**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    assert components(values, range(4), [0] * 4).skewness == pytest.approx(g1 / 2)
    assert components([1.0, 9.0], range(2), [0] * 2).skewness == 0


def test_the_order_of_the_requests_changes_no_digit() -> None:
    rng = np.random.default_rng(2)
    rows = [(float(rng.lognormal()), case, load) for case, load in itertools.product("abcde", range(3))]
    first = components(*zip(*rows, strict=True))
    for _ in range(20):
        rng.shuffle(rows)  # type: ignore[arg-type]
        assert components(*zip(*[(float(v), str(c), int(load)) for v, c, load in rows], strict=True)) == first
