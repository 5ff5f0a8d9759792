from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from audition.stats.paired import PairedTest, sign_flip_test


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
