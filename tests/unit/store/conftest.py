"""A store, a small model, and a source that can be told what to deliver."""

from __future__ import annotations

from pathlib import Path

import pytest

from audition.models.catalog import adhoc_spec
from audition.models.spec import Variant
from audition.store import sources
from audition.store.store import Store
from fake_source import FakeSource
from ggufs import write_gguf


@pytest.fixture
def store(home: Path) -> Store:
    return Store()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small valid model file."""
    return write_gguf(tmp_path / "tiny.gguf")


@pytest.fixture
def tiny(model: Path) -> Variant:
    """The variant that the model file is."""
    return adhoc_spec(model).variants[0]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, model: Path) -> FakeSource:
    """A source `fake:`, which delivers the model until it is told otherwise."""
    source = FakeSource([model.read_bytes()])
    monkeypatch.setattr(sources, "_SOURCES", (*sources._SOURCES, source))
    return source
