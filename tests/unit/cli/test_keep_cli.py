"""`audition model import --link`, `verify`, `rm`, `lock` and `audition cache`, as a person uses them."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

import ggufs
from cli import audition
from folders import onnx_folder


@pytest.fixture
def model(home, tmp_path):
    """A model's file in a folder that one stands in."""
    return ggufs.write_gguf(tmp_path / "tiny.gguf")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A working folder, and no other tool on this machine."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AUDITION_LOCK", raising=False)
    for name in ("HOME", "USERPROFILE", "OLLAMA_MODELS", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "person"))
    return folder


def touched(path):
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def test_a_linked_model_from_import_to_removal(model, home):
    done = audition("model", "import", "--link", model, "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine:q4_0 is linked, not copied: gguf, Q4_0")
    assert f"A hard link to {model.resolve()}: it stays when the original is removed." in done.stderr
    assert "mine:q4_0 is intact" in audition("model", "verify").stdout
    listed = json.loads(audition("cache", "list", "--json").stdout)
    assert listed["total_bytes"] == 0
    assert listed["linked_bytes"] == model.stat().st_size
    assert listed["models"][0]["linked_to"] == [{"file": "tiny.gguf", "path": str(model.resolve()), "kind": "hard"}]
    assert "hard link to" in audition("cache", "list").stdout
    gone = audition("model", "rm", "mine")
    assert (
        gone.stdout == f"mine:q4_0 removed, nothing freed: it was a link to {model.resolve()}, which stays as it is\n"
    )
    assert model.is_file()


def test_a_changed_original_is_told_everywhere(model):
    audition("model", "import", "--link", model, "--name", "mine")
    touched(model)
    sentence = f"mine:q4_0 is linked to {model.resolve()}, which has changed since"
    fix = f"audition model import --link '{model.resolve()}' --name mine:q4_0"
    for arguments in (["model", "verify"], ["model", "verify", "mine"], ["run", "mine", "--prompt", "x"]):
        told = audition(*arguments)
        assert (told.returncode, sentence in told.stderr, fix in told.stderr) == (1, True, True), told.stderr
    told = audition("cache", "list")
    assert (told.returncode, sentence in told.stderr, "cannot be used" in told.stdout) == (0, True, True)
    assert audition("model", "import", "--link", model, "--name", "mine:q4_0").returncode == 0
    assert "is intact" in audition("model", "verify").stdout


def test_what_ollama_has_is_linked_by_its_name(model, tmp_path):
    root, content = tmp_path / "person", model.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
    manifest.parent.mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "blobs" / f"sha256-{digest}").write_bytes(content)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    manifest.write_text(json.dumps({"layers": [layer]}))
    done = audition("model", "import", "--link", "ollama:tiny")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny:q4_0 is linked")
    missing = audition("model", "import", "--link", "ollama:tinny")
    assert missing.returncode == 2
    assert 'did you mean "tiny:latest"?' in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/x.gguf"], "there is no file nowhere/x.gguf"),
        (["ollama:x"], "Ollama has no model"),
        (["lmstudio:a/b"], "LM Studio has no model"),
        (["hf:a/b"], "Hugging Face cache has no model"),
        (["x", "--to", "onnx-genai"], "leave --to out"),
    ],
)
def test_what_cannot_be_linked_is_told_so(home, arguments, said):
    done = audition("model", "import", "--link", *arguments)
    assert (done.returncode, said in done.stderr, done.stdout) == (2, True, ""), done.stderr
    assert "fix:" in done.stderr


def test_hostile_names_are_shown_harmless(home, tmp_path):
    folder = tmp_path / "person" / ".lmstudio" / "models" / "p" / "r\x1b[31m"
    folder.mkdir(parents=True)
    ggufs.write_gguf(folder / "x.gguf")
    ggufs.write_gguf(folder / "y.gguf")
    told = audition("model", "import", "--link", "lmstudio:p/r\x1b[31m")
    assert told.returncode == 2
    assert "\x1b" not in told.stderr
    assert "has 2 files" in told.stderr


def test_one_damaged_manifest_hides_no_other_model(model, home, tmp_path):
    audition("model", "import", model, "--name", "good")
    other = ggufs.write_gguf(tmp_path / "o.gguf", metadata=ggufs.tiny_metadata(general__name="Other"))
    audition("model", "import", other, "--name", "bad")
    (manifest,) = (home / "store" / "manifests" / "import" / "bad").iterdir()
    manifest.write_text("{")
    listed = audition("cache", "list")
    assert "good:q4_0" in listed.stdout
    assert f"the manifest {manifest} is damaged" in listed.stderr
    assert [each["model"] for each in json.loads(audition("cache", "list", "--json").stdout)["models"]] == ["good:q4_0"]
    verified = audition("model", "verify")
    assert (verified.returncode, "good:q4_0 is intact" in verified.stdout) == (1, True)
    strict = audition("model", "rm", "good")
    assert (strict.returncode, "damaged" in strict.stderr) == (1, True)


