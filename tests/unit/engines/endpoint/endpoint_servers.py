"""Servers that do one thing each, in the event loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from audition.engines.endpoint import EndpointSession
from audition.engines.endpoint.http import Exchange
from audition.engines.protocol import Reply

MESSAGES = [{"role": "user", "content": "Say hello."}]
PARAMS = {"max_tokens": 8, "temperature": 0.0, "seed": 1}


@dataclass
class Request:
    """One request as a server got it."""

    line: str
    headers: dict[str, str]
    body: Any
    connection: int


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]] | bytes


@dataclass
class Served:
    """A running server and what it was asked."""

    port: int
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


def event(content: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    """An event with one choice."""
    return event({"model": "tiny", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def usage(prompt: int = 9, completion: int = 2) -> bytes:
    """The event with the token counts."""
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


DONE = b"data: [DONE]\n\n"
HELLO = (delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), delta("stop"), usage(), DONE)


def chunked(*pieces: bytes, status: str = "200 OK", headers: str = "", end: bool = True) -> bytes:
    """An answer with chunked framing, one chunk per piece."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{headers}\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return head.encode() + body + (b"0\r\n\r\n" if end else b"")


def sized(body: bytes, status: str = "200 OK", kind: str = "application/json", headers: str = "") -> bytes:
    """An answer with a content length."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextlib.asynccontextmanager
async def serving(
    *answers: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Served]:
    """Serve the answers in turn, the last one again and again."""
    served = Served(0)
    tasks: set[asyncio.Task[Any]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        number = served.connections
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(head[0], headers, json.loads(raw) if raw else None, number)
                answer = answers[min(len(served.requests), len(answers) - 1)]
                served.requests.append(request)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, host, 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def exchange_of(*reads: bytes, end: bool = False) -> Exchange:
    """An exchange whose answer came in these reads, one every millisecond from 1 ms after sending."""
    loop = asyncio.new_event_loop()
    exchange = Exchange(loop.create_future())
    loop.close()
    at_ns = 0
    for number, read in enumerate(reads, start=1):
        at_ns = number * 1_000_000
        exchange.received(read, at_ns, 1000)
    if end:
        exchange.ended(at_ns + 1_000_000)
    return exchange


WHOLE = chunked(*HELLO)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run in the kind of loop that the client needs, and let nothing be left open."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(asyncio.wait_for(coroutine, 20))
        gc.collect()


async def ask(session: EndpointSession, timeout_s: float = 10, **params: Any) -> Reply:
    return (await session.ask(MESSAGES, {**PARAMS, **params}, timeout_s))()


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def session_for(served: Served, **options: Any) -> EndpointSession:
    return EndpointSession(served.url, "tiny", **options)
