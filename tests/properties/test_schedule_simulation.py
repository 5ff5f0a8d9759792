"""What adding rounds promises, in a short form of `benchmarks/adaptive.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


adaptive = load("adaptive")
SCENARIOS = {scenario.name: scenario for scenario in adaptive.SCENARIOS}


def test_looking_after_every_round_makes_no_winners() -> None:
    alike = adaptive.Scenario("alike", (1, 1), (0.02, 0.02), rounds=2, stalls=0.0, spend=12)
    row = adaptive.measure(alike, 150, fixed=(3,))
    assert not row.too_many_false, row.false_winners


def test_rounds_go_where_they_are_needed() -> None:
    """Every latency is known, for less than half of what it takes to plan for the most restless target."""
    row = adaptive.measure(SCENARIOS["one with restless loads"], 25, fixed=(3, 6, 10))
    assert row.good == 1
    assert row.fewest_rounds is None or row.fewest_rounds > 6
    assert row.requests < row.fixed[10][0].requests / 2


def test_a_near_tie_is_called_for_less() -> None:
    row = adaptive.measure(SCENARIOS["8 % apart, one clear loser"], 30, fixed=(3, 4, 5, 6))
    assert row.share_good(row.same_cost) < row.good - 0.1


def test_a_clear_winner_costs_hardly_more_than_the_planned_rounds() -> None:
    row = adaptive.measure(SCENARIOS["clear winner"], 30, fixed=(3,))
    assert row.good > 0.9
    assert row.requests < 1.25 * row.fixed[3][0].requests


@pytest.mark.parametrize("name", ["loads alike", "one with restless loads", "5 cases"])
def test_the_latency_is_known_as_well_as_is_said(name: str) -> None:
    row = adaptive.measure(SCENARIOS[name], 60, fixed=(3,))
    assert not row.covers_too_little, row.coverage
