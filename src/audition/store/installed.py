"""What is installed: a variant whose files are all here and were verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.models.folder import GGUF
from audition.models.header import ModelHeader
from audition.models.spec import ANY, Licence, Variant, VariantFile
from audition.store.blobs import Blobs, StoredFile
from audition.store.folders import folder_digest
from audition.store.linked import Link, Links


@dataclass(frozen=True, slots=True)
class Installed:
    """A variant whose files are all here and were verified.

    Attributes:
        id: The variant's id, `alias:quantization`.
        header: The facts that its files state.
        installed_at: ISO 8601, UTC.
        folder: The folder of the blobs; of weights that are not in the store, their path.
        manifest: The manifest's own path.
        provenance: How an imported variant came to be: from which weights, with which tools; None for others.
        revision: Which revision of its source it is (a commit, say), where the source has such; else None.
    """

    id: str
    source: str
    format: str
    quantization: str | None
    files: tuple[StoredFile, ...]
    header: ModelHeader
    licence: Licence
    installed_at: str
    folder: Path
    manifest: Path
    provenance: dict[str, Any] | None = None
    revision: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether an engine needs a folder, where the files have their own names; so do the parts of a GGUF model."""
        return self.format != GGUF or len(self.files) > 1

    @property
    def assembled(self) -> Path:
        """The folder where the files have their own names, of what needs one."""
        return self.folder.parent / "folders" / self.digest

    @property
    def weights_path(self) -> Path:
        """The file, or the folder, that an engine loads; of a GGUF model in parts, the first one."""
        if self.format == ANY:
            return self.folder
        if self.is_folder:
            return self.assembled / min(file.name for file in self.files) if self.format == GGUF else self.assembled
        return Blobs(self.folder).path(self.files[0].sha256)

    @property
    def variant(self) -> Variant:
        """The variant that this is, as a catalog would name it."""
        model, _, name = self.id.partition(":")
        files = tuple(VariantFile(file.name, file.size, file.sha256) for file in self.files)
        return Variant(model, self.format, self.quantization, self.source, files, name=name)

    @property
    def links(self) -> dict[str, Link]:
        """What is linked in place and not copied: files by name, and what each was when it was linked."""
        if self.format == ANY:
            return {}
        links = Links(self.folder.parent / "links", Blobs(self.folder))
        return {file.name: link for file in self.files if (link := links.of(file.sha256)) is not None}

    @property
    def disk_bytes(self) -> int:
        """Unique bytes on the disk: a blob that two names share counts once."""
        return sum({file.sha256: file.size for file in self.files}.values())

    @property
    def digest(self) -> str:
        """The SHA-256 of the weights; of a folder, of the sorted lines that name each file and its SHA-256."""
        if self.is_folder:
            return folder_digest(self.files)
        return self.files[0].sha256
