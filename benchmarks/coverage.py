"""How often do the intervals contain the truth, and how much wider are they than the textbook's?

    python benchmarks/coverage.py [--trials 2000] [--quick]

Requests are drawn from processes whose true mean, median, 95th percentile and ratio are known by brute force. The table
gives for each design (cases x loads) the share of intervals that contain the truth and the width in parts
of that of the textbook's interval for independent requests, on average and in the typical run. Where a sample can carry
no interval, none is counted.

Exit status 1 when a 95 % interval contains the truth in less than 93 % (less two standard errors of the simulation).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from audition.stats import quantiles
from audition.stats.clusters import ClusteredInterval, mean_interval, median_interval, quantile_interval
from audition.stats.paired import ratio_interval
from audition.stats.student import quantile as student

FLOOR = 0.93
SEED = 20_260_101
_BRUTE = 4_000_000
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Process:
    """Where requests come from: log-normal in cases, loads and requests, with a tail.

    Attributes:
        cases: Standard deviation of the logarithm between prompts.
        loads: Between loads.
        within: Between repeats.
        stalls: Share of requests that take ten times as long.
        failures: Share of requests that fail.
        pareto: Shape of the tail that replaces the log-normal noise within cases, 0 for none.
    """

    name: str
    cases: float = 0.0
    loads: float = 0.0
    within: float = 0.3
    stalls: float = 0.0
    failures: float = 0.0
    pareto: float = 0.0

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return what a request takes beyond its case and load, as a factor."""
        drawn = rng.pareto(self.pareto, shape) + 1 if self.pareto else np.exp(rng.normal(0, self.within, shape))
        drawn = np.where(rng.random(shape) < self.stalls, 10.0, 1.0) * drawn
        return np.where(rng.random(shape) < self.failures, math.inf, drawn)

    def draw(self, rng: np.random.Generator, cases: int, loads: int) -> tuple[Array, float]:
        """Return values of shape (cases, loads), and the factor of what there is only one of."""
        by_case = np.exp(rng.normal(0, self.cases, (cases, 1)))
        by_load = np.exp(rng.normal(0, self.loads, loads))
        factor = (by_case[0, 0] if cases == 1 else 1.0) * (by_load[0] if loads == 1 else 1.0)
        return by_case * by_load * self.noise(rng, (cases, loads)), float(factor)


