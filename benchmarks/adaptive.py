"""Does it pay to add rounds where they are needed, and does looking again and again make false winners?

    python benchmarks/adaptive.py [--trials 300] [--quick] [--jobs 2]

Simulated runs go through the real `Schedule`; only the engine and the clock are made up. Prompts differ, loads shift,
repeats vary, stalls happen, and targets differ a little more on one prompt than on another. Fixed and added rounds see
the same draws: what a target shows in round 7 is the same whether that round was planned or added.

Good is, with `--until ci=5%`: every latency is known to 5 %. With `--budget`: every target that is slower than the
fastest by 1 % or more is shown to be, and no other. Targets are compared as in `benchmarks/false_winners.py`, with
`ratio_interval` against the fastest at a level such that all pairs together err in 5 %. The table says how many
requests the added rounds took, how many the fewest fixed rounds take that are good as often (or in 95 % of runs: rounds
that are planned cannot wait for the last run), and how often as many requests in fixed rounds are good.

Looking after every round gives chance many tries. Were rounds added until a difference is shown at 95 %, one of two
identical targets would be called slower in 10 % of runs. So the schedule goes on until 99 %, and only what is there in
the end is read at 95 % (`LOOK_ALPHA`).

Exit status 1 when, beyond two standard errors, a target that is as fast is called slower in more than 5 % of runs, or
the interval at the end of `--until` contains the truth in less than 93 %.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from audition.bench.plan import Block, Case, Plan, Settings, Target, make_blocks
from audition.bench.requests import count_of
from audition.bench.sample import Load, Sample
from audition.bench.schedule import MOST_ROUNDS, Schedule
from audition.stats.clusters import relative_half_width
from audition.stats.fixed_cases import fixed_cases_interval
from audition.stats.multiple import pairs_with_best
from audition.stats.paired import Observation, ratio_interval

ALPHA = 0.05
FLOOR = 0.93
UNTIL = 0.05
SAME_UP_TO = 1.01
SEED = 20_260_101
LOAD_S = 2.0
FIXED = (3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 25, 30)
"""The numbers of rounds that are tried for all targets alike."""
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Targets and what their latencies come from; standard deviations are those of the logarithm.

    Attributes:
        times: How much slower each target is than the fastest.
        shifts: Between the loads of each target.
        cases: How many there are.
        rounds: Planned for every target.
        spend: The budget, in rounds of all targets; 0 for none.
        until: What `--until ci=` is given; None for nothing.
        prompts: Between prompts.
        tastes: Between what a target makes of one prompt and of another.
        within: Between repeats.
        stalls: Share of requests that take ten times as long.
    """

    name: str
    times: tuple[float, ...]
    shifts: tuple[float, ...]
    cases: int = 12
    rounds: int = 3
    spend: int = 0
    until: float | None = None
    prompts: float = 1.0
    tastes: float = 0.02
    within: float = 0.05
    stalls: float = 0.03

    @property
    def plan(self) -> Plan:
        """The plan of such a run."""
        targets = tuple(map(_target, range(len(self.times))))
        cases = tuple(Case(f"c{i}", ({"role": "user", "content": "?"},)) for i in range(self.cases))
        settings = Settings(rounds=self.rounds, probes=False, until_ci=self.until, budget_s=self.budget_s)
        return Plan("adaptive", "", targets, cases, settings, make_blocks(targets, cases, settings))

    @property
    def budget_s(self) -> float | None:
        """What so many rounds of all targets take on average."""
        request_s = math.exp(self.prompts**2 / 2) * (1 + 9 * self.stalls)
        a_round = sum(LOAD_S + self.cases * request_s * times for times in self.times)
        return self.spend * a_round if self.spend else None

    @property
    def aim(self) -> str:
        """The option that adds rounds."""
        return "--until" if self.until is not None else "--budget"

    @property
    def slower(self) -> set[str]:
        """The targets that are slower than the fastest."""
        return {f"t{i}" for i, times in enumerate(self.times) if times >= SAME_UP_TO * min(self.times)}

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return latencies in seconds, shape (targets, cases, rounds), and each target's without loads and chance."""
        shape = (len(self.times), self.cases, MOST_ROUNDS)
        typical = np.exp(rng.normal(0, self.prompts, (1, self.cases, 1)))
        typical = typical * np.exp(rng.normal(0, self.tastes, (*shape[:2], 1)))
        typical *= np.reshape(self.times, (-1, 1, 1))
        loads = np.exp(rng.normal(0, 1, (shape[0], 1, MOST_ROUNDS)) * np.reshape(self.shifts, (-1, 1, 1)))
        chance = np.exp(rng.normal(0, self.within, shape)) * np.where(rng.random(shape) < self.stalls, 10.0, 1.0)
        return typical * loads * chance, typical[:, :, 0]


