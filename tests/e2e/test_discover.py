"""From a word to a model on this disk, on the real command line: search, look, download, list."""

from __future__ import annotations

import json
import re
import time

import pytest

import ggufs
from cli import audition, start
from file_server import Fault
from hub_server import Repo, serving

NAME = "hf:owner/Tiny-GGUF:Q4_K_M"
HOSTILE = "\x1b[31mmit\u202e\nterms"


@pytest.fixture
def hub(home, monkeypatch, tmp_path):
    content = ggufs.write_gguf(tmp_path / "x.gguf").read_bytes()
    small, large = content + b"\1" * 300_000, content + b"\2" * 900_000
    files = {"README.md": b"tiny", "tiny-Q4_K_M.gguf": small, "tiny-Q8_0.gguf": large}
    evil = Repo("evil/Tiny-GGUF", {"evil-Q4_K_M.gguf": b"GGUF" + b"\xff" * 99}, {"license": HOSTILE}, downloads=1)
    with serving(Repo("owner/Tiny-GGUF", files, {"license": "apache-2.0"}), evil) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        yield server


def listed(*options):
    return {row["name"]: row for row in json.loads(audition("model", "list", *options, "--json").stdout)}


def test_a_model_is_found_looked_at_and_downloaded(hub):
    found = audition("model", "search", "tiny", "--licence", "permissive")
    assert found.returncode == 0, found.stderr
    typed = found.stdout.splitlines()[2].split()[0]
    assert typed == NAME, "the first column is what to type next"
    assert "evil" not in found.stdout

    facts = json.loads(audition("model", "info", typed, "--json").stdout)
    assert facts["from"]["context_length"] == "gguf header, read from the hub"
    assert (facts["downloaded"], facts["size"]) == (False, len(hub.repos["owner/Tiny-GGUF"].files["tiny-Q4_K_M.gguf"]))
    dry = audition("model", "download", typed, "--dry-run")
    assert re.search(r"tiny-gguf:q4_k_m: 0\.3 MB from hf:owner/.*, licence apache-2\.0 \(permissive\)", dry.stdout)
    assert listed("--downloaded") == {}

    done = audition("model", "download", typed)
    assert done.returncode == 0, done.stderr
    assert "tiny-gguf:q4_k_m downloaded and verified" in done.stdout
    (row,) = listed("--downloaded").values()
    assert (row["name"], row["state"], row["licence"], row["licence_from"]) == (
        "tiny-gguf:q4_k_m", "yes", "apache-2.0", "hub metadata"
    )  # fmt: skip
    asked = len(hub.requests)
    assert json.loads(audition("model", "info", typed, "--json").stdout)["downloaded"]
    assert "is here already" in audition("model", "download", typed).stdout
    assert len(hub.requests) == asked, "nobody is asked for what is here"


def test_what_has_arrived_of_an_interrupted_download_is_shown_and_goes_on(hub):
    repo = hub.repos["owner/Tiny-GGUF"]
    path = f"/owner/Tiny-GGUF/{repo.commit()}/tiny-Q8_0.gguf"
    hub.cdn.fail_always(path, Fault(rate=150_000))
    process = start("model", "download", "hf:owner/Tiny-GGUF:Q8_0")
    deadline = time.monotonic() + 30
    while not (0.1 < (listed().get("hf:owner/Tiny-GGUF:Q8_0") or {"arrived": 0})["arrived"] < 1):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    row = listed()["hf:owner/Tiny-GGUF:Q8_0"]
    assert (row["state"], row["downloaded"]) == ("partial", False)
    shown = audition("model", "list").stdout
    assert re.search(rf"hf:owner/Tiny-GGUF:Q8_0 +{100 * row['arrived']:.0f} %", shown), shown
    assert row["size"] == len(repo.files["tiny-Q8_0.gguf"])
    left = json.loads(audition("model", "download", "hf:owner/Tiny-GGUF:Q8_0", "--dry-run", "--json").stdout)["bytes"]
    assert 0 < left < row["size"], "what has arrived needs no more room"
    hub.cdn.fail_always(path, Fault())
    before = len(hub.cdn.asked(path))
    assert audition("model", "download", "hf:owner/Tiny-GGUF:Q8_0").returncode == 0
    resumed = [request.range for request in hub.cdn.asked(path)[before:] if "if-range" in request.headers]
    assert resumed
    assert min(first for first, _ in resumed) > 0, "it went on where it was"
    assert listed()["tiny-gguf:q8_0"]["state"] == "yes"


@pytest.mark.parametrize("verb", [["search", "tiny"], ["search", "tiny", "--json"], ["info", "hf:evil/Tiny-GGUF"]])
def test_hostile_text_from_the_hub_is_shown_as_text(hub, verb):
    done = audition("model", *verb)
    assert done.returncode == 0, done.stderr
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_what_is_wrong_is_one_sentence(hub):
    for arguments in (
        ("info", "hf:nobody/nothing"),
        ("info", "hf:owner/Tiny-GGUF:Q2_K"),
        ("download", "hf:owner/Tiny-GGUF:Q2_K"),
        ("download", "hf:../etc"),
    ):
        done = audition("model", *arguments)
        assert done.returncode in (1, 2), arguments
        assert done.stdout == ""
        assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "  fix"], done.stderr
    assert "Q8_0" in done.stderr or "hf:owner/repo" in done.stderr
