"""What the statistics promise, checked by simulation and on arbitrary samples."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.stats.paired import sign_flip_test
from audition.stats.proportions import wilson
from audition.stats.quantiles import estimate

latencies = st.lists(
    st.floats(0.001, 1e7, allow_nan=False) | st.just(math.inf) | st.sampled_from([1.0, 2.0]), min_size=1, max_size=90
)
quantiles = st.floats(0.01, 0.99)

SIGMA, STALLS, STALL = 0.6, 0.07, 20.0
"""Log-normal latencies, of which a few stall and take twenty times as long."""


def draw(rng: np.random.Generator, n: int) -> list[float]:
    slow = np.where(rng.random(n) < STALLS, STALL, 1.0)
    return (rng.lognormal(0.0, SIGMA, n) * slow).tolist()  # type: ignore[no-any-return]


def true_quantile(q: float) -> float:
    phi = NormalDist().cdf
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        below = (1 - STALLS) * phi(math.log(middle) / SIGMA) + STALLS * phi(math.log(middle / STALL) / SIGMA)
        low, high = (middle, high) if below < q else (low, middle)
    return low


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize("n", [6, 10, 20, 72, 100])
def test_the_interval_covers_the_true_quantile_as_often_as_it_says(q: float, n: int) -> None:
    rng, repeats = np.random.default_rng(20_260_101 + n), 5000
    truth = true_quantile(q)
    covered = 0
    for _ in range(repeats):
        found = estimate(draw(rng, n), q)
        assert found.low is not None or q < 0.95
        covered += (found.low is None or found.low <= truth) and (found.high is None or truth <= found.high)
    error = 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert covered / repeats >= 0.95 - error
    # Conservative, but not by taking the whole sample: between two ranks there is only so much room.
    if (q, n) in {(0.5, 72), (0.5, 100)}:
        assert covered / repeats <= 0.965 + error


@pytest.mark.parametrize("n", [10, 30])
def test_wilson_covers_rates_of_all_sizes(n: int) -> None:
    rng, repeats = np.random.default_rng(n), 1500
    covered = []
    for rate in np.linspace(0.02, 0.98, 25):
        intervals = [wilson(hits / n, n) for hits in range(n + 1)]
        hits = rng.binomial(n, rate, repeats)
        covered.append(np.mean([intervals[h].low <= rate <= intervals[h].high for h in hits]))
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("n", [10, 30])
def test_wilson_is_on_the_safe_side_for_mean_scores(n: int) -> None:
    # A case's score is often a mean of several checks, so it varies less than a yes or no of the same mean.
    rng, repeats = np.random.default_rng(n), 1500
    for mean in (0.3, 0.6, 0.85):
        scores = rng.binomial(3, mean, (repeats, n)) / 3
        intervals = [wilson(float(row.mean()), n) for row in scores]
        assert np.mean([i.low <= mean <= i.high for i in intervals]) >= 0.95


@pytest.mark.parametrize(("n", "repeats"), [(8, 4000), (20, 1500)])
@pytest.mark.parametrize("kind", ["marks", "scores"])
def test_two_equal_targets_are_rarely_told_apart(n: int, repeats: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    found = 0
    for _ in range(repeats):
        ability = rng.uniform(0.2, 0.9, n)
        a, b = (rng.random((2, n)) < ability).astype(float) if kind == "marks" else rng.random((2, n))
        found += sign_flip_test((a - b).tolist(), rng).p < 0.05
    assert found / repeats <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(4)
    found = sum(sign_flip_test(rng.normal(0.5, 0.5, 20).tolist(), rng).p < 0.05 for _ in range(100))
    assert found >= 90


@given(latencies, quantiles)
def test_ends_are_members_of_the_data_and_enclose_the_value(values: list[float], q: float) -> None:
    found = estimate(values, q)
    assert found.low is None or found.low in values
    assert found.high is None or found.high in values
    assert not math.isnan(found.value)
    assert min(values) <= found.value <= max(values)
    if found.low is not None and found.high is not None:
        assert found.low <= found.high


@given(latencies, quantiles, quantiles)
def test_a_higher_quantile_is_never_lower(values: list[float], a: float, b: float) -> None:
    low, high = estimate(values, min(a, b)), estimate(values, max(a, b))
    # The last digit belongs to the interpolation.
    assert low.value <= high.value or low.value == pytest.approx(high.value, rel=1e-12)
    for end in ("low", "high"):
        first, second = getattr(low, end), getattr(high, end)
        assert first is None or second is None or first <= second


@given(latencies, quantiles, st.randoms(use_true_random=False))
def test_the_order_of_the_values_is_no_matter(values: list[float], q: float, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(values)
    random.shuffle(shuffled)
    assert estimate(shuffled, q) == estimate(values, q)


@given(latencies, quantiles, st.integers(0, 89))
def test_one_more_failure_never_makes_anything_faster(values: list[float], q: float, index: int) -> None:
    worse = list(values)
    worse[index % len(worse)] = math.inf
    before, after = estimate(values, q), estimate(worse, q)
    assert after.value >= before.value
    assert before.high is None or (after.high is not None and after.high >= before.high)


@given(st.floats(0, 1), st.integers(1, 5000))
def test_wilson_encloses_the_mean_inside_0_and_1(mean: float, n: int) -> None:
    found = wilson(mean, n)
    assert 0 <= found.low <= mean + 1e-12
    assert mean - 1e-12 <= found.high <= 1


@given(st.lists(st.sampled_from([-1, -2 / 3, -0.5, -1 / 3, 0, 1 / 3, 0.5, 2 / 3, 1]), min_size=1, max_size=12))
def test_the_paired_test_is_symmetric_and_never_certain(differences: list[float]) -> None:
    rng = np.random.default_rng(0)
    found, mirrored = sign_flip_test(differences, rng), sign_flip_test([-d for d in differences], rng)
    assert found.p == mirrored.p
    assert min(1.0, 2 / 2**found.discordant) <= found.p <= 1
    assert found.difference == -mirrored.difference
