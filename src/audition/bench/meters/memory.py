"""Memory of a process tree, sampled from outside it: its own pages and those of files apart."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from audition.bench.sample import Memory

if TYPE_CHECKING:
    import psutil

INTERVAL_S = 0.01
# Listing the children reads every process of the system, so it is done less often than the cheap figures are read.
_TREE_INTERVALS = 50


class MemoryMeter:
    """Watches a process and its children until it is closed.

    Resident sizes are added over the tree; pages that two of its processes share count in both. A peak that is shorter
    than the time between samples can be missed.
    """

    def __init__(self, pid: int, interval_s: float = INTERVAL_S) -> None:
        import psutil

        self._interval_s = interval_s
        try:
            self._root: psutil.Process | None = psutil.Process(pid)
        except psutil.Error:
            self._root = None
        self._tree: list[psutil.Process] = []
        self._tree_read_at = float("-inf")
        self._peak: Memory | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory meter", daemon=True)
        self._thread.start()

    def now(self, *, whole: bool = False) -> Memory | None:
        """Return the tree's memory now, or None when the process is gone; `whole` looks for new children first."""
        import psutil

        if self._root is None:
            return None
        with self._lock:
            if whole or time.monotonic() - self._tree_read_at > _TREE_INTERVALS * self._interval_s:
                try:
                    self._tree = [self._root, *self._root.children(recursive=True)]
                except psutil.Error:
                    return None
                self._tree_read_at = time.monotonic()
            readings = []
            for process in self._tree:
                try:
                    readings.append(_read(process))
                except psutil.Error:
                    continue
            memory = _sum(readings)
            if memory is not None:
                self._peak = memory if self._peak is None else _maximum(self._peak, memory)
            return memory

    @property
    def peak(self) -> Memory | None:
        """The most seen so far, each figure's own maximum; None when nothing could be read."""
        return self._peak

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.now()


def _read(process: psutil.Process) -> Memory:
    info = process.memory_info()
    if sys.platform == "linux":
        # statm's "shared" counts resident pages of files and shared memory.
        return Memory(info.rss, info.rss - info.shared, info.shared)
    return Memory(info.rss)


def _sum(readings: Iterable[Memory]) -> Memory | None:
    readings = [reading for reading in readings if reading.total > 0]
    if not readings:
        return None
    return Memory(
        sum(r.total for r in readings),
        _if_all([r.anonymous for r in readings]),
        _if_all([r.file_backed for r in readings]),
    )


def _if_all(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _maximum(left: Memory, right: Memory) -> Memory:
    def larger(a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else max(a, b)

    return Memory(
        max(left.total, right.total),
        larger(left.anonymous, right.anonymous),
        larger(left.file_backed, right.file_backed),
    )