def _target(number: int) -> Target:
    id_ = f"t{number}"
    return Target(id_, id_, id_, "gguf", None, "none", "cpu", {}, None, None, "permissive", None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run.

    Attributes:
        requests: All of them, the first of a load and the warm-up included.
        time_s: All blocks together.
        known: Whether every latency is known to ±5 % by its own interval.
        covered: For each target, whether that interval contains the truth.
        right: Whether the targets that are slower are shown to be, and no other.
        false_winner: Whether a target is called slower that is not.
        rounds: The most of any target.
    """

    requests: int
    time_s: float
    known: bool
    covered: tuple[bool, ...]
    right: bool
    false_winner: bool
    rounds: int


class Simulation:
    """One run's draws, which fixed and added rounds are both taken from."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.plan = scenario.plan
        self.scenario = scenario
        self._latencies, self._typical = scenario.draw(rng)

    def run(self, block: Block) -> tuple[list[Sample], Load]:
        """Return the records of a block."""
        took = self._latencies[int(block.target[1:]), :, block.round - 1]
        of_case = {case.id: float(seconds) for case, seconds in zip(self.plan.cases, took, strict=True)}
        samples = [
            Sample(block.target, case, block.id, block.round, "measured", "ok", latency_ms=1000 * of_case[case])
            for case in block.cases
        ]
        wall_s = LOAD_S + float(took.sum())
        return samples, Load(block.target, block.id, block.round, 1, "ok", "", wall_s=wall_s)

    def adaptive(self) -> Outcome:
        """Run the planned blocks and all that the schedule adds."""
        schedule, samples, loads = Schedule(self.plan, []), list[Sample](), list[Load]()
        blocks: Sequence[Block] = self.plan.blocks
        while blocks:
            for block in blocks:
                asked, load = self.run(block)
                samples += asked
                loads.append(load)
            added = schedule.more(samples, loads)
            blocks = added.blocks if added is not None else ()
        return self.outcome(schedule.blocks)

    def fixed(self, rounds: int) -> Outcome:
        """Run so many rounds of every target."""
        settings = Settings(rounds=rounds, probes=False)
        return self.outcome(make_blocks(self.plan.targets, self.plan.cases, settings))

    def outcome(self, blocks: Iterable[Block]) -> Outcome:
        """Judge what these blocks show."""
        blocks = list(blocks)
        rows: dict[str, list[Observation]] = {target.id: [] for target in self.plan.targets}
        time_s = 0.0
        for block in blocks:
            samples, load = self.run(block)
            rows[block.target] += [(s.case, s.block, s.latency_ms) for s in samples if s.latency_ms is not None]
            time_s += load.wall_s or 0.0
        found = [self._interval(number, rows[target.id]) for number, target in enumerate(self.plan.targets)]
        shown = shown_slower(rows)
        return Outcome(
            requests=sum(count_of(self.plan, block) for block in blocks),
            time_s=time_s,
            known=all(width is not None and width <= UNTIL for width, _ in found),
            covered=tuple(covered for _, covered in found),
            right=shown == self.scenario.slower,
            false_winner=bool(shown - self.scenario.slower),
            rounds=max(block.round for block in blocks),
        )

    def _interval(self, number: int, rows: Sequence[Observation]) -> tuple[float | None, bool]:
        cases, loads, latencies = zip(*rows, strict=True)
        found = fixed_cases_interval(latencies, cases, loads)
        # What the same function makes of the same cases when nothing shifts and nothing is left to chance.
        names = [case.id for case in self.plan.cases]
        truth = fixed_cases_interval((1000 * self._typical[number]).tolist(), names, [0] * len(names)).value
        covered = found.low is not None and found.high is not None and found.low <= truth <= found.high
        return relative_half_width(found), covered


def shown_slower(rows: dict[str, list[Observation]]) -> set[str]:
    """Return the targets that are shown to be slower than the fastest."""
    typical = {id_: math.fsum(math.log(value) for _, _, value in found) / len(found) for id_, found in rows.items()}
    fastest = min(typical, key=lambda id_: typical[id_])
    others = [id_ for id_ in rows if id_ != fastest]
    level = 1 - ALPHA / pairs_with_best(len(others))
    found = {id_: ratio_interval(rows[fastest], rows[id_], level) for id_ in others}
    return {id_ for id_, ratio in found.items() if ratio.shown and (ratio.value or 0) > 1}


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario's outcomes, one per trial, each list in the same order."""

    scenario: Scenario
    adaptive: list[Outcome]
    fixed: dict[int, list[Outcome]]

    @property
    def good(self) -> float:
        """How often the aim is reached with added rounds."""
        return self.share_good(self.adaptive)

    @property
    def requests(self) -> float:
        """How many they take on average."""
        return float(np.mean([outcome.requests for outcome in self.adaptive]))

    @property
    def false_winners(self) -> float:
        """How often a target is called slower that is not."""
        return float(np.mean([outcome.false_winner for outcome in self.adaptive]))

    @property
    def coverage(self) -> float:
        """How often a target's interval at the end contains the truth."""
        return float(np.mean([covered for outcome in self.adaptive for covered in outcome.covered]))

    @property
    def fewest_rounds(self) -> int | None:
        """The fewest fixed rounds that are good as often, or in 95 % of runs; None when even the most are not."""
        enough = min(self.good, 1 - ALPHA)
        return next((rounds for rounds, found in self.fixed.items() if self.share_good(found) >= enough), None)

    @property
    def same_cost(self) -> list[Outcome]:
        """The outcomes of as many fixed rounds as cost no more requests."""
        affordable = [found for found in self.fixed.values() if found[0].requests <= self.requests]
        return affordable[-1] if affordable else self.fixed[min(self.fixed)]

    @property
    def too_many_false(self) -> bool:
        """Whether false winners are too many, as far as these trials can tell."""
        return self.false_winners > ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / len(self.adaptive))

    @property
    def covers_too_little(self) -> bool:
        """Whether the interval covers too little; it is only what `--until` looks at."""
        if self.scenario.until is None:
            return False
        count = len(self.adaptive) * len(self.scenario.times)
        return self.coverage < FLOOR - 2 * math.sqrt(FLOOR * (1 - FLOOR) / count)

    def share_good(self, outcomes: Sequence[Outcome]) -> float:
        """Return how often the aim is reached."""
        until = self.scenario.until is not None
        return float(np.mean([outcome.known if until else outcome.right for outcome in outcomes]))

    def show(self) -> str:
        """Return the line of the table."""
        fewest = self.fewest_rounds
        if fewest is None:
            fixed, ratio = f"> {self.fixed[max(self.fixed)][0].requests}", "-"
        else:
            requests = self.fixed[fewest][0].requests
            fixed, ratio = f"{requests} ({fewest})", f"{self.requests / requests:.2f}"
        marks = "  FALSE WINNERS" * self.too_many_false + "  COVERS TOO LITTLE" * self.covers_too_little
        false = float(np.mean([outcome.false_winner for outcome in self.same_cost]))
        return (
            f"{self.scenario.aim:8} {self.scenario.name:31} {self.requests:7.0f} {fixed:>10} {ratio:>6}"
            f"{self.good:8.1%}{self.share_good(self.same_cost):8.1%}"
            f"{self.false_winners:8.1%}{false:8.1%}{self.coverage:9.1%}{marks}"
        )


