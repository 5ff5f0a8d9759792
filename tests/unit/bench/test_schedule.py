"""What follows after the planned rounds: decided from the records alone, and said in a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from audition.bench.plan import Block, Plan
from audition.bench.requests import opening
from audition.bench.sample import Load, Sample
from audition.bench.schedule import MOST_ROUNDS, Added, Schedule
from plans import a_case, a_load, a_plan, a_sample, a_target

CASES = [a_case(f"case-{number}") for number in range(12)]
A, B, C = (a_target(model=name) for name in ("a", "b", "c"))
TYPICAL = "the typical latency on these prompts of"

Latency = Callable[[Block, str], float | None]
"""What a case takes in a block, in milliseconds; None where the request fails."""


def steady(noise: float, **typical: float) -> Latency:
    """Return latencies of targets by their model's name, with noise that the block and the case decide."""

    def latency(block: Block, case: str) -> float:
        chance = Random(f"{block.id}/{block.target}/{case}").gauss(0, noise)
        return typical[block.target[0]] * (1 + CASE_NAMES.index(case)) * math.exp(chance)

    return latency


CASE_NAMES = [case.id for case in CASES]


@dataclass
class Run:
    """A run whose requests are made up."""

    plan: Plan
    latency: Latency
    wall_s: Callable[[Block], float] = lambda block: 10.0
    samples: list[Sample] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    added: list[Added] = field(default_factory=list)

    def record(self, blocks: Iterable[Block]) -> None:
        """Run blocks."""
        for block in blocks:
            if not block.is_probe:
                phases = [(asked.phase, asked.key) for asked in opening(self.plan)]
                for phase, case in [*phases, *(("measured", case) for case in block.cases)]:
                    # What opens a block counts for nothing, however long it takes.
                    took = self.latency(block, case) if phase == "measured" else 1e6
                    place = {"target": block.target, "block": block.id, "round": block.round, "phase": phase}
                    status = "failed" if took is None else "ok"
                    self.samples.append(a_sample(**place, case=case, status=status, latency_ms=took))
            place = {"target": block.target, "block": block.id, "round": block.round}
            self.loads.append(a_load(**place, wall_s=self.wall_s(block)))

    def to_the_end(self) -> list[Added]:
        """Run until there is no more to run, and return what was decided."""
        schedule = Schedule(self.plan, self.added)
        self.record(schedule.left(self.samples, self.loads))
        while (added := schedule.more(self.samples, self.loads)) is not None:
            self.added.append(added)
            self.record(added.blocks)
        return self.added

    @property
    def blocks(self) -> list[Block]:
        return Schedule(self.plan, self.added).blocks

    def rounds_of(self, target: str) -> int:
        return sum(block.target == target and not block.is_probe for block in self.blocks)

    @property
    def last(self) -> str:
        """The sentence that the run ended with."""
        assert not self.added[-1].blocks
        return self.added[-1].reason


def a_made_up_run(latency: Latency, *targets: object, cases: object = CASES, **settings: object) -> Run:
    return Run(a_plan(list(targets) or [A, B], cases, **settings), latency)  # type: ignore[arg-type]


def test_fixed_rounds_are_exact() -> None:
    run = a_made_up_run(steady(0.5, a=100, b=100), rounds=3)
    assert run.to_the_end() == []
    assert [run.rounds_of(target.id) for target in (A, B)] == [3, 3]


def test_rounds_are_added_until_each_latency_is_known() -> None:
    run = a_made_up_run(steady(0.15, a=100, b=300), rounds=3, until_ci=0.05)
    *more, end = run.to_the_end()
    assert more
    assert all(added.blocks for added in more)
    assert more[0].reason.startswith(f"{TYPICAL} a:q4_0/steady/cpu is known to \N{PLUS-MINUS SIGN}")
    assert end == Added((), f"{TYPICAL} every target that answers is known to \N{PLUS-MINUS SIGN}5.0% or better")


