"""What can be removed from the store without losing a model, and its removal while others may be at work.

Nothing that another process works on is taken: it holds the lock of its variant. A file that no manifest names may be
one that was stored a moment ago, so it is first put aside, and comes back when anybody turns out to be at work.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from audition.store.blobs import disk_error
from audition.store.store import PARTIAL, Store
from audition.store.transfer.interrupted import Interrupted, interrupted

STALE_S = 86_400.0
"""A folder that no lock guards, a conversion's, is left over when nothing in it has changed for a day."""


@dataclass(frozen=True, slots=True)
class Removable:
    """A file or folder that no model needs.

    Attributes:
        path: Where it is.
        size: Bytes in it.
        what: What it is, for people.
        lock: The key of the lock that has to be had to remove it; None when no lock may be held at all.
        partial: Whether it is a download that can go on.
    """

    path: Path
    size: int
    what: str
    lock: str | None = None
    partial: bool = False


def removable(store: Store, *, partials: bool = False) -> list[Removable]:
    """Return what can be removed.

    Args:
        store: The store.
        partials: Whether downloads that could go on are among it.
    """
    found = [*_staging(store), *_partials(store, partials), *_loose(store)]
    known = {file.sha256 for entry in store.recorded() for file in entry.files}
    for sha256, record in store.links.records() if not store.damaged() else []:
        if sha256 not in known and not store.blobs.path(sha256).exists():
            found.append(Removable(record, _size(record), "the record of a link that is gone"))
    return sorted(found, key=lambda each: each.path)


def prune(store: Store, items: list[Removable]) -> tuple[list[Removable], list[Removable]]:
    """Remove things; return what was removed, and what was left because another process is at work.

    Raises:
        AuditionError: The disk refuses it.
    """
    gone: list[Removable] = []
    left: list[Removable] = []
    try:
        for item in items:
            if item.lock is not None:
                with _try_lock(store, item.lock) as had:
                    if had:
                        _remove(item.path)
                (gone if had else left).append(item)
            else:
                (gone if _take(store, item.path) else left).append(item)
    except OSError as error:
        raise disk_error(error, store.root) from error
    return gone, left


def held_locks(store: Store) -> set[str]:
    """Return the keys of the variants that some process is fetching or importing right now."""
    held = set()
    for path in sorted((store.root / "locks").glob("*.lock")):
        with _try_lock(store, path.stem) as had:
            if not had:
                held.add(path.stem)
    return held


def _staging(store: Store) -> Iterator[Removable]:
    for path in sorted((store.root / "staging").glob("*")):
        what = "left over from an interrupted import or download"
        if (store.root / "locks" / f"{path.name}.lock").exists():
            yield Removable(path, _size(path), what, lock=path.name)
        elif time.time() - _touched(path) > STALE_S:
            yield Removable(path, _size(path), what)


def _partials(store: Store, partials: bool) -> Iterator[Removable]:
    by_key: dict[str, list[Interrupted]] = {}
    for entry in interrupted(store.partials):
        by_key.setdefault(entry.key, []).append(entry)
    for path in sorted(store.partials.glob("*")):
        entries = by_key.get(path.name)
        if entries and partials:
            what = f"partial download of {entries[0].model}"
            yield Removable(path, sum(entry.arrived for entry in entries), what, lock=path.name, partial=True)
        elif not entries:
            yield Removable(path, _size(path), "left over from a download that cannot go on", lock=path.name)


def _loose(store: Store) -> Iterator[Removable]:
    staging = store.root / "staging"
    folders = set()
    for path in store.leftovers():
        if path.is_relative_to(store.folders.root):
            folders.add(path.parent)
        elif not path.is_relative_to(staging):
            unfinished = path.name.startswith(PARTIAL)
            yield Removable(path, _size(path), "an unfinished file" if unfinished else "a file of no model")
    for folder in folders:
        yield Removable(folder, _size(folder), "a folder of no model")


def _take(store: Store, path: Path) -> bool:
    """Remove what no manifest needs, unless somebody is at work who may be about to name it in one."""
    aside = path.with_name(f"{PARTIAL}prune-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):
        path.rename(aside)
    # Who saw the file before it was put aside holds a lock still, or has written the manifest by now.
    if not (held_locks(store) or _is_needed(store, path)):
        _remove(aside)
        return True
    if path.exists() or path.is_symlink():  # somebody has made it anew meanwhile
        _remove(aside)
    else:
        with suppress(FileNotFoundError):
            aside.rename(path)
    return False


def _is_needed(store: Store, path: Path) -> bool:
    if store.damaged() and not path.name.startswith(PARTIAL):
        return True
    recorded = store.recorded()
    blobs = {store.blobs.path(file.sha256) for entry in recorded for file in entry.files}
    return path in blobs or path in {entry.assembled for entry in recorded if entry.is_folder}


@contextmanager
def _try_lock(store: Store, key: str) -> Iterator[bool]:
    """Have a variant's lock if nobody else has it; the file of the lock stays, since others may wait at it."""
    from filelock import FileLock, Timeout

    lock = FileLock(store.root / "locks" / f"{key}.lock")
    try:
        (store.root / "locks").mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for each in [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else [])]:
        with suppress(OSError):
            total += each.lstat().st_size if each.is_symlink() or each.is_file() else 0
    return total


def _touched(path: Path) -> float:
    newest = 0.0
    for each in [path, *path.rglob("*")]:
        with suppress(OSError):
            newest = max(newest, each.lstat().st_mtime)
    return newest
