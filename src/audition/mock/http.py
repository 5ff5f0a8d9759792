"""HTTP/1.1 on one connection: bytes in, requests out, one after the other; everything is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 16 * 2**20
MAX_CONNECTIONS = 1024
MAX_QUEUED = 16
"""Requests that a client may send ahead on one connection."""

_LINGER_S = 1.0


class HttpError(Exception):
    """A request that is answered with an error object as OpenAI has it.

    Args:
        status: HTTP status.
        message: For people.
        code: OpenAI's word for it, such as `context_length_exceeded`.
        param: The field of the body that is wrong.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> bytes:
        """Return the error object as JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        path: Without the query.
        headers: Names in lower case; of repeated ones the last.
        received_ns: `perf_counter_ns` when its last bytes were read.
        chunked: The client understands chunks (HTTP/1.1).
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    received_ns: int
    keep_alive: bool
    chunked: bool


Handler = Callable[[Request, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client. Requests are handled in order; when the client goes, what is being handled is cancelled.

    Args:
        handler: Answers one request by means of the methods below.
        connections: Those that are open; this one adds and removes itself.
    """

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request | HttpError] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._refused = False
        self._keep_alive = True
        self._chunked = True
        self._read_ns = 0
        self.on_message_begin()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= MAX_CONNECTIONS:
            self._refuse(HttpError(503, f"there are {MAX_CONNECTIONS} connections already"))
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse; the time is taken first."""
        self._read_ns = time.perf_counter_ns()
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HttpError(400, "this server speaks nothing but HTTP/1.1"))
        except httptools.HttpParserError:
            self._refuse(HttpError(400, "this is no valid HTTP/1.1 request"))
        if not self._headers_complete:
            # The parser hands over whole headers; one that never ends would grow inside it.
            self._unparsed += len(data)
            if self._unparsed > MAX_HEAD_BYTES:
                self._refuse(HttpError(400, f"the headers have more than {MAX_HEAD_BYTES} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the work for this client."""
        self._connections.discard(self)
        self._writable.set()
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Hold the answer: the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Start a request."""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._head_bytes = self._body_bytes = self._unparsed = 0
        self._headers_complete = False

    def on_url(self, url: bytes) -> None:
        """Keep the URL, which may come in parts."""
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Refuse a body that is too large before it is sent, and tell a client that waits to send it."""
        self._headers_complete = True
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            self._refuse(_too_large())
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._refused:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(_too_large())
        elif not self._refused:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Queue the request."""
        if self._refused:
            return
        method = self._parser.get_method().decode("ascii")
        path = self._url.partition(b"?")[0].decode("latin-1")
        request = Request(
            method=method,
            path=path,
            headers=self._headers,
            body=b"".join(self._body),
            received_ns=self._read_ns,
            keep_alive=self._parser.should_keep_alive(),
            chunked=self._parser.get_http_version() != "1.0",
        )
        if len(self._queue) >= MAX_QUEUED:
            self._refuse(HttpError(400, f"more than {MAX_QUEUED} requests were sent ahead"))
        else:
            self._enqueue(request)

    # What handlers use.

    def head(self, status: int, content_type: str, length: int | None, extra: str = "") -> bytes:
        """Return the head of an answer to the current request.

        Args:
            status: HTTP status.
            content_type: Of the body.
            length: Of the body in bytes; None for a stream, whose parts go through `frame` and end with `end`.
            extra: More header lines, each with its line break.
        """
        if length is not None:
            framing = f"content-length: {length}\r\n"
        elif self._chunked:
            framing = "transfer-encoding: chunked\r\ncache-control: no-cache\r\n"
        else:
            framing, self._keep_alive = "", False
        connection = "keep-alive" if self._keep_alive else "close"
        return (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {content_type}\r\n"
            f"{framing}connection: {connection}\r\n{extra}\r\n"
        ).encode("ascii")

    def frame(self, data: bytes) -> bytes:
        """Return a part of a stream as it goes over the wire."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def end(self) -> bytes:
        """Return what ends a stream."""
        return b"0\r\n\r\n" if self._chunked else b""

    def write(self, data: bytes) -> None:
        """Send now, or as soon as the client reads."""
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait while the client does not read."""
        if not self._writable.is_set():
            await self._writable.wait()

    def respond(self, status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> None:
        """Send a whole answer."""
        self.write(self.head(status, content_type, len(body), extra) + body)

    def close(self) -> None:
        """Close after what was written has been sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def reset(self) -> None:
        """Close with a reset (RST) instead of an orderly end."""
        # Lingering for zero seconds is how a socket is told so; Windows has shorter fields.
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HttpError(400, f"the headers have more than {MAX_HEAD_BYTES} bytes"))

    def _refuse(self, error: HttpError) -> None:
        """Answer with an error when the requests before it are answered, and read nothing more."""
        if not self._refused:
            self._refused = True
            self._body.clear()
            self._enqueue(error)

    def _enqueue(self, item: Request | HttpError) -> None:
        self._queue.append(item)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        complete = False
        try:
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, HttpError):
                    self._keep_alive = False
                    self.respond(item.status, item.body())
                    self._linger()
                    break
                self._keep_alive, self._chunked = item.keep_alive, item.chunked
                await self._handler(item, self)
                if not self._keep_alive:
                    self.close()
                    break
            complete = True
        finally:
            self._task = None
            if not complete:  # a fault in the handler must not leave the client waiting
                self._transport.abort()

    def _linger(self) -> None:
        """End our side and read on a while: closing over unread bytes would reset, and the answer would be lost."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, self._transport.close)


def _too_large() -> HttpError:
    return HttpError(413, f"the body has more than {MAX_BODY_BYTES} bytes")
