"""Every engine that works here keeps the same promises; llama.cpp, with a real model, some more."""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import ggufs
from audition.bench.meters.memory import MemoryMeter
from audition.engines.host import EngineProcess
from audition.engines.protocol import EngineError, Reply
from audition.store.store import Store

LONG = 240.0
"""Seconds; far more than any answer here takes, on any machine."""
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
MEGABYTE = 2**20


@dataclass(frozen=True)
class Subject:
    """An engine, and what there is to load on it."""

    engine: str
    weights: Path
    log: Path

    @property
    def counts(self) -> bool:
        return self.engine == "llamacpp"

    def start(self) -> EngineProcess:
        return EngineProcess(self.engine, self.log)

    def load(self, process: EngineProcess, context: int = 1024) -> float:
        return process.load(self.weights, {"context": context})


def weights_of(store: Path, variant: str) -> Path:
    return next(entry.weights_path for entry in Store(store).installed() if entry.id == variant)


def ask(process: EngineProcess, messages: Any = QUESTION, timeout_s: float = LONG, **params: Any) -> Reply:
    return process.chat(messages, {"max_tokens": 16, "temperature": 0.0, "seed": 1} | params, timeout_s)


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


@pytest.fixture(params=["steady", "whole", pytest.param("llamacpp", marks=pytest.mark.models)])
def subject(request: pytest.FixtureRequest, tmp_path: Path, faulty: None) -> Subject:
    if request.param == "llamacpp":
        weights = weights_of(request.getfixturevalue("real_models") / "store", "smollm2-135m:q4_1")
    else:
        weights = tmp_path / "model.gguf"
        weights.write_bytes(b"weights")
    return Subject(request.param, weights, tmp_path / "engine.log")


@pytest.fixture
def process(subject: Subject) -> Iterator[EngineProcess]:
    with subject.start() as process:
        subject.load(process)
        yield process


def test_an_answer_has_text_times_and_an_end(subject: Subject, process: EngineProcess) -> None:
    reply = ask(process)
    assert text(reply).strip()
    times = [chunk.at_ns for chunk in reply.chunks if chunk.text]
    assert times
    assert times == sorted(times)
    assert reply.sent_ns < times[0]
    assert times[-1] <= reply.end_ns
    assert (reply.cancelled, reply.failure) == (False, None)
    assert reply.finish is not None
    assert reply.finish.reason in ("stop", "length", None)
    assert (reply.finish.completion_tokens is None) == (reply.finish.token_source is None)
    if subject.counts:
        assert "paris" in text(reply).lower()
        assert reply.finish.token_source == "usage"


def test_the_token_limit_is_honoured(subject: Subject, process: EngineProcess) -> None:
    reply = ask(process, [{"role": "user", "content": "Tell a long story about a garden."}], max_tokens=5)
    assert reply.finish is not None
    if subject.counts:
        assert (reply.finish.completion_tokens, reply.finish.reason) == (5, "length")
        assert 1 <= len(reply.chunks) <= 5


def test_the_same_seed_at_temperature_0_gives_the_same_text(process: EngineProcess) -> None:
    assert len({text(ask(process)) for _ in range(3)}) == 1


def test_a_run_is_repeated_by_a_new_process(subject: Subject, process: EngineProcess) -> None:
    with subject.start() as other:
        subject.load(other)
        assert text(ask(other)) == text(ask(process))


def test_unloading_gives_the_memory_back(subject: Subject) -> None:
    with subject.start() as process, MemoryMeter(process.pid) as meter:
        before = meter.now()
        subject.load(process)
        ask(process)
        during = meter.now()
        process.unload()
        after = meter.now()
        assert before is not None and during is not None and after is not None
        taken = during.total - before.total
        if subject.counts:
            assert taken > 90 * MEGABYTE, "98 MB of weights"
        assert after.total - before.total < max(taken / 2, 32 * MEGABYTE)


def test_a_model_can_be_loaded_again_after_unloading(subject: Subject, process: EngineProcess) -> None:
    first = text(ask(process))
    process.unload()
    subject.load(process)
    assert text(ask(process)) == first


