"""Files by content: a blob's name is the SHA-256 of its bytes, and it gets that name only once that is proven."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from audition.errors import AuditionError
from audition.models.header import ModelFileError
from audition.sizes import size

CHUNK = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[str, int, int | None], None]
"""Called with what is being moved, bytes so far and bytes in all (None when unknown)."""

_BAD_AT_SOURCE = "its publisher has it like this: tell them, or take another file or repository"


def no_progress(what: str, done: int, total: int | None) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an installed variant: its name for people, and the blob that holds it."""

    name: str
    size: int
    sha256: str


class Blobs:
    """The folder of blobs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Return where the blob with this digest lies, or would lie.

        Raises:
            AuditionError: `sha256` is not 64 lower-case hex digits, so it can never become a path elsewhere.
        """
        if not _DIGEST.fullmatch(sha256):
            raise AuditionError(f"{sha256[:80]!r} is not a SHA-256 digest", code="bad_manifest")
        return self.root / f"sha256-{sha256}"

    def write(
        self,
        name: str,
        chunks: Iterable[bytes],
        *,
        size: int | None,
        sha256: str | None,
        check: Callable[[Path], None],
        progress: Progress = no_progress,
        partials: Path | None = None,
    ) -> StoredFile:
        """Write bytes to a partial file, verify them, and only then give the file its final name.

        Args:
            name: The file's name for people.
            chunks: The bytes.
            size: Bytes expected, or None when nobody knows.
            sha256: Digest expected, or None when the content is its own identity (a person's own file).
            check: Looks into the complete file, and raises when it is not what it should be.
            progress: Told after every chunk.
            partials: Where the file lies until then, on the same disk; None takes the folder of the blobs.

        Raises:
            AuditionError: `disk_full`, or `digest_mismatch` when size or digest differ from what was promised.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        handle, partial_name = tempfile.mkstemp(prefix="partial-", dir=partials or self.root)
        partial = Path(partial_name)
        try:
            digest, done = hashlib.sha256(), 0
            with os.fdopen(handle, "wb") as stream:
                for chunk in chunks:
                    digest.update(chunk)
                    stream.write(chunk)
                    done += len(chunk)
                    if size is not None and done > size:
                        break
                    progress(name, done, size)
                stream.flush()
                os.fsync(stream.fileno())
            actual = digest.hexdigest()
            _expect(name, "size", size, done)
            _expect(name, "SHA-256", sha256, actual)
            check(partial)
            partial.chmod(0o644)
            partial.replace(self.path(actual))
            _sync_folder(self.root)
            return StoredFile(name, done, actual)
        except OSError as error:
            raise disk_error(error, self.root) from error
        finally:
            partial.unlink(missing_ok=True)

    def holds(self, sha256: str, size: int | None) -> bool:
        """Whether the blob is here, whole; a file under its final name was verified when it got it."""
        path = self.path(sha256)
        return path.is_file() and size in (None, path.stat().st_size)

    def adopt(self, partial: Path, file: StoredFile, *, check: Callable[[Path], None]) -> StoredFile:
        """Give a partial file its final name; its bytes were verified, and it is on the same disk.

        Args:
            partial: The file.
            file: What it is.
            check: Looks into the complete file, and raises when it is not what it should be.

        Raises:
            OSError: The disk refuses.
            ModelFileError: The check finds no model.
        """
        if partial.stat().st_size != file.size:
            raise OSError(f"{partial} is not the file that was verified")
        try:
            check(partial)
        except ModelFileError as error:
            # These are the bytes that were promised, so another download would bring them again.
            message = error.message.replace(str(partial), file.name)
            raise ModelFileError(message, fix=_BAD_AT_SOURCE, code=error.code) from error
        with partial.open("r+b") as stream:
            os.fsync(stream.fileno())
        partial.chmod(0o644)
        self.root.mkdir(parents=True, exist_ok=True)
        partial.replace(self.path(file.sha256))
        _sync_folder(self.root)
        return file

    def digest(self, sha256: str, name: str, progress: Progress = no_progress) -> str:
        """Return the SHA-256 of the bytes that the blob really holds now."""
        path = self.path(sha256)
        digest, done, size = hashlib.sha256(), 0, path.stat().st_size
        for chunk in read_chunks(path):
            digest.update(chunk)
            done += len(chunk)
            progress(name, done, size)
        return digest.hexdigest()


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, a megabyte at a time."""
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the disk knows no hard links, copy it."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def need_space(folder: Path, needed: int) -> None:
    """Check that `needed` bytes fit before anything is transferred.

    Raises:
        AuditionError: `disk_full`, with both figures.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise AuditionError(
            f"the disk is too full: {size(needed)} are needed in {folder}, {size(free)} are free",
            fix="free some space, or set AUDITION_HOME to a folder on a larger disk",
            code="disk_full",
        )


def disk_error(error: OSError, folder: Path) -> AuditionError:
    """Turn a failed write into a sentence a person can act on."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AuditionError(
            f"the disk filled up while writing to {folder}",
            fix="free some space, or set AUDITION_HOME to a folder on a larger disk",
            code="disk_full",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AuditionError(
            f"cannot write to {folder}: {error.strerror}",
            fix="set AUDITION_HOME to a folder that you may write to",
            code="not_writable",
        )
    return AuditionError(f"cannot use {folder}: {error}", code="disk_error")


def _expect(name: str, what: str, expected: object, actual: object) -> None:
    if expected is not None and expected != actual:
        raise AuditionError(
            f"{name} is not the file that the catalog describes: its {what} is {actual}, not {expected}",
            fix="try again; if it stays, the source has changed or the transfer is being altered",
            code="digest_mismatch",
        )


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where a folder can be opened for that (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
