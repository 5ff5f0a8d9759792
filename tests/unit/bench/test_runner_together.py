"""Running a plan with several requests, or several targets, at a time: still one record for every request."""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import Witness, brief, is_complete, of, recorded, requests_of

from audition.bench.block import Power
from audition.bench.meters.energy import EnergyMeter
from audition.bench.plan import SERVER, Level, Plan
from audition.bench.rundir import RunDir
from audition.bench.sample import Sample
from audition.errors import AuditionError
from audition.mock.process import MockServer
from audition.mock.script import Script
from faulty_engines import TOKEN_S
from plans import a_case, a_plan, a_run, a_target

pytestmark = pytest.mark.usefixtures("faulty")

Go = Callable[..., Witness]
LONG = 60.0
"""Seconds; far more than any of this needs, on any machine."""
C4 = (Level.closed(4),)
EIGHT = [a_case(f"case-{n}") for n in range(8)]
TOY = a_target("parallel", settings={"context": 512, "parallel": 4})


def planned_ids(plan: Plan) -> Counter[tuple[str, str, str, str, int]]:
    return Counter(
        (block.id, *request.id) for block in plan.blocks if not block.is_probe for request in requests_of(plan, block)
    )


def recorded_ids(run: RunDir) -> Counter[tuple[str, str, str, str, int]]:
    return Counter((s.block, s.phase, s.level, s.case, s.repeat) for s in run.samples() if s.phase != "probe")


def measured(run: RunDir, level: str = "c1") -> list[Sample]:
    return [sample for sample in run.samples() if sample.phase == "measured" and sample.level == level]


def answer(sample: Sample) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sample.text.lstrip("."))
    return found


def engines() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "audition.engines.child" in child.cmdline()]


def test_an_engine_that_can_is_asked_several_things_at_once(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan([TOY], EIGHT, levels=(Level.closed(1), Level.closed(4)), seed=1))
    go(run)
    assert recorded_ids(run) == planned_ids(run.plan)
    assert {sample.status for sample in run.samples()} == {"ok"}
    assert max(answer(sample)["most"] for sample in run.samples()) == 4
    for sample in run.samples():
        assert answer(sample)["prompt"] == f"Please answer {sample.case}.", "every answer is its own request's"
        assert answer(sample)["parallel"] == 4
    (load,) = run.loads()
    assert (load.device, load.status) == ("toy0", "ok")


def test_an_engine_that_cannot_has_its_queue_counted(tmp_path: Path, go: Go) -> None:
    """Eight tokens of two milliseconds for each of four: the last one waits for the three before it."""
    run = a_run(tmp_path / "run", a_plan(cases=EIGHT, levels=(Level.closed(1), Level.closed(4))))
    go(run)
    one = 8 * TOKEN_S * 1000
    latencies = [sample.latency_ms or 0.0 for sample in measured(run, "c4")]
    assert len(latencies) == 16
    assert statistics.median(latencies) >= 4 * one
    assert statistics.median(sample.ttft_ms or 0.0 for sample in measured(run, "c4")) >= 3 * one
    alone = statistics.median(sample.latency_ms or 0.0 for sample in measured(run, "c1"))
    assert alone < 0.5 * statistics.median(latencies)


def test_a_crash_among_several_requests_leaves_each_with_one_sample(tmp_path: Path, go: Go) -> None:
    cases = [*EIGHT[:6], a_case("bad", "please crash"), *EIGHT[6:]]
    plan = a_plan([TOY, a_target(model="other")], cases, levels=C4, rounds=2, warmup=0)
    run = a_run(tmp_path / "run", plan)
    go(run)
    assert recorded_ids(run) == planned_ids(plan)
    assert is_complete(run)
    assert {sample.status for sample in of(run.samples(), plan.targets[1])} == {"ok"}
    for block in (block for block in plan.blocks if block.target == TOY.id):
        samples = [sample for sample in run.samples() if sample.block == block.id]
        messages = [(sample.error or {"message": ""})["message"] for sample in samples if sample.status == "failed"]
        asked = [text for text in messages if not text.startswith("not asked: ")]
        assert 1 <= len(asked) <= 4
        assert len(set(messages)) == 2
        assert all("ended by itself with status 7" in text for text in messages)
    assert {load.status for load in run.loads() if load.target == TOY.id} == {"failed"}


