"""One block of a target that fails again and again, and one that was cut and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest
from clocks import Clock, Loop
from puppets import DIED, TEN, Puppet, RunBlock, code, ids, message

from audition.bench import runner
from audition.bench.block import GIVE_UP_AFTER, MOST_FAILURES
from audition.bench.plan import Level, Plan
from audition.bench.requests import count_of, opening
from audition.bench.sample import Sample
from plans import a_case, a_plan, a_run

HOPELESS = [("timeout", "too late"), ("connection_refused", "nobody listens"), ("unauthorized", "no key")]


@pytest.mark.parametrize("failure", HOPELESS)
def test_after_five_failures_that_all_will_share_the_rest_is_not_asked(
    run_block: RunBlock, failure: tuple[str, str]
) -> None:
    plan = a_plan(cases=TEN, warmup=1)
    done = run_block(plan, lambda number: 1.0 if number < 3 else failure)
    assert len(done.target.asked) == 3 + GIVE_UP_AFTER == 8
    assert len(done.samples) == len(set(ids(done.samples))) == count_of(plan, plan.blocks[0])
    assert [sample.status == "ok" for sample in done.samples] == [True] * 3 + [False] * 9
    assert {code(sample) for sample in done.samples[3:8]} == {failure[0]}
    for sample in done.samples[8:]:
        assert message(sample) == f"not asked: it failed again and again: {failure[1]}"
        assert (sample.status, sample.sent_ns, code(sample)) == ("failed", None, "gave_up")
    assert done.runner.gave_up
    assert (done.load.status, (done.load.error or {})["code"]) == ("failed", "gave_up")


def test_an_answer_in_between_gives_new_patience(run_block: RunBlock) -> None:
    done = run_block(a_plan(cases=TEN * 2), lambda number: 1.0 if number % 5 == 4 else ("timeout", "too late"))
    assert not done.runner.gave_up
    assert len(done.target.asked) == 22


@pytest.mark.parametrize("failure", [("server_error", "HTTP 500"), ("rate_limited", "HTTP 429"), ("bad_response", "?")])
def test_failures_that_are_the_requests_own_do_not_end_a_block(run_block: RunBlock, failure: tuple[str, str]) -> None:
    done = run_block(a_plan(cases=TEN, levels=(Level.closed(1), Level.closed(4))), lambda _: failure)
    assert not done.runner.gave_up
    assert len(done.target.asked) == len(done.samples)
    assert done.load.status == "ok", "it could be asked to the end"


def test_but_so_many_of_them_in_a_row_do(run_block: RunBlock) -> None:
    cases = [a_case(f"case-{n}") for n in range(MOST_FAILURES + 20)]
    done = run_block(a_plan(cases=cases), lambda number: 1.0 if number < 5 else ("server_error", "HTTP 500"))
    assert len(done.target.asked) == 5 + MOST_FAILURES
    assert done.runner.gave_up
    lucky = run_block(a_plan(cases=cases), lambda number: 1.0 if number == 40 else ("server_error", "HTTP 500"))
    assert len(lucky.target.asked) == 2 + len(cases)


def test_a_target_that_gave_up_before_gets_one_chance_and_then_none(run_block: RunBlock) -> None:
    done = run_block(a_plan(cases=TEN), lambda number: ("timeout", "too late"), gave_up=1)
    assert len(done.target.asked) == 1
    assert {message(sample) for sample in done.samples[1:]} == {"not asked: it failed again and again: too late"}
    again = run_block(a_plan(cases=TEN), gave_up=1)
    assert {sample.status for sample in again.samples} == {"ok"}, "and may use it"
    for many in (2, 7):
        last = run_block(a_plan(cases=TEN), gave_up=many)
        assert (last.target.asked, last.runner.gave_up) == ([], True)
        assert {(sample.status, code(sample)) for sample in last.samples} == {("failed", "gave_up")}
        assert len(last.samples) == 12


def test_after_giving_up_only_what_is_under_way_is_waited_for(run_block: RunBlock) -> None:
    plan = a_plan(cases=TEN, levels=(Level.closed(4),))
    done = run_block(plan, lambda number: 1.0 if number < 2 else ("timeout", "too late"))
    assert len(done.target.asked) <= 2 + 3 * 4, "the fifth failure is in the second four, and four follow at once"
    assert len(done.samples) == len(set(ids(done.samples))) == count_of(plan, plan.blocks[0])
    assert done.target.under_way == 0


def test_an_answer_gives_a_target_its_patience_back(
    tmp_path: Path, go: Callable[..., object], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first block nothing is answered, the second one is fine, and then it is gone."""
    numbers = count()
    puppets: list[Puppet] = []

    def make_subject(*_: object) -> Puppet:
        puppets.append(Puppet(clock, lambda _: 0.0 if 5 <= next(numbers) < 17 else ("timeout", "too late")))
        return puppets[-1]

    monkeypatch.setattr(runner, "make_subject", make_subject)
    monkeypatch.setattr(asyncio, "SelectorEventLoop", lambda: Loop(clock))
    run = a_run(tmp_path / "run", a_plan(cases=TEN, rounds=5))
    go(run)
    assert [len(puppet.asked) for puppet in puppets] == [5, 12, 5, 1, 0]
    assert len(run.samples()) == 5 * 12


