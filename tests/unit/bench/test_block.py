"""One block, with a target that does what the test says, in a time of its own."""

from __future__ import annotations

import gc
from itertools import pairwise

import pytest
from clocks import Clock
from puppets import DIED, TEN, Puppet, RunBlock, code, ids, message

from audition.bench.block import Power
from audition.bench.meters.energy import EnergyMeter
from audition.bench.plan import SERVER, Block, Level, Plan
from audition.bench.requests import count_of, levels_of, mark_of, opening
from audition.bench.sample import Sample
from audition.engines.protocol import EngineError
from audition.errors import AuditionError
from plans import a_case, a_plan, a_target


def test_a_block_asks_one_after_the_other_in_its_order(run_block: RunBlock) -> None:
    plan = a_plan(warmup=2)
    done = run_block(plan)
    assert [sample.case for sample in done.samples] == ["red", "green", "blue", *plan.blocks[0].cases]
    assert [sample.text for sample in done.samples] == list("012345"), "in the order in which they were sent"
    assert (done.target.most, done.load.status, done.load.device) == (1, "ok", "unloaded")
    assert {sample.level for sample in done.samples} == {"c1"}


@pytest.mark.parametrize("concurrency", [2, 4])
def test_a_level_has_so_many_requests_under_way(run_block: RunBlock, concurrency: int) -> None:
    plan = a_plan(levels=(Level.closed(concurrency),))
    done = run_block(plan, lambda number: 1.0 + number % 3)
    assert done.target.most == concurrency
    assert len(done.samples) == count_of(plan, plan.blocks[0]) == len(set(ids(done.samples)))
    ends = [(sample.sent_ns or 0) + (sample.latency_ms or 0) * 1e6 for sample in done.measured]
    assert all(before < after + 1e5 for before, after in pairwise(ends)), "recorded as they end"
    assert [sample.text for sample in done.measured] != sorted((s.text for s in done.measured), key=int)
    assert {(sample.level, sample.repeat) for sample in done.measured} == {
        (f"c{concurrency}", repeat) for repeat in range(len(done.measured) // 3)
    }


def test_every_level_is_measured_in_the_blocks_own_order(run_block: RunBlock) -> None:
    plan = a_plan(levels=(Level.closed(1), Level.closed(2), Level.closed(4), Level.open(5.0)), seed=1)
    done = run_block(plan)
    order = list(dict.fromkeys(sample.level for sample in done.measured))
    assert order == [level.id for level in levels_of(plan, plan.blocks[0])] != ["c1", "c2", "c4", "r5"]
    assert len(done.samples) == count_of(plan, plan.blocks[0])
    first = max(sample.sent_ns or 0 for sample in done.measured if sample.level == order[0])
    assert all((s.sent_ns or 0) > first for s in done.measured if s.level != order[0]), "one level after the other"


def test_an_open_loop_counts_from_its_schedule(run_block: RunBlock) -> None:
    done = run_block(a_plan(cases=TEN, levels=(Level.open(5.0),)), lambda _: 3.0)
    assert done.target.most > 5, "it waits for nobody"
    for sample in done.measured:
        assert sample.queue_ms is not None and 0 <= sample.queue_ms < 2
        assert sample.latency_ms == pytest.approx(3000, abs=3)
    assert {sample.queue_ms for sample in done.samples if sample.phase != "measured"} == {None}


def test_another_attempt_draws_another_schedule(run_block: RunBlock) -> None:
    gaps = []
    for attempt in (1, 1, 2):
        sent = [
            s.sent_ns or 0 for s in run_block(a_plan(cases=TEN, levels=(Level.open(5.0),)), attempt=attempt).measured
        ]
        gaps.append([(after - before) / 1e9 for before, after in pairwise(sent)])
    assert gaps[0] == pytest.approx(gaps[1], abs=0.01)
    assert gaps[0] != pytest.approx(gaps[2], abs=0.01)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_when_the_engine_dies_every_request_has_one_sample(run_block: RunBlock, concurrency: int) -> None:
    plan = a_plan(cases=TEN, levels=(Level.closed(concurrency),))
    done = run_block(plan, lambda number: DIED if number == 7 else 1.0 + number / 100)
    assert len(set(ids(done.samples))) == len(done.samples) == count_of(plan, plan.blocks[0])
    failed = [sample for sample in done.measured if sample.status != "ok"]
    asked = [sample for sample in failed if not message(sample).startswith("not asked: ")]
    assert len(asked) == concurrency, "it took with it what was under way"
    assert {message(sample) for sample in asked} == {DIED.message}
    assert {message(sample) for sample in failed} - {DIED.message} == {f"not asked: {DIED.message}"}
    assert len(done.samples) - len(failed) == len(done.target.asked) - concurrency
    assert {code(sample) for sample in failed} == {"engine_crashed"}
    assert done.load.status == "failed"


def test_answers_that_came_with_the_crash_count(run_block: RunBlock) -> None:
    plan = a_plan(cases=TEN, levels=(Level.closed(8),))
    done = run_block(plan, lambda number: DIED if number == 9 else 1.0)
    assert len(set(ids(done.samples))) == len(done.samples) == count_of(plan, plan.blocks[0])
    assert [sample.text for sample in done.measured if sample.status == "ok"] == list("2345678")


def test_what_can_be_sent_is_sent_before_samples_are_made(run_block: RunBlock, clock: Clock) -> None:
    """Making a sample takes time, in which nobody must wait."""
    target = Puppet(clock, lambda _: 1.0)
    asked: list[int] = []
    plan = a_plan(cases=TEN, levels=(Level.closed(4),), warmup=0)
    run_block(plan, target=target, add=lambda _: asked.append(len(target.asked)))
    assert asked[0] == 1
    assert asked[1:5] == [9] * 4, "when the first four have ended, the next four are under way at once"


def test_a_crash_within_a_duration_is_on_record(run_block: RunBlock) -> None:
    """Nothing of it was planned by number, and yet requests failed."""
    plan = a_plan(levels=(Level.closed(3, 60.0), Level.closed(1)), seed=2)
    assert levels_of(plan, plan.blocks[0])[0].id == "c3"
    done = run_block(plan, lambda number: DIED if number == 20 else 1.0 + number / 100)
    failed = [(s.level, message(s)) for s in done.measured if s.status == "failed"]
    assert failed == [("c3", DIED.message)] * 3 + [("c1", f"not asked: {DIED.message}")] * 3
    assert len(done.samples) == len(done.target.asked) + 3


def test_what_cannot_be_opened_fails_with_the_reason(run_block: RunBlock) -> None:
    for refusal in (EngineError("no such file", code="load_failed"), AuditionError("full", code="insufficient_memory")):
        done = run_block(a_plan(), refusal=refusal)
        assert {(sample.status, message(sample)) for sample in done.samples} == {("failed", refusal.message)}
        assert len(done.samples) == 5
        assert (done.load.status, done.load.error) == ("failed", {"code": refusal.code, "message": refusal.message})
        assert done.target.asked == []


def test_an_engine_that_dies_at_its_end_has_answered_all_the_same(run_block: RunBlock, clock: Clock) -> None:
    target = Puppet(clock, lambda _: 1.0)
    target.unload_failure = DIED
    done = run_block(a_plan(), target=target)
    assert {sample.status for sample in done.samples} == {"ok"}
    assert (done.load.status, (done.load.error or {})["code"]) == ("failed", "engine_crashed")


def test_a_fault_of_ours_is_raised(run_block: RunBlock) -> None:
    with pytest.raises(AuditionError, match="the log cannot be written"):
        run_block(a_plan(), refusal=AuditionError("the log cannot be written", code="disk_full"))


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("at", [3, 10, 17])
def test_a_sample_that_cannot_be_recorded_ends_the_run(run_block: RunBlock, concurrency: int, at: int) -> None:
    """Even where the next ones could be: the target is not to blame, and nothing may be missing unsaid."""
    lines = iter(range(100))

    def add(sample: Sample) -> None:
        if next(lines) == at:
            raise AuditionError("the disk filled up", code="disk_full")

    cases = TEN if concurrency == 4 else [*TEN, *(a_case(f"more-{n}") for n in range(6))]
    plan = a_plan(cases=cases, levels=(Level.closed(concurrency),))
    assert count_of(plan, plan.blocks[0]) in (18, 22)
    with pytest.raises(AuditionError, match="disk filled up"):
        run_block(plan, add=add)


def test_a_listener_that_interrupts_keeps_what_has_ended(run_block: RunBlock, caplog: pytest.LogCaptureFixture) -> None:
    kept: list[Sample] = []

    def add(sample: Sample) -> None:
        kept.append(sample)
        if len(kept) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_block(a_plan(cases=TEN, levels=(Level.closed(4),)), add=add)
    assert len(set(ids(kept))) == len(kept) == 10, "the last of four that ended together as well"
    assert {sample.status for sample in kept} == {"ok"}, "what was under way is not said to have failed"
    gc.collect()
    assert caplog.records == [], "no task was forgotten"


class Ten:
    """A counter of ten watts."""

    source = "ten"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def joules(self) -> float:
        return 10 * self.clock.now


def test_energy_is_told_apart_by_level(run_block: RunBlock, clock: Clock) -> None:
    meter = EnergyMeter([Ten(clock)], {}, clock=clock.perf_counter)
    plan = a_plan(cases=TEN, levels=(Level.closed(1), Level.closed(4)), warmup=4)
    done = run_block(plan, power=Power(meter, 4.0))
    energy = done.load.energy or {}
    assert set(energy) == {"c1", "c4"}
    for level, seconds in (("c1", 10.0), ("c4", 5.0)):
        assert energy[level]["seconds"] == pytest.approx(seconds, rel=0.01), "without the first and the warm-up"
        assert energy[level]["joules_gross"] == pytest.approx(10 * seconds, rel=0.01)
        assert energy[level]["joules_net"] == pytest.approx(6 * seconds, rel=0.02)
        assert energy[level]["sources"] == ["ten"]
    assert run_block(plan).load.energy is None


def test_a_load_says_how_long_it_took_and_what_else_went_on(run_block: RunBlock) -> None:
    load = run_block(a_plan()).load
    assert load.wall_s is not None and load.wall_s >= 0
    assert load.activity is not None and load.activity["seconds"] >= 0
    assert "background_cores" in load.activity


def test_a_server_is_asked_with_marks_and_they_are_on_record(run_block: RunBlock) -> None:
    plan = a_plan([a_target(format=SERVER)], levels=(Level.closed(2),))
    done = run_block(plan)
    assert len({(sample.asked or {})["mark"] for sample in done.samples}) == len(done.samples)
    for sample, (prompt, params) in zip(done.samples, done.target.asked, strict=True):
        mark = (sample.asked or {})["mark"]
        assert prompt == f"[{mark}]\nPlease answer {sample.case}."
        assert sample.asked == {**params, "mark": mark}
    first = next(opening(plan))
    assert (done.samples[0].asked or {})["mark"] == mark_of(plan, plan.blocks[0], first)
    resumed = run_block(plan, earlier=done.samples[:1], attempt=2)
    assert resumed.target.asked[0][0] == f"[{mark_of(plan, plan.blocks[0], first, 2)}]\nPlease answer red."


def probe_of(plan: Plan) -> Block:
    return Block("p001", 0, plan.targets[0].id, ())


def test_a_probe_records_what_the_guards_ask(run_block: RunBlock) -> None:
    plan = a_plan()
    done = run_block(plan, block=probe_of(plan))
    assert {(sample.phase, sample.round, sample.block, sample.attempt) for sample in done.samples} == {
        ("probe", 0, "p001", 1)
    }
    cases = [sample.case for sample in done.samples]
    assert len(set(cases)) == len(cases) == len(done.target.asked) >= 5
    assert {"seed_ignored/once", "temperature_ignored/zero", "max_tokens_ignored/eight"} <= set(cases)
    for sample, (prompt, params) in zip(done.samples, done.target.asked, strict=True):
        assert sample.asked == {**params, "prompt_chars": len(prompt)}
    assert done.load.status == "ok"


def test_a_question_that_failed_is_asked_once_more_as_a_sample_of_its_own(run_block: RunBlock) -> None:
    plan = a_plan()
    done = run_block(plan, lambda number: ("http_500", "no") if number == 1 else 1.0, block=probe_of(plan))
    first, failed, again = done.samples[:3]
    assert [(s.case, s.repeat, s.status) for s in (failed, again)] == [(again.case, 0, "failed"), (again.case, 1, "ok")]
    assert first.case != failed.case
    assert len({sample.key for sample in done.samples}) == len(done.samples) == len(done.target.asked)
    never = run_block(plan, lambda _: ("http_500", "no"), block=probe_of(plan))
    assert max(sample.repeat for sample in never.samples) == 1
    assert len(never.samples) <= 12


def test_a_probe_that_cannot_be_answered_ends_soon(run_block: RunBlock) -> None:
    plan = a_plan()
    gone = run_block(plan, lambda number: DIED if number == 3 else 1.0, block=probe_of(plan))
    assert (len(gone.samples), len(gone.target.asked)) == (3, 4)
    assert (gone.load.error or {})["code"] == "engine_crashed"
    silent = run_block(plan, lambda _: ("timeout", "too late"), block=probe_of(plan))
    assert len(silent.samples) == 2
    assert {code(sample) for sample in silent.samples} == {"timeout"}
    assert silent.runner.gave_up
    closed = run_block(plan, refusal=EngineError("no", code="load_failed"), block=probe_of(plan))
    assert (closed.samples, closed.load.status) == ([], "failed")
