"""Manifests: what is written down about an installed variant, and what is said when it cannot be read."""

from __future__ import annotations

import json

import pytest

from audition.errors import AuditionError
from audition.store.store import Store
from fake_source import NO_LICENCE, fake_variant


@pytest.fixture
def manifest(store, fake):
    return store.ensure(fake_variant(), NO_LICENCE).manifest


def changed(manifest, **fields):
    """Write the manifest with other fields; None takes one out."""
    data = json.loads(manifest.read_text(encoding="utf-8")) | fields
    data = {key: value for key, value in data.items() if value is not None}
    manifest.write_text(json.dumps(data), encoding="utf-8")


def refusals(manifest):
    """Return what is said of the manifest by what needs it, and by what tells what is wrong."""
    store = Store()
    with pytest.raises(AuditionError) as caught:
        store.find(fake_variant())
    (damaged,) = store.damaged()
    assert store.troubles()[0].message == damaged.message
    for error in (caught.value, damaged):
        assert error.code == "bad_manifest"
        assert str(manifest) in error.message
        assert f"rm '{manifest}'" in error.fix
        yield error.message


def test_it_says_all_there_is_to_know(manifest, store):
    data = json.loads(manifest.read_text(encoding="utf-8"))
    assert manifest.parent == store.root / "manifests" / "fake" / "tiny"
    assert data["schema"] == 1
    assert data["id"] == "tiny:q4_0"
    assert data["source"] == "fake:tiny"
    assert (data["format"], data["quantization"]) == ("gguf", "Q4_0")
    assert data["licence"] == {"id": "mit", "class": "permissive", "source": "gguf header"}
    assert data["header"]["architecture"] == "llama"
    (file,) = data["files"]
    assert store.blobs.path(file["sha256"]).stat().st_size == file["size"]
    assert "/" not in json.dumps(data["files"])  # the store can be moved as a whole


def test_a_store_can_be_moved(manifest, store, home, tmp_path):
    home.rename(tmp_path / "elsewhere")
    moved = Store(tmp_path / "elsewhere" / "store")
    installed = moved.find(fake_variant())
    assert installed.weights_path.is_file()
    assert moved.verify(installed) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"schema": 1}', b'{"schema": NaN}', b"[" * 100_000],
    ids=["empty", "cut", "not text", "hollow", "nan", "deep"],
)
def test_a_damaged_one_is_told_with_its_path_and_the_way_out(manifest, content):
    manifest.write_bytes(content)
    assert all("damaged" in message for message in refusals(manifest))


@pytest.mark.parametrize("content", ["[]", "null", "7", "{}", '{"schema": 2}', '{"schema": "1"}'])
def test_one_of_another_version_is_told_so(manifest, content):
    manifest.write_text(content)
    assert all("another version" in message for message in refusals(manifest))


@pytest.mark.parametrize("field", ["id", "source", "format", "quantization", "files", "header", "licence"])
def test_one_that_lacks_a_field_is_told_by_its_name(manifest, field):
    changed(manifest, **{field: None})
    assert all(f"damaged (it has no '{field}')" in message for message in refusals(manifest))


@pytest.mark.parametrize(
    "fields",
    [
        {"files": []},
        {"files": 7},
        {"files": [{"name": "a"}]},
        {"files": [{"name": "a", "size": 1, "sha256": "../../../etc/passwd"}]},
        {"files": [{"name": "a", "size": 1, "sha256": 7}]},
        {"files": [{"name": "a", "size": 1, "sha256": "a" * 64, "mode": 7}]},
        {"licence": "mit"},
        {"licence": {"id": "mit", "class": "free", "source": "catalog"}},
        {"header": {"architecture": "llama"}},
        {"header": []},
    ],
    ids=repr,
)
def test_one_with_a_wrong_value_is_told_so(manifest, fields):
    changed(manifest, **fields)
    assert all("damaged" in message for message in refusals(manifest))


def test_nothing_is_removed_while_it_is_unknown_what_the_damaged_one_needs(manifest, store):
    other = store.ensure(fake_variant("other"), NO_LICENCE)
    manifest.write_text("{")
    with pytest.raises(AuditionError, match="damaged"):
        store.remove(other)
    assert store.find(fake_variant("other")) == other
    manifest.unlink()
    assert store.remove(other) == other.disk_bytes


def test_a_damaged_one_hides_no_other_and_its_files_are_no_leftovers(manifest, store, home, model):
    (store.blobs.root / "partial-x").write_bytes(b"x")
    fake = Store().find(fake_variant())
    other = store.ensure(fake_variant("other"), NO_LICENCE)
    manifest.write_text("{")
    assert store.installed() == [other]
    other.manifest.unlink()
    assert fake.weights_path.is_file()
    assert store.installed() == []
    assert store.leftovers() == [store.blobs.root / "partial-x"], "what the damaged one needs is unknown"
    manifest.unlink()
    assert store.leftovers() == [store.blobs.root / "partial-x", fake.weights_path]


def test_one_that_promises_another_size_is_not_believed(manifest, store):
    data = json.loads(manifest.read_text(encoding="utf-8"))
    changed(manifest, files=[data["files"][0] | {"size": 1}])
    assert store.find(fake_variant()) is None


def test_after_the_way_out_all_is_well(manifest, store):
    manifest.write_text("{")
    with pytest.raises(AuditionError):
        store.ensure(fake_variant(), NO_LICENCE)
    manifest.unlink()
    assert store.ensure(fake_variant(), NO_LICENCE) == store.find(fake_variant())


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 5},
        {"source": ["fake:tiny"]},
        {"source": "bogus"},
        {"source": "bogus:tiny"},
        {"format": {"a": 1}},
        {"format": "bogus"},
        {"installed_at": 7},
        {"quantization": 4},
        {"revision": {"x": 1}},
        {"provenance": [1]},
        {"fingerprint": True},
        {"files": [{"name": "a.gguf", "size": "big", "sha256": "a" * 64}]},
        {"files": [{"name": 1, "size": 1, "sha256": "a" * 64}]},
        {"files": [{"name": "a.gguf", "size": 1, "sha256": 1}]},
        {"licence": []},
    ],
)
def test_what_has_another_type_than_it_should_is_damaged_and_hides_nothing(manifest, fields):
    changed(manifest, **fields)
    assert all("is damaged" in message for message in refusals(manifest))
    assert Store().recorded() == []
