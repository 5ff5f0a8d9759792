"""Blobs that are links to a person's own file, or another program's: nothing is copied, the original is not touched.

A hard link survives the removal of the original; where the disk allows none, it is a symbolic link. Either way others
can write into the file, so size and time of the last change are kept beside the blob and compared at every use.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audition.errors import AuditionError, UsageError
from audition.jsonfile import read_json, write_json
from audition.store.blobs import CHUNK, Blobs, Progress, StoredFile, disk_error
from audition.text import printable

HARD, SYMBOLIC = "hard", "symbolic"


@dataclass(frozen=True, slots=True)
class Link:
    """What a linked blob was when it was hashed.

    Attributes:
        path: The original, with every link on the way to it resolved.
        size: Bytes.
        mtime_ns: When it was last written to, in nanoseconds since 1970.
        inode: Its number on its disk: another one means that the blob is no link to it any more.
        kind: `hard` or `symbolic`.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    kind: str


class Links:
    """The records of linked blobs, one small JSON file each."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self.blobs = blobs

    def of(self, sha256: str) -> Link | None:
        """Return what a blob was linked to; None when it is a file of the store's own, or the record is damaged."""
        record = self._record(sha256)
        if not record.is_file():
            return None
        try:
            data = read_json(record)
            link = Link(str(data["path"]), int(data["size"]), int(data["mtime_ns"]), int(data["inode"]), data["kind"])
        except (UsageError, KeyError, TypeError, ValueError):
            return None
        path = self.blobs.path(sha256)
        # A verified file of the store's own has taken the link's place.
        if link.kind == HARD and _is_other_file(path, link.inode):
            return None
        return None if link.kind == SYMBOLIC and path.is_file() and not path.is_symlink() else link

    def trouble(self, sha256: str) -> str | None:
        """Return what has become of a linked blob's original, as the end of a sentence; None when all is as it was."""
        link = self.of(sha256)
        if link is None:
            return None
        try:
            now = self.blobs.path(sha256).stat()
        except OSError:
            return "has changed since" if Path(link.path).exists() else "is gone"
        if (now.st_size, now.st_mtime_ns) != (link.size, link.mtime_ns):
            return "has changed since"
        return None

    def make(
        self,
        name: str,
        original: Path,
        *,
        promised: str | None,
        check: Callable[[Path], None],
        progress: Progress,
        only_hard: bool = False,
    ) -> StoredFile:
        """Link a file under the SHA-256 of its bytes, after hashing and checking them all through the link itself.

        Args:
            name: The file's name for people.
            original: The file.
            promised: What another program says of it: a SHA-256, the SHA-1 of a git blob, or None.
            check: Looks into the file, and raises when it is not what it should be.
            progress: Told after every chunk.
            only_hard: Whether a symbolic link will not do.

        Raises:
            UsageError: It cannot be linked.
            AuditionError: `digest_mismatch` when it is not what was promised, `file_changed` when it was written to
                meanwhile, or the disk refuses it.
        """
        original = regular_file(original)
        self.blobs.root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="partial-", dir=self.blobs.root))
        new = work / "link"
        try:
            kind = _link(original, new, only_hard=only_hard)
            check(new)
            sha256, found = _hashed(name, new, promised, progress)
            blob = self.blobs.path(sha256)
            if blob.is_file() and self.trouble(sha256) is None:
                return StoredFile(name, found.st_size, sha256)  # of its own, or linked already
            link = Link(str(original), found.st_size, found.st_mtime_ns, found.st_ino, kind)
            # Before the name, so that no linked blob is ever without its record.
            write_json(self._record(sha256), asdict(link))
            new.replace(blob)
            return StoredFile(name, found.st_size, sha256)
        except OSError as error:
            raise disk_error(error, self.blobs.root) from error
        finally:
            new.unlink(missing_ok=True)
            with suppress(OSError):
                work.rmdir()

    def forget(self, sha256: str) -> None:
        """Remove the record of a blob that is no longer there."""
        self._record(sha256).unlink(missing_ok=True)

    def records(self) -> list[tuple[str, Path]]:
        """Return every record: the blob's SHA-256, and the record's own path."""
        found = [(path.stem.removeprefix("sha256-"), path) for path in sorted(self.root.glob("sha256-*.json"))]
        return [(sha256, path) for sha256, path in found if len(sha256) == 64]

    def _record(self, sha256: str) -> Path:
        return self.root / f"{self.blobs.path(sha256).name}.json"


