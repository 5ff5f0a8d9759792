"""Models from a hub on loopback: the real command line, Hugging Face's own client, and everything a hub can be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import audition
from folders import onnx_folder
from ggufs import Tensor, write_gguf, write_split
from hub_server import TOKEN, HubServer, Repo, serving

NAME = "hf:Owner/Tiny-GGUF"


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "original.gguf").read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[HubServer]:
    """A hub with one repository of two quantizations."""
    files = {"tiny-Q4_K_M.gguf": content, "tiny-Q8_0.gguf": content + bytes(32), "mmproj-f16.gguf": content}
    with serving(Repo("Owner/Tiny-GGUF", files, {"license": "mit"})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def done(*args: str) -> str:
    """Run a command that has to work; return what it says."""
    result = audition(*args)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(*args: str) -> str:
    """Run a command that has to fail; return its one sentence and its fix."""
    result = audition(*args)
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr
    assert TOKEN not in result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith(("error:", "  fix:"))]
    assert [line.split(":")[0].strip() for line in lines] == ["error", "fix"], result.stderr
    return "\n".join(lines)


def downloaded_models() -> list[dict[str, object]]:
    listed = json.loads(done("model", "list", "--downloaded", "--json"))
    return listed["models"] if isinstance(listed, dict) else listed


def test_a_model_is_downloaded_and_then_works_without_the_hub(
    hub: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"sha256 {hashlib.sha256(content).hexdigest()}" in done("model", "download", NAME)
    assert {request.headers["user-agent"].partition("/")[0] for request in hub.requests} == {"audition"}
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "is here already" in done("model", "download", NAME)
    assert "intact" in done("model", "verify", "tiny-gguf")
    (model,) = downloaded_models()
    assert model["id"] == "tiny-gguf:q4_k_m"
    assert "mit" in done("model", "info", NAME)
    assert len(hub.requests) == asked
    done("model", "rm", "tiny-gguf")
    assert "HF_HUB_OFFLINE" in refused("model", "download", NAME)


def test_two_quantizations_are_two_variants_of_one_model(hub: HubServer) -> None:
    done("model", "download", NAME, f"{NAME}:q8_0")
    assert sorted(str(model["id"]) for model in downloaded_models()) == ["tiny-gguf:q4_k_m", "tiny-gguf:q8_0"]
    assert "Q4_K_M" in refused("model", "download", f"{NAME}:Q2_K")


def test_a_branch_that_moves_on_changes_nothing_here(hub: HubServer, content: bytes) -> None:
    first = done("model", "download", NAME)
    repo = hub.repos["Owner/Tiny-GGUF"]
    old = repo.commit()
    repo.files["tiny-Q4_K_M.gguf"] = content + bytes(64)
    assert done("model", "download", NAME).split("sha256")[1] == first.split("sha256")[1]
    newer = done("model", "download", f"{NAME}:Q4_K_M@{repo.commit()}")
    assert newer.split("sha256")[1] != first.split("sha256")[1]
    assert done("model", "download", f"{NAME}:Q4_K_M@{old}").split("sha256")[1] == first.split("sha256")[1]


def test_a_renamed_repository_is_followed(hub: HubServer) -> None:
    hub.moved["Old/Name-GGUF"] = "Owner/Tiny-GGUF"
    done("model", "download", "hf:Old/Name-GGUF:Q8_0")
    assert "is here already" in done("model", "download", "hf:Old/Name-GGUF:Q8_0")


def test_a_private_repository_takes_a_token(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    repo = hub.repos["Owner/Tiny-GGUF"]
    repo.private, repo.tokens = True, {TOKEN}
    told = refused("model", "download", NAME)
    assert "private" in told
    assert "HF_TOKEN" in told
    folder = tmp_path / "hugging-face"  # HF_HOME: where `hf auth login` writes it
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    done("model", "download", NAME)
    assert {request.headers.get("authorization") for request in hub.cdn.requests} == {None}
    (folder / "token").unlink()
    done("model", "rm", "tiny-gguf")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done("model", "download", NAME)


def test_a_gated_repository_is_told_with_its_page(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.repos["Owner/Tiny-GGUF"]
    repo.gated = "manual"
    told = refused("model", "download", NAME)
    assert f"{hub.url}/Owner/Tiny-GGUF" in told
    assert "HF_TOKEN" in told
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "gated" in refused("model", "download", NAME)
    repo.tokens = {TOKEN}
    done("model", "download", NAME)


def test_a_proxy_is_used_for_both_the_hub_and_the_file(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cdn_url = "http://cdn.invalid"
    commit = hub.repos["Owner/Tiny-GGUF"].commit()
    files = hub.repos["Owner/Tiny-GGUF"].files
    hub.files[f"/Owner/Tiny-GGUF/{commit}/tiny-Q4_K_M.gguf"] = files["tiny-Q4_K_M.gguf"]
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, hub.url)
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    done("model", "download", NAME)
    assert {request.headers["host"] for request in hub.requests} == {"hub.invalid", "cdn.invalid"}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"../../../evil-Q4_0.gguf": b"GGUF"}, "path cannot be"),
        ({"config.json": b"{}", "pytorch_model.bin": b"\x80"}, "pickle"),
        ({"README.md": b"hello"}, "no model that could run"),
        ({"m-Q4_0.gguf": b"just some notes"}, "m-Q4_0.gguf"),
        ({"m-00001-of-00002.gguf": b"GGUF"}, "only 1 of them"),
    ],
)
def test_what_is_no_model_is_refused_and_leaves_nothing(
    hub: HubServer, home: Path, files: dict[str, bytes], told: str
) -> None:
    hub.repos["Owner/Tiny-GGUF"].files = files
    assert told in refused("model", "download", NAME)
    held = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert held == []


def split(folder: Path, count: int = 3) -> dict[str, bytes]:
    """A model in several files, in a folder of the repository."""
    folder.mkdir(exist_ok=True)
    paths = write_split(folder, [[Tensor(f"blk.{number}.weight")] for number in range(count)], name="big-Q4_0")
    return {f"Q4_0/{path.name}": path.read_bytes() for path in paths}


def test_a_split_model_is_one(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.repos["Owner/Tiny-GGUF"]
    repo.files = {**split(tmp_path), "Q8_0/big-Q8_0-00001-of-00002.gguf": b"GGUF"}
    done("model", "download", f"{NAME}:Q4_0")
    (model,) = downloaded_models()
    assert model["id"] == "tiny-gguf:q4_0"
    assert model["size"] == sum(map(len, split(tmp_path).values()))
    assert "intact" in done("model", "verify", "tiny-gguf")
    assert "is here already" in done("model", "download", f"{NAME}:Q4_0")
    assert "Q4_0" in refused("model", "download", f"{NAME}:Q8_0")


def test_a_split_model_whose_parts_are_of_two_is_refused(hub: HubServer, tmp_path: Path) -> None:
    parts, other = split(tmp_path), split(tmp_path, 4)
    parts["Q4_0/big-Q4_0-00002-of-00003.gguf"] = other["Q4_0/big-Q4_0-00002-of-00004.gguf"]
    hub.repos["Owner/Tiny-GGUF"].files = parts
    assert "part" in refused("model", "download", f"{NAME}:Q4_0")
    assert downloaded_models() == []


def test_an_onnx_folder_comes_with_its_external_data(hub: HubServer, tmp_path: Path) -> None:
    folder = onnx_folder(tmp_path / "onnx")
    files = {f"cpu/int4-32/{path.name}": path.read_bytes() for path in folder.iterdir()}
    hub.repos["Owner/Tiny-onnx"] = Repo(
        "Owner/Tiny-onnx",
        {
            **files,
            "cpu/int4-32/added_tokens.json": b"{}",
            "cpu/int4-32/merges.txt": b"",
            "README.md": b"",
            "run.py": b"x",
        },
        tags=["onnx"],
    )
    done("model", "download", "hf:Owner/Tiny-onnx:int4-32")
    (model,) = downloaded_models()
    assert (model["id"], model["format"]) == ("tiny-onnx:int4-32", "onnx-genai")
    assert "intact" in done("model", "verify", "tiny-onnx")
    assert "is here already" in done("model", "download", "hf:Owner/Tiny-onnx")


def test_a_models_json_can_name_a_repository(hub: HubServer, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    entry = {"source": f"{NAME}:Q8_0", "quantization": "Q8_0", "licence": "apache-2.0"}
    (home / "models.json").write_text(json.dumps({"mine": entry}))
    done("model", "download", "mine")
    (model,) = downloaded_models()
    assert (model["id"], model["licence"]) == ("mine:q8_0", "apache-2.0")


def test_a_file_of_the_web_is_downloaded_by_its_digest(hub: HubServer, content: bytes) -> None:
    hub.files["/files/my-model.gguf"] = content
    address = f"{hub.url}/files/my-model.gguf"
    assert "SHA-256" in refused("model", "download", address)
    done("model", "download", f"{address}#sha256={hashlib.sha256(content).hexdigest()}")
    (model,) = downloaded_models()
    assert model["id"] == "my-model:gguf"
    assert "is here already" in done("model", "download", address)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    told = refused("model", "download", NAME)
    assert "cannot reach 127.0.0.1:9" in told
    assert "proxy" in told


@pytest.mark.models
def test_a_real_model_from_the_hub_answers_without_the_hub(
    downloaded: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (downloaded / "store" / "blobs").glob("sha256-b179c9523d0e*")
    hub.repos["Owner/Smol-GGUF"] = Repo("Owner/Smol-GGUF", {"smol-Q4_1.gguf": path.read_bytes()})
    question = ("--prompt", "What is the capital of France? Answer in one word.", "--temperature", "0")
    done("model", "download", "hf:Owner/Smol-GGUF")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "Paris" in done("run", "hf:Owner/Smol-GGUF:Q4_1", "--max-tokens", "30", *question)
    assert "Paris" in done("run", "smol-gguf", "--max-tokens", "30", *question)
