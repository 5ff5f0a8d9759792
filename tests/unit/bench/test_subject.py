"""Subjects: whose memory and whose processes, and what is refused before it is started."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import psutil
import pytest

from audition.bench import subject as subject_module
from audition.bench.plan import SERVER, Level
from audition.bench.subject import (
    EngineSubject,
    ServerSubject,
    is_loopback,
    listening,
    make_subject,
    need_memory,
)
from audition.engines.protocol import EngineError
from audition.errors import AuditionError
from audition.mock.process import MockServer
from audition.mock.script import Script
from plans import a_plan, a_target


def a_server(url: str, **settings: str) -> ServerSubject:
    target = a_target(format=SERVER, settings={"url": url, "model": "mock", **settings})
    return ServerSubject(target, a_plan([target], levels=(Level.closed(1), Level.closed(3), Level.open(9.0))))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost")],
        *[(host, False) for host in ("192.168.1.1", "0.0.0.0", "example.org", "localhost.example.org", "", "::2")],
    ],
)
def test_this_machine_is_known_by_its_names(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_processes_of_a_server_on_this_machine_are_found() -> None:
    with MockServer(Script()) as mock:
        port = mock.url.partition("127.0.0.1:")[2].partition("/")[0]
        for url in (mock.url, f"http://localhost:{port}/v1"):
            assert a_server(url).pids() == [mock.pid]
        assert listening(int(port)) == [mock.pid]
    assert a_server(mock.url).pids() is None, "nobody listens there any more"


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080/v1", "https://example.org/v1"])
def test_a_server_elsewhere_has_no_process_here(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_connections", lambda **_: pytest.fail("nobody need look"))
    assert a_server(url).pids() == []


@pytest.mark.parametrize(("url", "port"), [("http://127.0.0.1/v1", 80), ("https://[::1]/v1", 443)])
def test_without_a_port_the_schemes_own_is_meant(monkeypatch: pytest.MonkeyPatch, url: str, port: int) -> None:
    asked: list[int] = []

    def listening(port: int) -> list[int]:
        asked.append(port)
        return [5]

    monkeypatch.setattr(subject_module, "listening", listening)
    assert a_server(url).pids() == [5]
    assert asked == [port]


@pytest.mark.parametrize("error", [psutil.AccessDenied(), OSError("no")])
def test_where_the_system_does_not_tell_nothing_is_known(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(**_: str) -> None:
        raise error

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert listening(80) is None


def test_a_connection_to_a_port_does_not_listen_at_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            assert listening(address[1]) == [psutil.Process().pid]
            assert listening(client.getsockname()[1]) is None


def test_connections_are_open_before_any_request_and_closed_after() -> None:
    async def go() -> None:
        subject = a_server(mock.url)
        await subject.open()
        assert len(subject._server._idle) == 3, "as many as the widest level needs"
        await subject.unload()
        await subject.close()
        assert subject._server._idle == []
        assert set(subject.facts) == {"wall_s"}, "nothing is known of its memory"

    with MockServer(Script()) as mock, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
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
    with pytest.raises(AuditionError, match="tiny:q4_0 and b:q4_0 together need about 1,500 MB"):
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
