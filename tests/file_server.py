"""A web server on loopback that serves files, and misbehaves on request: what a hub, a mirror or a proxy can do.

It listens on IPv4's loopback address, so that `127.0.0.1` and `localhost` name it as two different origins.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BLOCK = 64 * 1024


@dataclass(frozen=True)
class Request:
    """What a client sent: `path` without its query; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def range(self) -> tuple[int, int | None] | None:
        """The first byte and the last one that are asked for."""
        unit, _, span = self.headers.get("range", "").partition("=")
        start, _, last = span.partition("-")
        return (int(start), int(last) if last else None) if unit == "bytes" else None


@dataclass
class Response:
    """What a server answers. Header names as they are sent; a body that is not bytes is sent in chunks."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterator[bytes] = b""


@dataclass(frozen=True)
class Fault:
    """What is wrong with an answer.

    Attributes:
        status: Answer with this status instead.
        headers: Answer with these headers instead of one's own; None leaves one out.
        cut: End the body after so many bytes.
        reset: End it by a reset of the connection.
        stall: Say nothing more after so many bytes of the body, for ever.
        silent: Do not answer at all.
        drip: Send one byte at a time, with so many seconds between them.
        rate: Send no more than so many bytes a second.
        flip: Change the byte at this position of the file.
        no_ranges: Send the whole file whatever is asked for.
        ignore_if_range: Send the part even where the file is another one now.
        chunked: Send it in chunks, without a length.
        extra: Send these bytes after those that there should be.
        body: Send this body instead.
        huge_headers: Send a line of so many bytes among the headers.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False
    stall: int | None = None
    silent: bool = False
    drip: float = 0.0
    rate: int | None = None
    flip: int | None = None
    no_ranges: bool = False
    ignore_if_range: bool = False
    chunked: bool = False
    extra: bytes = b""
    body: bytes | None = None
    huge_headers: int = 0


FINE = Fault()


def redirect(target: str, status: int = 302) -> Fault:
    """Return an answer that leads elsewhere."""
    return Fault(status=status, headers={"Location": target})