def test_a_target_that_is_known_gets_no_more() -> None:
    quiet, restless = steady(0.005, a=100), steady(0.15, b=100)
    run = a_made_up_run(lambda b, c: (quiet if b.target == A.id else restless)(b, c), rounds=3, until_ci=0.05)
    run.to_the_end()
    assert run.rounds_of(A.id) == 3
    assert run.rounds_of(B.id) > 3
    assert all(A.id not in added.reason for added in run.added)


def test_a_budget_goes_to_those_that_are_too_close_to_call() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=100, c=200), A, B, C, rounds=3, budget_s=200)
    run.to_the_end()
    assert run.added[0].reason == f"{A.id} and {B.id} are too close to call in latency"
    assert [run.rounds_of(target.id) for target in (A, B, C)] == [9, 8, 3]
    assert run.last == f"the budget of 200 s leaves no time for more, and {run.added[0].reason}"


def test_a_budget_is_kept_when_there_is_nothing_to_spend_it_on() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=200), rounds=3, budget_s=1000)
    run.to_the_end()
    assert run.last == f"{A.id} can be told apart from every other target by latency"
    assert len(run.added) == 1
    alone = a_made_up_run(steady(0.05, a=100), A, rounds=3, budget_s=1000)
    alone.to_the_end()
    assert alone.last == "there is nothing to tell apart"


def test_the_fastest_is_told_apart_whoever_is_named_first() -> None:
    """The order of the slower two is nobody's question."""
    for order in ((A, B, C), (C, B, A), (B, C, A)):
        run = a_made_up_run(steady(0.03, a=100, b=150, c=150), *order, rounds=3, budget_s=1000)
        run.to_the_end()
        assert run.last == f"{A.id} can be told apart from every other target by latency"
        assert len(run.added) == 1


def test_the_fastest_is_found_pair_by_pair() -> None:
    """The middle case decides a median, and here it is the one where the slower target happens to be faster."""

    def latency(block: Block, case: str) -> float:
        slower = 1.0 if block.target == A.id else 0.8 if case in ("case-5", "case-6") else 1.5
        return steady(0.005, a=100, b=100, c=100)(block, case) * slower

    run = a_made_up_run(latency, A, B, C, rounds=3, budget_s=1000)
    run.to_the_end()
    assert all(not added.reason.startswith((f"{B.id} and", f"{C.id} and")) for added in run.added)


def test_both_aims_count_and_the_budget_limits() -> None:
    noisy = steady(0.15, a=100, b=100, c=300)
    until = a_made_up_run(noisy, A, B, C, rounds=2, until_ci=0.03)
    both = a_made_up_run(noisy, A, B, C, rounds=2, until_ci=0.03, budget_s=150)
    until.to_the_end()
    both.to_the_end()
    assert both.rounds_of(C.id) > 2
    assert both.last.startswith("the budget of 150 s leaves no time for more")
    assert "is known to" in both.last
    assert len(both.loads) == 15
    assert len(until.loads) > 15


def test_a_known_latency_is_not_enough_where_the_budget_is_for_ties() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, until_ci=0.2, budget_s=100)
    run.to_the_end()
    assert run.added[0].reason == f"{A.id} and {B.id} are too close to call in latency"
    assert len(run.loads) == 10


def test_two_that_are_known_to_be_alike_need_no_more() -> None:
    run = a_made_up_run(steady(0.002, a=100, b=100.1), rounds=3, budget_s=10_000)
    run.to_the_end()
    assert len(run.loads) == 6
    assert run.last.endswith("differ in latency by 2% at most")


def test_both_aims_are_named_when_both_are_reached() -> None:
    run = a_made_up_run(steady(0.01, a=100, b=200), rounds=3, until_ci=0.05, budget_s=1000)
    run.to_the_end()
    known = f"{TYPICAL} every target that answers is known to \N{PLUS-MINUS SIGN}5.0% or better"
    assert run.last == f"{known}; {A.id} can be told apart from every other target by latency"


