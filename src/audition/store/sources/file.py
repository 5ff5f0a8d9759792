"""`file:path`: a model file that a person already has; it is hashed and copied into the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from audition.errors import UsageError
from audition.models.gguf import read_gguf_header
from audition.models.spec import Variant, VariantFile
from audition.paths import expanded
from audition.store.blobs import StoredFile, read_chunks
from audition.store.sources.base import Sink


class FileSource:
    """A local file. The copy is what is measured, so that a later edit of the original cannot change a result."""

    scheme: ClassVar[str] = "file"

    def address(self, variant: Variant) -> tuple[str, str]:
        """Name and revision come from the path: the content is told apart by `fingerprint`."""
        path = _path(variant)
        return path.stem, hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def fingerprint(self, variant: Variant) -> str | None:
        """Size and modification time, or None once the original is gone (the copy stays usable)."""
        try:
            stat = _path(variant).stat()
        except (OSError, ValueError):  # the latter when no disk can hold such a name
            return None
        return f"{stat.st_size}-{stat.st_mtime_ns}"

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Copy the file, after a look at its header: nothing is copied that could not be a model."""
        path = _path(variant)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise UsageError(f"{path} {what}", fix="give the path of a .gguf file", code="model_not_found")
        read_gguf_header(path)
        size = path.stat().st_size
        sink.need_space(size)
        file = variant.files[0] if variant.files else VariantFile(path.name)
        yield sink.deliver(file, read_chunks(path), size=size)


def _path(variant: Variant) -> Path:
    return expanded(variant.source.removeprefix("file:")).absolute()
