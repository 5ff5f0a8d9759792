"""Server-sent events (HTML Living Standard, section 9.2), each with the time of the bytes that completed it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_EVENT_BYTES = 16 * 2**20
MAX_EVENTS = 1_000_000


class Event(NamedTuple):
    """One event that carries data; comments and other keep-alives are none.

    Attributes:
        at_ns: The time of the piece that completed it.
        data: Its data lines, joined with line feeds.
        kind: Its `event` field; empty where it has none.
    """

    at_ns: int
    data: bytes
    kind: bytes = b""


class TooLargeError(Exception):
    """The stream is beyond what a model sends: a hostile or broken server."""


def events(pieces: Iterable[tuple[int, bytes]], *, whole: bool = True) -> Iterator[Event]:
    """Yield the events of a stream that came in pieces, cut anywhere.

    Args:
        pieces: Time and bytes of each read.
        whole: The stream ended properly. Then a last event without its blank line counts, as it does for every
            line-based client; the standard would discard it.

    Raises:
        TooLargeError: One event has more than `MAX_EVENT_BYTES`, or there are more than `MAX_EVENTS`.
    """
    buffer = bytearray()
    at_ns, number, first, after_cr = 0, 0, True, False
    for at_ns, piece in pieces:
        text = piece
        if after_cr and text:
            text = text.removeprefix(b"\n")  # the other half of a CRLF that was cut
            after_cr = False
        if b"\r" in text:
            after_cr = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # A blank line may have been cut between its two line ends; the part that was looked at already is not again.
        start = max(0, len(buffer) - 1)
        buffer += text
        end = buffer.rfind(b"\n\n", start)
        if end >= 0:
            blocks = bytes(buffer[:end]).split(b"\n\n")
            del buffer[: end + 2]
            number += len(blocks)
            if number > MAX_EVENTS:
                raise TooLargeError(f"the stream has more than {MAX_EVENTS:,} events")
            if first:
                blocks[0] = blocks[0].removeprefix(b"\xef\xbb\xbf")
                first = False
            for block in blocks:
                event = _event(at_ns, block)
                if event is not None:
                    yield event
        if len(buffer) > MAX_EVENT_BYTES:
            raise TooLargeError(f"one event of the stream has more than {MAX_EVENT_BYTES >> 20} MB")
    if whole and buffer:
        block = bytes(buffer)
        event = _event(at_ns, block.removeprefix(b"\xef\xbb\xbf") if first else block)
        if event is not None:
            yield event


def _event(at_ns: int, block: bytes) -> Event | None:
    """Return the event that the lines of `block` are, or None where they carry no data."""
    if block.startswith(b"data: ") and b"\n" not in block:  # nearly all of them
        return Event(at_ns, block[6:])
    data: list[bytes] = []
    kind = b""
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.removeprefix(b" ")
    return Event(at_ns, b"\n".join(data), kind) if data else None
