"""TLS and proxies."""

import asyncio
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from endpoint_servers import HELLO, PARAMS, WHOLE, Request, ask, chunked, delta, run, serving, text

from audition.engines.endpoint import EndpointSession
from audition.errors import UsageError

Certificate = tuple[Path, ssl.SSLContext]


def test_tls_with_an_authority_of_ones_own(certificate: Certificate):
    ca_file, settings = certificate

    async def scenario() -> None:
        async with serving(WHOLE, tls=settings) as served:
            session = EndpointSession(f"https://localhost:{served.port}", "tiny", ca_file=ca_file)
            replies = [await ask(session), await ask(session)]
            assert [text(reply) for reply in replies] == ["Hello", "Hello"]
            assert replies[1].wire is not None and replies[1].wire.connect_ms is None
            if sys.platform == "linux" and struct.calcsize("l") == 8:
                # The first socket of the system that wants stamps switches them on, and Linux does that a little later
                # (net_enable_timestamp): what arrives before has none.
                while (await ask(session)).wire.stamps != "kernel":
                    await asyncio.sleep(0.01)
            assert served.connections == 1
            await session.close()

    run(scenario())


def test_tls_carries_long_requests_and_answers(certificate: Certificate):
    ca_file, settings = certificate
    long = "x" * 3_000_000

    async def scenario() -> None:
        async with serving(chunked(delta(content=long), *HELLO), tls=settings) as served:
            session = EndpointSession(f"https://localhost:{served.port}", "tiny", ca_file=ca_file)
            messages = [{"role": "user", "content": long}]
            reply = (await session.ask(messages, PARAMS, 15))()
            await session.close()
            assert served.requests[0].body["messages"] == messages
            assert text(reply) == long + "Hello"

    run(scenario())


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Certificate):
    async def scenario() -> None:
        async with serving(WHOLE, tls=certificate[1]) as served:
            reply = await ask(EndpointSession(f"https://localhost:{served.port}", "tiny"))
            assert reply.failure is not None and reply.failure[0] == "tls_error"
            assert "not trusted" in reply.failure[1]

    run(scenario())


def test_a_certificate_for_another_name_is_refused(certificate: Certificate):
    async def scenario() -> None:
        async with serving(WHOLE, tls=certificate[1]) as served:
            session = EndpointSession(f"https://127.0.0.1:{served.port}", "tiny", ca_file=certificate[0])
            reply = await ask(session)
            assert reply.failure is not None and reply.failure[0] == "tls_error"
            assert not served.requests

    run(scenario())


def test_a_server_that_speaks_no_tls():
    async def scenario() -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        reply = await ask(EndpointSession(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", "tiny"))
        assert reply.failure is not None and reply.failure[0] == "tls_error"
        server.close()

    run(scenario())


def test_a_cut_tls_stream_is_a_failure(certificate: Certificate):
    async def cut(request: Request, writer: Any) -> None:
        writer.write(chunked(delta(content="x"), end=False))
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with serving(cut, tls=certificate[1]) as served:
            reply = await ask(EndpointSession(f"https://localhost:{served.port}", "tiny", ca_file=certificate[0]))
            assert (reply.failure or ("",))[0] == "connection_lost"
            assert text(reply) == "x"

    run(scenario())


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: str | None):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=r"ca\.pem"):
        EndpointSession("https://h", "tiny", ca_file=file)


def test_http_goes_through_a_proxy_with_the_whole_address(monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> None:
        async with serving(WHOLE) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:word@127.0.0.1:{proxy.port}")
            session = EndpointSession("http://model.test:81/v1", "tiny", key="k")
            assert text(await ask(session)) == "Hello"
            await session.close()
            (request,) = proxy.requests
            assert request.line == "POST http://model.test:81/v1/chat/completions HTTP/1.1"
            assert request.headers["host"] == "model.test:81"
            assert request.headers["proxy-authorization"] == "Basic bWU6d29yZA=="
            assert request.headers["authorization"] == "Bearer k"

    run(scenario())


def test_https_goes_through_a_tunnel_that_does_not_see_the_key(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
):
    ca_file, settings = certificate
    heads: list[bytes] = []

    async def scenario() -> None:
        async with serving(WHOLE, tls=settings) as served:

            async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                there, back = await asyncio.open_connection("127.0.0.1", served.port)
                await asyncio.gather(pump(reader, back), pump(there, writer))

            server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("HTTPS_PROXY", f"http://me:word@127.0.0.1:{port}")
            session = EndpointSession("https://model.test/v1", "tiny", ca_file=ca_file, key="k")
            assert text(await ask(session)) == "Hello"
            await session.close()
            server.close()
            assert heads[0].startswith(b"CONNECT model.test:443 HTTP/1.1\r\n")
            assert b"Proxy-Authorization: Basic bWU6d29yZA==" in heads[0]
            assert b"Bearer" not in heads[0]
            assert served.requests[0].line == "POST /v1/chat/completions HTTP/1.1"
            assert "proxy-authorization" not in served.requests[0].headers

    run(scenario())


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        *(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"", b"HTTP/1.1 \r\n\r\n", b"SSH-2.0\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_a_proxy_that_refuses_is_a_failure(answer: bytes, monkeypatch: pytest.MonkeyPatch):
    async def scenario() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if len(answer) < 1000:
                writer.close()
            else:
                await asyncio.sleep(60)

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        reply = await ask(EndpointSession("https://model.test", "tiny"))
        assert reply.failure is not None and reply.failure[0] == "proxy_error"
        server.close()

    run(scenario())
