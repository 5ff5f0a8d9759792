from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from audition.stats.paired import PairedTest, bounded_difference, sign_flip_test
from audition.stats.student import quantile


def flip(differences: Sequence[float], seed: int = 0) -> PairedTest:
    return sign_flip_test(differences, np.random.default_rng(seed))


def brute_force(differences: Sequence[float]) -> float:
    observed = abs(math.fsum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    return sum(total >= observed - 1e-9 for total in sums) / len(patterns)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
def test_the_p_value_is_exact_for_small_samples(n: int) -> None:
    rng = np.random.default_rng(n)
    for differences in (rng.normal(0.3, 1, n), rng.choice([-1, -0.5, 0, 0.5, 1], n), rng.integers(-3, 4, n) / 3):
        if np.any(differences):
            assert flip(differences.tolist()).p == pytest.approx(brute_force(differences.tolist()))


def test_by_hand() -> None:
    # Five cases, all better by 1: only all signs kept or all flipped give as much.
    assert flip([1, 1, 1, 1, 1]) == PairedTest(difference=1.0, p=2 / 32, n=5, discordant=5)
    # Six are enough for 5 %.
    assert flip([1] * 6).p < 0.05


def test_cases_without_a_difference_say_nothing_about_p_but_dilute_the_mean() -> None:
    alone, diluted = flip([1, 1, -1, 1]), flip([0, 1, 0, 1, -1, 0, 1, 0])
    assert alone.p == diluted.p
    assert (alone.difference, diluted.difference) == (0.5, 0.25)
    assert (diluted.n, diluted.discordant) == (8, 4)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert flip([0.0] * 7) == PairedTest(difference=0.0, p=1.0, n=7, discordant=0)


def test_thirds_that_tie_in_truth_tie_in_the_test() -> None:
    # Scores as a summary rounds them: 2/3 - 1 twice against 1 - 1/3 is a tie, although the digits differ.
    pairs = [(2, 3), (3, 1), (2, 3), (2, 0)]
    rounded = [round(a / 3, 9) - round(b / 3, 9) for a, b in pairs]
    assert flip(rounded).p == flip([a - b for a, b in pairs]).p == 0.75


@pytest.mark.parametrize("n", [6, 25])
def test_it_is_two_sided(n: int) -> None:
    differences = np.random.default_rng(1).normal(0.4, 1, n)
    forth, back = flip(differences.tolist()), flip((-differences).tolist())
    assert forth.difference == -back.difference
    # The random patterns differ in sign only as often as not: Monte Carlo error.
    assert forth.p == pytest.approx(back.p, abs=0.0 if n < 17 else 0.02)


def test_p_is_never_0() -> None:
    assert flip([1.0] * 60).p == 1 / 20_001
    assert flip([1.0] * 16).p == 2 / 2**16


def test_random_patterns_agree_with_the_exact_answer() -> None:
    differences = np.random.default_rng(5).choice([-1.0, 1.0, 2.0], 18).tolist()
    exact = brute_force(differences)
    assert 0.005 < exact < 0.5
    assert flip(differences).p == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000))


@pytest.mark.parametrize("n", [9, 40])
def test_the_order_of_the_cases_is_no_matter(n: int) -> None:
    differences = np.random.default_rng(2).normal(0.1, 1, n).tolist()
    assert flip(differences) == flip(differences[::-1]) == flip(sorted(differences))


def test_the_same_generator_gives_the_same_p() -> None:
    differences = np.random.default_rng(2).normal(0.2, 1, 30).tolist()
    assert flip(differences, seed=7) == flip(differences, seed=7)
    assert flip(differences, seed=7).p != flip(differences, seed=8).p


@pytest.mark.parametrize("differences", [[], [math.nan, 1.0], [math.inf]])
def test_what_cannot_be_tested_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one case"):
        flip(differences)


def test_a_bounded_difference_is_bonett_and_prices_for_ones_and_zeros() -> None:
    # 5 cases of 20 went up, 1 went down.
    found = bounded_difference([1.0] * 5 + [-1.0] + [0.0] * 14)
    up, down = 6 / 22, 2 / 22
    half = quantile(0.975, 21) * math.sqrt((up + down - (up - down) ** 2) / 22)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(up - down - half), pytest.approx(up - down + half))


