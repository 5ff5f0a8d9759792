"""Does it pay to add rounds where they are needed, and does looking again and again make false winners?

    python benchmarks/adaptive.py [--trials 400] [--quick] [--jobs 1]

Simulated runs go through the real `Schedule`; only the engine and the clock are made up. Prompts differ, loads shift,
repeats vary, stalls happen, and targets differ a little more on one case than on another. Both ways of running see the
same draws: what a target shows in round 7 is the same whether the round was planned or added.

`--until ci=5%` is compared with the fewest rounds that one would have had to plan for every target to be known to ±5 %
in as many runs as it is with added ones, or 95 % (added rounds nearly always get there). `--budget` is compared with the
fewest rounds for as many right decisions, and with as much time spent on fixed rounds. A decision is right when every
target that is slower than the fastest by 1 % or more is shown to be, and none that is not. Targets are compared as in
`benchmarks/false_winners.py`: `ratio_interval` against the fastest, at a level such that all pairs err in 5 % together.

Exit status 1 when, beyond two standard errors, a target that is as fast is called slower in more than 5 % of runs, or
the interval at the end contains the truth in less than 93 %.
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
FIXED = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 32, 40, 50)
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
