"""What comes from the wire may be anything: it is refused, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest
from mock_client import chat, raw, send, served

from audition.mock import http

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", 400),
        (b"GET / SPDY/9\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nbroken header\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nx: " + b"a" * 100_000, 400),
        (b"GET /health HTTP/1.1\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(20_000)), 400),
        (b"GET /" + b"a" * 100_000, 400),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (POST + b"content-length: 99999999999\r\n\r\n", 413),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"upgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI", 400),
        (POST + b"connection: close\r\ncontent-length: 2\r\n\r\n{,", 400),
        (POST + b"connection: close\r\ncontent-length: 90000\r\n\r\n" + b"[" * 90_000, 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET /%00%ff HTTP/1.1\r\nconnection: close\r\n\r\n", 404),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else str(value),
)
def test_it_is_refused_and_the_server_goes_on(data: bytes, status: int) -> None:
    with served() as url:
        assert raw(url, data).startswith(b"HTTP/1.1 %d " % status)
        assert chat(url).done


def test_a_body_that_grows_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1000)
    with served() as url:
        chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
        assert raw(url, POST + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3).startswith(b"HTTP/1.1 413 ")


def test_requests_without_end() -> None:
    with served(ttft_ms=200) as url:
        body = b'{"messages": [{"role": "user", "content": "hi"}]}'
        request = POST + b"content-length: %d\r\n\r\n%b" % (len(body), body)
        answers = raw(url, request * (http.MAX_QUEUED + 5), timeout=10)
    assert b"HTTP/1.1 400 Bad Request" in answers
    assert b"were sent ahead" in answers


def test_noise_of_every_kind() -> None:
    rng = random.Random(1)
    with served() as url:
        for _ in range(60):
            data = bytearray(POST + b'content-length: 40\r\n\r\n{"messages": [{"role": "user"}], "a": 1234}')
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with contextlib.suppress(TimeoutError):  # it may wait for the rest of something
                raw(url, bytes(data), timeout=0.02)
        assert chat(url).done


def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 0)
    with served() as url:
        assert raw(url, b"").startswith(b"HTTP/1.1 503 ")
        monkeypatch.setattr(http, "MAX_CONNECTIONS", 1)
        assert send(url.removesuffix("/v1"), "GET", "/health").status == 200


def test_a_fault_in_a_handler_closes_the_connection_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    async def handler(request: http.Request, link: http.Connection) -> None:
        if request.path == "/fault":
            raise ZeroDivisionError
        link.respond(200, b"{}")

    async def main() -> list[bytes]:
        faults: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        listener = await loop.create_server(lambda: http.Connection(handler, set()), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        out = []
        for path in (b"/fault", b"/fine"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET %b HTTP/1.1\r\nconnection: close\r\n\r\n" % path)
            out.append(await asyncio.wait_for(reader.read(), 5))
            writer.close()
        listener.close()
        return out

    fault, fine = asyncio.run(main())
    assert fault == b""
    assert fine.startswith(b"HTTP/1.1 200 OK")
