"""`import:name:variant`: what a person brought into the store with `audition model import`; it is nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from audition.errors import AuditionError
from audition.models.spec import Variant
from audition.store.blobs import StoredFile
from audition.store.sources.base import Sink


class ImportedSource:
    """The store itself."""

    scheme: ClassVar[str] = "import"

    def address(self, variant: Variant) -> tuple[str, str]:
        """The model's name and the variant's."""
        name, _, revision = variant.source.removeprefix("import:").partition(":")
        return name, revision or "1"

    def fingerprint(self, variant: Variant) -> str | None:
        """None: only another import changes it."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Say that there is no other place to have it from."""
        raise AuditionError(
            f"{variant.source.removeprefix('import:')} was imported, and its files are not in the store any more",
            fix="import it again: audition model import --help",
            code="model_not_found",
        )
        yield  # a generator, like every other source
