"""Who fetches which bytes: pieces in order, so that the file grows from its front and can be hashed meanwhile."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from audition.store.transfer.ranges import Ranges


@dataclass(eq=False, slots=True)
class Claim:
    """A part of the file that one request fetches.

    Attributes:
        at: The next byte.
        end: Where its part ends, or None while nobody knows how large the file is.
        asked: The end of what the request asks for: a lone one asks for more than one piece, and takes one after
            another for as long as nobody else has.
        live: Whether anybody still waits for it.
    """

    at: int
    end: int | None
    asked: int | None
    live: bool = True


class Pieces:
    """What of a file is there, what is on its way, and what nobody has asked for yet. Safe for several threads."""

    def __init__(self, size: int | None, arrived: Ranges, piece: int) -> None:
        self._lock = threading.Lock()
        self._size = size
        self._arrived = arrived
        self._piece = piece
        self._claims: list[Claim] = []
        self._is_whole = False

    @property
    def size(self) -> int | None:
        """Bytes in all, once known."""
        return self._size

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        with self._lock:
            return self._size is not None and self._arrived.front >= self._size

    @property
    def front(self) -> int:
        """Up to where there is no gap."""
        with self._lock:
            return self._arrived.front

    @property
    def done(self) -> int:
        """Bytes that are there."""
        with self._lock:
            return self._arrived.total

    def arrived(self) -> Ranges:
        """Return a copy of what is there."""
        with self._lock:
            return Ranges(self._arrived)

    def set_size(self, size: int) -> None:
        """Learn how large the file is."""
        with self._lock:
            self._size = size
            for claim in self._claims:
                if claim.asked is None:
                    claim.asked = size
                    claim.end = min(size, claim.at + self._piece)

    def take(self) -> Claim | None:
        """Claim the first part that nobody has, or None when there is none.

        A lone claim reaches to the next byte that is there already; where there are several, it is one piece.
        """
        with self._lock:
            if self._size is None:
                if self._claims:
                    return None
                claim = Claim(self._arrived.front, None, None)
            else:
                gap = self._taken().gap(self._size)
                if gap is None:
                    return None
                end = min(gap[1], gap[0] + self._piece)
                claim = Claim(gap[0], end, end if self._claims else gap[1])
            self._claims.append(claim)
            return claim

    def grow(self, claim: Claim) -> bool:
        """Let a claim that is at its end have the next piece of what it asked for, if nobody else has it."""
        with self._lock:
            if claim.end is None or claim.asked is None or not claim.live:
                return claim.live
            others = [start for start, end in self._taken(but=claim) if end > claim.end]
            limit = min([claim.asked, claim.end + self._piece, *others])
            if limit <= claim.end:
                return False
            claim.end = limit
            return True

    def add(self, claim: Claim, count: int) -> None:
        """Note that a claim's next bytes have been written."""
        with self._lock:
            if claim.live:
                self._arrived.add(claim.at, claim.at + count)
                claim.at += count

    def release(self, claim: Claim) -> None:
        """Give back what a claim has not fetched."""
        with self._lock:
            claim.live = False
            if claim in self._claims:
                self._claims.remove(claim)

    def restart(self, claim: Claim | None, size: int | None) -> bool:
        """Forget everything but the promised size; a claim then has the whole file. False when others are fetching."""
        with self._lock:
            if any(other is not claim for other in self._claims):
                return False
            self._arrived.clear()
            self._size = size
            self._is_whole = True
            if claim is not None:
                claim.at, claim.end, claim.asked = 0, self._size, self._size
            return True

    @property
    def is_whole(self) -> bool:
        """Whether it has to come in one go, because parts of it were of no use."""
        return self._is_whole

    def _taken(self, but: Claim | None = None) -> Ranges:
        """Return what is there or on its way."""
        taken = Ranges(self._arrived)
        for claim in self._claims:
            if claim is not but:
                taken.add(claim.at, claim.end or claim.at)
        return taken
