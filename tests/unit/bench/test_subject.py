"""Subjects: whose memory and whose processes, and what is refused before it is started."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from audition.bench import subject as subject_module
from audition.bench.plan import SERVER, Level
from audition.bench.subject import (
    EngineSubject,
    ServerSubject,
    make_subject,
    need_memory,
)
from audition.engines.protocol import EngineError
from audition.errors import AuditionError
from audition.mock.process import MockServer
from audition.mock.script import Script
from dialect_servers import Foundry2, running
from plans import a_plan, a_target


def a_server(url: str, **settings: str) -> ServerSubject:
    target = a_target(format=SERVER, settings={"model": "mock", **settings, "url": url})
    return ServerSubject(target, a_plan([target], levels=(Level.closed(1), Level.closed(3), Level.open(9.0))))


def test_the_processes_of_a_server_are_known_on_this_machine() -> None:
    with MockServer(Script()) as mock:
        assert a_server(mock.url).pids() == [mock.pid]
    assert a_server(mock.url).pids() is None, "nobody listens there any more"
    assert a_server("http://192.0.2.1:8080/v1").pids() == []


def test_connections_are_open_before_any_request_and_closed_after() -> None:
    async def go() -> None:
        subject = a_server(mock.url)
        await subject.open()
        assert len(subject._server._idle) == 3, "as many as the widest level needs"
        await subject.unload()
        await subject.close()
        assert subject._server._idle == []
        facts = subject.facts
        assert set(facts) == {"wall_s", "baseline", "peak", "memory_reason", "gpu_memory"}
        assert facts["peak"].total >= facts["baseline"].total > 2**20
        assert facts["peak"].total == pytest.approx(facts["baseline"].total, rel=0.2)
        assert facts["gpu_memory"]["peak_bytes"] is None
        assert facts["memory_reason"] == "a server keeps its model"

    with MockServer(Script()) as mock, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(go())


GROW = """
import socket, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
CHILD = "import sys; kept = bytearray(b'x') * 150_000_000; print('grown', flush=True); sys.stdin.read()"
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        self.server.children.append(child)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.children = []
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_model_in_a_servers_child_process_is_in_its_peak_however_short_the_block_was() -> None:
    async def go() -> None:
        subject = a_server(f"http://127.0.0.1:{port}/v1")
        await subject.open()
        (await subject.session.ask([{"role": "user", "content": "x"}], {"max_tokens": 1}, 20.0))()
        await subject.close()
        assert subject.facts["baseline"].total < 100_000_000
        assert subject.facts["peak"].total > 150_000_000

    with subprocess.Popen([sys.executable, "-c", GROW], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(go())
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.kill()


@pytest.mark.parametrize("reason", ["the server is not on this machine", "somebody listens there and passes on"])
def test_memory_that_cannot_be_read_has_a_reason(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    async def go() -> None:
        subject = a_server(mock.url)
        await subject.open()
        await subject.unload()
        await subject.close()
        assert subject.facts["memory_reason"] == reason
        assert subject.facts["gpu_memory"] == {"peak_bytes": None, "method": None, "reason": reason}
        assert "peak" not in subject.facts
        assert "baseline" not in subject.facts

    monkeypatch.setattr(subject_module, "server_process", lambda _: reason)
    with MockServer(Script()) as mock, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(go())


def test_a_foundry_service_is_made_to_load_its_model_before_a_block() -> None:
    async def go() -> list[float | None]:
        subject = a_server(it.url, model="small-cpu:1", api="2.x")
        await subject.open()
        await subject.close()
        return [subject.facts.get("load_ms")]

    with (
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
        running(service := Foundry2({"small": ["small-cpu:1"]}, cached={"small"})) as it,
    ):
        (first,), (second,) = runner.run(go()), runner.run(go())
        assert service.loaded == ["small-cpu:1"]
        assert first is not None
        assert second is None, "it was there"
        service.variants.clear()
        service.loaded.clear()
        with pytest.raises(EngineError):
            runner.run(go())


def test_a_server_that_is_not_there_cannot_be_opened() -> None:
    async def go() -> None:
        subject = a_server("http://127.0.0.1:9/v1")
        with pytest.raises(EngineError) as caught:
            await subject.open()
        assert caught.value.code == "connection_refused"
        await subject.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(go())


def test_an_engine_is_its_process_from_start_to_end(tmp_path: Path, faulty: None) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")
    subject = EngineSubject(a_target("parallel"), weights, tmp_path / "engine.log", lambda: 2**40)

    async def go() -> int:
        assert subject.pids() == []
        await subject.open()
        (pid,) = subject.pids() or []
        assert "audition.engines.child" in psutil.Process(pid).cmdline()
        await subject.unload()
        await subject.close()
        return pid

    pid = asyncio.run(go())
    assert not psutil.pid_exists(pid)
    assert subject.facts["device"] == "toy0"
    for name in ("spawn_ms", "import_ms", "load_ms", "baseline", "peak", "after_unload", "wall_s"):
        assert subject.facts[name] is not None


def test_an_engine_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    target = a_target(memory_estimate_bytes=2**20)
    subject = EngineSubject(target, tmp_path / "model.gguf", tmp_path / "engine.log", lambda: 2**19)

    async def go() -> None:
        with pytest.raises(AuditionError) as caught:
            await subject.open()
        assert caught.value.code == "insufficient_memory"
        await subject.unload()
        await subject.close()

    asyncio.run(go())
    assert set(subject.facts) == {"wall_s"}
    assert not (tmp_path / "engine.log").exists()


def test_targets_need_memory_side_by_side() -> None:
    small, large = a_target(memory_estimate_bytes=600_000_000), a_target(model="b", memory_estimate_bytes=900_000_000)
    need_memory([small, large], 1_500_000_000)
    need_memory([a_target(memory_estimate_bytes=None)], 0)
    with pytest.raises(AuditionError, match="tiny:q4_0 needs about 600 MB of memory, and 500 MB are free") as caught:
        need_memory([small], 500_000_000)
    assert (caught.value.code, bool(caught.value.fix)) == ("insufficient_memory", True)
    with pytest.raises(AuditionError, match=r"tiny:q4_0 and b:q4_0 together need about 1\.50 GB"):
        need_memory(iter([small, large]), 1_499_999_999)


def test_what_is_measured_is_chosen_by_the_target(tmp_path: Path) -> None:
    server = a_target(format=SERVER, settings={"url": "http://127.0.0.1:9/v1", "model": "m"})
    plan = a_plan([server, a_target()])
    asked: list[str] = []

    def locate(target: object) -> Path:
        asked.append(str(target))
        return tmp_path

    assert isinstance(make_subject(plan, server, tmp_path / "log", locate), ServerSubject)
    assert asked == [], "a server has no weights here"
    assert isinstance(make_subject(plan, plan.targets[1], tmp_path / "log", locate), EngineSubject)
    assert len(asked) == 1
