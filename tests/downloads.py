"""What tests of downloads share: content, a sink of a folder, and settings that do not take long."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.errors import AuditionError
from audition.models.spec import Variant, VariantFile
from audition.store.blobs import Blobs, Progress, StoredFile, no_progress
from audition.store.sources import Sink
from audition.store.transfer.interrupted import interrupted
from audition.store.transfer.settings import Settings
from audition.store.transfer.web import Location
from file_server import FileServer

QUICK = Settings(socket_s=0.4, drip_s=0.4, first_wait_s=0.01, longest_wait_s=0.05, connections=1, save_s=0.0)
WIDE = replace(QUICK, connections=3, piece=100_000, widen_s=0.0)


def content(size: int, seed: int = 1) -> bytes:
    """Return bytes that look like weights: nothing repeats."""
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def promised(data: bytes, name: str = "model.gguf") -> VariantFile:
    """Return a file whose size and digest are known."""
    return VariantFile(name, len(data), sha256(data))


def sink_in(root: Path, progress: Progress = no_progress) -> Sink:
    """Return a sink of a store in a folder, which takes any content."""
    variant = Variant("tiny", "gguf", "Q4_0", "https://example.org/model.gguf")
    return Sink(
        Blobs(root / "blobs"), lambda path: None, progress, root / "staging", root / "partials" / "tiny", variant
    )


def blobs_are_what_they_say(root: Path) -> list[str]:
    """Return the names of the blobs of a store, after a look at the bytes of each one."""
    names = sorted(path.name for path in (root / "blobs").glob("*"))
    for name in names:
        assert name == "sha256-" + sha256((root / "blobs" / name).read_bytes())
    return names


DATA = content(700_000)
HALF = len(DATA) // 2
PATH = "/model.gguf"


def where(server: FileServer) -> Location:
    return Location(server.url + PATH)


def fetch(sink: Sink, server: FileServer, file: VariantFile | None = None, **others: Any) -> StoredFile:
    """Download, and check what is there then: the right bytes under the right name, and nothing else."""
    stored = sink.download(file or promised(DATA), where(server), **others)
    root = sink.blobs.root.parent
    assert (stored.size, stored.sha256) == (len(DATA), sha256(DATA))
    assert blobs_are_what_they_say(root) == [f"sha256-{sha256(DATA)}"]
    assert list((root / "partials").rglob("*.*")) == []
    return stored


def refusal(sink: Sink, server: FileServer, file: VariantFile | None = None, **others: Any) -> AuditionError:
    """Return the error, after a look at it and at the store: no file has a final name."""
    with pytest.raises(AuditionError) as caught:
        sink.download(file or promised(DATA), where(server), **others)
    assert blobs_are_what_they_say(sink.blobs.root.parent) == []
    assert "\n" not in caught.value.message
    assert caught.value.fix
    return caught.value


def left(sink: Sink) -> int:
    """Return how much of it is kept."""
    return sum(entry.arrived for entry in interrupted(sink.partials.parent))
