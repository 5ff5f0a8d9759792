"""What other tools have on this disk: found without hashing, linked with their own digests compared."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import pytest

from audition import api
from audition.errors import AuditionError, UsageError
from audition.store import elsewhere
from folders import hf_folder
from ggufs import Tensor, tiny_metadata, write_gguf, write_split

COMMIT = "c" * 40
MODEL = "application/vnd.ollama.image.model"
LICENCE = "application/vnd.ollama.image.license"
linked_by_symlinks = pytest.mark.skipif(sys.platform == "win32", reason="takes a right that few accounts have")


@pytest.fixture(autouse=True)
def person(tmp_path, monkeypatch):
    """A home folder of this test's own, with no tool in it."""
    folder = tmp_path / "person"
    folder.mkdir()
    monkeypatch.setattr(Path, "home", lambda: folder)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def gguf(name="tiny"):
    """Return the bytes of a small model."""
    metadata = tiny_metadata(general__name=name, general__license=None)
    path = write_gguf(Path(os.environ["HOME"]) / "made.gguf", metadata=metadata)
    content = path.read_bytes()
    path.unlink()
    return content


class Ollama:
    """Writes what Ollama would."""

    def __init__(self, root):
        self.root = root

    def blob(self, content):
        digest = hashlib.sha256(content).hexdigest()
        path = self.root / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f"sha256:{digest}"

    def manifest(self, content, *texts, kind=MODEL):
        config = self.blob(json.dumps({"file_type": "Q4_K_M", "model_format": "gguf"}).encode())
        layers = [{"mediaType": kind, "digest": self.blob(content), "size": len(content)}]
        layers += [{"mediaType": LICENCE, "digest": self.blob(text.encode())} for text in texts]
        return {"schemaVersion": 2, "config": {"digest": config}, "layers": layers}

    def name(self, manifest, name="qwen2.5", tag="0.5b", at="manifests/registry.ollama.ai/library"):
        path = self.root / at / name / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest) if isinstance(manifest, dict) else manifest)
        return path


@pytest.fixture
def ollama(person):
    return Ollama(person / ".ollama" / "models")


@pytest.fixture
def hub(person):
    return person / ".cache" / "huggingface" / "hub"


