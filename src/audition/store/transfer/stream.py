"""One request of a transfer: the answer is checked before a byte is believed, then its bytes are written."""

from __future__ import annotations

import time
from collections.abc import Callable

from audition.store.blobs import need_space
from audition.store.transfer.answers import content_range, refuse_encoding, status_fault, validator
from audition.store.transfer.fault import Fault
from audition.store.transfer.partial import Partial
from audition.store.transfer.pieces import Claim, Pieces
from audition.store.transfer.web import Answer, Route

BLOCK = 1024 * 1024
_FLUSH_S = 0.1


class Stream:
    """Fetches what one claim asks for.

    Attributes:
        alive_at: When something last happened, on the monotonic clock.
        is_accepted: Whether the answer is one that can be used.
    """

    def __init__(
        self, claim: Claim, pieces: Pieces, partial: Partial, route: Route, accepted: Callable[[bool], None]
    ) -> None:
        self._claim = claim
        self._pieces = pieces
        self._partial = partial
        self._route = route
        self._accepted = accepted
        self._end: int | None = None
        self._fault: Fault | None = None
        self.alive_at = time.monotonic()
        self.is_accepted = False

    def run(self) -> None:
        """Fetch it.

        Raises:
            Fault: It did not work, or only in part.
            OSError: The disk refuses.
            AuditionError: The disk is too full for the file.
        """
        is_part = self._claim.at > 0 or self._claim.asked != self._pieces.size
        with self._route.get(self._headers() if is_part else {}) as answer:
            self.alive_at = time.monotonic()
            if self._claim.live and self._accept(answer, is_part=is_part):
                self.is_accepted = True
                self._copy(answer)

    def _headers(self) -> dict[str, str]:
        end = "" if self._claim.asked in (None, self._pieces.size) else str((self._claim.asked or 0) - 1)
        headers = {"Range": f"bytes={self._claim.at}-{end}"}
        if self._partial.validator:
            headers["If-Range"] = self._partial.validator
        return headers

    def _accept(self, answer: Answer, *, is_part: bool) -> bool:
        """Check the answer; return whether there are bytes to copy."""
        if answer.status == 416 and is_part:
            return self._accept_nothing_more(answer)
        if answer.status == 206:
            refuse_encoding(answer.headers)
            self._accept_part(answer, is_part=is_part)
        elif answer.status == 200:
            refuse_encoding(answer.headers)
            self._accept_whole(answer, is_part=is_part)
        else:
            raise status_fault(answer.status, answer.headers)
        return True

    def _accept_nothing_more(self, answer: Answer) -> bool:
        told = content_range(answer.headers)
        total = told[2] if told else None
        if self._pieces.size is None and total == self._claim.at:
            self._pieces.set_size(total)
            return False
        raise Fault("it refuses to go on where the transfer stopped (416)", start_over=True)

    def _accept_part(self, answer: Answer, *, is_part: bool) -> None:
        told = content_range(answer.headers)
        claim = self._claim
        if told is None or not is_part or told[0] != claim.at or (claim.asked is not None and told[1] > claim.asked):
            raise Fault("it sends another part of the file than the one that was asked for", start_over=True)
        _, self._end, total = told
        if total is None and self._pieces.size is None:
            raise Fault("it does not say how large the file is", start_over=True)
        here = validator(answer.headers)
        if self._is_other(here):
            if not self._partial.wanted.is_promised:
                raise Fault("the file there has changed in between", start_over=True)
            self._partial.validator = None
        self._learn(total, here)
        self._accepted(False)

    def _accept_whole(self, answer: Answer, *, is_part: bool) -> None:
        promised = self._partial.wanted.size
        if promised is not None and answer.length not in (None, promised):
            raise _other_size(answer.length or 0, promised)
        if is_part and self._is_other(validator(answer.headers)) and self._partial.wanted.is_promised:
            # Two servers of one network may call the same bytes differently, and the digest will tell in the end:
            # what has arrived is not thrown away for a name.
            self._partial.validator = None
            raise Fault("it takes the file for another one now")
        if is_part:
            if not self._pieces.restart(self._claim, promised):
                raise Fault("it sends the whole file where a part was asked for", start_over=True)
            with self._partial.writer() as out:
                out.truncate(0)
        self._end = answer.length
        self._partial.validator = None
        self._learn(answer.length, validator(answer.headers))
        self._accepted(is_part)

    def _is_other(self, here: str | None) -> bool:
        """Whether the server calls the file by another name than before."""
        return bool(self._partial.validator and here and here != self._partial.validator)

    def _learn(self, total: int | None, here: str | None) -> None:
        """Take over what the answer says of the file, if that is what was promised."""
        promised = self._partial.wanted.size
        if total is not None and total != self._pieces.size:
            if promised is not None:
                raise _other_size(total, promised)
            if self._pieces.size is not None:
                raise Fault("the file there has changed in between", start_over=True)
            need_space(self._partial.path.parent, total - self._pieces.done)
            self._pieces.set_size(total)
        self._partial.size = self._pieces.size
        self._partial.validator = self._partial.validator or here

    def _copy(self, answer: Answer) -> None:
        buffer = memoryview(bytearray(BLOCK))
        claim, pieces = self._claim, self._pieces
        with self._partial.writer() as out:
            out.seek(claim.at)
            while claim.live:
                room = self._room()
                if not room and not (self._end != claim.at and pieces.grow(claim)):
                    break
                count = self._fill(answer, buffer[: self._room()])
                if not claim.live:
                    return
                written = 0
                while written < count:
                    # A disk that is nearly full takes less than it is given.
                    taken = out.write(buffer[written:count])
                    pieces.add(claim, taken)
                    written += taken
                if not count:
                    break
        self._finish(answer)

    def _room(self) -> int:
        """How much of the next block may be written now."""
        ends = [end for end in (self._claim.end, self._end) if end is not None]
        return min([BLOCK, *(end - self._claim.at for end in ends)])

    def _fill(self, answer: Answer, buffer: memoryview) -> int:
        """Read until the buffer is full, the body ends, or what is there should be written at last."""
        if self._fault is not None:
            raise self._fault
        count, since = 0, time.monotonic()
        while count < len(buffer) and self._claim.live:
            try:
                got = answer.readinto(buffer[count:])
            except Fault as fault:
                if not count:
                    raise
                self._fault = fault  # once what came before it is written
                break
            self.alive_at = time.monotonic()
            count += got
            if not got or self.alive_at - since > _FLUSH_S:
                break
        return count

    def _finish(self, answer: Answer) -> None:
        claim = self._claim
        if not claim.live:
            return
        if self._pieces.size is None:
            # Only a body without a length ends like this; whether that was the end, its digest has to tell.
            self._pieces.set_size(claim.at)
            return
        end = claim.end if self._end is None or claim.end is None else min(claim.end, self._end)
        if end is None or claim.at < end:
            raise Fault("the connection ended early", fix="check the network")
        # Where a digest was promised, it says whether those bytes are the file, whatever follows them.
        unverified = self._end is None and not self._partial.wanted.is_promised
        if unverified and answer.readinto(memoryview(bytearray(1))):
            raise _other_size(claim.at + 1, claim.at)


def _other_size(there: int, promised: int) -> Fault:
    return Fault(
        f"the file there has {there:,} bytes, not the {promised:,} that were promised",
        code="digest_mismatch",
        fix="try again; if it stays, the source has changed",
        tries=2,
    )
