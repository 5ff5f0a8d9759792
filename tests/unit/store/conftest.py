"""A store, a small model, and a source that can be told what to deliver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audition.models.catalog import adhoc_spec
from audition.models.spec import Variant
from audition.store import sources
from audition.store.store import Store
from audition.store.transfer import settings as settings_module
from audition.store.transfer.settings import Settings
from downloads import DATA, PATH, QUICK, sink_in
from fake_source import FakeSource
from file_server import FileServer
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


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], None]:
    """Sets what holds for transfers; by itself, what does not take long."""

    def use(settings: Settings) -> None:
        monkeypatch.setattr(settings_module, "SETTINGS", settings)

    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    use(QUICK)
    return use


@pytest.fixture
def server(settings: Callable[[Settings], None]) -> Iterator[FileServer]:
    """A server that has one file."""
    with FileServer({PATH: DATA}) as server:
        yield server


@pytest.fixture
def sink(tmp_path: Path, settings: Callable[[Settings], None]) -> sources.Sink:
    """A sink that takes any content."""
    return sink_in(tmp_path)
