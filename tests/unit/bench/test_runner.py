"""Running a plan: one record for every request, whatever the engines do."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import Witness, brief, is_complete, of, planned, recorded, requests_of

from audition.bench.plan import Target
from audition.bench.requests import WARMUP_TOKENS
from audition.bench.rundir import RunDir
from audition.engines import host
from audition.errors import AuditionError
from faulty_engines import Steady
from plans import a_case, a_plan, a_run, a_target

pytestmark = pytest.mark.usefixtures("faulty")


def test_a_run_asks_everything_once_in_the_planned_order(tmp_path: Path, go: Callable[..., Witness]) -> None:
    plan = a_plan([a_target(model="one"), a_target(model="two")], rounds=2)
    run = a_run(tmp_path / "run", plan)
    witness = go(run)
    expected = [
        (block.id, phase, case)
        for block in plan.blocks
        for phase, case in [("first", "red"), ("warmup", "green"), *(("measured", case) for case in block.cases)]
    ]
    assert [brief(sample) for sample in run.samples()] == expected
    assert [load.block for load in run.loads()] == [block.id for block in plan.blocks]
    assert is_complete(run)
    assert not any(word == "resumed" for word, _ in witness.told)
    assert [what for word, what in witness.told if word == "sample"] == expected
    starts = [what for word, what in witness.told if word == "started"]
    assert starts == [(block.id, number, 4) for number, block in enumerate(plan.blocks, 1)]


def test_a_sample_holds_what_was_measured(tmp_path: Path, go: Callable[..., Witness]) -> None:
    run = a_run(tmp_path / "run")
    go(run)
    for sample in run.samples():
        assert (sample.status, sample.text.split(), len(sample.chunk_times_ms)) == ("ok", Steady.text.split(), 8)
        assert sample.ttft_ms == sample.chunk_times_ms[0] >= 2
        assert list(sample.chunk_times_ms) == sorted(sample.chunk_times_ms)
        assert sample.latency_ms is not None and sample.latency_ms >= sample.chunk_times_ms[-1] >= 16
        assert (sample.round, sample.attempt, sample.error) == (1, 1, None)
    sent = [sample.sent_ns for sample in run.samples() if sample.sent_ns is not None]
    assert len(sent) == 5
    assert sent == sorted(sent)


def test_a_load_holds_what_it_took(tmp_path: Path, go: Callable[..., Witness]) -> None:
    run = a_run(tmp_path / "run")
    go(run)
    (load,) = run.loads()
    assert (load.status, load.error, load.attempt, load.target) == ("ok", None, 1, a_target().id)
    for milliseconds in (load.spawn_ms, load.import_ms, load.load_ms):
        assert milliseconds is not None and milliseconds > 0
    assert load.baseline is not None and load.peak is not None and load.after_unload is not None
    assert load.peak.total >= load.baseline.total > 2**20
    assert load.started_at.endswith("+00:00")


def test_the_first_request_is_the_suites_first_case_in_every_block() -> None:
    plan = a_plan(rounds=10, warmup=2)
    for block in plan.blocks:
        requests = [(request.phase, request.key) for request in requests_of(plan, block)]
        assert requests[:3] == [("first", "red"), ("warmup", "green"), ("warmup", "blue")]
        assert requests[3:] == [("measured", case) for case in block.cases]


@pytest.mark.parametrize("warmup", [0, 1, 3, 7])
def test_any_number_of_warm_ups_has_keys_of_its_own(tmp_path: Path, go: Callable[..., Witness], warmup: int) -> None:
    run = a_run(tmp_path / "run", a_plan(warmup=warmup))
    go(run)
    assert recorded(run) == planned(run.plan)
    assert max(recorded(run).values()) == 1
    assert sum(recorded(run).values()) == 1 + warmup + 3


def params_of(run: RunDir) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {brief(sample): json.loads(sample.text)["params"] for sample in run.samples()}


def test_seeds_change_from_round_to_round_unless_answers_have_to_repeat(
    tmp_path: Path, go: Callable[..., Witness]
) -> None:
    for deterministic, seeds in ((False, {11, 12}), (True, {10})):
        plan = a_plan([a_target("reveals")], rounds=2, seed=10, deterministic=deterministic, temperature=0.7)
        run = a_run(tmp_path / f"run-{deterministic}", plan)
        go(run)
        asked = params_of(run).values()
        assert {params["seed"] for params in asked} == seeds
        assert {params["temperature"] for params in asked} == {0.7}


def test_a_case_can_have_a_limit_of_its_own_and_a_warm_up_is_short(tmp_path: Path, go: Callable[..., Witness]) -> None:
    cases = [a_case("short", max_tokens=3), a_case("usual"), a_case("long", max_tokens=500)]
    run = a_run(tmp_path / "run", a_plan([a_target("reveals")], cases, warmup=3, max_tokens=100))
    go(run)
    limits = {(phase, case): params["max_tokens"] for (_, phase, case), params in params_of(run).items()}
    assert limits == {
        **{("first", "short"): 3, ("measured", "short"): 3, ("measured", "usual"): 100, ("measured", "long"): 500},
        **{("warmup", "short"): 3, ("warmup", "usual"): WARMUP_TOKENS, ("warmup", "long"): WARMUP_TOKENS},
    }
    assert WARMUP_TOKENS < 100


CRASH = [a_case("red"), a_case("green", "please crash and hang here"), a_case("blue"), a_case("grey"), a_case("pink")]


@pytest.mark.parametrize(
    ("engine", "code", "message"),
    [
        ("loadfails", "load_failed", "these weights are not for me"),
        ("loadcrashes", "engine_crashed", "the process of loadcrashes"),
        ("loadstarves", "insufficient_memory", "ran out of memory"),
        ("missing", "engine_unavailable", "a_package_that_is_not_installed"),
        ("undescribable", "engine_error", "JSON"),
        ("nobody", "engine_unavailable", "nobody"),
    ],
)
def test_a_target_that_cannot_be_loaded_fails_alone(
    tmp_path: Path, go: Callable[..., Witness], engine: str, code: str, message: str
) -> None:
    broken, steady = a_target(engine), a_target()
    run = a_run(tmp_path / "run", a_plan([broken, steady], rounds=2))
    go(run)
    assert recorded(run) == planned(run.plan)
    assert is_complete(run)
    for sample in of(run.samples(), broken):
        assert (sample.status, sample.sent_ns, sample.latency_ms, sample.text) == ("failed", None, None, "")
        assert sample.error is not None
        assert sample.error["code"] == code
        assert message in sample.error["message"]
    assert {sample.status for sample in of(run.samples(), steady)} == {"ok"}
    for load in run.loads():
        assert load.status == ("failed" if load.target == broken.id else "ok")
        assert (load.load_ms is None) == (load.target == broken.id)


@pytest.mark.parametrize(("engine", "code"), [("crashes", "engine_crashed"), ("hangs", "engine_hung")])
def test_a_crash_fails_the_request_and_what_could_not_be_asked_any_more(
    tmp_path: Path, go: Callable[..., Witness], monkeypatch: pytest.MonkeyPatch, engine: str, code: str
) -> None:
    monkeypatch.setattr(host, "CANCEL_GRACE_S", 0.2)
    broken, steady = a_target(engine), a_target()
    plan = a_plan([broken, steady], CRASH, rounds=2, warmup=0, timeout_s=60.0 if engine == "crashes" else 2.0)
    run = a_run(tmp_path / "run", plan)
    go(run)
    assert recorded(run) == planned(plan)
    assert {sample.status for sample in of(run.samples(), steady)} == {"ok"}
    for block in plan.blocks:
        if block.target != broken.id:
            continue
        measured = [sample for sample in run.samples() if sample.block == block.id and sample.phase == "measured"]
        place = block.cases.index("green")
        assert [sample.status for sample in measured] == ["ok"] * place + ["failed"] * (5 - place)
        errors = [sample.error for sample in measured[place:] if sample.error is not None]
        assert {error["code"] for error in errors} == {code}
        assert [error["message"].startswith("not asked: ") for error in errors] == [False] + [True] * (4 - place)
    loads = [load for load in run.loads() if load.target == broken.id]
    assert [(load.status, (load.error or {})["code"]) for load in loads] == [("failed", code)] * 2
    assert all(load.load_ms is not None for load in loads)


@pytest.mark.parametrize(
    ("engine", "status", "code", "text"),
    [
        ("raises", "failed", "engine_error", "one "),
        ("bytes", "failed", "engine_error", ""),
        ("nothing", "failed", "engine_error", ""),
        ("oddchat", "failed", "engine_error", ""),
        ("unspeakable", "failed", "engine_error", ""),
        ("cannotstop", "failed", "engine_error", None),
        ("endless", "timeout", "timeout", None),
    ],
)
def test_a_request_that_fails_fails_alone(
    tmp_path: Path, go: Callable[..., Witness], engine: str, status: str, code: str, text: str | None
) -> None:
    run = a_run(tmp_path / "run", a_plan([a_target(engine)], timeout_s=0.3))
    go(run)
    assert recorded(run) == planned(run.plan)
    for sample in run.samples():
        assert (sample.status, (sample.error or {})["code"], sample.latency_ms) == (status, code, None)
        assert sample.sent_ns is not None, "each of them was asked"
        assert sample.text == text if text is not None else set(sample.text.split()) == {"word"}
    assert [load.status for load in run.loads()] == ["ok"]


def test_a_target_that_does_not_fit_into_memory_is_not_even_started(tmp_path: Path, go: Callable[..., Witness]) -> None:
    large, unknown = a_target(model="large", memory_estimate_bytes=2000), a_target(model="unknown")
    small = a_target(model="small", memory_estimate_bytes=1000)
    run = a_run(tmp_path / "run", a_plan([large, small, unknown]))
    go(run, free_memory=lambda: 1000)
    assert recorded(run) == planned(run.plan)
    for sample in of(run.samples(), large):
        assert sample.error is not None
        assert sample.error["code"] == "insufficient_memory"
    assert {sample.status for target in (small, unknown) for sample in of(run.samples(), target)} == {"ok"}
    (load,) = (load for load in run.loads() if load.target == large.id)
    assert (load.status, load.spawn_ms, load.load_ms, load.peak) == ("failed", None, None, None)
    assert len(list((run.path / "logs").iterdir())) == 2


def test_weights_that_are_gone_are_no_failure_of_the_model(
    tmp_path: Path, go: Callable[..., Witness], weights: Path
) -> None:
    lost, steady = a_target(model="lost"), a_target()

    def locate(target: Target) -> Path:
        if target.id == lost.id:
            raise AuditionError("the weights are gone", code="model_not_found")
        return weights

    run = a_run(tmp_path / "run", a_plan([lost, steady]))
    with pytest.raises(AuditionError, match="weights are gone"):
        go(run, locate=locate)
    assert run.samples() == []
    go(run)
    assert recorded(run) == planned(run.plan)
    assert {sample.status for sample in run.samples()} == {"ok"}


def test_a_fault_of_ours_ends_the_run(tmp_path: Path, go: Callable[..., Witness]) -> None:
    def locate(_: Target) -> Path:
        raise AuditionError("the disk is gone", code="disk_error")

    run = a_run(tmp_path / "run")
    with pytest.raises(AuditionError, match="disk is gone"):
        go(run, locate=locate)
    assert (run.samples(), run.loads()) == ([], [])


def test_a_full_disk_ends_the_run_and_it_goes_on_later(
    tmp_path: Path, go: Callable[..., Witness], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, write, lines = a_run(tmp_path / "run"), os.write, iter(range(100))

    def fills_up(handle: int, data: bytes) -> int:
        return write(handle, data if next(lines) < 3 else data[:30])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fills_up)
        with pytest.raises(AuditionError) as caught:
            go(run)
    assert caught.value.code == "disk_full"
    assert f"--resume '{run.path}'" in str(caught.value.fix)
    before = run.samples()
    assert len(before) == 3
    witness = go(run)
    assert witness.told[0] == ("resumed", (3, 5, ["samples.jsonl"]))
    assert run.samples()[:3] == before
    assert recorded(run) == planned(run.plan)


@pytest.mark.parametrize("after", [1, 2, 5, 7])
def test_an_interrupt_leaves_a_run_that_goes_on(tmp_path: Path, go: Callable[..., Witness], after: int) -> None:
    run = a_run(tmp_path / "run", a_plan(rounds=2))
    with pytest.raises(KeyboardInterrupt):
        go(run, Witness(interrupt_after=after))
    before = run.samples_path.read_bytes()
    assert len(run.samples()) == after
    assert len(run.loads()) == (after - 1) // 5
    assert not is_complete(run)
    engines = [child for child in psutil.Process().children() if "audition.engines.child" in child.cmdline()]
    assert engines == [], "none is left behind"
    assert not [thread for thread in threading.enumerate() if thread.name == "memory meter"]
    witness = go(run)
    assert witness.told[0] == ("resumed", (after, 10, []))
    assert run.samples_path.read_bytes().startswith(before)
    assert recorded(run) == planned(run.plan)
    assert max(sample.attempt for sample in run.samples()) == (1 if after == 5 else 2)


@pytest.mark.parametrize(("after", "numbers"), [(1, "1 2 3 4 5"), (3, "1 2 3 2 3"), (4, "1 2 3 4 2"), (5, "1 2 3 4 5")])
def test_after_a_resume_an_unrecorded_request_takes_the_cold_start(
    tmp_path: Path, go: Callable[..., Witness], after: int, numbers: str
) -> None:
    run = a_run(tmp_path / "run", a_plan([a_target("counts")]))
    with pytest.raises(KeyboardInterrupt):
        go(run, Witness(interrupt_after=after))
    go(run)
    assert [sample.text.split(":")[0] for sample in run.samples()] == numbers.split()


def test_a_run_that_is_complete_is_left_as_it_is(tmp_path: Path, go: Callable[..., Witness]) -> None:
    run = a_run(tmp_path / "run")
    go(run)
    before = (run.samples_path.read_bytes(), run.loads_path.read_bytes())
    witness = go(run)
    assert [word for word, _ in witness.told] == ["resumed"]
    assert (run.samples_path.read_bytes(), run.loads_path.read_bytes()) == before


def test_a_damaged_line_that_was_deleted_has_its_request_asked_again(
    tmp_path: Path, go: Callable[..., Witness]
) -> None:
    run = a_run(tmp_path / "run", a_plan(rounds=2))
    go(run)
    lines = run.samples_path.read_bytes().splitlines(keepends=True)
    run.samples_path.write_bytes(b"".join(lines[:3] + lines[4:]))
    go(run)
    assert recorded(run) == planned(run.plan)
    assert (brief(run.samples()[-1]), run.samples()[-1].attempt) == (
        ("b001", "measured", run.plan.blocks[0].cases[1]),
        2,
    )
