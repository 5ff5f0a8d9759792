"""A lock and links against a hub: the pinned commit stays, offline as well, and what is here already is not fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import audition
from ggufs import tiny_metadata, write_gguf
from hub_server import HubServer, Repo, serving

NAME = "hf:Owner/Tiny-GGUF:Q4_K_M"


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "original.gguf").read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, content: bytes, tmp_path: Path) -> Iterator[HubServer]:
    """A hub with one repository, and a working folder of the test's own."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("AUDITION_LOCK", raising=False)
    with serving(Repo("Owner/Tiny-GGUF", {"tiny-Q4_K_M.gguf": content}, {"license": "mit"})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def done(*args: str | Path) -> str:
    result = audition(*args)
    assert result.returncode == 0, result.stderr
    return result.stdout


def digests() -> dict[str, str]:
    listed = json.loads(done("cache", "list", "--json"))
    return {model["model"]: model["sha256"] for model in listed["models"]}


def test_a_lock_keeps_the_commit_when_the_branch_moves_on(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("model", "download", NAME)
    first = digests()
    repo = hub.repos["Owner/Tiny-GGUF"]
    old = repo.commit()
    done("model", "lock", NAME)
    pin = json.loads(Path("models.lock").read_text())["models"][NAME]
    assert (pin["revision"], pin["files"][0]["sha256"]) == (old, first["tiny-gguf:q4_k_m"])
    newer = write_gguf(tmp_path / "newer.gguf", metadata=tiny_metadata(general__name="Newer")).read_bytes()
    repo.files["tiny-Q4_K_M.gguf"] = newer
    # On a machine where it is not yet, it is the pinned one; without the lock it would be the newer one.
    done("model", "rm", "tiny-gguf")
    done("model", "download", NAME)
    assert digests() == first
    assert "is the same" in done("model", "lock", "--check")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "is here already" in done("model", "download", NAME)
    monkeypatch.setenv("AUDITION_LOCK", "")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    done("model", "rm", "tiny-gguf")
    done("model", "download", NAME)
    assert digests() != first
    assert audition("model", "lock", "--check", "--file", "models.lock").returncode == 3


def test_what_is_linked_already_is_not_fetched_again(hub: HubServer, tmp_path: Path, content: bytes) -> None:
    done("model", "import", "--link", tmp_path / "original.gguf", "--name", "mine")
    done("model", "download", NAME)
    assert digests()["tiny-gguf:q4_k_m"] == digests()["mine:q4_0"]
    sent = [request.path for request in hub.requests if request.path.endswith(".gguf")]
    assert sent == [], "it is asked for by its digest, and that is here"
    (tmp_path / "original.gguf").write_bytes(content[:-1] + b"x")
    changed = audition("model", "verify")
    assert changed.returncode == 1
    # The hub can bring it again, and what was linked stays as its owner made it.
    done("model", "download", NAME)
    assert "is intact" in done("model", "verify", "tiny-gguf")
    assert (tmp_path / "original.gguf").read_bytes() == content[:-1] + b"x"
