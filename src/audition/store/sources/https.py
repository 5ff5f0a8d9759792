"""`https://host/path/file.gguf`: one file of the web, whose SHA-256 a person has to know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from audition.errors import UsageError
from audition.models.folder import GGUF
from audition.models.spec import Variant, VariantFile
from audition.store.blobs import StoredFile
from audition.store.sources.base import Sink
from audition.store.transfer.web import Location
from audition.text import one_line


class HttpsSource:
    """Any web server; `http://` only on this machine."""

    scheme: ClassVar[str] = "https"

    def address(self, variant: Variant) -> tuple[str, str]:
        """Name and revision come from the address: the content is told by its digest."""
        name = _name(variant.source).rpartition(".")[0] or _name(variant.source)
        address = variant.source.partition("#")[0]
        return name, hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def fingerprint(self, variant: Variant) -> str | None:
        """None: the promised digest tells one content from another."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Download the file."""
        location = Location(variant.source.partition("#")[0])
        if variant.format != GGUF:
            raise UsageError(
                f"{variant.id} is a folder, and an address names one file",
                fix="download the folder yourself, then import it: audition model import --help",
                code="bad_source",
            )
        file = variant.files[0] if variant.files else VariantFile(_name(variant.source))
        if not file.sha256:
            raise UsageError(
                f"{one_line(location.address)} can only be downloaded when its SHA-256 is known",
                fix='give it with --sha256, or as "sha256" in models.json; its publisher shows it beside the file',
                code="bad_source",
            )
        yield sink.download(file, location)


def _name(url: str) -> str:
    """Return the file's name that an address ends with."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        path = ""
    return one_line(path.rstrip("/").rpartition("/")[2].replace("\\", "-"), 120) or "model"