class Pressed(Witness):
    """Presses Ctrl-C after so many samples."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def sample_added(self, sample: Sample) -> None:
        super().sample_added(sample)
        if self.samples == self.after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("interrupting", [Witness, Pressed])
@pytest.mark.parametrize("level", [Level.closed(4), Level.open(100.0)], ids=["closed", "open"])
def test_an_interrupt_among_several_requests_leaves_a_run_that_goes_on(
    tmp_path: Path, go: Go, caplog: pytest.LogCaptureFixture, interrupting: type[Witness], level: Level
) -> None:
    run = a_run(tmp_path / "run", a_plan([TOY], [*EIGHT, *(a_case(f"more-{n}") for n in range(8))], levels=(level,)))
    with pytest.raises(KeyboardInterrupt):
        go(run, interrupting(7))
    before = run.samples_path.read_bytes()
    assert 7 <= len(run.samples()) < 18
    assert {sample.status for sample in run.samples()} == {"ok"}
    assert (run.loads(), engines()) == ([], [])
    gc.collect()
    assert caplog.records == [], "no task was forgotten"
    go(run)
    assert run.samples_path.read_bytes().startswith(before)
    assert recorded_ids(run) == planned_ids(run.plan)
    assert {sample.status for sample in run.samples()} == {"ok"}


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupt_does_not_wait_for_a_load(tmp_path: Path, go: Go, caplog: pytest.LogCaptureFixture) -> None:
    run = a_run(tmp_path / "run", a_plan([a_target("loadhangs")]))
    log = run.path / "logs" / "b001-1.log"

    def press() -> None:
        if wait_for(log.exists):
            os.kill(os.getpid(), signal.SIGINT)

    interrupt = threading.Thread(target=press)
    start = time.monotonic()
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        go(run)
    interrupt.join()
    assert time.monotonic() - start < LONG / 2
    assert (run.samples(), run.loads(), engines()) == ([], [], [])
    gc.collect()
    assert caplog.records == []


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    time.sleep(0.2)  # so that the engine is more likely in its load than before it
    return True


def test_a_server_is_a_target_like_any_other_and_its_key_stays_with_us(
    tmp_path: Path, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-secret-of-ours")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with MockServer(Script(ttft_ms=20, itl_ms=1, tokens=4, api_key="sk-secret-of-ours")) as mock:
        settings = {"url": mock.url, "model": "mock", "key_env": "OUR_KEY"}
        target = a_target("endpoint", model="far", format=SERVER, settings=settings, digest=None, disk_bytes=None)
        run = a_run(tmp_path / "run", a_plan([target], EIGHT, levels=(Level.closed(1), Level.closed(4)), probes=True))
        go(run, locate=lambda _: pytest.fail("a server has no weights here"))
    assert recorded_ids(run) == planned_ids(run.plan)
    assert {sample.status for sample in run.samples()} <= {"ok", "truncated"}
    sent = sorted((sample.sent_ns or 0, sample.latency_ms or 0.0) for sample in measured(run, "c4"))
    assert (sent[3][0] - sent[0][0]) / 1e6 < sent[0][1], "four were under way at once"
    marks = [(sample.asked or {}).get("mark") for sample in run.samples() if sample.phase != "probe"]
    assert None not in marks and len(set(marks)) == len(marks)
    assert [(load.status, load.load_ms) for load in run.loads()] == [("ok", None)] * 2
    assert all((load.peak and load.peak.total > 0) or load.memory_reason for load in run.loads()), "the server's own"
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"sk-secret" in path.read_bytes()]


ONE, TWO = a_target(model="one"), a_target(model="two")


def test_interleaved_targets_are_asked_in_turn(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan([ONE, TWO], EIGHT, rounds=2, interleave=True))
    go(run)
    assert recorded_ids(run) == planned_ids(run.plan)
    for round_ in (1, 2):
        samples = [sample for sample in measured(run) if sample.round == round_]
        sent = sorted(samples, key=lambda sample: sample.sent_ns or 0)
        turns = [tuple(s.target for s in sent[n : n + 2]) for n in range(0, 16, 2)]
        assert {frozenset(turn) for turn in turns} == {frozenset((ONE.id, TWO.id))}
        assert len(set(turns)) == 2, "none of them is always the first"
        assert sent == samples
        for target in (ONE, TWO):
            block = next(b for b in run.plan.blocks if b.round == round_ and b.target == target.id)
            assert tuple(sample.case for sample in of(samples, target)) == block.cases
    assert [load.block for load in run.loads()] == [block.id for block in run.plan.blocks]


def test_an_interleaved_run_that_was_interrupted_goes_on(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan([ONE, TWO], EIGHT, interleave=True))
    with pytest.raises(KeyboardInterrupt):
        go(run, Witness(11))
    assert engines() == []
    go(run)
    assert recorded_ids(run) == planned_ids(run.plan)
    assert {sample.status for sample in run.samples()} == {"ok"}
    assert [load.attempt for load in run.loads()] == [2, 2]


@pytest.mark.parametrize("engine", ["crashes", "loadfails"])
def test_an_interleaved_target_that_fails_leaves_the_others_alone(tmp_path: Path, go: Go, engine: str) -> None:
    broken = a_target(engine)
    cases = [*EIGHT[:3], a_case("bad", "please crash"), *EIGHT[3:]]
    run = a_run(tmp_path / "run", a_plan([broken, ONE, TWO], cases, interleave=True))
    go(run)
    assert recorded_ids(run) == planned_ids(run.plan)
    assert {(sample.target, sample.status) for sample in of(run.samples(), ONE) + of(run.samples(), TWO)} == {
        (ONE.id, "ok"),
        (TWO.id, "ok"),
    }
    failed = [sample.case for sample in of(measured(run), broken) if sample.status == "failed"]
    block = next(block for block in run.plan.blocks if block.target == broken.id)
    assert tuple(failed) == (block.cases[block.cases.index("bad") :] if engine == "crashes" else block.cases)
    assert {load.target: load.status for load in run.loads()} == {broken.id: "failed", ONE.id: "ok", TWO.id: "ok"}


def test_interleaved_targets_have_to_fit_together(tmp_path: Path, go: Go) -> None:
    targets = [a_target(model=name, memory_estimate_bytes=600_000_000) for name in ("one", "two")]
    run = a_run(tmp_path / "run", a_plan(targets, interleave=True))
    go(run, free_memory=lambda: 1_100_000_000)
    assert recorded_ids(run) == planned_ids(run.plan)
    for sample in run.samples():
        assert sample.error is not None and sample.error["code"] == "insufficient_memory"
        assert "together need about 1.20 GB" in sample.error["message"]
    assert [load.status for load in run.loads()] == ["failed", "failed"]
    assert not (run.path / "logs").exists(), "none was started"
    enough = a_run(tmp_path / "enough", a_plan(targets, interleave=True))
    go(enough, free_memory=lambda: 1_200_000_000)
    assert {sample.status for sample in enough.samples()} == {"ok"}


def test_a_full_disk_leaves_no_engine_of_an_interleaved_run(
    tmp_path: Path, go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, write, lines = a_run(tmp_path / "run", a_plan([ONE, TWO], interleave=True)), os.write, iter(range(100))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data if next(lines) < 6 else data[:30]))
        with pytest.raises(AuditionError, match="disk filled up"):
            go(run)
    assert engines() == []
    go(run)
    assert recorded_ids(run) == planned_ids(run.plan)


def test_a_target_that_never_answers_gets_five_chances_then_one_and_then_none(tmp_path: Path, go: Go) -> None:
    hangs = a_target("endless")
    run = a_run(tmp_path / "run", a_plan([hangs, ONE], EIGHT, rounds=3, timeout_s=0.2))
    go(run)
    assert recorded_ids(run) == planned_ids(run.plan)
    asked = Counter(sample.round for sample in of(run.samples(), hangs) if sample.sent_ns is not None)
    assert asked == {1: 5, 2: 1}
    assert {sample.status for sample in of(run.samples(), ONE)} == {"ok"}


class Calibrator:
    """Takes part in the listener's story when it is called."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness

    async def __call__(self, host: dict[str, Any]) -> dict[str, Any]:
        self.witness.told.append(("calibrated", None))
        return {**host, "noise_floor": {}, "energy": {"idle_watts": 4.0}}


