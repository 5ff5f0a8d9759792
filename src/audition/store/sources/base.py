"""What a source must do, and the sink that it delivers into."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from audition.models.spec import Variant, VariantFile
from audition.store.blobs import Blobs, Progress, StoredFile, need_space


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a source delivers: every file goes through it, so every file is hashed, checked and named the same way."""

    blobs: Blobs
    check: Callable[[Path], None]
    progress: Progress
    staging: Path

    @contextmanager
    def staged(self) -> Iterator[None]:
        """Provide an empty staging folder, and clear it afterwards, whatever an earlier attempt left there."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)
        try:
            yield
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def need_space(self, needed: int) -> None:
        """Raise `disk_full` now rather than after the transfer."""
        need_space(self.blobs.root, needed)

    def deliver(self, file: VariantFile, chunks: Iterable[bytes], *, size: int | None = None) -> StoredFile:
        """Store one file from its bytes."""
        return self.blobs.write(
            file.name,
            chunks,
            size=file.size or size,
            sha256=file.sha256,
            check=self.check,
            progress=self.progress,
            partials=self.staging,
        )


class Source(Protocol):
    """A place that model files come from."""

    scheme: ClassVar[str]

    def address(self, variant: Variant) -> tuple[str, str]:
        """Return name and revision: together they identify what the source would deliver."""
        ...

    def fingerprint(self, variant: Variant) -> str | None:
        """Return what changes when the source's content does, or None where a revision never changes."""
        ...

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Deliver every file of the variant.

        Raises:
            AuditionError: With the cause, and what to do about it.
        """
        ...
