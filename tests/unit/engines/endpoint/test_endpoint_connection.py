import asyncio
import contextlib
import socket
from typing import Any

import pytest
from endpoint_servers import (
    MESSAGES,
    PARAMS,
    WHOLE,
    Request,
    ask,
    chunked,
    delta,
    run,
    serving,
    session_for,
    text,
)

from audition.engines.endpoint import EndpointSession
from audition.engines.endpoint import connection as connection_module
from audition.engines.protocol import EngineError


def test_opening_happens_before_the_timer():
    async def scenario() -> None:
        async with serving(WHOLE) as served:
            session = session_for(served)
            await session.open(4)
            while served.connections < 4:
                await asyncio.sleep(0)
            replies = await asyncio.gather(*(ask(session) for _ in range(4)))
            assert [reply.wire and reply.wire.connect_ms for reply in replies] == [None] * 4
            await session.open(4)
            assert served.connections == 4
            await session.close()

    run(scenario())


def test_more_requests_than_kept_connections():
    async def scenario() -> None:
        async with serving(WHOLE) as served:
            session = session_for(served, connections=2)
            assert [text(reply) for reply in await asyncio.gather(*(ask(session) for _ in range(5)))] == ["Hello"] * 5
            assert served.connections == 5
            await asyncio.gather(ask(session), ask(session))
            assert served.connections == 5
            await session.close()

    run(scenario())


async def then_close(request: Request, writer: Any) -> None:
    writer.write(WHOLE)
    writer.close()


def test_a_connection_that_the_server_closed_meanwhile_is_replaced_before_the_timer():
    async def scenario() -> None:
        async with serving(then_close) as served:
            session = session_for(served)
            first = await ask(session)
            await asyncio.sleep(0.05)
            second = await ask(session)
            await session.close()
            assert [first.failure, second.failure] == [None, None]
            assert second.wire is not None and second.wire.connect_ms is not None
            assert served.connections == 2

    run(scenario())


def test_a_close_that_the_event_loop_has_not_seen_yet_is_noticed_before_sending():
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            session = EndpointSession(f"127.0.0.1:{server.getsockname()[1]}", "tiny")
            await session.open(1)
            server.accept()[0].close()  # no await from here to the request
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.ask(MESSAGES, PARAMS, 60), 0.1)
            server.setblocking(False)
            peer, _ = server.accept()  # the second connection
            assert peer.recv(4) == b"POST"
            peer.close()
            await session.close()

    run(scenario())


def test_opening_replaces_what_the_server_closed():
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            session = EndpointSession(f"127.0.0.1:{server.getsockname()[1]}", "tiny")
            await session.open(1)
            server.accept()[0].close()
            await session.open(1)
            server.setblocking(False)
            server.accept()[0].close()
            await session.close()

    run(scenario())


def test_bytes_that_nobody_asked_for_end_a_connection():
    async def babble(request: Request, writer: Any) -> None:
        writer.write(WHOLE)
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    async def scenario() -> None:
        async with serving(babble) as served:
            session = session_for(served)
            first = await ask(session)
            await asyncio.sleep(0.05)
            second = await ask(session)
            await session.close()
            assert [first.failure, second.failure] == [None, None]
            assert served.connections == 2

    run(scenario())


def test_a_kept_connection_that_breaks_before_the_answer_is_nobodys_fault():
    """The server closes it as the request comes: it is sent again, on a new connection and with a new timer."""

    async def cut(request: Request, writer: Any) -> None:
        await asyncio.sleep(0.05)
        writer.close()

    async def scenario() -> None:
        async with serving(WHOLE, cut, WHOLE) as served:
            session = session_for(served)
            await ask(session)
            reply = await ask(session)
            await session.close()
            assert reply.failure is None
            assert reply.wire is not None and reply.wire.connect_ms is not None
            assert "sent_again" in reply.wire.notes
            assert (reply.end_ns - reply.sent_ns) / 1e6 < 50, "the first try is not in the time"
            assert (len(served.requests), served.connections) == (3, 2)

    run(scenario())


def test_a_server_that_dies_of_a_request_has_failed_and_is_not_asked_again():
    async def die(request: Request, writer: Any) -> None:
        await asyncio.sleep(0.15)
        writer.close()

    async def scenario() -> None:
        async with serving(WHOLE, die, WHOLE) as served:
            session = session_for(served)
            await ask(session)
            reply = await ask(session)
            await session.close()
            assert reply.failure is not None and reply.failure[0] == "connection_lost"
            assert len(served.requests) == 2

    run(scenario())


