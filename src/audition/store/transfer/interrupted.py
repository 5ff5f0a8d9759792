"""What interrupted transfers have left to go on from, and what another process is fetching right now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audition.store.blobs import Progress
from audition.store.transfer.partial import Partial, Wanted, read_journal

_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A file that has arrived in part.

    Attributes:
        model: The id of the variant that it is of, and `source` where that comes from.
        name: The file's name for people.
        size: Bytes of the whole file, or None when nobody has said.
        arrived: Bytes that are here.
        path: The partial file.
        journal: Its journal.
        updated_at: When the journal was last written, seconds since 1970.
    """

    model: str
    source: str
    name: str
    size: int | None
    arrived: int
    path: Path
    journal: Path
    updated_at: float

    @property
    def key(self) -> str:
        """The name of the variant's lock, without its suffix: who holds it is fetching."""
        return self.path.parent.name

    def remove(self) -> int:
        """Remove it, and return the bytes freed; only for who holds the variant's lock."""
        freed = self.arrived
        Partial(self.path.parent, Wanted(self.name, "")).drop()
        return freed


def interrupted(partials: Path) -> list[Interrupted]:
    """Return the files that have arrived in part, the latest first.

    Args:
        partials: The folder of partial files of a store.
    """
    found = []
    for journal in sorted(partials.glob("*/*.json")):
        record = read_journal(journal)
        path = journal.with_suffix(".part")
        try:
            if record is None or not path.is_file():
                continue
            arrived = record["arrived"].cut(path.stat().st_size).total
            updated_at = journal.stat().st_mtime
        except OSError:
            continue  # it has just been completed
        found.append(
            Interrupted(
                model=record["model"],
                source=record["source"],
                name=record["name"],
                size=record["size"],
                arrived=arrived,
                path=path,
                journal=journal,
                updated_at=updated_at,
            )
        )
    return sorted(found, key=lambda entry: -entry.updated_at)


@contextmanager
def told_of_the_other(partials: Path, key: str, name: str, progress: Progress) -> Iterator[None]:
    """While a lock is waited for, show how far the process that holds it has come.

    Args:
        partials: The folder of partial files.
        key: The variant's key.
        name: What to call it while nothing of it has arrived.
        progress: Told twice a second, from another thread.
    """
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(_POLL_S):
            latest = next((entry for entry in interrupted(partials) if entry.key == key), None)
            if latest is None:
                progress(f"{name} (another process is at it)", 0, None)
            else:
                progress(f"{latest.name} (another process downloads it)", latest.arrived, latest.size)

    thread = threading.Thread(target=tell, name="wait", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
