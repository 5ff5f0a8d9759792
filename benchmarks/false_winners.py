"""How often is one of several identical targets declared better, and how often is a true difference shown?

    python benchmarks/false_winners.py [--trials 1000] [--quick]

Latency goes through `ratio_interval` against the fastest, at a level for each comparison such that all pairs together
err in at most 5 % (Bonferroni); quality through `sign_flip_test` against the best, corrected by `holm`. Every run has
prompts that differ, loads that shift, repeats that vary, and stalls.

Exit status 1 when a winner among identical targets is declared in more than 5 % (and two standard errors) of runs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audition.stats.multiple import holm, pairs_with_best
from audition.stats.paired import Observation, ratio_interval, sign_flip_test

ALPHA = 0.05
SEED = 20_260_101
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Design:
    """A run: its cases and loads, and what loads differ by (standard deviation of the logarithm)."""

    cases: int
    loads: int
    shift: float


def latencies(rng: np.random.Generator, targets: int, design: Design, slower: float = 1.0) -> list[list[Observation]]:
    """Draw the requests of targets that are alike, but for the first, which may be slower."""
    shape = (targets, design.cases, design.loads)
    prompts = np.exp(rng.normal(0, 1, (1, design.cases, 1)))
    shifts = np.exp(rng.normal(0, design.shift, (targets, 1, design.loads)))
    values = prompts * shifts * np.exp(rng.normal(0, 0.05, shape)) * np.where(rng.random(shape) < 0.03, 10.0, 1.0)
    values[0] *= slower
    return [[(case, load, float(value)) for (case, load), value in np.ndenumerate(target)] for target in values]


def separates_by_latency(targets: Sequence[Sequence[Observation]]) -> bool:
    """Return whether a target is shown to be slower than the fastest."""
    fastest = min(targets, key=lambda rows: float(np.median([value for _, _, value in rows])))
    others = [rows for rows in targets if rows is not fastest]
    level = 1 - ALPHA / pairs_with_best(len(others))
    found = (ratio_interval(fastest, rows, level) for rows in others)
    return any(ratio.shown and ratio.low is not None and ratio.low > 1 for ratio in found)


def separates_by_quality(scores: Array, rng: np.random.Generator) -> bool:
    """Return whether a target is shown to be worse than the best; scores of shape (targets, cases)."""
    best = int(scores.mean(axis=1).argmax())
    tests = [sign_flip_test((scores[best] - row).tolist(), rng) for i, row in enumerate(scores) if i != best]
    return any(p < ALPHA for p in holm([test.p for test in tests], pairs_with_best(len(tests))))


def share(trial: Callable[[np.random.Generator], bool], trials: int) -> float:
    """Return how often a trial is true."""
    rng = np.random.default_rng(SEED)
    return sum(trial(rng) for _ in range(trials)) / trials


def false_by_latency(targets: int, design: Design, trials: int) -> float:
    """Return how often one of identical targets is shown to be slower."""
    return share(lambda rng: separates_by_latency(latencies(rng, targets, design)), trials)


def shown_by_latency(slower: float, design: Design, trials: int) -> float:
    """Return how often a target that is slower by this factor is shown to be."""
    return share(lambda rng: separates_by_latency(latencies(rng, 2, design, slower)), trials)


def false_by_quality(targets: int, cases: int, trials: int) -> float:
    """Return how often one of targets that answer equally well is shown to be worse."""

    def trial(rng: np.random.Generator) -> bool:
        ability = rng.uniform(0.2, 0.9, cases)
        return separates_by_quality((rng.random((targets, cases)) < ability).astype(float), rng)

    return share(trial, trials)


def shown_by_quality(worse: float, cases: int, trials: int) -> float:
    """Return how often a target that fails this much more of the cases is shown to be worse."""

    def trial(rng: np.random.Generator) -> bool:
        ability = rng.uniform(0.3, 0.9, cases)
        scores = rng.random((2, cases)) < np.stack([ability, ability - worse])
        return separates_by_quality(scores.astype(float), rng)

    return share(trial, trials)


def too_often(rate: float, trials: int) -> bool:
    """Return whether a rate is above 5 %, as far as this many trials can tell."""
    return rate > ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / trials)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="simulated runs per row (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="200 runs per row")
    options = parser.parse_args(arguments)
    trials = 200 if options.quick else options.trials
    failed = 0
    print("identical targets: share of runs in which one is declared better")
    for targets in (2, 3, 8):
        for cases, loads in ((3, 3), (6, 2), (12, 2), (12, 3), (12, 5), (36, 3), (12, 10)):
            for shift in (0.0, 0.02, 0.10):
                rate = false_by_latency(targets, Design(cases, loads, shift), trials)
                failed += too_often(rate, trials)
                mark = "  TOO OFTEN" if too_often(rate, trials) else ""
                print(f"  latency  {targets} targets  {cases:3} x {loads:<2}  loads {shift:4.0%}  {rate:6.1%}{mark}")
        for cases in (8, 14, 30):
            rate = false_by_quality(targets, cases, trials)
            failed += too_often(rate, trials)
            mark = "  TOO OFTEN" if too_often(rate, trials) else ""
            print(f"  quality  {targets} targets  {cases:3} cases  {'':10}  {rate:6.1%}{mark}")
    print("two targets that differ: share of runs in which it is shown")
    for cases, loads in ((6, 3), (12, 2), (12, 3), (12, 5), (36, 3)):
        for shift in (0.0, 0.02):
            rates = [shown_by_latency(factor, Design(cases, loads, shift), trials) for factor in (1.05, 1.1, 1.2)]
            shown = "  ".join(f"{percent} %: {rate:4.0%}" for percent, rate in zip((5, 10, 20), rates, strict=True))
            print(f"  latency  {cases:3} x {loads:<2}  loads {shift:4.0%}   {shown}")
    for cases in (14, 30, 100):
        rates = [shown_by_quality(worse, cases, trials) for worse in (0.05, 0.1, 0.2)]
        shown = "  ".join(f"{percent} %: {rate:4.0%}" for percent, rate in zip((5, 10, 20), rates, strict=True))
        print(f"  quality  {cases:3} cases  {'':11}  {shown}")
    print(f"{failed} rates too high" if failed else "no rate is too high")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
