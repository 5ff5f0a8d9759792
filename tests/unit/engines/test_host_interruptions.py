"""An engine process when its parent is interrupted, loses patience, or is killed."""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from audition.engines import child, host, wire
from audition.engines.adapter import AnyEngine
from audition.engines.host import EngineProcess
from audition.engines.protocol import EngineDied, Reply
from faulty_engines import Endless

pytestmark = pytest.mark.usefixtures("faulty")

LONG = 60.0
"""Seconds; far more than any of this needs, on any machine."""

PARENT = """
import sys
from pathlib import Path
from audition.engines import environment, host

environment.ALLOWED |= {"PYTHONPATH"}
engine, prompt, folder = sys.argv[1:]
weights = Path(folder, "model.gguf")
weights.write_bytes(b"weights")
with host.EngineProcess(engine, Path(folder, "engine.log")) as process:
    process.load(weights, {})
    print(process.pid, flush=True)
    said = lambda *_: print("answering", flush=True)
    ask = lambda prompt: process.chat([{"role": "user", "content": prompt}], {}, 60, on_text=said)
    try:
        ask(prompt)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        print("then:", "".join(chunk.text for chunk in ask("again").chunks), flush=True)
    sys.stdin.read()
"""


@contextmanager
def parent(engine: str, prompt: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has an engine process."""
    arguments = [sys.executable, "-c", PARENT, engine, prompt, str(folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def process(request: pytest.FixtureRequest, tmp_path: Path, log: Path) -> Iterator[EngineProcess]:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")
    with EngineProcess(request.param, log) as process:
        process.load(weights, {})
        yield process


def ask(process: EngineProcess, prompt: str = "hello", timeout_s: float = LONG, **more: Any) -> Reply:
    return process.chat([{"role": "user", "content": prompt}], {}, timeout_s, **more)


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def raise_when_asleep(log: Path, error: type[BaseException]) -> Callable[[str, bool], None]:
    """A listener that fails once the engine cannot hear any more."""

    def listen(*_: object) -> None:
        wait_until(lambda: "asleep" in log.read_text())
        raise error

    return listen


@pytest.mark.parametrize("process", ["endless"], indirect=True)
def test_an_interrupt_stops_the_answer_and_the_engine_goes_on(process: EngineProcess) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ask(process, on_text=raise_interrupt)
    reply = ask(process, timeout_s=0.2)
    assert reply.cancelled
    assert set(text(reply).split()) == {"word"}


@pytest.mark.parametrize("process", ["dozes"], indirect=True)
@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_an_abandoned_answer_is_not_taken_for_the_next_one(
    process: EngineProcess, log: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        ask(process, "first", on_text=raise_when_asleep(log, error))
    assert text(ask(process, "second")) == "so: second"


@pytest.mark.parametrize("process", ["dozes"], indirect=True)
def test_a_second_interrupt_ends_the_process(
    process: EngineProcess, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # The person presses Ctrl-C again while the engine is given its time to stop.
        patch.setattr(process, "_answer_or_kill", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            ask(process, "first", on_text=raise_when_asleep(log, KeyboardInterrupt))
    with pytest.raises(EngineDied):
        ask(process, "second")


@pytest.mark.parametrize("process", ["hangs"], indirect=True)
def test_an_engine_that_does_not_hear_an_interrupt_is_ended(
    process: EngineProcess, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "CANCEL_GRACE_S", 0.2)
    with pytest.raises(KeyboardInterrupt):
        ask(process, "hang", on_text=raise_when_asleep(log, KeyboardInterrupt))
    assert gone(process.pid)
    with pytest.raises(EngineDied):
        ask(process)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_reaches_the_parent_and_leaves_the_engine_alone(tmp_path: Path) -> None:
    with parent("dozes", "first", tmp_path) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "answering\n"
        # A terminal sends Ctrl-C to both.
        os.kill(pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGINT)
        lines = iter(process.stdout.readline, "")
        assert next(line for line in lines if line != "answering\n") == "interrupted\n"
        assert next(line for line in lines if line != "answering\n") == "then: so: again\n"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize(("engine", "prompt"), [("steady", "hello"), ("hangs", "hang"), ("endless", "hello")])
def test_when_the_parent_is_killed_its_engine_goes_too(tmp_path: Path, engine: str, prompt: str) -> None:
    with parent(engine, prompt, tmp_path) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert process.stdout.readline() == "answering\n"
        assert not gone(pid)
        process.kill()
        process.wait()
        wait_until(lambda: gone(pid))


def test_a_cancel_right_behind_its_request_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader may have both before the engine has begun with the first."""
    requests, replies = io.BytesIO(), io.BytesIO()
    wire.send(requests, {"id": 1, "op": "chat", "messages": [], "params": {}, "stream": False})
    wire.send(requests, {"op": "cancel", "request": 1})
    requests.seek(0)
    monkeypatch.setattr(child, "_end", lambda: None)
    worker = child._Child(replies)
    worker._adapter = AnyEngine(Endless())
    operations: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    child._read(requests, operations, worker)
    worker.serve(operations.get(timeout=0))
    replies.seek(0)
    answer = wire.receive(replies)
    assert answer is not None
    assert answer["cancelled"] is True
    assert len(answer["chunks"]) == 1


@pytest.mark.parametrize("process", ["endless"], indirect=True)
def test_a_cancel_that_comes_too_late_does_not_stop_the_next_answer(process: EngineProcess) -> None:
    ask(process, timeout_s=0.05)
    process._cancel(next(process._numbers) - 1)
    reply = ask(process, timeout_s=0.5)
    assert len(reply.chunks) > 5
