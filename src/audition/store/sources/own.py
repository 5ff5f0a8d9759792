"""`weights:path`: what only a person's own engine reads; it stays where it is, and the store has no copy of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import ClassVar

from audition.errors import UsageError
from audition.models.spec import OWN, Variant
from audition.store.blobs import StoredFile
from audition.store.sources.base import Sink


class OwnSource:
    """Weights outside the store, or none at all; `store.own` looks at them."""

    scheme: ClassVar[str] = OWN

    def address(self, variant: Variant) -> tuple[str, str]:
        """The name of the weights, or of the model where it has none, and the path in short."""
        path = variant.source.partition(":")[2]
        return PurePath(path).name or variant.model, hashlib.sha256(
            variant.source.encode("utf-8", "surrogatepass")
        ).hexdigest()[:16]

    def fingerprint(self, variant: Variant) -> str | None:
        """None: they are looked at whenever they are wanted."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Say that there is nothing to fetch."""
        raise UsageError(
            f"{variant.id} has no source: its engine reads weights of its own",
            fix="run it or measure it; there is nothing to download",
        )
        yield  # a generator, like every other source
