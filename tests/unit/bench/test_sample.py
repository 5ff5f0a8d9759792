"""Samples and loads: what is measured of a reply, and how it is written down."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from audition.bench.sample import Load, Memory, Place, Sample, measured
from audition.engines.protocol import Chunk, Finish, Reply, Wire
from plans import a_load, a_sample

SENT = 5_000_000_000
STOP = Finish("stop", SENT + 90_000_000, 12, 0, 3, "usage", {"prompt_ms": 9.5})


def at(ms: float) -> int:
    return SENT + int(ms * 1e6)


def a_reply(*chunks: Chunk, **changes: Any) -> Reply:
    facts: dict[str, Any] = {"finish": STOP, "cancelled": False, "failure": None}
    return Reply(**{"sent_ns": SENT, "end_ns": at(90), "chunks": chunks} | facts | changes)


ANSWER = a_reply(
    *(Chunk("", at(5)), Chunk("hm ", at(10.5), reasoning=True), Chunk("", at(11))),
    *(Chunk("Par", at(20)), Chunk("", at(25)), Chunk("is", at(30.1234))),
)


def sample_of(reply: Reply) -> Sample:
    return measured(reply, Place("t", "c", "b001", 2, "measured", 3))


def test_the_first_text_counts_and_reasoning_is_text() -> None:
    sample = sample_of(ANSWER)
    assert sample.ttft_ms == 10.5
    assert sample.chunk_times_ms == (10.5, 20.0, 30.123)
    assert (sample.text, sample.reasoning) == ("Paris", "hm ")


def test_latency_ends_with_the_stream_and_not_with_the_last_text() -> None:
    assert sample_of(ANSWER).latency_ms == 90.0
    assert sample_of(replace(ANSWER, end_ns=at(100))).latency_ms == 100.0


def test_what_the_engine_said_is_recorded() -> None:
    sample = sample_of(ANSWER)
    assert (sample.status, sample.error, sample.finish_reason) == ("ok", None, "stop")
    assert (sample.prompt_tokens, sample.cached_tokens, sample.completion_tokens) == (12, 0, 3)
    assert (sample.token_source, sample.engine_timings) == ("usage", {"prompt_ms": 9.5})
    assert (sample.target, sample.case, sample.block, sample.round, sample.attempt) == ("t", "c", "b001", 2, 3)
    assert sample.sent_ns == SENT


def test_what_the_engine_does_not_say_stays_unknown() -> None:
    sample = sample_of(replace(ANSWER, finish=Finish(None, at(90))))
    assert sample.status == "ok"
    counts = (sample.prompt_tokens, sample.cached_tokens, sample.completion_tokens, sample.token_source)
    assert counts == (None, None, None, None)
    assert (sample.finish_reason, sample.engine_timings) == (None, None)


def test_the_answer_begins_where_reasoning_ends() -> None:
    assert sample_of(ANSWER).ttfa_ms == 20.0
    assert sample_of(a_reply(Chunk("hm", at(5), reasoning=True))).ttfa_ms is None


def test_in_an_open_loop_every_time_counts_from_the_schedule() -> None:
    sample = measured(ANSWER, Place("t", "c", "b001", 2, "measured"), scheduled_ns=at(-7))
    assert (sample.queue_ms, sample.ttft_ms, sample.ttfa_ms, sample.latency_ms) == (7.0, 17.5, 27.0, 97.0)
    assert sample.chunk_times_ms == (17.5, 27.0, 37.123)
    assert sample_of(ANSWER).queue_ms is None


def test_an_answer_in_one_piece_has_no_first_token() -> None:
    sample = sample_of(replace(ANSWER, wire=Wire(status=200, notes=("not_streamed",))))
    assert (sample.ttft_ms, sample.ttfa_ms, sample.chunk_times_ms) == (None, None, ())
    assert (sample.text, sample.latency_ms) == ("Paris", 90.0)
    assert sample.wire is not None and sample.wire["notes"] == ("not_streamed",)


def test_a_request_that_failed_lasted_as_long_as_it_did() -> None:
    sample = sample_of(replace(ANSWER, cancelled=True, finish=None))
    assert (sample.latency_ms, sample.elapsed_ms) == (None, 90.0)


def test_an_answer_without_text_has_no_first_token() -> None:
    sample = sample_of(a_reply(Chunk("", at(5))))
    assert (sample.status, sample.ttft_ms, sample.chunk_times_ms, sample.text) == ("ok", None, (), "")
    assert sample.latency_ms == 90.0


def test_an_answer_that_the_limit_cut_is_a_measurement() -> None:
    sample = sample_of(replace(ANSWER, finish=replace(STOP, reason="length")))
    assert (sample.status, sample.error, sample.latency_ms) == ("truncated", None, 90.0)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"cancelled": True, "finish": None}, "timeout", "timeout"),
        ({"cancelled": True}, "timeout", "timeout"),
        ({"failure": ("engine_error", "no more words"), "finish": None}, "failed", "engine_error"),
        ({"failure": ("engine_error", "no more words"), "cancelled": True}, "failed", "engine_error"),
        ({"finish": None}, "failed", "incomplete_stream"),
    ],
)
def test_an_answer_without_its_end_has_no_latency(changes: dict[str, Any], status: str, code: str) -> None:
    sample = sample_of(replace(ANSWER, **changes))
    assert sample.status == status
    assert sample.error is not None
    assert sample.error["code"] == code
    assert sample.latency_ms is None
    assert (sample.ttft_ms, sample.text) == (10.5, "Paris"), "what came is kept"


def test_the_message_of_a_failure_is_kept() -> None:
    sample = sample_of(a_reply(finish=None, failure=("context_length_exceeded", "631 tokens exceed 512")))
    assert sample.error == {"code": "context_length_exceeded", "message": "631 tokens exceed 512"}


def test_a_line_of_samples_has_these_keys() -> None:
    """Other programs read this file: a key may be added, none may be renamed or taken away."""
    assert set(sample_of(ANSWER).to_json()) == {
        *("schema", "target", "case", "block", "round", "phase", "status", "error", "attempt", "sent_ns"),
        *("ttft_ms", "latency_ms", "chunk_times_ms", "prompt_tokens", "cached_tokens", "completion_tokens"),
        *("token_source", "finish_reason", "text", "reasoning", "engine_timings"),
        *("level", "repeat", "asked", "queue_ms", "ttfa_ms", "elapsed_ms", "wire", "prompt_sha256"),
    }
    assert sample_of(ANSWER).to_json()["schema"] == 2


def test_a_line_of_loads_has_these_keys() -> None:
    assert set(a_load().to_json()) == {
        *("schema", "target", "block", "round", "attempt", "status", "started_at", "error"),
        *("spawn_ms", "import_ms", "load_ms", "baseline", "peak", "after_unload"),
        *("wall_s", "device", "activity", "energy", "gpu_memory", "memory_reason"),
    }


@pytest.mark.parametrize(
    "sample",
    [
        sample_of(ANSWER),
        sample_of(replace(ANSWER, finish=None)),
        sample_of(replace(ANSWER, chunks=(Chunk("half \ud83d of \udfff it \x00\u2028", at(1)),))),
        a_sample(status="failed", error={"code": "x", "message": "y"}, phase="first"),
    ],
    ids=["whole", "cut", "surrogates", "nothing"],
)
def test_a_sample_survives_its_line(sample: Sample) -> None:
    line = json.dumps(sample.to_json())
    assert "\n" not in line
    assert Sample.from_json(json.loads(line)) == sample


def test_every_field_of_a_sample_is_in_its_line() -> None:
    line = a_sample().to_json()
    assert {field.name for field in fields(Sample)} <= set(line)


@pytest.mark.parametrize(
    "load",
    [
        a_load(),
        a_load(load_ms=1.5, spawn_ms=2.5, import_ms=3.5, baseline=Memory(3, 1, 2), peak=Memory(9)),
        a_load(status="failed", error={"code": "x", "message": "y"}, after_unload=Memory(5, 5, 0)),
    ],
)
def test_a_load_survives_its_line(load: Load) -> None:
    assert Load.from_json(json.loads(json.dumps(load.to_json()))) == load


def test_a_key_of_a_later_version_is_passed_over() -> None:
    assert Sample.from_json(a_sample().to_json() | {"energy_j": 3.0}) == a_sample()
    assert Load.from_json(a_load().to_json() | {"energy_j": 3.0}) == a_load()


def test_a_sample_is_known_by_block_phase_and_case() -> None:
    first = a_sample(phase="first")
    assert len({first.key, a_sample().key, a_sample(case="green").key, a_sample(block="b002").key}) == 4
    assert a_sample(attempt=2, status="failed").key == a_sample().key


@pytest.mark.parametrize(
    "change",
    [
        {"latency_ms": "x"},
        {"text": 5},
        {"error": "oops"},
        {"chunk_times_ms": "abc"},
        {"status": "weird"},
        {"round": "a"},
        {"completion_tokens": -1},
        {"latency_ms": -5.0},
        {"case": None},
    ],
)
def test_a_line_that_somebody_edited_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is |negative|none"):
        Sample.from_json(a_sample().to_json() | change)