@pytest.mark.parametrize(("n", "widest"), [(3, 0.81), (12, 0.25), (100, 0.035)])
def test_cases_that_are_all_alike_leave_a_width(n: int, widest: float) -> None:
    for value in (-1.0, -0.5, 0.0, 1 / 3, 1.0):
        found = bounded_difference([value] * n)
        assert found.low < found.value < found.high or abs(value) == 1
        assert (found.high - found.low) / 2 < widest
    same = bounded_difference([0.0] * n)
    assert (same.low, same.high) == (
        pytest.approx(-same.high),
        pytest.approx(quantile(0.975, n + 1) * 2**0.5 / (n + 2)),
    )


def test_as_many_cases_as_the_document_says_prove_a_limit() -> None:
    for limit, n in ((0.2, 14), (0.1, 27), (0.05, 55), (0.02, 138), (0.01, 277)):
        assert bounded_difference([0.0] * n).low > -limit >= bounded_difference([0.0] * (n - 1)).low


def test_few_cases_that_all_fall_show_a_fall_only_where_the_exact_test_nearly_does() -> None:
    assert bounded_difference([-1.0] * 4).high > 0
    assert bounded_difference([-1.0] * 6).high < 0 and flip([-1] * 6).p < 0.05
    # 7 against 1 and 8 against 2: p = 0.07 and 0.11.
    assert bounded_difference([1.0] * 8 + [-1.0] * 2).low < 0


def test_a_heavy_case_counts_as_fewer_cases() -> None:
    alike = bounded_difference([0.5, 0.0, -0.5] * 4)
    assert bounded_difference([0.5, 0.0, -0.5] * 4, [3.0] * 12) == alike
    heavy = bounded_difference([0.0] * 12, [11.0] + [1.0] * 11)
    assert heavy.high > 2 * bounded_difference([0.0] * 12).high
    assert bounded_difference([1.0, 0.0], [3.0, 1.0]).value == pytest.approx(0.75)


@pytest.mark.parametrize("n", [3, 6, 12, 40, 100])
@pytest.mark.parametrize(
    ("values", "chances"),
    [
        ((-1, 0, 1), (0.0, 0.9, 0.1)),
        ((-1, 0, 1), (0.3, 0.5, 0.2)),
        ((-1, 0, 1), (0.5, 0.0, 0.5)),
        ((-1, 0, 1), (0.05, 0.0, 0.95)),
        ((-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1), (0.05, 0.05, 0.2, 0.4, 0.2, 0.05, 0.05)),
        ((-1 / 3, 0, 1 / 3), (0.1, 0.8, 0.1)),
        ((0,), (1.0,)),
        ((1 / 3,), (1.0,)),
        ((-1,), (1.0,)),
    ],
)
@pytest.mark.parametrize("heavy", [False, True])
def test_the_interval_of_a_bounded_difference_covers_what_it_states(
    n: int, values: tuple[float, ...], chances: tuple[float, ...], heavy: bool
) -> None:
    rng = np.random.default_rng([n, len(values), round(100 * chances[0])])
    weights = [5.0 if heavy and case % 3 == 0 else 1.0 for case in range(n)]
    truth = float(np.dot(values, chances))
    drawn = rng.choice(values, p=chances, size=(2000, n)).tolist()
    found = [bounded_difference(row, weights) for row in drawn]
    covered = sum(interval.low - 1e-12 <= truth <= interval.high + 1e-12 for interval in found)
    assert covered / len(drawn) >= 0.93


@pytest.mark.parametrize("n", [4, 7, 10])
def test_few_cases_that_all_differ_by_chance_are_covered_too(n: int) -> None:
    # Where the normal quantile covers 88, 88 and 89 %.
    found = [bounded_difference([1.0] * up + [-1.0] * (n - up)) for up in range(n + 1)]
    missed = sum(math.comb(n, up) for up, interval in enumerate(found) if not interval.low <= 0 <= interval.high)
    assert missed / 2**n <= 0.07


@pytest.mark.parametrize(
    ("differences", "weights"),
    [([], None), ([1.1], None), ([math.nan], None), ([0.0], [1.0, 1.0]), ([0.0], [0.0]), ([0.0], [math.inf])],
)
def test_what_is_no_bounded_difference_is_refused(differences: list[float], weights: list[float] | None) -> None:
    with pytest.raises(ValueError, match=r"between -1 and 1|has a weight"):
        bounded_difference(differences, weights)