def test_unloading_twice_and_unloading_nothing_is_no_fault(subject: Subject) -> None:
    with subject.start() as process:
        process.unload()
        subject.load(process)
        process.unload()
        process.unload()


def test_a_request_without_a_model_fails_and_is_no_crash(subject: Subject) -> None:
    with subject.start() as process:
        reply = ask(process)
        assert subject.engine != "llamacpp" or reply.failure is not None
        subject.load(process)
        assert ask(process).failure is None


@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
def test_after_a_request_that_was_stopped_the_next_one_is_whole(process: EngineProcess, timeout_s: float) -> None:
    expected = text(ask(process))
    for _ in range(3):
        stopped = ask(process, timeout_s=timeout_s, max_tokens=500)
        assert stopped.cancelled or stopped.finish is not None
        assert stopped.failure is None
    reply = ask(process)
    assert (text(reply), reply.cancelled, reply.failure) == (expected, False, None)


def test_a_file_that_is_not_there_is_refused(subject: Subject) -> None:
    with subject.start() as process:
        with pytest.raises(EngineError) as caught:
            process.load(subject.weights.with_name("nothing.gguf"), {"context": 512})
        assert caught.value.code == "load_failed"
        subject.load(process)
        assert text(ask(process)).strip()


@pytest.fixture
def llama(real_models: Path, tmp_path: Path) -> Callable[[str], Subject]:
    return lambda variant: Subject("llamacpp", weights_of(real_models / "store", variant), tmp_path / "engine.log")


@pytest.fixture
def smollm(llama: Callable[[str], Subject]) -> Iterator[EngineProcess]:
    subject = llama("smollm2-135m:q4_1")
    with subject.start() as process:
        subject.load(process)
        yield process


@pytest.mark.models
def test_llamacpp_stops_at_the_time_limit_and_keeps_what_it_had(smollm: EngineProcess) -> None:
    story = [{"role": "user", "content": "Tell a long story about a garden, a fox and a clock."}]
    whole = text(ask(smollm, story, max_tokens=100))
    start = time.monotonic()
    reply = ask(smollm, story, max_tokens=100, timeout_s=0.1)
    assert time.monotonic() - start < LONG / 2
    assert (reply.cancelled, reply.finish, reply.failure) == (True, None, None)
    assert len(text(reply)) < len(whole)
    assert whole.startswith(text(reply))


@pytest.mark.models
def test_llamacpp_reuses_no_prompt(smollm: EngineProcess) -> None:
    prompt = "Notes: " + " ".join(f"Item {number} costs {number * 7} euros." for number in range(40))
    ratios = []
    for number in range(8):
        reply = ask(smollm, [{"role": "user", "content": prompt}], max_tokens=6)
        assert reply.finish is not None and reply.finish.engine_timings is not None
        assert reply.finish.prompt_tokens is not None and reply.finish.prompt_tokens > 300
        assert reply.finish.cached_tokens == 0
        assert reply.finish.engine_timings["prompt_n"] == reply.finish.prompt_tokens
        times = [reply.sent_ns, *(chunk.at_ns for chunk in reply.chunks)]
        first, *others = (after - before for before, after in itertools.pairwise(times))
        ratios.append(first / statistics.median(others))
        # With the prompt in a cache the first token comes as fast as any other. On a machine that has much else to do
        # any two tokens can be far apart, so that one quiet moment has to be waited for.
        if number > 0 and ratios[-1] > 3:
            return
    pytest.fail(f"the first token of a repeated prompt came as fast as the others: {ratios}")


@pytest.mark.models
def test_llamacpp_refuses_a_prompt_that_does_not_fit(llama: Callable[[str], Subject]) -> None:
    subject = llama("smollm2-135m:q4_1")
    with subject.start() as process:
        subject.load(process, context=256)
        reply = ask(process, [{"role": "user", "content": "word " * 500}])
        assert reply.failure is not None
        code, message = reply.failure
        assert code == "context_length_exceeded"
        assert "256" in message
        assert reply.chunks == ()
        assert ask(process).failure is None


