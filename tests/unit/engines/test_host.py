"""An engine in a process of its own: what it answers, and what is left of us when it misbehaves."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from audition.engines import environment as allow_list
from audition.engines import host
from audition.engines.host import EngineProcess, probe
from audition.engines.protocol import EngineDied, EngineError, Reply
from audition.errors import AuditionError
from faulty_engines import Steady

pytestmark = pytest.mark.usefixtures("faulty")

PARAMS = {"max_tokens": 8, "temperature": 0.0, "seed": 1}
posix = pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
LONG = 60.0
"""Seconds; far more than any of these engines needs, on any machine."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "engine.log"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def loaded(log: Path, weights: Path) -> Callable[[str], EngineProcess]:
    def load(engine: str) -> EngineProcess:
        process = EngineProcess(engine, log)
        process.load(weights, {"context": 512})
        return process

    return load


def ask(process: EngineProcess, prompt: str = "hello", timeout_s: float = LONG, **more: Any) -> Reply:
    return process.chat([{"role": "user", "content": prompt}], PARAMS, timeout_s, **more)


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_an_answer_comes_with_a_time_for_every_piece(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("steady") as process:
        reply = ask(process)
    assert [chunk.text for chunk in reply.chunks] == [f"{word} " for word in Steady.text.split()]
    times = [chunk.at_ns for chunk in reply.chunks]
    assert reply.sent_ns < times[0] and times[-1] <= reply.end_ns
    gaps = [after - before for before, after in zip([reply.sent_ns, *times], times, strict=False)]
    assert all(gap >= 2_000_000 for gap in gaps), "the engine waits two milliseconds before every token"
    assert (reply.cancelled, reply.failure) == (False, None)
    assert reply.finish is not None
    assert (reply.finish.reason, reply.finish.completion_tokens, reply.finish.token_source) == (None, None, None)


def test_one_string_is_one_piece(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("whole") as process:
        reply = ask(process)
    (chunk,) = reply.chunks
    assert chunk.text == Steady.text
    assert reply.sent_ns < chunk.at_ns <= reply.end_ns


def test_what_an_engine_knows_more_is_passed_on(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("talks") as process:
        reply = ask(process)
    assert [(chunk.text, chunk.reasoning) for chunk in reply.chunks] == [
        *(("", False), ("hm ", True), ("", False), ("yes", False), ("!", False)),
    ]
    finish = reply.finish
    assert finish is not None
    assert (finish.reason, finish.prompt_tokens, finish.cached_tokens, finish.completion_tokens) == ("length", 7, 2, 3)
    assert (finish.token_source, finish.engine_timings) == ("usage", {"prompt_ms": 1.5})
    assert finish.at_ns == reply.end_ns >= reply.chunks[-1].at_ns


def test_the_engine_gets_messages_and_parameters_as_they_are(loaded: Callable[[str], EngineProcess]) -> None:
    messages = [{"role": "system", "content": "Be \ud83d brief."}, {"role": "user", "content": "Ünïcode 世界 🌍"}]
    with loaded("reveals") as process:
        seen = json.loads(text(process.chat(messages, PARAMS, LONG)))
    assert seen["prompt"] == "Be \ud83d brief.\n\nÜnïcode 世界 🌍"
    assert seen["params"] == PARAMS


def test_text_can_be_watched_as_it_comes(loaded: Callable[[str], EngineProcess]) -> None:
    pieces: list[tuple[str, bool]] = []
    with loaded("talks") as process:
        reply = ask(process, on_text=lambda piece, reasoning: pieces.append((piece, reasoning)))
    assert pieces == [(chunk.text, chunk.reasoning) for chunk in reply.chunks]
    assert reply.finish is not None


def test_start_import_and_load_are_told_apart(log: Path, weights: Path) -> None:
    with EngineProcess("steady", log) as process:
        assert process.spawn_ms > 0 and process.import_ms > 0
        assert process.description["class"] == "faulty_engines:Steady"
        start = time.perf_counter()
        load_ms = process.load(weights, {"context": 512})
        assert 0 <= load_ms <= (time.perf_counter() - start) * 1000


def test_leaving_ends_the_process(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("steady") as process:
        assert not gone(process.pid)
    assert gone(process.pid)
    with pytest.raises(EngineDied):
        ask(process)


def test_leaving_ends_a_process_that_hears_nothing(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("seizes") as process:
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        message = {"op": "chat", "messages": [{"role": "user", "content": ""}], "params": {}, "stream": True}
        process._send(message, answers.put)
        assert answers.get(timeout=LONG) == {"text": "one ", "reasoning": False}
        start = time.monotonic()
    assert gone(process.pid)
    assert time.monotonic() - start < LONG / 2


def test_what_an_engine_prints_goes_to_its_log(
    loaded: Callable[[str], EngineProcess], log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with loaded("chatty") as process:
        assert text(ask(process)).split() == Steady.text.split()
    assert capfd.readouterr() == ("", "")
    for line in ("loading, loading", "raw bytes on descriptor 1", "raw bytes on descriptor 2"):
        assert line in log.read_text().splitlines()


@pytest.mark.parametrize("name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HTTPS_PROXY", "LLAMA_ARG_X"])
def test_secrets_stay_outside(
    loaded: Callable[[str], EngineProcess], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "secret-of-ours")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # `host.json` records it, so engines must have it
    with loaded("reveals") as process:
        environment = json.loads(text(ask(process)))["environment"]
    assert "secret-of-ours" not in environment.values()
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["GOMP_SPINCOUNT"] == "1000"
    assert environment["PATH"] == os.environ["PATH"]
    allowed = {*allow_list.ALLOWED, "PYTHONUNBUFFERED", "PYTHONUTF8"}
    others = {key for key in environment if key not in allowed and not key.startswith(allow_list.PREFIXES)}
    assert others == set()


def test_a_crash_leaves_no_core_dump(loaded: Callable[[str], EngineProcess]) -> None:
    resource = pytest.importorskip("resource")
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with loaded("reveals") as process:
        assert json.loads(text(ask(process)))["core"] == [0, 0]
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] == hard, "our own limit is not touched"


def test_a_load_that_is_refused_leaves_the_process_alive(log: Path, weights: Path) -> None:
    with EngineProcess("steady", log) as process:
        with pytest.raises(EngineError, match="FileNotFoundError") as caught:
            process.load(weights.with_name("missing.gguf"), {})
        assert caught.value.code == "load_failed"
        process.load(weights, {})
        assert text(ask(process)).split() == Steady.text.split()


@pytest.mark.parametrize(
    ("engine", "code", "message"),
    [
        ("loadfails", "load_failed", "loadfails: RuntimeError: these weights are not for me"),
        ("loadstarves", "insufficient_memory", "loadstarves: the engine ran out of memory"),
    ],
)
def test_why_a_load_failed_is_said(log: Path, weights: Path, engine: str, code: str, message: str) -> None:
    with EngineProcess(engine, log) as process, pytest.raises(EngineError) as caught:
        process.load(weights, {})
    assert (caught.value.code, caught.value.message) == (code, message)


@posix
def test_a_crash_at_load_names_the_signal_and_the_log(log: Path, weights: Path) -> None:
    with EngineProcess("loadcrashes", log) as process, pytest.raises(EngineDied, match="SIGABRT") as caught:
        process.load(weights, {})
    assert caught.value.code == "engine_crashed"
    assert str(log) in str(caught.value.fix)


def test_a_crash_in_the_middle_of_an_answer_names_the_status(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("crashes") as process:
        assert text(ask(process)) == "one two"
        with pytest.raises(EngineDied, match="by itself with status 7") as caught:
            ask(process, "crash")
        assert caught.value.code == "engine_crashed"
        with pytest.raises(EngineDied):
            ask(process)


@posix
def test_a_process_that_is_killed_from_outside_is_noticed_at_once(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("endless") as process:
        start = time.monotonic()
        with pytest.raises(EngineDied, match=r"SIGKILL.*memory runs out"):
            ask(process, on_text=lambda *_: os.kill(process.pid, signal.SIGKILL))
    assert time.monotonic() - start < LONG / 2


@posix
def test_a_process_that_dies_between_requests_is_noticed(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("steady") as process:
        psutil.Process(process.pid).kill()
        with pytest.raises(EngineDied, match="SIGKILL"):
            ask(process)
        with pytest.raises(EngineDied):
            process.unload()


@pytest.mark.parametrize("engine", ["hangs", "seizes"])
def test_an_engine_that_cannot_be_stopped_is_killed(
    loaded: Callable[[str], EngineProcess], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(host, "CANCEL_GRACE_S", 0.3)
    with loaded(engine) as process:
        if engine == "hangs":
            assert text(ask(process)) == "one two"
        start = time.monotonic()
        with pytest.raises(EngineDied, match="did not stop") as caught:
            ask(process, "hang", timeout_s=0.2)
        assert caught.value.code == "engine_hung"
        assert time.monotonic() - start < LONG / 2
        assert gone(process.pid)


def test_a_load_that_never_ends_is_killed(log: Path, weights: Path) -> None:
    with EngineProcess("loadhangs", log) as process, pytest.raises(EngineDied, match="did not answer") as caught:
        process.load(weights, {}, timeout_s=0.2)
    assert caught.value.code == "engine_hung"
    assert gone(process.pid)


def test_an_answer_without_end_is_cut_and_the_engine_goes_on(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("endless") as process:
        for timeout_s in (0.3, 0.1):
            reply = ask(process, timeout_s=timeout_s)
            assert (reply.cancelled, reply.finish, reply.failure) == (True, None, None)
            assert set(text(reply).split()) == {"word"}
            assert reply.end_ns >= reply.chunks[-1].at_ns
        process.unload()


@pytest.mark.parametrize(
    ("engine", "kept", "failure"),
    [
        ("raises", "one ", "ValueError: no more words"),
        ("bytes", "", "TypeError: generate must give str, not bytes"),
        ("onebytes", "", "TypeError: generate must give str, not bytes"),
        ("nothing", "", "TypeError: generate must give str, not NoneType"),
        ("mapped", "", "TypeError: generate must give str, not dict"),
        ("oddchat", "", "TypeError: chat must give str, not int"),
    ],
)
def test_what_an_adapter_does_wrong_is_said_by_name(
    loaded: Callable[[str], EngineProcess], engine: str, kept: str, failure: str
) -> None:
    with loaded(engine) as process:
        for _ in range(2):
            reply = ask(process)
            assert (text(reply), reply.failure) == (kept, ("engine_error", failure))
            assert (reply.finish, reply.cancelled) == (None, False)


def test_figures_that_are_no_json_fail_the_request_only(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("unspeakable") as process:
        for _ in range(2):
            reply = ask(process)
            assert reply.failure is not None
            assert reply.failure[0] == "engine_error"
            assert "JSON" in reply.failure[1]
            assert reply.sent_ns < reply.end_ns


def test_a_description_that_is_no_json_fails_the_engine(log: Path) -> None:
    with pytest.raises(EngineError, match="undescribable: TypeError: describe must give what JSON can hold: "):
        EngineProcess("undescribable", log)


def test_an_engine_that_fails_at_being_stopped_fails_the_request_only(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("cannotstop") as process:
        for _ in range(2):
            reply = ask(process, timeout_s=0.2)
            assert reply.failure == ("engine_error", "RuntimeError: could not clean up")
            assert set(text(reply).split()) == {"word"}


def test_a_missing_package_comes_with_the_command_that_installs_it(log: Path) -> None:
    with pytest.raises(EngineError, match="a_package_that_is_not_installed") as caught:
        probe("missing", log)
    assert caught.value.code == "engine_unavailable"
    assert str(caught.value.fix).endswith("-m pip install 'audition[missing]'")


def test_an_engine_that_is_not_registered_brings_the_nearest(log: Path) -> None:
    with pytest.raises(EngineError, match="stedy") as caught:
        EngineProcess("stedy", log)
    assert '"steady"' in str(caught.value.fix)


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(AuditionError, match="file") as caught:
        EngineProcess("steady", tmp_path / "file" / "engine.log")
    assert not isinstance(caught.value, EngineError)


def test_a_request_that_is_too_long_for_the_pipe_is_refused(
    loaded: Callable[[str], EngineProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    with loaded("steady") as process:
        monkeypatch.setattr(host.wire, "MAX_FRAME", 1000)
        with pytest.raises(EngineError, match="too long") as caught:
            ask(process, "x" * 1000)
        assert caught.value.code == "invalid_request"
        assert text(ask(process)).split() == Steady.text.split()