@pytest.mark.parametrize("budget_s", [85.0, 100.0, 137.0, 160.0])
def test_a_budget_is_overrun_by_less_than_one_block(budget_s: float) -> None:
    """A block may take longer than any before it, and is not cut."""
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, budget_s=budget_s)
    run.wall_s = lambda block: 10.0 + int(block.id[1:])
    run.to_the_end()
    took = [load.wall_s or 0.0 for load in run.loads]
    assert sum(took) - took[-1] <= budget_s
    # A budget that is never used is none.
    assert sum(took) > budget_s - max(took)


def test_planned_rounds_are_run_whatever_the_budget() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, budget_s=5)
    run.to_the_end()
    assert len(run.loads) == 6
    assert "leaves no time for more" in run.last


def test_probes_count_as_time_spent() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, budget_s=195, probes=True)
    run.wall_s = lambda block: 40.0 if block.is_probe else 10.0
    run.to_the_end()
    # Two probes and eleven blocks; that a probe took longer says nothing of how long a block will.
    assert sum(load.wall_s or 0.0 for load in run.loads) == 190


def test_a_block_may_take_as_long_again_as_the_longest() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, budget_s=125)
    run.wall_s = lambda block: 30.0 if block.round == 1 else 10.0
    run.to_the_end()
    assert len(run.loads) == 6


def test_blocks_that_share_their_time_count_once() -> None:
    """Targets that are loaded together are all there from the first load to the last end."""
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, budget_s=100, interleave=True, probes=True)
    run.to_the_end()
    assert run.rounds_of(A.id) == run.rounds_of(B.id) == 8


def test_a_block_that_was_taken_up_again_counts_twice() -> None:
    run = a_made_up_run(steady(0.05, a=100, b=100), rounds=3, budget_s=100)
    run.record(run.plan.blocks[:1])
    del run.samples[-1]
    run.record(run.plan.blocks[:1])
    run.loads[1] = replace(run.loads[1], attempt=2)
    run.to_the_end()
    assert sum(load.wall_s or 0.0 for load in run.loads) == 100


def test_a_target_that_never_answers_gets_no_more() -> None:
    def latency(block: Block, case: str) -> float | None:
        return None if block.target == B.id else steady(0.1, a=100)(block, case)

    for aims in ({"until_ci": 0.03}, {"until_ci": 0.03, "budget_s": 500.0}):
        run = a_made_up_run(latency, rounds=2, **aims)
        run.to_the_end()
        assert run.rounds_of(B.id) == 2
        assert run.rounds_of(A.id) > 2
        assert run.last.endswith(f"; {B.id} fails too often to go on")


def test_a_target_that_stops_answering_gets_no_more() -> None:
    def latency(block: Block, case: str) -> float | None:
        return None if block.target == B.id and block.round > 3 else steady(0.3, a=100, b=100)(block, case)

    run = a_made_up_run(latency, rounds=3, until_ci=0.03)
    run.to_the_end()
    assert run.rounds_of(B.id) == 4
    assert run.last.endswith(f"; {B.id} fails too often to go on")


def test_a_target_that_fails_most_cases_gets_no_more() -> None:
    """Its typical latency is infinite, and no number of rounds makes it known."""

    def latency(block: Block, case: str) -> float | None:
        failed = block.target == B.id and CASE_NAMES.index(case) % 4
        return None if failed else steady(0.1, a=100, b=100)(block, case)

    run = a_made_up_run(latency, rounds=1, until_ci=0.03, budget_s=5000)
    run.to_the_end()
    assert run.rounds_of(A.id) > 1
    assert run.rounds_of(B.id) == 1


def test_without_answers_nothing_is_added() -> None:
    run = a_made_up_run(lambda block, case: None, rounds=2, until_ci=0.05)
    assert run.to_the_end() == [Added((), "no target answers")]


@pytest.mark.parametrize("rounds", [1, 2])
def test_fewer_than_three_rounds_are_not_enough_to_know(rounds: int) -> None:
    run = a_made_up_run(steady(0.001, a=100), A, rounds=rounds, until_ci=0.05)
    run.to_the_end()
    assert run.added[0].reason == f"{TYPICAL} {A.id} is not known yet"
    assert run.rounds_of(A.id) == 3


