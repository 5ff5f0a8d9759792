"""A source for tests of the store: it delivers what it is told to, and counts how often it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from audition.models.spec import Licence, Variant, VariantFile
from audition.store.blobs import StoredFile
from audition.store.sources import Sink

NO_LICENCE = Licence.named(None, source="models.json")


class FakeSource:
    """Each content is what makes up one file: pieces of bytes, or what returns them."""

    scheme: ClassVar[str] = "fake"

    def __init__(self, *contents: Iterable[bytes] | Callable[[], Iterable[bytes]]) -> None:
        self.contents = contents
        self.fetches = 0

    def address(self, variant: Variant) -> tuple[str, str]:
        return variant.source.removeprefix("fake:"), "1"

    def fingerprint(self, variant: Variant) -> str | None:
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        self.fetches += 1
        for number, content in enumerate(self.contents):
            yield sink.deliver(VariantFile(f"{number}.gguf"), content() if callable(content) else content)


def fake_variant(name: str = "tiny") -> Variant:
    """Return a variant that comes from the fake source."""
    return Variant(name, "gguf", "Q4_0", f"fake:{name}")