def one_trial(scenario: Scenario, fixed: Sequence[int], number: int) -> tuple[Outcome, list[Outcome]]:
    """Simulate one run, with added rounds and with each number of fixed ones."""
    simulation = Simulation(scenario, np.random.default_rng([SEED, number]))
    return simulation.adaptive(), [simulation.fixed(rounds) for rounds in fixed]


def measure(scenario: Scenario, trials: int, fixed: Sequence[int] = FIXED, jobs: int = 1) -> Row:
    """Simulate one row of the table."""
    work = partial(one_trial, scenario, fixed)
    if jobs == 1:
        found = list(map(work, range(trials)))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(work, range(trials), chunksize=5))
    columns = zip(*(outcomes for _, outcomes in found), strict=True)
    return Row(scenario, [outcome for outcome, _ in found], dict(zip(fixed, map(list, columns), strict=True)))


SCENARIOS = (
    Scenario("loads alike", (1, 1.05, 1.5), (0.01, 0.01, 0.01), until=UNTIL),
    Scenario("one with restless loads", (1, 1.05, 1.5, 2), (0.01, 0.01, 0.05, 0.01), until=UNTIL),
    Scenario("one round planned", (1, 1.05, 1.5), (0.02, 0.02, 0.02), rounds=1, until=UNTIL),
    Scenario("5 cases", (1, 1.05, 1.5), (0.02, 0.02, 0.02), cases=5, until=UNTIL),
    Scenario("clear winner", (1, 1.3, 1.5), (0.02,) * 3, spend=12),
    Scenario("8 % apart, one clear loser", (1, 1.08, 1.5), (0.02,) * 3, spend=12),
    Scenario("5 % apart, two clear losers", (1, 1.05, 1.5, 2), (0.02,) * 4, spend=12),
    Scenario("two exactly alike, two losers", (1, 1, 1.5, 2), (0.02,) * 4, spend=10),
    Scenario("two exactly alike, alone", (1, 1), (0.0,) * 2, spend=15),
    Scenario("five exactly alike", (1,) * 5, (0.02,) * 5, spend=8),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=300, help="simulated runs per row (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="60 runs per row")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    options = parser.parse_args(arguments)
    trials = 60 if options.quick else options.trials
    print("requests: with added rounds, in the fewest fixed rounds (how many) as good, their ratio")
    print("good, false: with added rounds, in fixed rounds of as many requests; covered: the interval at the end")
    print(
        f"{'':40} {'added':>7} {'fixed':>10} {'ratio':>6}{'good':>8}{'fixed':>8}{'false':>8}{'fixed':>8}{'covered':>9}"
    )
    failed = 0
    for scenario in SCENARIOS:
        row = measure(scenario, trials, jobs=options.jobs)
        failed += row.too_many_false or row.covers_too_little
        print(row.show(), flush=True)
    print(f"{failed} rows do not hold" if failed else "every row holds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
