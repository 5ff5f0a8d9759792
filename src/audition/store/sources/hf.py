"""`hf:owner/repo[:QUANT][@revision]`: Hugging Face. This version names such models but cannot download them yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from audition.errors import AuditionError
from audition.models.spec import Variant
from audition.store.blobs import StoredFile
from audition.store.sources.base import Sink


class HfSource:
    """Hugging Face repositories, by name only for now."""

    scheme: ClassVar[str] = "hf"

    def address(self, variant: Variant) -> tuple[str, str]:
        """The repository and quantization, and the revision (`main` when none is pinned)."""
        name, _, revision = variant.source.removeprefix("hf:").partition("@")
        return name, revision or "main"

    def fingerprint(self, variant: Variant) -> str | None:
        """None: a repository's revision is asked for at download."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Say plainly that this is not possible yet, and what works today."""
        repository = variant.source.removeprefix("hf:").partition("@")[0].partition(":")[0]
        raise AuditionError(
            f"{variant.id} lives on Hugging Face ({repository}), and this version cannot download from there yet",
            fix="fetch its .gguf file yourself, then name the file instead: --models path/to/model.gguf",
            code="source_unavailable",
        )
        yield  # a generator, like every other source
