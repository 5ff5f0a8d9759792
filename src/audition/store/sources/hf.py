"""`hf:owner/repo[:VARIANT][@revision]`: a model in a repository on Hugging Face, or on the hub that HF_ENDPOINT names.

The revision becomes a commit before the first byte, every file is taken from that commit, and every file has to have
the digest that the hub gives of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from audition.errors import AuditionError, UsageError
from audition.models.hub_name import parse_hub_name
from audition.models.spec import Variant, VariantFile
from audition.store.blobs import StoredFile
from audition.store.sources.base import Sink

_PLAIN = re.compile(r"[A-Za-z0-9._+=-]{1,56}")  # both parts of an address fit into one short name


class HfSource:
    """Repositories on a hub."""

    scheme: ClassVar[str] = "hf"

    def address(self, variant: Variant) -> tuple[str, str]:
        """The repository with its variant, whatever their case, and the revision as it was asked for, else `main`."""
        name = parse_hub_name(variant.source)
        wanted = name.variant or variant.quantization or variant.format
        asked = f"{name.repository.replace('/', '--')}--{wanted}".lower()
        return _plain(asked), _plain(name.revision or "main")

    def fingerprint(self, variant: Variant) -> str | None:
        """None: what was downloaded stays what it is when a branch moves on."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Ask the hub for the commit and its files, then transfer those of the variant."""
        from audition.store.hub import client
        from audition.store.hub.failures import gated
        from audition.store.hub.lookup import look_up
        from audition.store.hub.variants import choose

        name = parse_hub_name(variant.source)
        repository = look_up(name.repository, name.revision)
        chosen = choose(repository, name.variant or variant.quantization, (variant.format,))
        files = [_promised(file, variant) for file in chosen.files]
        sink.notes["revision"] = repository.commit
        sink.notes["licence"] = repository.licence
        locations = {file.parts: client.location_of(repository.name, repository.commit, *file.parts) for file in files}
        sink.need_space_for(files, lambda file: locations[file.parts])
        for file in files:
            at_hub = repository.file(*file.parts)
            try:
                yield sink.download(file, locations[file.parts], git_sha1=at_hub.git_sha1 if at_hub else None)
            except AuditionError as error:
                if error.code == "unauthorized" and repository.gated:
                    raise gated(repository.name, repository.page) from error
                raise


def _promised(file: VariantFile, variant: Variant) -> VariantFile:
    """Return a file of the hub with the digest that it has to have.

    Raises:
        UsageError: The catalog, or a lock, promises another one than the hub has.
    """
    promised = next((each for each in variant.files if each.name == file.name and each.sha256), None)
    if promised is None:
        return file
    if file.sha256 not in (None, promised.sha256):
        raise UsageError(
            f"{file.name} of {variant.source} is not the promised file: its SHA-256 is {file.sha256} there, not "
            f"{promised.sha256}",
            fix="name the revision that has it: hf:owner/repo:QUANT@commit",
            code="digest_mismatch",
        )
    return replace(file, sha256=promised.sha256)


def _plain(text: str) -> str:
    """Return a text as a name on a disk: as it is, or with a digest where a disk could take it for another."""
    if _PLAIN.fullmatch(text) and text == text.lower():
        return text
    short = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text)[:43].strip(".-")
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
