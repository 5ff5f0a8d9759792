"""What other tools have, in the words of our own list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import ggufs
from audition.api.elsewhere import list_elsewhere
from audition.api.keep import link_model
from audition.cli.model import model


@pytest.fixture
def person(tmp_path, monkeypatch):
    """A home folder in which LM Studio has one model."""
    folder = tmp_path / "person"
    path = folder / ".lmstudio" / "models" / "publisher" / "repo"
    path.mkdir(parents=True)
    ggufs.write_gguf(path / "tiny-Q4_0.gguf")
    monkeypatch.setattr(Path, "home", lambda: folder)
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_what_it_takes_is_estimated_without_opening_a_file(home, person):
    ((found,), problems) = list_elsewhere()
    assert (found.tool, found.row.state, found.row.format, found.row.quantization) == ("lmstudio", "no", "gguf", "Q4_0")
    assert found.row.size == (person / ".lmstudio/models/publisher/repo/tiny-Q4_0.gguf").stat().st_size
    assert found.row.memory["basis"] == "file size"
    assert found.row.memory["is_lower_bound"], "only its header tells the rest"
    assert found.row.name.startswith("lmstudio:")
    assert "--link" in found.how_to_link
    assert problems == []


def test_what_is_linked_already_is_said(home, person):
    ((found,), _) = list_elsewhere()
    link_model(found.row.name)
    assert list_elsewhere()[0][0].row.state == "linked"


def test_the_list_shows_it_and_how_to_use_it(home, person):
    done = CliRunner().invoke(model, ["list", "--elsewhere"])
    assert "lmstudio:publisher/repo/tiny-Q4_0.gguf" in done.stdout
    assert "audition model import --link" in done.stdout
    (row,) = json.loads(CliRunner().invoke(model, ["list", "--elsewhere", "--json"]).stdout)
    assert row["how_to_link"].startswith("audition model import --link ")
    none = CliRunner().invoke(model, ["list", "--elsewhere", "--format", "onnx-genai"])
    assert none.stdout == "No model is like that.\n"


def test_where_no_tool_has_anything_it_says_so(home, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert CliRunner().invoke(model, ["list", "--elsewhere"]).stdout == "No other tool has a model here.\n"
