"""The framing of one answer in HTTP/1.1: its status, its headers, and the pieces of its body with their times."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

# Without a byte of body among them: headers, trailers, chunk extensions, interim answers.
MAX_HEADER_BYTES = 2**16
MAX_ANSWER_BYTES = 64 * 2**20
MAX_PIECES = 1_000_000


class Exchange:
    """One request and what comes back for it, filled by the connection while it comes.

    Args:
        done: Resolved when nothing more will come.
        limit: The most bytes that the answer may have; None allows what the longest stream needs.

    Attributes:
        done: Resolved when nothing more will come.
        sent_ns: The last moment before the request went out.
        end_ns: The arrival of the last bytes, or the moment when it was given up.
        status: HTTP status; None until an answer has begun.
        headers: By their names in lower case.
        complete: The answer came to its proper end.
        by_close: That end was the end of the connection: whether it was meant, only the content can tell.
        reusable: The connection can carry another request.
        expired: The time limit came first.
        failure: `(code, message)` when the connection or the framing broke.
        stamped: All times so far are the kernel's.
        lag_ns: The longest that bytes had waited for this process.
        connect_ms: Opening the connection, when one was opened for this request.
        sent_again: An earlier try met a kept connection that the server was closing.
    """

    __slots__ = (
        *("done", "sent_ns", "end_ns", "status", "headers", "complete", "by_close", "reusable", "expired", "failure"),
        *("stamped", "lag_ns", "connect_ms", "sent_again", "bodies", "reads", "on_body"),
        *("_parser", "_limit", "_size", "_without_body"),
    )

    def __init__(self, done: asyncio.Future[None], limit: int | None = None) -> None:
        self.done = done
        self._limit = limit or MAX_ANSWER_BYTES
        self.sent_ns = self.end_ns = 0
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.complete = self.by_close = self.reusable = self.expired = False
        self.failure: tuple[str, str] | None = None
        self.stamped = True
        self.lag_ns = 0
        self.connect_ms: float | None = None
        self.sent_again = False
        self.bodies: list[bytes] = []
        self.reads: list[tuple[int, int]] = []  # time of a read, and how many pieces of body there were after it
        # The parser calls this for every piece: a method of a list costs no Python frame.
        self.on_body = self.bodies.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._size = 0
        self._without_body = 0

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield the body read by read, with the time of each."""
        start = 0
        for at_ns, end in self.reads:
            yield at_ns, self.bodies[start] if end == start + 1 else b"".join(self.bodies[start:end])
            start = end

    def body(self) -> bytes:
        """Return the body so far."""
        return b"".join(self.bodies)

    def beginning(self, limit: int = 4096) -> bytes:
        """Return the beginning of the body without leading blanks, which some servers send while they wait."""
        text = b""
        for piece in self.bodies:
            text = text + piece if text else piece.lstrip()
            if len(text) >= limit:
                break
        return text[:limit]

    # What the connection calls.

    def received(self, data: bytes, at_ns: int, waited_ns: int | None) -> None:
        """Take bytes that came at `at_ns`, after they had waited for so long."""
        if self._parser is None:
            self.reusable = False  # more than was asked for
            return
        # Two stamps may be closer to each other than their conversion to one clock is exact.
        self.end_ns = at_ns = max(at_ns, self.end_ns, self.sent_ns)
        if waited_ns is None:
            self.stamped = False
        elif waited_ns > self.lag_ns:
            self.lag_ns = waited_ns
        before = len(self.bodies)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.reusable = False
            if not self.complete:
                self.failure = ("bad_response", f"the answer is not proper HTTP ({type(error).__name__}: {error})")
        after = len(self.bodies)
        self._size += len(data)
        if after > before:
            self.reads.append((at_ns, after))
            self._without_body = 0
        else:
            self._without_body += len(data)
        if not self.complete and self.failure is None:
            self._check_bounds(after)
        if self.complete or self.failure is not None:
            self._end()

    def ended(self, at_ns: int) -> None:
        """The server closed the connection."""
        if self._parser is None:
            return
        self.reusable = False
        self.end_ns = max(at_ns, self.end_ns, self.sent_ns)
        if self.status is not None and self._ends_with_connection():
            self.complete = self.by_close = True
        elif self.failure is None:
            part = "before its answer" if self.status is None else "in the middle of its answer"
            self.failure = ("connection_lost", f"the server closed the connection {part}")
        self._end()

    def broke(self, code: str, message: str, at_ns: int) -> None:
        """The connection failed."""
        if self._parser is None:
            return
        self.reusable = False
        self.end_ns = max(at_ns, self.end_ns, self.sent_ns)
        self.failure = (code, message)
        self._end()

    def expire(self, at_ns: int) -> None:
        """The time limit has come."""
        if self._parser is not None:
            self.end_ns = max(at_ns, self.end_ns)
            self.expired = True
            self._end()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self.complete:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is whole."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The headers are whole."""
        assert self._parser is not None  # noqa: S101 - it is the parser that calls
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
        elif status != 101:
            self.headers.clear()  # an interim answer, such as 100 Continue

    def on_message_complete(self) -> None:
        """The answer is whole, as far as its framing says where it ends."""
        assert self._parser is not None  # noqa: S101
        if self.status is not None:
            self.complete = True
            self.reusable = bool(self._parser.should_keep_alive())

    def _ends_with_connection(self) -> bool:
        chunked = b"chunked" in self.headers.get(b"transfer-encoding", b"").lower()
        return not chunked and b"content-length" not in self.headers

    def _check_bounds(self, pieces: int) -> None:
        if self._without_body > MAX_HEADER_BYTES:
            self.failure = ("bad_response", f"more than {MAX_HEADER_BYTES >> 10} KB of headers")
        elif self._size > self._limit:
            self.failure = ("answer_too_large", f"the answer has more than {self._limit >> 20} MB")
        elif pieces > MAX_PIECES:
            self.failure = ("answer_too_large", f"the answer has more than {MAX_PIECES:,} pieces")

    def _end(self) -> None:
        self._parser = None  # it refers to this object: thousands of such circles would wait for the collector
        if not self.done.done():
            self.done.set_result(None)