def test_a_run_that_goes_on_remembers_who_gave_up(
    tmp_path: Path, go: Callable[..., object], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppets: list[Puppet] = []
    interrupt = iter([False, False, True])

    def make_subject(*_: object) -> Puppet:
        if next(interrupt, False):
            raise KeyboardInterrupt
        puppets.append(Puppet(clock, lambda _: ("timeout", "too late")))
        return puppets[-1]

    monkeypatch.setattr(runner, "make_subject", make_subject)
    monkeypatch.setattr(asyncio, "SelectorEventLoop", lambda: Loop(clock))
    run = a_run(tmp_path / "run", a_plan(cases=TEN, rounds=3))
    with pytest.raises(KeyboardInterrupt):
        go(run)
    go(run)
    assert [len(puppet.asked) for puppet in puppets] == [5, 1, 0]


def left(plan: Plan, samples: Sequence[Sample]) -> list[tuple[str, str, str, int]]:
    """What a whole block has besides these samples."""
    block = plan.blocks[0]
    return [
        id_
        for id_ in [request.id for request in opening(plan)] + [("measured", "c1", case, 0) for case in block.cases]
        if id_ not in set(ids(samples))
    ]


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 5])
def test_a_block_goes_on_where_it_was_cut(run_block: RunBlock, kept: int) -> None:
    plan = a_plan(warmup=2)
    earlier = run_block(plan).samples[:kept]
    done = run_block(plan, earlier=earlier, attempt=2)
    assert ids(done.samples) == left(plan, earlier)
    assert {sample.attempt for sample in done.samples} == {2}
    unrecorded = len(done.target.asked) - len(done.samples)
    assert unrecorded == (1 if kept else 0), "the load is cold again"
    if kept:
        assert done.target.asked[0] == ("Please answer red.", done.target.asked[0][1])
        assert done.samples[0].text == "1"


def test_the_cold_start_of_a_resumed_block_may_fail(run_block: RunBlock) -> None:
    plan = a_plan()
    earlier = run_block(plan).samples[:3]
    done = run_block(plan, lambda number: DIED if number == 0 else 1.0, earlier=earlier, attempt=2)
    assert ids(done.samples) == left(plan, earlier)
    assert {message(sample) for sample in done.samples} == {f"not asked: {DIED.message}"}


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_duration_that_was_cut_is_measured_to_its_end(run_block: RunBlock, concurrency: int) -> None:
    plan = a_plan(levels=(Level.closed(concurrency, 20.0),), warmup=0)
    whole = run_block(plan, lambda _: 0.5)
    assert len(whole.measured) == 40 * concurrency
    for kept, expected in ((1 + 24 * concurrency, 16 * concurrency), (1 + 40 * concurrency, 0)):
        earlier = whole.samples[:kept]
        done = run_block(plan, lambda _: 0.5, earlier=earlier, attempt=2)
        assert len(done.measured) == pytest.approx(expected, abs=concurrency), "only what is left of the time"
        numbers = [sample.repeat for sample in (*earlier[1:], *done.measured)]
        assert sorted(numbers) == [n // 3 for n in range(len(numbers))], "and the numbers go on"
        assert len(set(ids([*earlier, *done.samples]))) == kept + len(done.samples)


def test_the_time_between_two_attempts_is_not_measured_time(run_block: RunBlock, clock: Clock) -> None:
    plan = a_plan(levels=(Level.closed(1, 20.0),), warmup=0)
    first = run_block(plan, lambda _: 0.5).samples[:11]
    clock.now += 3600
    second = run_block(plan, lambda _: 0.5, earlier=first, attempt=2).samples[:10]
    clock.now += 3600
    third = run_block(plan, lambda _: 0.5, earlier=[*first, *second], attempt=3)
    assert len(third.measured) == pytest.approx(20, abs=1)
