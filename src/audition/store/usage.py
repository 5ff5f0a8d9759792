"""What the store takes on the disk, model by model."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from audition.store.installed import Installed
from audition.store.linked import HARD, Link
from audition.store.store import Store


@dataclass(frozen=True, slots=True)
class Kept:
    """One variant on the disk.

    Attributes:
        entry: The variant.
        links: Which of its files are linked, by name.
        shared_with: Other variants that have a file in common with it.
        same_as: Those of them that are the same bytes altogether.
        problem: Why it cannot be used, in a sentence; None when it can.
        fix: What to do about that.
    """

    entry: Installed
    links: dict[str, Link]
    shared_with: tuple[str, ...]
    same_as: tuple[str, ...]
    problem: str | None
    fix: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything that is kept.

    Attributes:
        kept: By id.
        own_bytes: Bytes that only the store holds; a file that several variants share counts once.
        linked_bytes: Bytes of files that are links to what others hold as well.
    """

    kept: tuple[Kept, ...]
    own_bytes: int
    linked_bytes: int


def usage(store: Store) -> Usage:
    """Return what is kept, without reading the files themselves."""
    recorded = store.recorded()
    owners: dict[str, set[str]] = defaultdict(set)
    for entry in recorded:
        for file in entry.files:
            owners[file.sha256].add(entry.id)
    digests: dict[str, set[str]] = defaultdict(set)
    for entry in recorded:
        digests[entry.digest].add(entry.id)
    whole = {entry.manifest for entry in store.installed()}
    kept: list[Kept] = []
    linked: dict[str, int] = {}
    own: dict[str, int] = {}
    for entry in recorded:
        links = entry.links
        for file in entry.files:
            link = links.get(file.name)
            if store.blobs.path(file.sha256).is_file():
                others_have_it = link is not None and not is_last_name(link)
                (linked if others_have_it else own)[file.sha256] = file.size
        shared = {other for file in entry.files for other in owners[file.sha256]} - {entry.id}
        error = store.broken_link(entry)
        problem, fix = (error.message, error.fix) if error else (None, None)
        if error is None and entry.manifest not in whole:
            again = "import it again" if entry.source.startswith("import:") else f"audition model download {entry.id}"
            problem, fix = "files of it are missing or cut", again
        same = digests[entry.digest] - {entry.id}
        kept.append(Kept(entry, links, tuple(sorted(shared)), tuple(sorted(same)), problem, fix))
    return Usage(tuple(kept), sum(own.values()), sum(linked.values()))


def is_last_name(link: Link) -> bool:
    """Return whether a hard link is all that is left, because its original was removed or replaced."""
    if link.kind != HARD:
        return False
    try:
        return Path(link.path).stat().st_ino != link.inode
    except OSError:
        return True
