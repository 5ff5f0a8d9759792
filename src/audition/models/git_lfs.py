"""Git LFS pointers: what Git puts in the place of a large file that was not fetched."""

from __future__ import annotations

from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/v1"
IS_POINTER = "is a Git LFS pointer, not the file itself"
PULL = "run `git lfs pull` in the folder"


def is_pointer(path: Path) -> bool:
    """Return whether a file is a pointer."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(POINTER)) == POINTER
    except OSError:
        return False