@cache
def truth(process: Process, statistic: str, *, one_case: bool, one_load: bool) -> float:
    """Return the mean, median or 95th percentile of all requests.

    An interval from one case or one load is about that one: here it has the factor 1.
    """
    rng = np.random.default_rng(SEED)
    spread = math.hypot(0.0 if one_case else process.cases, 0.0 if one_load else process.loads)
    values = np.exp(rng.normal(0, spread, _BRUTE)) * process.noise(rng, (_BRUTE,))
    if statistic == "mean":
        return float(values.mean())
    return float(np.quantile(values, 0.5 if statistic == "median" else 0.95, method="inverted_cdf"))


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one statistic of one process in one design."""

    statistic: str
    process: Process
    design: tuple[int, int]
    trials: int
    given: int
    covered: int
    width: float
    typical_width: float

    @property
    def claimed(self) -> bool:
        """Whether the interval is said to hold here.

        The mean's is not where much of the mean comes from rare requests and there are too few to have met them.
        What is hardly ever given is given where the sample looks unlike itself.
        """
        rare = self.process.stalls > 0 or self.process.pareto > 0
        if not self.given:
            return False
        known = self.statistic != "mean" or not rare or math.prod(self.design) >= 250
        return known and self.given >= 0.05 * self.trials

    @property
    def holds(self) -> bool:
        """Whether the coverage is what it is said to be, as far as this many trials can tell."""
        error = math.sqrt(FLOOR * (1 - FLOOR) / self.given)
        return self.covered / self.given >= FLOOR - 2 * error


def measure(statistic: str, process: Process, design: tuple[int, int], trials: int) -> Result:
    """Simulate one row of the table."""
    one_trial = {"ratio": _ratio_trial}.get(statistic) or partial(_trial, statistic)
    rng = np.random.default_rng([SEED, *design])
    outcomes = [one_trial(process, design, rng) for _ in range(trials)]
    given = [outcome for outcome in outcomes if outcome is not None]
    widths = [wide / naive for _, wide, naive in given if math.isfinite(wide) and naive > 0]
    mean, typical = (math.fsum(widths) / len(widths), float(np.median(widths))) if widths else (math.nan, math.nan)
    return Result(statistic, process, design, trials, len(given), sum(hit for hit, _, _ in given), mean, typical)


def _trial(
    statistic: str, process: Process, design: tuple[int, int], rng: np.random.Generator
) -> tuple[bool, float, float] | None:
    cases, loads = design
    values, factor = process.draw(rng, cases, loads)
    true = truth(process, statistic, one_case=cases == 1, one_load=loads == 1) * factor
    flat = values.ravel().tolist()
    labels = np.repeat(np.arange(cases), loads).tolist(), np.tile(np.arange(loads), cases).tolist()
    functions: dict[str, Callable[..., ClusteredInterval]] = {"mean": mean_interval, "median": median_interval}
    function = functions.get(statistic) or partial(quantile_interval, q=0.95)
    found = function(flat, *labels)
    if found.low is None or found.high is None:
        return None
    return found.low <= true <= found.high, found.high - found.low, _naive(statistic, flat)


def _naive(statistic: str, values: Sequence[float]) -> float:
    n = len(values)
    if statistic == "mean":
        return 2 * student(0.975, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    found = quantiles.estimate(values, 0.5 if statistic == "median" else 0.95)
    return found.high - found.low if found.low is not None and found.high is not None else math.nan


def _ratio_trial(
    process: Process, design: tuple[int, int], rng: np.random.Generator, factor: float = 1.25
) -> tuple[bool, float, float] | None:
    cases, loads = design
    prompts = np.exp(rng.normal(0, process.cases, (cases, 1)))
    rows, shifts, means = [], [], []
    for scale in (1.0, factor):
        factors = np.exp(rng.normal(0, process.loads, loads))
        values = scale * prompts * factors * process.noise(rng, (cases, loads))
        shifts.append(factors[0])
        means.append(values)
        rows.append([(i, j, v) for i, row in enumerate(values.tolist()) for j, v in enumerate(row)])
    found = ratio_interval(rows[0], rows[1])
    true = factor * (shifts[1] / shifts[0] if loads == 1 else 1.0)
    if found.low is None or found.high is None:
        return None
    naive = math.nan
    if np.isfinite(means).all():
        logs = np.log(np.median(means[1], axis=1) / np.median(means[0], axis=1))
        naive = student(0.975, cases - 1) * float(np.std(logs, ddof=1)) / math.sqrt(cases)
    return found.low <= true <= found.high, math.log(found.high / found.low) if found.low else math.inf, 2 * naive


DESIGNS: tuple[tuple[int, int], ...] = (
    (3, 1),
    (6, 1),
    (12, 1),
    (36, 1),
    (3, 2),
    (6, 2),
    (18, 2),
    (3, 3),
    (6, 3),
    (12, 3),
    (33, 3),
    (100, 3),
)
DESIGNS += ((3, 5), (6, 5), (20, 5), (100, 5), (3, 10), (10, 10), (50, 10), (1, 3), (1, 12), (100, 1), (500, 1))
QUICK = ((6, 1), (3, 3), (12, 3), (12, 2), (10, 10))

PLAIN = Process("log-normal")
STALLS = Process("3 % stalls x10", stalls=0.03)
PROCESSES = (
    PLAIN,
    STALLS,
    Process("Pareto 2.5", pareto=2.5),
    Process("5 % failures", failures=0.05),
    Process("strong cases", cases=1.0, within=0.05),
    Process("strong cases, loads 2 %", cases=1.0, within=0.05, loads=0.02),
    Process("strong cases, loads 10 %", cases=1.0, within=0.05, loads=0.10),
    Process("like cases, loads 2 %", within=0.05, loads=0.02),
    Process("like cases, loads 10 %", within=0.05, loads=0.10),
    Process("cases, loads, stalls, failures", 0.5, 0.1, 0.1, 0.03, 0.05),
)


STATISTICS = ("mean", "median", "p95", "ratio")


def rows(
    trials: int, designs: Sequence[tuple[int, int]] = DESIGNS, statistics: Sequence[str] = STATISTICS
) -> Iterator[Result]:
    """Simulate the table."""
    for statistic in statistics:
        for process in PROCESSES:
            if statistic == "mean" and process.failures:
                continue
            for design in designs:
                if statistic == "p95" and math.prod(design) < 72:
                    continue
                if statistic == "ratio" and design[0] < 3:
                    continue
                yield measure(statistic, process, design, trials)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated runs per row (default: %(default)s)")
    parser.add_argument("--only", choices=STATISTICS, help="one statistic")
    parser.add_argument("--quick", action="store_true", help="few designs, 300 runs per row")
    options = parser.parse_args(arguments)
    trials, designs = (300, QUICK) if options.quick else (options.trials, DESIGNS)
    print(f"{'':8}{'process':32}{'cases x loads':>14}{'given':>8}{'covers':>9}{'width':>9}{'typical':>9}")
    failed = 0
    for result in rows(trials, designs, [options.only] if options.only else STATISTICS):
        cases, loads = result.design
        covers = f"{result.covered / result.given:.1%}" if result.given else "none"
        widths = "".join(
            f"{w:>9.2f}" if math.isfinite(w) else f"{'-':>9}" for w in (result.width, result.typical_width)
        )
        mark = (
            "" if not result.given else "  not claimed" if not result.claimed else "" if result.holds else "  TOO LOW"
        )
        failed += result.claimed and not result.holds
        print(
            f"{result.statistic:8}{result.process.name:32}{f'{cases} x {loads}':>14}"
            f"{result.given / result.trials:>8.0%}{covers:>9}{widths}{mark}"
        )
    print(f"{failed} rows too low" if failed else "every stated interval covers")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
