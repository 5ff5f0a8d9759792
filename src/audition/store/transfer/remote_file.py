"""A remote file as a stream that can be read anywhere: headers are looked at before anything is downloaded."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from audition.errors import AuditionError
from audition.store.transfer.settings import MIB, Settings
from audition.store.transfer.web import Location, Route

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FIRST_BLOCK = 256 * 1024
LARGEST_BLOCK = 4 * MIB
MOST_FETCHED = 64 * MIB


class RemoteFile(io.RawIOBase):
    """A read-only stream over ranged requests.

    Blocks are kept, and grow while the reading goes on from one to the next; a jump elsewhere begins small again.

    Attributes:
        size: Bytes of the whole file.
        fetched: Bytes that were fetched so far.
        requests: How many requests that took.
    """

    def __init__(
        self,
        location: Location,
        *,
        settings: Settings | None = None,
        block: int = FIRST_BLOCK,
        most: int = MOST_FETCHED,
    ) -> None:
        """Ask for the first block, which tells the size as well.

        Args:
            location: The file.
            settings: How patient to be.
            block: Bytes of the first request.
            most: Bytes that are fetched at all: a header never needs more, whatever it claims.

        Raises:
            AuditionError: It cannot be had, or its server does not say how large it is.
        """
        super().__init__()
        self._route = Route(location, settings)
        self._first = self._block = block
        self._most = most
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        self.fetched = 0
        self.requests = 0
        size = self._fetch(0)
        if size is None:
            raise AuditionError(
                f"{location.host} does not say how large its file is, so it cannot be looked into",
                fix="download it",
                code="source_unavailable",
            )
        self.size = size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return where the next byte comes from."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere; nothing is fetched yet."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer, or as much of it as there is; fetches what is not here yet.

        Raises:
            AuditionError: The server does not answer as it should, or too much would have to be fetched.
        """
        view = memoryview(buffer).cast("B")
        count = 0
        while count < len(view) and self._at < self.size:
            start = self._holding(self._at)
            if start is None:
                start = self._at
                self._fetch(start)
            block = self._blocks[start]
            part = block[self._at - start : self._at - start + len(view) - count]
            view[count : count + len(part)] = part
            count += len(part)
            self._at += len(part)
        return count

    def _holding(self, position: int) -> int | None:
        """Return where the block begins that has this byte."""
        starts = (start for start, block in self._blocks.items() if start <= position < start + len(block))
        return next(starts, None)

    def _fetch(self, start: int) -> int | None:
        goes_on = start > 0 and self._holding(start - 1) is not None
        self._block = min(2 * self._block, LARGEST_BLOCK) if goes_on else self._first
        if self.fetched + self._block > self._most:
            raise AuditionError(
                f"the head of {self._route.location.host}'s file is larger than {self._most // MIB} MB: "
                "that is no model's",
                fix="choose another file",
                code="bad_model_file",
            )
        data, size = self._route.read(start, self._block)
        if start and not data:
            raise AuditionError(
                f"{self._route.location.host} sends nothing where its file should go on",
                fix="try again later",
                code="source_unavailable",
            )
        self._blocks[start] = data
        self.fetched += len(data)
        self.requests += 1
        return size