def test_the_cache_says_what_is_shared_and_prune_what_it_frees(model, home):
    audition("model", "import", model, "--name", "one")
    audition("model", "import", model, "--name", "two")
    listed = json.loads(audition("cache", "list", "--json").stdout)
    assert listed["total_bytes"] == model.stat().st_size
    assert [each["same_as"] for each in listed["models"]] == [["two:q4_0"], ["one:q4_0"]]
    assert "same bytes as two:q4_0" in audition("cache", "list").stdout
    assert audition("cache", "prune").stdout == "There is nothing to remove.\n"
    loose = home / "store" / "blobs" / "partial-abc"
    loose.write_bytes(bytes(2_000_000))
    assert f"left over: {loose}" in audition("cache", "list").stdout
    assert f"would be removed: {loose} (2 MB)" in audition("cache", "prune", "--dry-run").stdout
    assert loose.is_file()
    pruned = json.loads(audition("cache", "prune", "--json").stdout)
    assert (pruned["freed_bytes"], [item["path"] for item in pruned["removed"]]) == (2_000_000, [str(loose)])
    assert not loose.exists()
    assert audition("model", "verify").returncode == 0


def test_a_lock_is_written_checked_and_in_force(model, home, tmp_path, project):
    audition("model", "import", model, "--name", "mine")
    done = audition("model", "lock", "mine")
    assert done.returncode == 0, done.stderr
    assert f"Written: {project / 'models.lock'}" in done.stderr
    assert "is the same" in audition("model", "lock", "--check").stdout
    before = json.loads((project / "models.lock").read_text())["models"]["mine"]["files"][0]["sha256"]
    audition("model", "rm", "mine")
    other = ggufs.write_gguf(tmp_path / "o.gguf", metadata=ggufs.tiny_metadata(general__name="Other"))
    audition("model", "import", other, "--name", "mine")
    now = hashlib.sha256(other.read_bytes()).hexdigest()
    checked = audition("model", "lock", "--check", "--json")
    assert checked.returncode == 3
    (difference,) = json.loads(checked.stdout)["differences"]
    assert (difference["name"], difference["state"]) == ("mine", "differs")
    for arguments in (["run", "mine", "--prompt", "x"], ["bench", "--models", "mine"]):
        told = audition(*arguments)
        assert told.returncode == 1, told.stderr
        assert told.stderr.count(f"note: {project / 'models.lock'} is in force") == 1
        assert before in told.stderr
        assert now in told.stderr
        assert "Traceback" not in told.stderr
    assert "not in it: mine:q8_0" in audition("run", "mine:q8_0", "--prompt", "x").stderr
    assert "pinned to mine:q4_0, sha256 " + now in audition("model", "lock").stdout
    assert audition("model", "lock", "--check").returncode == 0


def test_a_lock_of_what_is_not_here_names_the_way(home):
    absent = audition("model", "lock", "smollm2-135m")
    assert absent.returncode == 2
    assert "audition model download smollm2-135m" in absent.stderr
    assert audition("model", "lock", "--check").returncode == 2


def test_a_linked_folder_is_known_by_its_name(home, tmp_path):
    folder = onnx_folder(tmp_path / "My model")
    done = audition("model", "import", "--link", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("my-model:")
    assert "files: it stays when the original is removed" in done.stderr
    assert "is intact" in audition("model", "verify", "my-model").stdout


def test_the_removal_of_one_name_leaves_what_has_the_same_bytes_under_another(home, tmp_path):
    """Who asks for the catalog's name does not mean what somebody imported, though it serves in its place."""
    content = ggufs.write_gguf(tmp_path / "mine.gguf").read_bytes()
    assert audition("model", "import", tmp_path / "mine.gguf", "--name", "mine").returncode == 0
    entry = {"source": "https://host.example/theirs.gguf", "sha256": hashlib.sha256(content).hexdigest()}
    (home / "models.json").write_text(json.dumps({"theirs": entry}))
    assert audition("model", "verify", "theirs").returncode == 0, "the same bytes serve"
    refused = audition("model", "rm", "theirs")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        'error: "theirs" is not downloaded itself: its file is here as mine:q4_0\n'
        "  fix: to remove that one: audition model rm mine:q4_0\n"
    )
    assert "mine:q4_0 is intact" in audition("model", "verify", "mine").stdout
    assert audition("model", "rm", "mine").returncode == 0
