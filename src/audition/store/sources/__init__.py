"""Where files come from. A new source is one module here and one line in `_SOURCES`."""

from __future__ import annotations

from audition.errors import UsageError
from audition.models.spec import Variant
from audition.store.sources.base import Sink, Source
from audition.store.sources.file import FileSource
from audition.store.sources.foundry import FoundrySource
from audition.store.sources.hf import HfSource
from audition.store.sources.https import HttpsSource
from audition.store.sources.imported import ImportedSource
from audition.store.sources.own import OwnSource
from audition.store.sources.pypi import PypiSource

__all__ = ["Sink", "Source", "source_of"]

_SOURCES: tuple[Source, ...] = (
    PypiSource(),
    FileSource(),
    HfSource(),
    HttpsSource(),
    FoundrySource(),
    ImportedSource(),
    OwnSource(),
)


def source_of(variant: Variant) -> Source:
    """Return the source that a variant names.

    Raises:
        UsageError: There is no such source.
    """
    scheme = variant.source.partition(":")[0]
    if scheme == "http":  # of this machine only, as the source itself will say
        scheme = "https"
    for source in _SOURCES:
        if source.scheme == scheme:
            return source
    known = ", ".join(f"{source.scheme}:" for source in _SOURCES)
    raise UsageError(f'"{variant.source}" names no known source', fix=f"known sources: {known}")
