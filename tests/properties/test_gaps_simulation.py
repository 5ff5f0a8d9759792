"""The median of gaps promises an interval for new prompts and loads: how often does it contain the truth?"""

from __future__ import annotations

import numpy as np
import pytest

from audition.summary.metrics.estimate import median_of_gaps

RUNS = 200


def draw(
    rng: np.random.Generator, cases: int, loads: int, spread: float, length: float
) -> tuple[list[list[float]], list[int], list[int]]:
    """Return the gaps of each request, its case and its load.

    Args:
        rng: Source of chance.
        cases: Prompts.
        loads: Loads, each of which answers every prompt once.
        spread: Standard deviation of the prompts' logarithms.
        length: How much longer the answers of slow prompts are.
    """
    slowness, shift = rng.normal(0, spread, cases), rng.normal(0, 0.03, loads)
    sizes = np.maximum(3, np.exp(rng.normal(3, 0.7, cases) + length * slowness)).astype(int)
    gaps, case_of, load_of = [], [], []
    for case in range(cases):
        for load in range(loads):
            typical = 10 * np.exp(slowness[case] + shift[load] + rng.normal(0, 0.03))
            stalls = np.where(rng.random(sizes[case]) < 0.05, 10.0, 1.0)
            gaps.append(list(typical * stalls * np.exp(rng.normal(0, 0.3, sizes[case]))))
            case_of.append(case)
            load_of.append(load)
    return gaps, case_of, load_of


@pytest.mark.parametrize(
    ("cases", "loads", "spread", "length"), [(6, 3, 0.0, 0.0), (12, 1, 0.1, 0.0), (12, 3, 0.2, 2.0), (24, 5, 0.3, 0.0)]
)
def test_the_interval_contains_the_median_of_all_gaps(cases: int, loads: int, spread: float, length: float) -> None:
    rng = np.random.default_rng(7)
    many = [gap for _ in range(20) for each in draw(rng, 400, 1, spread, length)[0] for gap in each]
    truth = float(np.median(many))
    found = [median_of_gaps(*draw(rng, cases, loads, spread, length)) for _ in range(RUNS)]
    known = [(each.low, each.high) for each in found if each.low is not None and each.high is not None]
    assert len(known) > RUNS / 2
    assert sum(low <= truth <= high for low, high in known) >= 0.92 * len(known)