def story(witness: Witness) -> list[tuple[str, Any]]:
    return [(word, what if word == "ended" else None) for word, what in witness.told if word in ("calibrated", "ended")]


def test_the_machine_is_measured_once_between_the_probes_and_the_first_block(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan([ONE, TWO], rounds=2, probes=True))
    witness = Witness()
    go(run, witness, calibrate=Calibrator(witness))
    blocks = [("ended", block.id) for block in run.plan.blocks]
    assert [block.is_probe for block in run.plan.blocks] == [True] * 2 + [False] * 4
    assert story(witness) == [*blocks[:2], ("calibrated", None), *blocks[2:]]
    assert run.host["noise_floor"] == {}
    probes = [sample for sample in run.samples() if sample.phase == "probe"]
    assert {sample.target for sample in probes} == {ONE.id, TWO.id}
    assert {sample.attempt for sample in probes} == {1}
    assert max(Counter(map(brief, probes)).values()) == 1
    assert [load.round for load in run.loads()] == [0, 0, 1, 1, 2, 2]
    assert recorded_ids(run) == planned_ids(a_plan([ONE, TWO], rounds=2))


def test_a_run_that_goes_on_is_not_measured_again(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan(rounds=2))
    for after, calibrated in ((1, 1), (6, 0), (None, 0)):
        witness = Witness(after)
        try:
            go(run, witness, calibrate=Calibrator(witness))
        except KeyboardInterrupt:
            assert after is not None
        assert [word for word, _ in story(witness)].count("calibrated") == calibrated
    assert is_complete(run)