def regular_file(path: Path) -> Path:
    """Return the file that a path leads to, links resolved.

    Raises:
        UsageError: It is not there, or it is a folder, a pipe or a device: reading those may never end.
    """
    shown = printable(str(path))
    try:
        real = Path(os.path.realpath(path, strict=True))
        mode = real.stat().st_mode
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{shown} cannot be linked: {why}", fix="check the path", code="model_not_found") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UsageError(f"{shown} cannot be linked: it is {what}", fix="name the model's file", code="model_not_found")
    return real


def gone_or_changed(name: str, link: Link, trouble: str) -> AuditionError:
    """Return the error for a model whose linked original is not what it was."""
    path = printable(link.path)
    again = f"link it again: audition model import --link '{path}' --name {name}"
    gone = f"put it back, or forget it: audition model rm {name}"
    return AuditionError(
        f"{name} is linked to {path}, which {trouble}",
        fix=gone if trouble == "is gone" else again,
        code="link_broken",
    )


def _link(original: Path, new: Path, *, only_hard: bool) -> str:
    """Make the link; return its kind."""
    try:
        new.hardlink_to(original)
    except OSError as hard:
        if only_hard:
            raise _impossible(original, hard, "its engine takes no symbolic links") from hard
        try:
            new.symlink_to(original)
        except (OSError, NotImplementedError) as error:  # on Windows it takes a right that few accounts have
            why = error.strerror if isinstance(error, OSError) and error.strerror else "the system has no such links"
            raise _impossible(original, hard, f"nor a symbolic one ({why})") from error
        return SYMBOLIC
    return HARD


def _impossible(original: Path, hard: OSError, rest: str) -> UsageError:
    other_disk = hard.errno == errno.EXDEV
    why = "it is on another disk" if other_disk else hard.strerror or str(hard)
    return UsageError(
        f"{printable(str(original))} cannot be linked: no hard link ({why}), and {rest}",
        fix="copy it instead: leave --link out",
        code="cannot_link",
    )


def _hashed(name: str, path: Path, promised: str | None, progress: Progress) -> tuple[str, os.stat_result]:
    """Return the SHA-256 of a file that nobody wrote to meanwhile, and what the file is."""
    with path.open("rb") as stream:
        before = os.fstat(stream.fileno())
        sha256 = hashlib.sha256()
        # What git names a small file by; it protects nothing, the SHA-256 does.
        git = hashlib.sha1(b"blob %d\0" % before.st_size, usedforsecurity=False)
        is_git, done = promised is not None and len(promised) == 40, 0
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            if is_git:
                git.update(chunk)
            done += len(chunk)
            progress(name, done, before.st_size)
        after = os.fstat(stream.fileno())
    if (done, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise AuditionError(
            f"{name} was written to while it was read",
            fix="wait until that is done, and try again",
            code="file_changed",
        )
    actual = git.hexdigest() if is_git else sha256.hexdigest()
    if promised is not None and promised.lower() != actual:
        raise AuditionError(
            f"{name} is damaged where it lies: its {'git hash' if is_git else 'SHA-256'} is {actual}, "
            f"and the program that keeps it says {promised.lower()}",
            fix="have that program download it again",
            code="digest_mismatch",
        )
    return sha256.hexdigest(), after


def _is_other_file(path: Path, inode: int) -> bool:
    try:
        return path.stat().st_ino != inode
    except OSError:
        return False


def to_json(link: Link) -> dict[str, Any]:
    """Return a link as plain JSON values."""
    return {"path": link.path, "size": link.size, "mtime_ns": link.mtime_ns, "kind": link.kind}
