"""Ranges of bytes: which parts of a file have arrived."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator


class Ranges:
    """Disjoint half-open ranges `[start, end)` in order; those that touch become one."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def add(self, start: int, end: int) -> None:
        """Add a range; it may overlap others, and an empty one adds nothing."""
        if end <= start:
            return
        # The common case, a stream that goes on, is the cheap one.
        if self._ranges and start == self._ranges[-1][1]:
            self._ranges[-1] = (self._ranges[-1][0], end)
            return
        first = bisect_left(self._ranges, start, key=lambda taken: taken[1])
        last = first
        while last < len(self._ranges) and self._ranges[last][0] <= end:
            start, end = min(start, self._ranges[last][0]), max(end, self._ranges[last][1])
            last += 1
        self._ranges[first:last] = [(start, end)]

    def clear(self) -> None:
        """Forget all of them."""
        self._ranges.clear()

    def cut(self, end: int) -> Ranges:
        """Return what of them lies before `end`."""
        return Ranges((start, min(stop, end)) for start, stop in self._ranges)

    @property
    def total(self) -> int:
        """Bytes in all of them."""
        return sum(end - start for start, end in self._ranges)

    @property
    def front(self) -> int:
        """Where the first gap begins: everything before it is there."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    def gap(self, size: int) -> tuple[int, int] | None:
        """Return the first gap of a file of `size` bytes, or None when there is none."""
        start = self.front
        if start >= size:
            return None
        following = next((begin for begin, _ in self._ranges if begin >= start), size)
        return start, min(following, size)