def test_a_new_connection_that_breaks_before_the_answer_is_a_failure_and_no_second_try():
    async def cut(request: Request, writer: Any) -> None:
        writer.close()

    async def scenario() -> None:
        async with serving(cut) as served:
            session = session_for(served)
            reply = await ask(session)
            await session.close()
            assert reply.failure is not None and reply.failure[0] == "connection_lost"
            assert reply.wire is not None and reply.wire.status is None
            assert len(served.requests) == 1

    run(scenario())


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(connection_module, "_IDLE_S", 0.0)

    async def scenario() -> None:
        async with serving(WHOLE, WHOLE) as served:
            session = session_for(served)
            await ask(session)
            await asyncio.sleep(0.01)
            reply = await ask(session)
            await session.close()
            assert reply.failure is None
            assert served.connections == 2

    run(scenario())


def test_a_reset_is_told_from_an_end():
    async def reset(request: Request, writer: Any) -> None:
        writer.write(chunked(delta(content="x"), end=False))
        await writer.drain()
        await asyncio.sleep(0.02)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def scenario() -> None:
        async with serving(reset) as served:
            session = session_for(served)
            reply = await ask(session)
            await session.close()
            assert reply.failure is not None and reply.failure[0] == "connection_reset"
            assert text(reply) == "x"

    run(scenario())


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    async def scenario() -> None:
        session = EndpointSession(f"http://127.0.0.1:{port}", "tiny")
        reply = await ask(session)
        assert reply.failure == ("connection_refused", f"nobody listens at 127.0.0.1:{port}")
        assert reply.finish is None and not reply.cancelled and reply.end_ns >= reply.sent_ns > 0
        with pytest.raises(EngineError) as caught:
            await session.open(1)
        assert caught.value.code == "connection_refused"
        with pytest.raises(EngineError):
            await session.models()

    run(scenario())


def test_the_first_address_says_why_nothing_could_be_reached(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        where = closed.getsockname()

    async def addresses(*_: Any) -> list[Any]:
        return [(socket.AF_INET, where), (-1, where)]

    async def scenario() -> None:
        monkeypatch.setattr(connection_module, "_addresses", addresses)
        reply = await ask(EndpointSession("http://localhost:9", "tiny"))
        assert reply.failure is not None and reply.failure[0] == "connection_refused"

    run(scenario())


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def scenario() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        reply = await ask(EndpointSession("http://model.invalid", "tiny"))
        assert reply.failure is not None and reply.failure[0] == "host_not_found"
        assert "model.invalid" in reply.failure[1]

    run(scenario())


def test_a_server_that_takes_no_connection(monkeypatch: pytest.MonkeyPatch):
    async def never(*_: Any) -> Any:
        await asyncio.sleep(60)

    async def scenario() -> None:
        monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_S", 0.05)
        monkeypatch.setattr(connection_module, "_open_socket", never)
        reply = await ask(EndpointSession("http://127.0.0.1:9", "tiny"))
        assert reply.failure is not None and reply.failure[0] == "connect_timeout"

    run(scenario())


def test_localhost_is_the_old_address_first():
    async def scenario() -> None:
        async with serving(WHOLE) as served:
            session = EndpointSession(f"http://localhost:{served.port}", "tiny")
            assert text(await ask(session)) == "Hello"
            await session.close()
            assert served.requests[0].headers["host"] == f"localhost:{served.port}"

    run(scenario())


def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    async def scenario() -> None:
        async with serving(WHOLE, host="::1") as served:
            for host in ("[::1]", "localhost"):
                session = EndpointSession(f"http://{host}:{served.port}", "tiny")
                assert text(await ask(session)) == "Hello"
                await session.close()

    run(scenario())


def test_a_session_outlives_an_event_loop():
    async def scenario(session: EndpointSession) -> None:
        async with serving(WHOLE) as served:
            session._route = EndpointSession(served.url, "tiny")._route
            assert text(await ask(session)) == "Hello"

    session = EndpointSession("http://h", "tiny")
    run(scenario(session))
    run(scenario(session))
    asyncio.run(session.close())