def cached(hub, files, repository="owner/Repo-GGUF", commit=COMMIT, ref="main"):
    """Write a repository as huggingface_hub would; return the snapshot."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for name, content in files.items():
        large = name.endswith((".gguf", ".safetensors"))
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        blob = folder / "blobs" / (hashlib.sha256(content).hexdigest() if large else git)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        path = snapshot / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(blob, path.parent))
    if ref:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return snapshot


def lmstudio(root, content, name="publisher/Repo-GGUF/Repo-Q8_0.gguf"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# All of them.


def test_where_there_is_nothing_nothing_is_found(store):
    assert elsewhere.look(store) == ([], [])


@linked_by_symlinks
def test_all_tools_are_found_and_said_to_be_linked_once_they_are(store, ollama, hub, person):
    ollama.name(ollama.manifest(gguf()))
    lmstudio(person / ".lmstudio" / "models", gguf())
    cached(hub, {"Repo.Q4_K_M.gguf": gguf("another one, and longer")})
    models = elsewhere.found(store)
    assert [(each.tool, each.name, each.quantization, each.size == len(gguf())) for each in models] == [
        ("ollama", "qwen2.5:0.5b", "Q4_K_M", True),
        ("lmstudio", "publisher/Repo-GGUF/Repo-Q8_0.gguf", "Q8_0", True),
        ("hf", "owner/Repo-GGUF:Q4_K_M", "Q4_K_M", False),
    ]
    assert not any(each.already_linked for each in models)
    for each in models:
        what = each.how_to_link.removeprefix("audition model import --link ").strip("'")
        linked = api.link_model(what)
        assert linked.provenance["tool"] == each.tool
        assert linked.provenance["name"] == each.name
    # Ollama's and LM Studio's are the same bytes, so there is one blob, which stays the link that it was.
    assert [each.already_linked for each in elsewhere.found(store)] == [True, False, True]


def test_one_broken_tool_hides_no_other(store, ollama, person, monkeypatch):
    ollama.name(ollama.manifest(gguf()))
    lmstudio(person / ".lmstudio" / "models", gguf())

    def refuse():
        raise PermissionError(13, "Permission denied")
        yield

    monkeypatch.setattr(elsewhere.ollama, "found", refuse)
    models, problems = elsewhere.look(store)
    assert [each.tool for each in models] == ["lmstudio"]
    assert problems == ["the models of ollama cannot be listed: Permission denied"]


@linked_by_symlinks
def test_loops_and_crowds_end(store, ollama, hub, person):
    root = person / ".lmstudio" / "models"
    lmstudio(root, gguf())
    (root / "publisher" / "loop").symlink_to(root)
    (root / "publisher" / "Repo-GGUF" / "self.gguf").symlink_to("self.gguf")
    assert [each.name for each in elsewhere.found(store)] == ["publisher/Repo-GGUF/Repo-Q8_0.gguf"]
    crowd = root / "crowd"
    crowd.mkdir()
    for number in range(10_002):
        (crowd / f"{number}.txt").touch()
    started = time.monotonic()
    _, problems = elsewhere.look(store)
    assert "more than 10,000" in problems[0]
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "name",
    [
        "ollama:../../x",
        "ollama:",
        "ollama:a/b/c/d",
        "lmstudio:../x",
        "hf:../x",
        "hf:owner",
        "hf:owner/repo",
        "hf:owner/repo:Q4@../../x",
        "ollama:nothing",
        "lmstudio:a/b",
    ],
)
def test_a_name_that_nobody_has_is_refused_with_a_way_out(store, ollama, hub, name):
    ollama.name(ollama.manifest(gguf()))
    with pytest.raises(UsageError) as caught:
        api.link_model(name)
    assert caught.value.fix
    assert "\n" not in caught.value.message


# Ollama.


@pytest.mark.parametrize("name", ["qwen2.5:0.5b", "library/qwen2.5:0.5b", "registry.ollama.ai/library/qwen2.5:0.5b"])
def test_a_model_of_ollamas_is_linked_under_its_name(store, ollama, name):
    manifest = ollama.manifest(gguf(), "Apache License\n   Version 2.0, January 2004")
    ollama.name(manifest)
    linked = api.link_model(f"ollama:{name}", name="mine")
    assert linked.weights_path.samefile(ollama.root / "blobs" / f"sha256-{linked.digest}")
    assert (linked.files[0].name, linked.quantization) == ("qwen2.5-0.5b.gguf", "Q4_0")
    assert (linked.licence.id, linked.licence.source) == ("Apache-2.0", "licence text at Ollama")
    assert linked.provenance["name"] == "qwen2.5:0.5b"


def test_without_a_tag_it_is_the_latest_and_a_name_of_the_catalogs_is_not_taken(store, ollama):
    ollama.name(ollama.manifest(gguf()), tag="latest", name="smollm2-135m")
    linked = api.link_model("ollama:smollm2-135m")
    assert linked.id == "smollm2-135m:q4_0"
    ollama.name(ollama.manifest(gguf("other")), name="mine", tag="latest")
    api.link_model("ollama:mine")
    assert {entry.id for entry in store.installed()} == {"smollm2-135m:q4_0", "mine:q4_0"}


@pytest.mark.parametrize(
    ("texts", "identifier"),
    [
        ([], None),
        (["MIT License\n\nCopyright"], "MIT"),
        (["Gemma Terms of Use \n\nLast modified"], "gemma"),
        (["LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n"], "llama3.2"),
        (["You may do this and that under the Apache License Version 2.0"], None),
        (["MIT License", "Apache License\nVersion 2.0"], None),
    ],
)
def test_a_licence_is_told_by_its_text_and_never_guessed(store, ollama, texts, identifier):
    ollama.name(ollama.manifest(gguf(), *texts))
    assert api.link_model("ollama:qwen2.5:0.5b").licence.id == identifier


@linked_by_symlinks
def test_the_newer_layout_and_lists_of_manifests_are_read(store, ollama):
    inner = ollama.manifest(gguf("new"))
    reference = {"digest": ollama.blob(json.dumps(inner).encode()), "runner": "llamacpp", "format": "gguf"}
    mlx = {"digest": "sha256:" + "0" * 64, "runner": "mlx", "format": "safetensors"}
    listed = ollama.blob(json.dumps({"manifests": [mlx, reference]}).encode())
    at = ollama.root / "manifests-v2" / "registry.ollama.ai" / "library" / "qwen2.5" / "0.5b"
    at.parent.mkdir(parents=True)
    at.symlink_to(os.path.relpath(ollama.root / "blobs" / listed.replace(":", "-"), at.parent))
    ollama.name(ollama.manifest(gguf("old")))
    assert api.link_model("ollama:qwen2.5:0.5b").header.name == "new"


def test_a_corrupt_blob_is_refused_and_named(store, ollama):
    manifest = ollama.manifest(gguf())
    ollama.name(manifest)
    blob = ollama.root / "blobs" / manifest["layers"][0]["digest"].replace(":", "-")
    blob.write_bytes(gguf("Tony"))
    with pytest.raises(AuditionError) as caught:
        api.link_model("ollama:qwen2.5:0.5b")
    assert caught.value.code == "digest_mismatch"
    assert manifest["layers"][0]["digest"].removeprefix("sha256:") in caught.value.message
    assert hashlib.sha256(gguf("Tony")).hexdigest() in caught.value.message
    assert store.installed() == []
    assert list(store.blobs.root.glob("*")) == []


@pytest.mark.parametrize(
    "manifest",
    [
        "{",
        "[]",
        "7",
        '{"layers": 7}',
        '{"layers": [7]}',
        '{"layers": []}',
        "[" * 100_000,
        f'{{"layers": [{{"mediaType": "{MODEL}", "digest": "sha256:../../../etc/passwd"}}]}}',
        f'{{"layers": [{{"mediaType": "{MODEL}", "digest": "sha256:{"a" * 64}"}}]}}',
        f'{{"layers": [{{"mediaType": "{MODEL}"}}]}}',
        '{"manifests": [7]}',
        '{"manifests": []}',
        '{"manifests": [{"digest": "x"}]}',
    ],
    ids=lambda text: text[:40],
)
def test_a_bad_manifest_is_passed_over_and_refused_by_name(store, ollama, manifest):
    ollama.name(ollama.manifest(gguf()), name="good")
    ollama.name(manifest)
    assert [each.name for each in elsewhere.found(store)] == ["good:0.5b"]
    with pytest.raises(UsageError):
        api.link_model("ollama:qwen2.5:0.5b")


@linked_by_symlinks
def test_a_blob_that_leads_out_is_refused(store, ollama, tmp_path):
    manifest = ollama.manifest(gguf())
    ollama.name(manifest)
    blob = ollama.root / "blobs" / manifest["layers"][0]["digest"].replace(":", "-")
    blob.rename(tmp_path / "outside")
    blob.symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="leads out"):
        api.link_model("ollama:qwen2.5:0.5b")
    assert elsewhere.found(store) == []


def test_the_variable_of_ollama_counts(store, ollama, tmp_path, monkeypatch):
    other = Ollama(tmp_path / "models of ollama")
    other.name(other.manifest(gguf()), name="there")
    monkeypatch.setenv("OLLAMA_MODELS", str(other.root))
    assert [each.name for each in elsewhere.found(store)] == ["there:0.5b"]


# LM Studio.


def test_its_pointer_and_its_settings_say_where_the_models_are(store, person, tmp_path):
    home, downloads = tmp_path / "lm home", tmp_path / "lm downloads"
    home.mkdir()
    (person / ".lmstudio-home-pointer").write_text(f"{home}\n")
    (home / "settings.json").write_text(json.dumps({"downloadsFolder": str(downloads)}))
    path = lmstudio(downloads, gguf())
    lmstudio(person / ".cache" / "lm-studio" / "models", gguf(), "a/b/old.gguf")
    lmstudio(downloads, b"x", "publisher/Repo-GGUF/mmproj-Repo-F16.gguf")
    assert {each.name for each in elsewhere.found(store)} == {"publisher/Repo-GGUF/Repo-Q8_0.gguf", "a/b/old.gguf"}
    linked = api.link_model("lmstudio:publisher/repo-gguf")
    assert linked.weights_path.samefile(path)
    assert linked.id.startswith("repo-q8_0:")


@pytest.mark.parametrize("settings", ["{", "[]", '{"downloadsFolder": 7}', '{"downloadsFolder": "relative"}'])
def test_damaged_settings_hide_nothing(store, person, settings):
    lmstudio(person / ".lmstudio" / "models", gguf())
    (person / ".lmstudio" / "settings.json").write_text(settings)
    assert len(elsewhere.found(store)) == 1


def test_of_several_files_one_has_to_be_named(store, person):
    root = person / ".lmstudio" / "models"
    lmstudio(root, gguf())
    lmstudio(root, gguf(), "publisher/Repo-GGUF/Repo-Q4_0.gguf")
    with pytest.raises(UsageError, match=r"has 2 files: Repo-Q4_0\.gguf, Repo-Q8_0\.gguf"):
        api.link_model("lmstudio:publisher/Repo-GGUF")


def test_the_parts_of_a_split_file_are_one_entry(store, person):
    for number in (1, 2):
        lmstudio(person / ".lmstudio" / "models", b"12345", f"p/r/big-Q4_0-0000{number}-of-00002.gguf")
    (one,) = elsewhere.found(store)
    assert (one.name, one.size, one.quantization) == ("p/r/big-Q4_0-00001-of-00002.gguf", 10, "Q4_0")


@linked_by_symlinks
def test_a_split_model_of_the_cache_is_linked_with_every_part_compared(store, hub, tmp_path):
    parts = write_split(tmp_path, [[Tensor("a")], [Tensor("b")]], name="big-Q4_0")
    snapshot = cached(hub, {f"Q4_0/{part.name}": part.read_bytes() for part in parts})
    assert [each.name for each in elsewhere.found(store)] == ["owner/Repo-GGUF:Q4_0"]
    linked = api.link_model("hf:owner/Repo-GGUF:Q4_0")
    assert (linked.id, len(linked.links)) == ("big-q4_0:q4_0", 2)
    store.remove(linked)
    blob = (snapshot / "Q4_0" / parts[1].name).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(AuditionError, match=r"00002-of-00002\.gguf is damaged where it lies"):
        api.link_model("hf:owner/Repo-GGUF:Q4_0")
    assert store.leftovers() == []


# The Hugging Face cache.


@linked_by_symlinks
def test_a_quantization_is_chosen_as_at_a_download(store, hub):
    names = {name: gguf(name) for name in ("m.Q8_0.gguf", "m.Q4_K_M.gguf", "m.Q2_K.gguf")}
    snapshot = cached(hub, names)
    assert api.link_model("hf:owner/Repo-GGUF").header.name == "m.Q4_K_M.gguf"
    linked = api.link_model("hf:Owner/repo-gguf:q8_0")
    assert linked.weights_path.samefile(snapshot / "m.Q8_0.gguf")
    assert linked.provenance["revision"] == COMMIT
    with pytest.raises(UsageError, match="no such model") as caught:
        api.link_model("hf:owner/Repo-GGUF:Q6_K")
    assert "Q2_K, Q4_K_M, Q8_0" in caught.value.fix


@linked_by_symlinks
@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"])
def test_its_variables_count(store, tmp_path, monkeypatch, variable):
    root = tmp_path / "there"
    at = {"HF_HOME": root / "hub", "HF_HUB_CACHE": root, "XDG_CACHE_HOME": root / "huggingface" / "hub"}[variable]
    cached(at, {"m.Q4_K_M.gguf": gguf()})
    monkeypatch.setenv(variable, str(root))
    assert [each.name for each in elsewhere.found(store)] == ["owner/Repo-GGUF:Q4_K_M"]


@linked_by_symlinks
def test_a_folder_is_linked_with_every_digest_compared(store, hub, tmp_path):
    files = {path.name: path.read_bytes() for path in hf_folder(tmp_path / "m").iterdir()}
    snapshot = cached(hub, files, repository="owner/Plain")
    linked = api.link_model("hf:owner/Plain")
    assert linked.format == "safetensors"
    assert (linked.weights_path / "model.safetensors").samefile(snapshot / "model.safetensors")
    store.remove(linked)
    blob = (snapshot / "config.json").resolve()
    blob.write_bytes(blob.read_bytes().replace(b"{", b"{ ", 1))
    with pytest.raises(AuditionError, match=r"config\.json is damaged where it lies: its git hash"):
        api.link_model("hf:owner/Plain")
    assert store.installed() == []
    assert store.leftovers() == []


@linked_by_symlinks
def test_another_revision_is_had_by_its_name(store, hub):
    cached(hub, {"m.Q4_0.gguf": gguf("old")}, commit="a" * 40, ref="refs-pr-1")
    cached(hub, {"m.Q4_0.gguf": gguf("new")})
    assert api.link_model("hf:owner/Repo-GGUF:Q4_0", name="new").header.name == "new"
    assert api.link_model(f"hf:owner/Repo-GGUF:Q4_0@{'a' * 40}", name="old").header.name == "old"
    assert api.link_model("hf:owner/Repo-GGUF:Q4_0@refs-pr-1", name="old").header.name == "old"


@linked_by_symlinks
def test_a_snapshot_that_leads_out_of_its_repository_is_refused(store, hub, tmp_path):
    snapshot = cached(hub, {"m.Q4_0.gguf": gguf()})
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(gguf("secret"))
    (snapshot / "m.Q8_0.gguf").symlink_to(outside)
    with pytest.raises(UsageError, match="leads out"):
        api.link_model("hf:owner/Repo-GGUF:Q8_0")
    assert store.installed() == []


def test_where_there_are_no_links_the_snapshots_files_are_themselves_linked(store, hub):
    snapshot = hub / "models--owner--r" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "m.Q4_0.gguf").write_bytes(gguf())
    linked = api.link_model("hf:owner/r")
    assert linked.weights_path.samefile(snapshot / "m.Q4_0.gguf")
