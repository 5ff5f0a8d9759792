"""What the intervals promise, in short forms of `benchmarks/coverage.py` and `benchmarks/false_winners.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


coverage = load("coverage")
winners = load("false_winners")
PROCESSES = {process.name: process for process in coverage.PROCESSES}


@pytest.mark.parametrize(
    ("statistic", "process", "design"),
    [
        ("mean", "log-normal", (12, 3)),
        ("mean", "strong cases", (12, 1)),
        ("mean", "strong cases, loads 10 %", (20, 5)),
        ("mean", "like cases, loads 2 %", (33, 3)),
        ("mean", "like cases, loads 2 %", (36, 2)),
        ("median", "3 % stalls x10", (6, 1)),
        ("median", "strong cases", (6, 5)),
        ("median", "like cases, loads 2 %", (33, 3)),
        ("mean", "strong cases", (6, 1)),
        ("median", "like cases, loads 10 %", (12, 3)),
        ("median", "5 % failures", (12, 3)),
        ("median", "cases, loads, stalls, failures", (20, 5)),
        ("p95", "Pareto 2.5", (100, 1)),
        ("p95", "like cases, loads 10 %", (100, 3)),
        ("ratio", "strong cases, loads 2 %", (3, 3)),
        ("ratio", "strong cases, loads 10 %", (12, 3)),
        ("ratio", "cases, loads, stalls, failures", (12, 5)),
        ("ratio", "Pareto 2.5", (12, 1)),
    ],
)
def test_the_intervals_contain_the_truth_as_often_as_they_say(
    statistic: str, process: str, design: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "_BRUTE", 400_000)
    coverage.truth.cache_clear()
    result = coverage.measure(statistic, PROCESSES[process], design, 600)
    assert result.claimed
    assert result.holds, result


@pytest.mark.parametrize("statistic", ["mean", "median", "ratio"])
def test_loads_that_are_alike_cost_little_width(statistic: str) -> None:
    result = coverage.measure(statistic, PROCESSES["log-normal"], (33, 3), 300)
    assert result.typical_width < 1.6
    assert result.width < 2


@pytest.mark.parametrize("process", ["strong cases", "5 % failures"])
def test_three_cases_carry_no_median(process: str) -> None:
    assert coverage.measure("median", PROCESSES[process], (3, 3), 100).given == 0


@pytest.mark.parametrize("targets", [2, 8])
@pytest.mark.parametrize(("loads", "shift"), [(2, 0.02), (3, 0.1), (5, 0.0)])
def test_identical_targets_are_rarely_told_apart_by_latency(targets: int, loads: int, shift: float) -> None:
    trials = 200
    rate = winners.false_by_latency(targets, winners.Design(12, loads, shift), trials)
    assert not winners.too_often(rate, trials), rate


@pytest.mark.parametrize("targets", [2, 3, 8])
def test_identical_targets_are_rarely_told_apart_by_quality(targets: int) -> None:
    trials = 300
    rate = winners.false_by_quality(targets, 14, trials)
    assert not winners.too_often(rate, trials), rate


def test_a_true_difference_in_latency_is_mostly_shown() -> None:
    assert winners.shown_by_latency(1.1, winners.Design(12, 3, 0.02), 100) > 0.5
    assert winners.shown_by_latency(1.2, winners.Design(12, 3, 0.02), 100) > 0.85


def test_identical_targets_rarely_seem_to_drift() -> None:
    import numpy as np

    from audition.stats.drift import drift_test

    rng, trials = np.random.default_rng(5), 600
    for groups, n in ((1, 12), (6, 30), (20, 60)):
        labels = [i % groups for i in range(n)]
        prompts = np.exp(rng.normal(0, 1, groups))[labels]
        found = [drift_test(range(n), (prompts * rng.lognormal(0, 0.1, n)).tolist(), labels) for _ in range(trials)]
        assert sum(f.p is not None and f.p < 0.05 for f in found) / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5
        assert sum(f.low is not None and f.high is not None and f.low <= 0 <= f.high for f in found) / trials >= 0.93
