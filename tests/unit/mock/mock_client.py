"""A client of the tests' own: it shares no code with the server, and keeps the bytes as they came."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, TextIO
from urllib.parse import urlsplit

from audition.mock import server
from audition.mock.script import Script

PROMPT = "please tell me what the farmer saw beside the quiet river this morning"
FAST = {"ttft_ms": 1.0, "itl_ms": 0.0, "tokens": 24}


@dataclass
class Reply:
    """What came back; `error` is the exception's name when the connection broke, `waited` when nothing came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None
    sent_ns: int = 0
    arrived_ns: list[int] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [line for line in self.body.decode().split("\n") if line]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.lines if line.startswith("data: {")]

    @property
    def done(self) -> bool:
        return self.lines[-1:] == ["data: [DONE]"]

    def parts(self, key: str = "content") -> list[str]:
        deltas = [choice["delta"] for event in self.events for choice in event.get("choices", ())]
        return [delta[key] for delta in deltas if delta.get(key)]

    @property
    def text(self) -> str:
        return "".join(self.parts())

    @property
    def finish_reason(self) -> str | None:
        reasons = [choice["finish_reason"] for event in self.events for choice in event.get("choices", ())]
        return next((reason for reason in reasons if reason), None)

    @property
    def usage(self) -> dict[str, Any] | None:
        return next((event["usage"] for event in self.events if event.get("usage")), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def chat(url: str, *, headers: dict[str, str] | None = None, timeout: float = 5, **fields: Any) -> Reply:
    """Send one chat request; by default a stream at temperature 0, with usage and with the truth."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 1000,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }
    body = {name: value for name, value in body.items() if value is not ...}
    return send(url, "POST", "/chat/completions", body, {"x-audition-truth": "1", **(headers or {})}, timeout)


def send(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 5
) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    reply = Reply(sent_ns=time.perf_counter_ns())
    try:
        connection.request(method, parts.path + path, data, headers or {})
        response = connection.getresponse()
        reply.status, reply.headers = response.status, {k.lower(): v for k, v in response.getheaders()}
        while part := response.read1(65536):
            reply.arrived_ns.append(time.perf_counter_ns())
            reply.body += part
        if len(reply.body) < int(reply.headers.get("content-length", 0)):
            reply.error = "IncompleteRead"  # `read1` does not say so
    except TimeoutError:
        reply.error = "waited"
    except (http.client.HTTPException, OSError) as error:
        reply.error = type(error).__name__
    finally:
        connection.close()
    return reply


def raw(url: str, data: bytes, *, timeout: float = 5) -> bytes:
    """Send bytes as they are and return everything until the server closes."""
    parts = urlsplit(url)
    out = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as connection:
        connection.sendall(data)
        while part := connection.recv(65536):
            out += part
    return out


@contextmanager
def served(log: TextIO | None = None, **fields: Any) -> Iterator[str]:
    """Serve a script from a thread of this process, fast unless it says otherwise; yield the URL."""
    script = Script(**{**FAST, **fields, "lies": frozenset(fields.get("lies", ()))})
    urls: list[str] = []
    listening = threading.Event()
    stop: list[Any] = []

    async def main() -> None:
        task = asyncio.ensure_future(server.serve(script, "127.0.0.1", 0, log or StringIO(), ready))
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            await task
        except asyncio.CancelledError:
            return

    def ready(url: str, port: int) -> None:
        urls.append(url)
        listening.set()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert listening.wait(5)
    try:
        yield urls[0]
    finally:
        stop[0]()
        thread.join(5)
        assert not thread.is_alive()
