"""A file that has arrived in part: its bytes, and a journal that says which of them are there and of what file.

The journal never claims a byte that was not written before, so a process that is killed at any moment loses no more
than what it had not noted yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from audition.store.transfer.ranges import Ranges

SCHEMA = 1
_MAX_JOURNAL = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What file it is.

    Attributes:
        name: Its name for people.
        url: Where it comes from, without query.
        size: Bytes, or None when nobody knows yet.
        sha256: Its digest, or None when nobody knows.
        git_sha1: The digest that git has for it, or None.
        model: The id of the variant that it is of, and `source` where that comes from: they tell how to go on.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    model: str = ""
    source: str = ""

    @property
    def is_promised(self) -> bool:
        """Whether its bytes can be verified when they are here, wherever they came from."""
        return bool(self.sha256 or self.git_sha1)


class Partial:
    """A partial file and its journal in a folder that belongs to one variant.

    Attributes:
        path: The partial file.
        journal: Its journal.
        validator: What the server calls this version of the file, when that can be relied on.
        size: Bytes in all, once anybody has said so.
        arrived: What is there.
    """

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        short = re.sub(r"[^A-Za-z0-9._=+-]+", "-", wanted.name).strip(".-")[:60] or "file"
        stem = f"{short}-{hashlib.sha256(wanted.name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        self.path = folder / f"{stem}.part"
        self.journal = folder / f"{stem}.json"
        self.wanted = wanted
        self.validator: str | None = None
        self.size = wanted.size
        self.arrived = Ranges()
        self._saving = threading.Lock()
        self._resume()

    def _resume(self) -> None:
        """Take over what an earlier process left, as far as it is of the same file and can be relied on."""
        record = read_journal(self.journal)
        if record is None or not self.path.is_file():
            return
        wanted = self.wanted
        same = all(
            getattr(wanted, key) is None or getattr(wanted, key) == record.get(key)
            for key in ("size", "sha256", "git_sha1")
        )
        if not same or not (wanted.is_promised or (record["url"] == wanted.url and record["validator"])):
            return
        # A validator is only worth something where it came from.
        self.validator = record["validator"] if record["url"] == wanted.url else None
        self.size = record["size"]
        self.arrived = record["arrived"].cut(self.path.stat().st_size)

    def save(self, arrived: Callable[[], Ranges]) -> None:
        """Write the journal, atomically: a reader sees the old one or the new one."""
        with self._saving:
            self._save(arrived())

    def _save(self, arrived: Ranges) -> None:
        record = {
            "schema": SCHEMA,
            "model": self.wanted.model,
            "source": self.wanted.source,
            "name": self.wanted.name,
            "url": self.wanted.url,
            "size": self.size,
            "sha256": self.wanted.sha256,
            "git_sha1": self.wanted.git_sha1,
            "validator": self.validator,
            "arrived": list(arrived),
        }
        new = self.journal.with_suffix(".new")
        new.write_text(json.dumps(record), encoding="utf-8", errors="replace")
        # Windows lets nobody replace what another process is reading at this moment; the next time it will work.
        with contextlib.suppress(PermissionError):
            new.replace(self.journal)

    @contextlib.contextmanager
    def writer(self) -> Iterator[BinaryIO]:
        """Open the file for writing anywhere in it; every writer has a position of its own."""
        self.path.touch()
        with self.path.open("r+b", buffering=0) as stream:
            yield stream

    def drop(self) -> None:
        """Remove the file and the journal; the journal goes last, so that it never claims what is gone."""
        self.path.unlink(missing_ok=True)
        self.journal.with_suffix(".new").unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


def read_journal(path: Path) -> dict[str, Any] | None:
    """Return a journal's content, `arrived` as `Ranges`; None when there is none or it cannot be relied on."""
    try:
        if path.stat().st_size > _MAX_JOURNAL:
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        size, ranges = record["size"], [(start, end) for start, end in record["arrived"]]
        sound = (
            record["schema"] == SCHEMA
            and all(isinstance(record[key], str) for key in ("model", "source", "name", "url"))
            and all(isinstance(record[key], str | None) for key in ("sha256", "git_sha1", "validator"))
            and (size is None or _is_count(size))
            and all(_is_count(start) and _is_count(end) and start < end for start, end in ranges)
            and (size is None or all(end <= size for _, end in ranges))
        )
        return {**record, "arrived": Ranges(ranges)} if sound else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**60