class FileServer:
    """Serves `files` by their paths.

    Attributes:
        requests: Every request, in order.
        sent: Bytes of bodies that were sent.
        rate: Bytes a second that each connection gets, when it is limited.
        etags: The ETag of a path where it is not that of the content; None sends none.
    """

    def __init__(self, files: Mapping[str, bytes | Path] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes | Path] = dict(files or {})
        self.requests: list[Request] = []
        self.sent = 0
        self.rate: int | None = None
        self.etags: dict[str, str | None] = {}
        self.last_modified = formatdate(time.time() - 10**6, usegmt=True)
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault | Callable[[Request], Fault]] = {}
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.tls = tls is not None
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> FileServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address, by number."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def other_url(self) -> str:
        """The same server by name: another origin."""
        return self.url.replace("127.0.0.1", "localhost")

    def close(self) -> None:
        """End it, and everything that hangs in it."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    def api(self, request: Request) -> Response | None:
        """Answer a request that is not for a file; None when it is for one. To be overridden."""
        return None

    def fail(self, path: str, *faults: Fault) -> None:
        """Have the next requests for a path get these faults, one each."""
        self._faults[path].extend(faults)

    def fail_always(self, path: str, fault: Fault | Callable[[Request], Fault]) -> None:
        """Have every request for a path get this fault, or what it returns for the request."""
        self._always[path] = fault

    def asked(self, path: str) -> list[Request]:
        """Return the requests for a path."""
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def content(self, path: str) -> bytes | None:
        """Return a file's bytes."""
        content = self.files.get(path)
        return content.read_bytes() if isinstance(content, Path) else content

    def _fault(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            if self._faults[request.path]:
                return self._faults[request.path].popleft()
            always = self._always.get(request.path, FINE)
            return always(request) if callable(always) else always

    def _count(self, number: int) -> None:
        with self._lock:
            self.sent += number


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are part of the tests."""


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            split = urlsplit(self.path)  # a proxy is asked with the whole address
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(
                self.command,
                unquote(split.path),
                split.query,
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length),
            )
            fault = server._fault(request)
            response = None if fault != FINE else server.api(request)
            if response is not None:
                self.reply(response.status, response.headers, response.body)
            else:
                self.file(request, fault)

        do_HEAD = do_POST = do_GET

        def file(self, request: Request, fault: Fault) -> None:
            if fault.silent:
                server.ended.wait(60)
                self.close_connection = True
                return
            content = server.content(request.path)
            if fault.status is not None and fault.status != 416:
                self.reply(fault.status, dict(fault.headers), fault.body or b"", fault)
                return
            if content is None:
                self.reply(404, {}, b"not here")
                return
            etag = server.etags.get(request.path, f'"{hashlib.md5(content).hexdigest()}"')
            if fault.flip is not None:
                content = content[: fault.flip] + bytes([content[fault.flip] ^ 1]) + content[fault.flip + 1 :]
            headers: dict[str, str | None] = {"Accept-Ranges": "bytes", "Last-Modified": server.last_modified}
            headers["ETag"] = etag = fault.headers.get("ETag", etag)
            status, start, end = self.part(request, fault, len(content), etag)
            if status == 416:
                headers["Content-Range"] = f"bytes */{len(content)}"
                content, start, end = b"", 0, 0
            elif status == 206:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            body = fault.body if fault.body is not None else content[start:end]
            self.reply(status, {**headers, **fault.headers}, body, fault)

        def part(self, request: Request, fault: Fault, size: int, etag: str | None) -> tuple[int, int, int]:
            span = request.range
            if fault.status == 416:
                return 416, 0, 0
            known = (etag if etag and not etag.startswith("W/") else None, server.last_modified)
            unchanged = request.headers.get("if-range") in (None, *known) or fault.ignore_if_range
            if span is None or fault.no_ranges or not unchanged:
                return 200, 0, size
            if span[0] >= size:
                return 416, 0, 0
            return 206, span[0], size if span[1] is None else min(span[1] + 1, size)

        def reply(
            self, status: int, headers: Mapping[str, str | None], body: bytes | Iterator[bytes], fault: Fault = FINE
        ) -> None:
            chunked = fault.chunked or not isinstance(body, bytes)
            own: dict[str, str | None] = {"Transfer-Encoding": "chunked"} if chunked else {}
            if not chunked:
                own["Content-Length"] = str(len(body))  # type: ignore[arg-type]
            self.send_response(status)
            for name, value in {**own, **headers}.items():
                if value is not None:
                    self.send_header(name, value)
            if fault.huge_headers:
                self.send_header("X-Huge", "x" * fault.huge_headers)
            self.end_headers()
            if self.command != "HEAD":
                self.send(body, fault, chunked=chunked)

        def send(self, body: bytes | Iterator[bytes], fault: Fault, *, chunked: bool) -> None:
            pieces = iter([body + fault.extra]) if isinstance(body, bytes) else body
            end = min((at for at in (fault.cut, fault.stall) if at is not None), default=None)
            at = 0
            rate = fault.rate or server.rate
            step = 1 if fault.drip else max(1, min(BLOCK, rate // 50)) if rate else BLOCK
            for piece in pieces:
                for begin in range(0, len(piece), step):
                    part = piece[begin : begin + step]
                    part = part if end is None else part[: end - at]
                    self.put(part, chunked=chunked)
                    at += len(part)
                    if end is not None and at >= end:
                        self.break_off(fault)
                        return
                    pause = fault.drip or (len(part) / rate if rate else 0)
                    if pause and server.ended.wait(pause):
                        return
            if end is not None:
                self.break_off(fault)
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")
            if fault.extra:
                self.close_connection = True

        def put(self, part: bytes, *, chunked: bool) -> None:
            if not part:
                return
            server._count(len(part))  # first: a client that has it all may look at once
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)

        def break_off(self, fault: Fault) -> None:
            self.close_connection = True
            if fault.stall is not None:
                server.ended.wait(60)
            if fault.reset:
                linger = struct.pack("ii", 1, 0)
                with suppress(OSError):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

        def log_message(self, *_: Any) -> None:
            """Keep the test's output clean."""

    return Handler