def test_rounds_that_cannot_help_are_not_added() -> None:
    """Nothing varies, or too few cases: a hundred rounds later it would be the same."""
    run = a_made_up_run(lambda block, case: 100.0, A, rounds=1, until_ci=0.05)
    run.to_the_end()
    assert run.rounds_of(A.id) == 3
    assert run.last == f"how well the typical latency of {A.id} is known cannot be told from these prompts"
    two = a_made_up_run(steady(0.05, a=100, b=100), cases=CASES[:2], rounds=3, budget_s=1000)
    two.to_the_end()
    assert len(two.loads) == 6
    assert two.last == f"{B.id} and {A.id} cannot be told apart by latency: n = 2 is too small: at least 1 more case"


def test_a_failure_in_the_first_round_is_no_reason_to_give_up() -> None:
    """One case of twelve is infinitely slow then, and the next rounds show that it is not."""

    def latency(block: Block, case: str) -> float | None:
        failed = block.target == B.id and block.round == 1 and case == "case-0"
        return None if failed else steady(0.05, a=100, b=100)(block, case)

    run = a_made_up_run(latency, cases=CASES[:6], rounds=1, budget_s=100)
    run.to_the_end()
    assert len(run.loads) == 10


def test_there_is_an_end_to_rounds() -> None:
    run = a_made_up_run(steady(2.0, a=100), A, cases=CASES[:3], rounds=1, until_ci=0.001)
    run.to_the_end()
    assert run.rounds_of(A.id) == MOST_ROUNDS
    assert max(block.round for block in run.blocks) == MOST_ROUNDS
    assert run.last.startswith(f"{MOST_ROUNDS} rounds are the most, and {TYPICAL} {A.id} is known to")


def test_numbers_go_on() -> None:
    run = a_made_up_run(steady(0.2, a=100, b=100), rounds=2, until_ci=0.05, probes=True)
    run.to_the_end()
    ids = [block.id for block in run.blocks]
    assert ids == ["p001", "p002", *(f"b{n:03d}" for n in range(1, len(ids) - 1))]
    rounds = [block.round for block in run.blocks]
    assert rounds == sorted(rounds)
    for block in run.blocks[2:]:
        assert sorted(block.cases) == sorted(CASE_NAMES)
    assert len({block.cases for block in run.blocks[2:]}) > 2


def test_a_resumed_run_decides_the_same() -> None:
    """Cut after any decision, or before it was written down, and read back from what is on the disk."""
    settings = {"rounds": 2, "until_ci": 0.04, "budget_s": 250.0}
    whole = a_made_up_run(steady(0.15, a=100, b=102, c=300), A, B, C, **settings)
    whole.to_the_end()
    assert len(whole.added) > 3
    for kept in range(len(whole.added) + 1):
        lines = [json.dumps(added.to_json()) for added in whole.added[:kept]]
        run = Run(whole.plan, whole.latency, added=[Added.from_json(json.loads(line)) for line in lines])
        run.record(Schedule(run.plan, run.added).blocks)
        assert run.to_the_end() == whole.added
        assert run.samples == whole.samples


def test_the_end_is_said_once() -> None:
    run = a_made_up_run(steady(0.01, a=100, b=200), rounds=3, until_ci=0.05)
    run.to_the_end()
    assert Schedule(run.plan, run.added).more(run.samples, run.loads) is None


def test_a_block_that_lacks_a_sample_is_left() -> None:
    run = a_made_up_run(steady(0.01, a=100, b=200), rounds=1)
    run.to_the_end()
    schedule = Schedule(run.plan, [])
    assert schedule.left(run.samples, run.loads) == []
    assert [block.id for block in schedule.left(run.samples[:-1], run.loads)] == ["b002"]
    assert [block.id for block in schedule.left(run.samples, run.loads[1:])] == ["b001"]
