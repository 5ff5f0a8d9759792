"""Folders for engines that load one: hard links to blobs, each under the file's own name, in a folder named by content.

Links, not symbolic links: ONNX Runtime refuses weights that lie elsewhere.
"""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from audition.models.folder import FILE_NAME
from audition.store.blobs import Blobs, StoredFile, link_or_copy
from audition.text import one_line


def folder_digest(files: Sequence[StoredFile]) -> str:
    """Return the SHA-256 of the sorted lines that name each file and its SHA-256."""
    lines = sorted(f"{file.name} {file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def check_names(files: Sequence[StoredFile]) -> None:
    """Refuse names that cannot stand in one folder, or would lead out of it.

    Raises:
        ValueError: With the name.
    """
    bad = next((file.name for file in files if not FILE_NAME.fullmatch(file.name)), None)
    if bad is not None:
        raise ValueError(f"{one_line(bad, 80)!r} is no name for a file in a model's folder")
    if len({file.name.casefold() for file in files}) < len(files):
        raise ValueError("two files have the same name")


class Folders:
    """The folder of folders."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self.blobs = blobs

    def path(self, files: Sequence[StoredFile]) -> Path:
        """Return where the folder of these files lies, or would lie."""
        return self.root / folder_digest(files)

    def assemble(self, files: Sequence[StoredFile]) -> Path:
        """Return the folder of these files, after making it where it is missing or not whole.

        Raises:
            OSError: The disk refuses it.
            ValueError: A name cannot stand in a folder.
        """
        check_names(files)
        folder = self.path(files)
        if _is_whole(folder, files):
            return folder
        self.root.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix="partial-", dir=self.root))
        try:
            for file in files:
                link_or_copy(self.blobs.path(file.sha256), new / file.name)
            new.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                new.rename(folder)
            except OSError:
                if not _is_whole(folder, files):  # else another process made it meanwhile
                    raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return folder

    def remove(self, files: Sequence[StoredFile]) -> None:
        """Remove the folder of these files; the blobs stay."""
        shutil.rmtree(self.path(files), ignore_errors=True)

    def verify(self, files: Sequence[StoredFile]) -> list[str]:
        """Return what is wrong with a folder whose blobs are as they were, one sentence each."""
        folder = self.path(files)
        blobs = {file.name: self.blobs.path(file.sha256) for file in files}
        problems = [
            f"{one_line(path.name)} in {folder} is none of the model's files"
            for path in sorted(folder.iterdir())
            if path.name not in blobs
        ]
        for name, blob in blobs.items():
            path = folder / name
            # Where the disk knows no hard links it is a copy.
            if not path.is_file() or not (path.samefile(blob) or filecmp.cmp(path, blob, shallow=False)):
                problems.append(f"{name} in {folder} is not what was stored")
        return problems


def _is_whole(folder: Path, files: Sequence[StoredFile]) -> bool:
    try:
        return all((folder / file.name).stat().st_size == file.size for file in files)
    except OSError:
        return False
