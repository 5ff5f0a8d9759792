"""A server that can be asked: its open connections, and one request after the other on each."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audition.engines.endpoint import chat, tls
from audition.engines.endpoint.address import parse
from audition.engines.endpoint.connection import Connection, Route, connect
from audition.engines.endpoint.dialect import Dialect
from audition.engines.endpoint.http import Exchange
from audition.engines.endpoint.proxy import proxy_for
from audition.engines.endpoint.refusal import explained, refused
from audition.engines.protocol import EngineError, Reply
from audition.errors import UsageError
from audition.text import one_line

_MAX_MODELS = 10_000
_MAX_DOCUMENT_BYTES = 8 * 2**20
"""Lists of hosted services with hundreds of models have about one megabyte."""
_CLOSED = frozenset({"connection_lost", "connection_reset"})
_CLOSING_NS = 100_000_000
"""How soon after a request the end of a connection that was closing already is seen, on a busy machine too."""


class EndpointSession:
    """An OpenAI-compatible server, of which one model is asked.

    It belongs to a running event loop with `add_reader`: on Windows that is a `SelectorEventLoop`.

    Args:
        url: The server's address, as `normalised` takes it.
        model: The name that requests give.
        key: Sent as a bearer token; it appears nowhere else.
        stream: Ask for the answer piece by piece. Without, there is no time of a first token.
        ca_file: Certificates to trust besides the system's.
        connections: How many connections are kept open for later requests. More are opened where more requests are
            under way.

    Raises:
        UsageError: The address, the key, the file or a proxy in the environment is wrong.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        stream: bool = True,
        ca_file: Path | None = None,
        connections: int = 1,
    ) -> None:
        address = parse(url)
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
            raise UsageError(
                "the key holds characters that cannot be sent", fix="check for line breaks and blanks around it"
            )
        settings = tls.context(ca_file) if address.scheme == "https" else None
        self.model = model
        self._key = key
        self._route = Route(address, proxy_for(address), settings)
        self._dialect = Dialect(stream=stream)
        self._kept = connections
        self._idle: list[Connection] = []
        self._post = self._head("POST", f"{address.path}/chat/completions")

    async def ask(
        self, messages: list[dict[str, str]], params: dict[str, Any], timeout_s: float
    ) -> Callable[[], Reply]:
        """Send one request and drain its answer; whatever the server does ends in the reply.

        Args:
            messages: Role and content pairs.
            params: `max_tokens`, `temperature`, `seed`; those that are None are not sent.
            timeout_s: After this, from the moment of sending, the request is stopped. Opening a connection has a limit
                of its own.

        Returns:
            A function that reads the answer: called later, when no other stream waits for this process.
        """
        known = dialect = self._dialect
        while True:
            body = dialect.body(self.model, messages, params)
            exchange = await self._exchange(b"%s%d\r\n\r\n%s" % (self._post, len(body), body), timeout_s)
            refusal = explained(exchange.body()) if exchange.status in (400, 422) and exchange.complete else None
            if refusal is None:
                # A field that was left out after a refusal is left out from now on, if that helped.
                if dialect is not known and exchange.status == 200:
                    self._dialect = dialect
                break
            other = dialect.after(refusal, params)
            if other is None:
                break
            dialect = other
        return functools.partial(chat.read, exchange, dialect, self._key)

    async def models(self, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Return what the server lists at `/models`: objects with at least an `id`.

        Raises:
            EngineError: It cannot be reached, or does not answer with such a list.
        """
        content = await self._content(self._head("GET", f"{self._route.address.path}/models"), timeout_s)
        listed = content.get("data") if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise EngineError("the server's list of models cannot be read", code="bad_response")
        return [entry for entry in listed[:_MAX_MODELS] if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    async def fetch(self, path: str, timeout_s: float, *, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON that the server answers with at a route beside the OpenAI ones; None where it is no JSON.

        Args:
            path: From the server's root, which is the address without `/v1`; quoted.
            timeout_s: After this, from the moment of sending, the request is stopped.
            body: Sent as JSON with POST; None asks with GET.

        Raises:
            EngineError: There is no such route, or the server cannot be reached or refuses.
        """
        path = self._route.address.path.removesuffix("/v1") + path
        if body is None:
            return await self._content(self._head("GET", path), timeout_s)
        data = json.dumps(body).encode("ascii")
        return await self._content(b"%s%d\r\n\r\n%s" % (self._head("POST", path), len(data), data), timeout_s)

    async def _content(self, request: bytes, timeout_s: float) -> Any:
        exchange = await self._exchange(request, timeout_s, _MAX_DOCUMENT_BYTES)
        failure = exchange.failure
        if exchange.expired:
            failure = ("timeout", f"the server did not answer within {timeout_s:g} s")
        elif failure is None and exchange.status is not None and not 200 <= exchange.status < 300:
            failure = refused(exchange.status, exchange.body(), exchange.headers.get(b"location"))
        if failure is not None:
            code, message = failure
            message = message.replace(self._key, "[key]") if self._key else message
            raise EngineError(one_line(message, 500), code=code)
        try:
            return json.loads(exchange.body())
        except (ValueError, RecursionError):
            return None

    async def open(self, n: int) -> None:
        """Have at least `n` connections open and idle, and keep as many from now on.

        Raises:
            EngineError: The server cannot be reached.
        """
        self._kept = max(self._kept, n)
        loop = asyncio.get_running_loop()
        self._idle = [connection for connection in self._idle if connection.is_usable(loop)]
        for _ in range(n - len(self._idle)):
            self._idle.append(await connect(self._route))

    async def close(self) -> None:
        """Close the idle connections; those with a request under way are closed when it ends."""
        self._kept = 0
        while self._idle:
            self._idle.pop().close()

    def _head(self, method: str, path: str) -> bytes:
        """Return the head of a request; of a POST, up to the number in `Content-Length`."""
        address, proxy = self._route.address, self._route.proxy
        lines = [
            f"{method} {address.origin if proxy and not self._route.tls else ''}{path} HTTP/1.1",
            f"Host: {address.authority}",
            "Accept: text/event-stream, application/json",
            "Accept-Encoding: identity",
            "User-Agent: audition",
        ]
        if self._key is not None:
            lines.append(f"Authorization: Bearer {self._key}")
        if proxy and proxy.authorization and not self._route.tls:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        lines += ["Content-Type: application/json", "Content-Length: "] if method == "POST" else ["", ""]
        return "\r\n".join(lines).encode("ascii")

    async def _exchange(self, request: bytes, timeout_s: float, limit: int | None = None) -> Exchange:
        """Send a request on a connection that was kept, else on a new one.

        Some servers (llama.cpp's after each stream) close a connection that they promised to keep, so that the next
        request meets a closing one. Nobody is to blame for that: it is sent again on a new connection, with a new
        timer. A server that dies of a request takes longer, or does it again; that is its failure.
        """
        kept = self._take(asyncio.get_running_loop())
        if kept is not None:
            exchange = await self._on(kept, request, timeout_s, limit)
            if not _was_closing(exchange):
                return exchange
        started_ns = time.perf_counter_ns()
        try:
            connection = await connect(self._route)
        except EngineError as error:
            exchange = Exchange(asyncio.get_running_loop().create_future())
            exchange.sent_ns = started_ns
            exchange.broke(error.code, error.message, time.perf_counter_ns())
            return exchange
        connect_ms = round((time.perf_counter_ns() - started_ns) / 1e6, 3)
        exchange = await self._on(connection, request, timeout_s, limit)
        exchange.connect_ms = connect_ms
        exchange.sent_again = kept is not None
        return exchange

    async def _on(self, connection: Connection, request: bytes, timeout_s: float, limit: int | None) -> Exchange:
        loop = asyncio.get_running_loop()
        exchange = Exchange(loop.create_future(), limit)
        timer = loop.call_later(timeout_s, lambda: exchange.expire(time.perf_counter_ns()))
        try:
            connection.send(request, exchange)
            await exchange.done
        finally:
            timer.cancel()
            connection.release()
            if exchange.reusable and not connection.closed and len(self._idle) < self._kept:
                self._idle.append(connection)
            else:
                connection.close()
        return exchange

    def _take(self, loop: asyncio.AbstractEventLoop) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable(loop):
                return connection
        return None


def _was_closing(exchange: Exchange) -> bool:
    """Return whether the server was closing the connection when the request came: no byte, and at once."""
    lost = exchange.failure is not None and exchange.failure[0] in _CLOSED and exchange.status is None
    return lost and exchange.end_ns - exchange.sent_ns < _CLOSING_NS
