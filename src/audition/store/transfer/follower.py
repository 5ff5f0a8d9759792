"""Hashing a file while it arrives: a thread follows its front and reads back what is in the page cache.

One mechanism for a file that comes in one go, in pieces out of order, or that was begun by an earlier process.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

_BLOCK = 1024 * 1024
_FLUSH = 32 * _BLOCK


class Follower(threading.Thread):
    """Computes a growing file's SHA-256.

    Attributes:
        done: Bytes hashed so far.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name="hash", daemon=True)
        self._path = path
        self._news = threading.Condition()
        self._front = 0
        self._end: int | None = None
        self._stopped = False
        self._error: OSError | None = None
        self._digest = hashlib.sha256()
        self.done = 0

    def follow(self, front: int) -> None:
        """Tell up to where there is no gap any more."""
        if front >= self._front + _BLOCK or self._front == 0:
            with self._news:
                self._front = max(front, self._front)
                self._news.notify()

    def end(self, size: int) -> None:
        """Tell that the file is complete."""
        with self._news:
            self._front = self._end = size
            self._news.notify()

    def stop(self) -> None:
        """End without a result."""
        with self._news:
            self._stopped = True
            self._news.notify()
        if self.is_alive():
            self.join()

    def result(self) -> str:
        """Return the digest, once the thread has ended.

        Raises:
            OSError: The file could not be read.
        """
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def run(self) -> None:
        """Hash what is there, and wait for more."""
        try:
            with self._path.open("rb", buffering=0) as stream:
                flushed = 0
                buffer = memoryview(bytearray(_BLOCK))
                while (ready := self._wait()) > self.done:
                    while self.done < ready and not self._stopped:
                        count = stream.readinto(buffer[: min(_BLOCK, ready - self.done)])
                        if not count:
                            raise OSError(f"{self._path} is shorter than it was")
                        self._digest.update(buffer[:count])
                        self.done += count
                        if self.done - flushed >= _FLUSH:
                            _begin_writing(stream.fileno(), flushed, self.done)
                            flushed = self.done
        except OSError as error:
            self._error = error

    def _wait(self) -> int:
        """Return up to where to hash next; where it is already, when there is nothing more to come."""
        with self._news:
            self._news.wait_for(lambda: self._stopped or self._end is not None or self._front >= self.done + _BLOCK)
            return self.done if self._stopped else self._front


def _begin_writing(handle: int, start: int, end: int) -> None:
    """Have the system begin to write a range to the disk, so that the `fsync` at the end has little left to do.

    Linux does that when it is told that the range is not needed in memory any more; it does not wait for it.
    """
    if sys.platform == "linux":
        os.posix_fadvise(handle, start, end - start, os.POSIX_FADV_DONTNEED)