def test_rounds_are_added_until_there_is_no_need_and_that_is_on_record(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan(until_ci=1.0))
    with pytest.raises(KeyboardInterrupt):
        go(run, Witness(8))
    (cut,) = run.added()
    assert [block.round for block in cut.blocks] == [2]
    witness = go(run)
    added = run.added()
    assert added[0] == cut, "what was decided stands"
    assert [len(decision.blocks) for decision in added] == [1] * (len(added) - 1) + [0]
    assert [what for word, what in witness.told if word == "added"] == [decision.reason for decision in added[1:]]
    blocks = [*run.plan.blocks, *(block for decision in added for block in decision.blocks)]
    assert [load.block for load in run.loads()] == [block.id for block in blocks]
    assert Counter(sample.block for sample in run.samples()) == {block.id: 5 for block in blocks}
    assert is_complete(run)
    assert [word for word, _ in go(run).told] == ["resumed"]
    assert run.added() == added


def test_a_probe_that_was_cut_is_asked_again_as_another_attempt(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan(probes=True))
    with pytest.raises(KeyboardInterrupt):
        go(run, Witness(3))
    go(run)
    probes = [sample for sample in run.samples() if sample.phase == "probe"]
    first = [sample.case for sample in probes if sample.attempt == 1]
    again = [sample.case for sample in probes if sample.attempt == 2]
    assert len(first) == 3 and again[:3] == first and len(again) > 3
    assert [load.block for load in run.loads()] == ["p001", "b001"]


def test_a_probe_of_what_cannot_be_loaded_says_so_and_the_run_goes_on(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan([a_target("loadfails"), ONE], probes=True))
    go(run)
    assert is_complete(run)
    probe, *_ = run.loads()
    assert (probe.block, probe.status, (probe.error or {})["code"]) == ("p001", "failed", "load_failed")
    assert {sample.target for sample in run.samples() if sample.phase == "probe"} == {ONE.id}
    assert recorded(run)["b001", "first", "red"] == 1
    assert {sample.status for sample in of(measured(run), ONE)} == {"ok"}


class Joules:
    """A counter of ten joules more at every look."""

    source = "toy"

    def __init__(self) -> None:
        self.total = 0.0

    def joules(self) -> float:
        self.total += 10.0
        return self.total


def test_energy_is_net_of_the_idle_power_that_was_measured_before(tmp_path: Path, go: Go) -> None:
    run = a_run(tmp_path / "run", a_plan([TOY], EIGHT, levels=(Level.closed(1), Level.closed(4)), rounds=2))
    witness = Witness()
    go(run, witness, power=Power(EnergyMeter([Joules()], {}), None), calibrate=Calibrator(witness))
    for load in run.loads():
        assert load.energy is not None and set(load.energy) == {"c1", "c4"}
        for level in load.energy.values():
            assert level["joules_gross"] == 10.0
            assert level["joules_net"] == pytest.approx(10.0 - 4.0 * level["seconds"])
        assert load.wall_s is not None
        assert load.wall_s > sum(level["seconds"] for level in load.energy.values())
        assert load.activity is not None and load.activity["seconds"] <= load.wall_s + 0.01
