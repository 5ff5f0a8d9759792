"""The beginning of a model file, read one window at a time within fixed bounds."""

from __future__ import annotations

import struct
from typing import Protocol

from audition.models.header import ModelFileError

MAX_HEADER_BYTES = 64 * 2**20
"""The largest headers in use (262,144 tokens and 514,906 merges: Gemma 4) have about 20 MB."""
MAX_LEADING_BYTES = 4 * 2**20
"""Of what stands before the list of tokens: about 1 kB in use."""

# One step is one string of a list walked: 70 to 100 ns, so that all steps take less than 100 ms. Unlike a
# deadline, this bound gives the same answer on a busy machine. Gemma 4 takes 800,000 steps.
_MAX_STEPS = 900_000

_MAX_NAME_BYTES = 65_535  # of one key or tensor name, by the specification
_MAX_NAMES_BYTES = 4 * 2**20  # of all of them: they stay in memory to find duplicates
_WINDOW = 64 * 2**10

_U64 = struct.Struct("<Q")


class Seekable(Protocol):
    """What is read from: an open binary file, or one that lies elsewhere."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""
        ...

    def read(self, size: int = -1, /) -> bytes | None:
        """Return the bytes from there, at most so many."""
        ...


class GgufError(ModelFileError):
    """A GGUF file cannot be read, or is not what it has to be."""


class Source:
    """The beginning of a file, read one window at a time.

    Not memory-mapped: when another process truncates a mapped file, the next access kills this process.

    Args:
        stream: The file, open for reading.
        size: Its bytes.
        name: What errors call it.
        limit: The most bytes of it that are looked at.
    """

    def __init__(self, stream: Seekable, size: int, name: str, limit: int = MAX_HEADER_BYTES) -> None:
        self.position = 0
        self.size = size
        self.name = name
        self._stream = stream
        self._window = b""
        self._window_start = 0
        self._limit = limit
        self._steps_left = _MAX_STEPS
        self._names_left = _MAX_NAMES_BYTES

    def damaged(self, reason: str) -> GgufError:
        """Return the error for bytes that contradict the format or themselves."""
        return GgufError(f"{self.name} is damaged: {reason}", fix="download it again")

    def excessive(self, claim: str) -> GgufError:
        """Return the error for a header that would cost more than any known model's."""
        return GgufError(f"{self.name} claims {claim}; no known model needs that many", fix="download it again")

    def truncated(self, needed: int) -> GgufError:
        """Return the error for a file that is shorter than it says."""
        return GgufError(
            f"{self.name} is truncated: by its header it needs {needed:,} bytes, the file has {self.size:,}",
            fix="download it again",
        )

    def spend(self, steps: int, claim: str) -> None:
        """Take steps off the budget before the work is done."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise self.excessive(claim)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes and go on behind them; the caller bounds `count`."""
        at = self._in_window(count)
        self.position += count
        return self._window[at : at + count]

    def take_at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from elsewhere in the header, and stay."""
        stay, self.position = self.position, offset
        found = self.take(count)
        self.position = stay
        return found

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the numbers that come next and go on behind them."""
        at = self._in_window(layout.size)
        self.position += layout.size
        return layout.unpack_from(self._window, at)

    def take_name(self) -> bytes:
        """Return the string that comes next: a key or a tensor's name."""
        (length,) = self.unpack(_U64)
        self._check(self.position + length)
        self._names_left -= length
        if length > _MAX_NAME_BYTES or self._names_left < 0:
            raise self.damaged(f"its header has a name of {length:,} bytes")
        return self.take(length)

    def skip(self, count: int) -> None:
        """Go on behind the next `count` bytes without reading them."""
        self._check(self.position + count)
        self.position += count

    def skip_strings(self, count: int) -> None:
        """Go on behind a list of `count` strings."""
        self._check(self.position + count * _U64.size)
        self.spend(count, f"a list of {count:,} strings")
        unpack = _U64.unpack_from  # nearly all of the time goes into this loop, so it calls nothing of ours
        while count:
            at = self._in_window(_U64.size)
            window, start, last = self._window, self._window_start, len(self._window) - _U64.size
            for walked in range(count):
                if at > last:
                    count -= walked
                    break
                (length,) = unpack(window, at)
                at += length + 8
            else:
                count = 0
            self.position = start + at
            self._check(self.position)

    def expect(self, count: int) -> None:
        """Refuse a claim of `count` more bytes than the file has; none of them is read."""
        if self.position + count > self.size:
            raise self.truncated(self.position + count)

    def _check(self, end: int) -> None:
        """Refuse a header that goes on to `end` when the file or the bound does not."""
        if end > self.size:
            raise self.truncated(end)
        if end > self._limit:
            raise self.excessive(f"a header of {end:,} bytes or more")

    def _in_window(self, count: int) -> int:
        """Return where the next `count` bytes begin in the window, after moving it there if need be."""
        at = self.position - self._window_start
        if at < 0 or at + count > len(self._window):
            self._check(self.position + count)
            self._stream.seek(self.position)
            self._window = self._read(count)
            self._window_start, at = self.position, 0
            if len(self._window) < count:  # another process cut the file
                self.size = self.position + len(self._window)
                raise self.truncated(self.position + count)
        return at

    def _read(self, count: int) -> bytes:
        """Return a window's bytes, `count` or more of them: a stream from afar may give fewer at a time."""
        found = self._stream.read(max(count, _WINDOW)) or b""
        while len(found) < count and (more := self._stream.read(count - len(found))):
            found += more
        return found
