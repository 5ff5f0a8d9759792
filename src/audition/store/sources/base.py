"""What a source must do, and the sink that it delivers into."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from audition.errors import AuditionError
from audition.models.spec import Variant, VariantFile
from audition.store.blobs import Blobs, Progress, StoredFile, disk_error, need_space

if TYPE_CHECKING:
    from audition.store.transfer.partial import Partial
    from audition.store.transfer.web import Location


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a source delivers: every file goes through it, so every file is hashed, checked and named the same way.

    Attributes:
        blobs: The store's blobs.
        check: Looks into a complete file, and raises when it is not what it should be.
        progress: Told of what is being moved.
        staging: A folder that is empty at the beginning and cleared at the end.
        partials: A folder of this variant's own, where downloads lie until they are complete; it outlives the process.
        variant: What is being fetched.
        notes: What a source has learnt: `revision` (str), which the manifest records, and `licence` (Licence), which
            holds where the catalog names none.
    """

    blobs: Blobs
    check: Callable[[Path], None]
    progress: Progress
    staging: Path
    partials: Path
    variant: Variant
    notes: dict[str, Any] = field(default_factory=dict)

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

    def need_space_for(self, files: Iterable[VariantFile], location: Callable[[VariantFile], Location]) -> None:
        """Raise `disk_full` now when what is still to be downloaded of these files does not fit.

        Args:
            files: The files; those of unknown size count nothing.
            location: Where each one will come from.
        """
        missing = 0
        for file in files:
            if not (file.sha256 and self.blobs.holds(file.sha256, file.size)):
                missing += (file.size or 0) - self._partial(file, location(file), None).arrived.total
        self.need_space(missing)

    def download(self, file: VariantFile, location: Location, *, git_sha1: str | None = None) -> StoredFile:
        """Download one file, or what is missing of it, and verify it; one that is here already is not fetched.

        Args:
            file: Its name, and what is known of its size and digest.
            location: Where it is.
            git_sha1: The digest that git has for it, for small files that have no other.

        Raises:
            AuditionError: It cannot be had, or it is not the file that was promised. What has arrived is kept for the
                next time, unless it is proven to be wrong.
        """
        from audition.store.transfer.download import KEPT, Download
        from audition.store.transfer.settings import in_force

        try:
            if file.sha256 and self.blobs.holds(file.sha256, file.size):
                return StoredFile(file.name, self.blobs.path(file.sha256).stat().st_size, file.sha256)
            self.partials.mkdir(parents=True, exist_ok=True)
            partial = self._partial(file, location, git_sha1)
            if partial.size is not None:
                self.need_space(partial.size - partial.arrived.total)
            sha256, size = Download(partial, location, self.progress, in_force()).run()
            stored = StoredFile(file.name, size, sha256)
            try:
                self.blobs.adopt(partial.path, stored, check=self.check)
            except AuditionError:
                partial.drop()  # its bytes are right, and yet it is no model: more tries will not make it one
                raise
            partial.drop()
        except OSError as error:
            told = disk_error(error, self.blobs.root)
            raise AuditionError(
                told.message, fix=f"{told.fix}; {KEPT}" if told.fix else KEPT, code=told.code
            ) from error
        return stored

    def _partial(self, file: VariantFile, location: Location, git_sha1: str | None) -> Partial:
        from audition.store.transfer.partial import Partial, Wanted

        wanted = Wanted(
            file.name,
            location.address,
            file.size,
            file.sha256,
            git_sha1,
            model=self.variant.id,
            source=self.variant.source,
        )
        return Partial(self.partials, wanted)


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
