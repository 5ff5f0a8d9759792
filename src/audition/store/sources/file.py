"""`file:path`: a model's file or folder that a person already has; it is hashed and copied into the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from audition.errors import UsageError
from audition.models.folder import GGUF, open_folder
from audition.models.folder_check import refuse_bad
from audition.models.gguf import gguf_parts
from audition.models.gguf_split import split_names
from audition.models.spec import Variant, VariantFile
from audition.paths import expanded
from audition.store.blobs import StoredFile, read_chunks
from audition.store.sources.base import Sink


class FileSource:
    """A local file or folder. Its copy is measured, so that a later edit of the original cannot change a result."""

    scheme: ClassVar[str] = "file"

    def address(self, variant: Variant) -> tuple[str, str]:
        """Name and revision come from the path: the content is told apart by `fingerprint`."""
        path = _path(variant)
        return path.stem, hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def fingerprint(self, variant: Variant) -> str | None:
        """Sizes and modification times, or None once the original is gone (the copy stays usable)."""
        try:
            path = _path(variant)
            if variant.format == GGUF:
                return " ".join(_times(path.with_name(name)) for name in split_names(path.name))
            files = [entry for entry in sorted(path.iterdir()) if entry.is_file() and not entry.name.startswith(".")]
            told = "\n".join(f"{entry.name} {_times(entry)}" for entry in files)
            return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        except (OSError, ValueError):  # ValueError when no disk can hold such a name
            return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Copy it, after a look at what it says: nothing is copied that could not be a model."""
        yield from deliver_local(_path(variant), variant, sink)


def deliver_local(path: Path, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
    """Deliver the files of a variant from a file or folder on this machine.

    Raises:
        AuditionError: It is not there, or it is no model that could be loaded.
    """
    if variant.format != GGUF:
        refuse_bad(path, variant.format)
        folder = open_folder(path, variant.format)
        sink.need_space(folder.size)
        known = {file.name: file for file in variant.files}
        for name in folder.files:
            file = known.get(name) or VariantFile(name)
            yield sink.deliver(file, read_chunks(path / name), size=(path / name).stat().st_size)
        return
    parts = local_ggufs(path, variant)
    sink.need_space(sum(part.stat().st_size for part in parts.values()))
    known = {file.name: file for file in variant.files}
    for name, part in parts.items():
        file = known.get(name) or VariantFile(name)
        yield sink.deliver(file, read_chunks(part), size=part.stat().st_size)


def local_ggufs(path: Path, variant: Variant) -> dict[str, Path]:
    """Return the files that make up a GGUF model on this machine, by the names that they get in the store.

    Raises:
        AuditionError: One is not there, or is no model that could be loaded.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"{path} {what}", fix="give the path of a .gguf file", code="model_not_found")
    parts = gguf_parts(path)
    if len(parts) > 1:
        return {part.name: part for part in parts}
    return {variant.files[0].name if variant.files else path.name: path}


def _times(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def _path(variant: Variant) -> Path:
    return expanded(variant.source.removeprefix("file:")).absolute()