@pytest.mark.models
def test_llamacpp_takes_half_a_surrogate_pair_for_a_fault_of_the_request(smollm: EngineProcess) -> None:
    reply = ask(smollm, [{"role": "user", "content": "Say \ud83d"}])
    assert reply.failure is not None
    assert ask(smollm).failure is None


@pytest.mark.models
def test_llamacpp_answers_without_a_chat_template(llama: Callable[[str], Subject]) -> None:
    subject = llama("gemma-3-270m:q4_k_m")
    with subject.start() as process:
        subject.load(process, context=512)
        reply = ask(process)
    assert text(reply).strip()
    assert reply.failure is None


@pytest.mark.models
def test_llamacpp_says_what_it_is(smollm: EngineProcess) -> None:
    description = smollm.description
    assert description["package"].startswith("xllamacpp 20")
    assert description["device"] == description["device"].lower()
    assert any(device["name"] == "CPU" for device in description["devices"])


def knock(port: int, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    body = json.dumps({"messages": QUESTION, "prompt": "x", "content": "x", "max_tokens": 1})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    connection.request(method, path, body if method == "POST" else None, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


@pytest.mark.models
def test_the_listener_of_llamacpp_is_closed_to_others(smollm: EngineProcess) -> None:
    sockets = psutil.Process(smollm.pid).net_connections()
    listening = [socket.laddr for socket in sockets if socket.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} <= {"127.0.0.1"}
    strangers: list[dict[str, str]] = [{}, {"Authorization": "Bearer guessed"}, {"Authorization": "Bearer "}]
    routes = [("GET", "/v1/models"), ("GET", "/slots"), ("GET", "/props"), ("GET", "/metrics"), ("GET", "/")]
    routes += [("POST", "/v1/chat/completions"), ("POST", "/completion"), ("POST", "/tokenize"), ("POST", "/props")]
    for address in listening:
        for headers in strangers:
            foreign = headers | {"Origin": "https://evil.example"}
            for method, path in routes:
                response = knock(address.port, method, path, foreign)
                assert response.status in (401, 403, 404), (method, path, headers)
                assert not response.getheader("Access-Control-Allow-Origin")
        for method, path in [("GET", "/health"), ("OPTIONS", "/v1/chat/completions")]:
            response = knock(address.port, method, path, {"Origin": "https://evil.example"})
            assert not response.getheader("Access-Control-Allow-Origin")
            assert response.getheader("Access-Control-Allow-Credentials") in (None, "false")
    assert ask(smollm).failure is None


def test_why_llamacpp_cannot_load_a_file_is_said_in_its_own_words(tmp_path: Path) -> None:
    unknown = ggufs.write_gguf(tmp_path / "a.gguf", metadata=ggufs.tiny_metadata(general__architecture="zzzzz"))
    short = ggufs.write_gguf(tmp_path / "b.gguf", size=600)
    empty = tmp_path / "c.gguf"
    empty.touch()
    reasons = {
        unknown: "unknown model architecture: 'zzzzz'",
        short: "failed to read key-value pairs",
        empty: "failed to read magic",
        tmp_path / "nothing.gguf": "No such file or directory",
    }
    with EngineProcess("llamacpp", tmp_path / "engine.log") as process:
        for path, reason in reasons.items():
            with pytest.raises(EngineError) as caught:
                process.load(path, {"context": 512})
            assert caught.value.code == "load_failed"
            assert reason in caught.value.message, caught.value.message


@pytest.mark.models
def test_a_real_model_that_is_cut_off_is_refused(llama: Callable[[str], Subject], tmp_path: Path) -> None:
    subject = llama("smollm2-135m:q4_1")
    cut = tmp_path / "cut.gguf"
    with subject.weights.open("rb") as whole:
        cut.write_bytes(whole.read(subject.weights.stat().st_size // 2))
    with subject.start() as process:
        with pytest.raises(EngineError, match="not within the file bounds") as caught:
            process.load(cut, {"context": 512})
        assert caught.value.code == "load_failed"
        subject.load(process)
        assert text(ask(process)).strip()
