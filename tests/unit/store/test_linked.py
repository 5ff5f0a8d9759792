"""Models that are linked in place: nothing is copied, the original is not touched, and a change of it is noticed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from audition import api
from audition.errors import AuditionError, UsageError
from audition.store.known import known_models
from audition.store.linked import Links
from audition.store.store import Store
from fake_source import NO_LICENCE, fake_variant
from folders import hf_folder, onnx_folder
from ggufs import Tensor, tiny_metadata, write_gguf, write_split


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_in(store):
    kept = ("links", "locks", "manifests")
    return sorted(path for path in store.root.rglob("*") if path.is_file() and path.parent.name not in kept)


def other_disk(monkeypatch):
    """Let every hard link be refused, as between two disks."""

    def refuse(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


def in_place(path, content):
    """Write other content into the very file, at another time."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def changed_bytes(model):
    return write_gguf(model.parent / "other.gguf", metadata=tiny_metadata(general__name="Tony")).read_bytes()


# Linking.


def test_a_hard_link_is_the_same_file_under_the_name_of_its_digest(store, model):
    model.chmod(0o600)
    before = model.stat()
    linked = api.link_model(str(model))
    assert linked.weights_path.name == f"sha256-{digest(model)}"
    assert linked.weights_path.samefile(model)
    (link,) = linked.links.values()
    assert (link.kind, link.path, link.size) == ("hard", str(model.resolve()), before.st_size)
    after = model.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (before.st_mode, before.st_mtime_ns, before.st_uid)
    assert linked.provenance == {"linked_from": str(model)}
    assert store.verify(linked) == []
    assert store.leftovers() == []


def test_it_survives_the_removal_of_the_original(store, model):
    linked = api.link_model(str(model))
    model.unlink()
    assert store.installed() == [linked]
    assert store.verify(linked) == []
    assert store.remove(linked) == linked.disk_bytes, "nobody else has those bytes any more"


def test_where_no_hard_link_is_possible_it_is_a_symbolic_one(store, model, monkeypatch):
    other_disk(monkeypatch)
    linked = api.link_model(str(model))
    assert linked.weights_path.is_symlink()
    assert linked.weights_path.resolve() == model.resolve()
    assert [link.kind for link in linked.links.values()] == ["symbolic"]
    assert store.verify(linked) == []
    assert store.remove(linked) == 0
    assert model.is_file()
    assert files_in(store) == []


def test_where_no_link_is_possible_at_all_it_is_told_with_the_way_out(store, model, monkeypatch):
    other_disk(monkeypatch)

    def refuse(self, target, target_is_directory=False):
        raise OSError(errno.EPERM, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(UsageError) as caught:
        api.link_model(str(model))
    assert caught.value.code == "cannot_link"
    assert "another disk" in caught.value.message
    assert "privilege" in caught.value.message
    assert "--link" in caught.value.fix
    assert files_in(store) == []


def test_a_folder_is_linked_file_by_file(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    linked = api.link_model(str(folder))
    assert set(linked.links) == {path.name for path in folder.iterdir()}
    assert (linked.weights_path / "model.onnx.data").samefile(folder / "model.onnx.data")
    assert {digest(linked.weights_path / path.name) for path in folder.iterdir()} == {
        digest(p) for p in folder.iterdir()
    }
    assert store.verify(linked) == []
    assert store.remove(linked) == 0
    assert len(list(folder.iterdir())) > 3


def test_the_parts_of_a_model_are_linked_together(store, tmp_path):
    tensors = [[Tensor("token_embd.weight")], [Tensor("output.weight")]]
    parts = write_split(tmp_path, tensors)
    linked = api.link_model(str(parts[0]))
    assert (linked.id, len(linked.links)) == ("tiny:q4_0", 2)
    assert [(linked.weights_path.parent / part.name).samefile(part) for part in parts] == [True, True]
    in_place(parts[1], parts[1].read_bytes())
    assert store.installed() == []
    assert "00002-of-00002.gguf, which has changed since" in store.troubles()[0].message


def test_an_empty_name_is_not_the_folder_one_stands_in(store):
    with pytest.raises(AuditionError, match="an empty name is no model"):
        api.link_model("")


def test_a_part_without_the_others_is_refused(store, tmp_path):
    parts = write_split(tmp_path, [[Tensor("a")], [Tensor("b")]])
    with pytest.raises(AuditionError, match="part 2 of 2"):
        api.link_model(str(parts[1]))
    parts[1].unlink()
    with pytest.raises(AuditionError):
        api.link_model(str(parts[0]))
    assert files_in(store) == []


def test_a_folder_on_another_disk_is_refused(store, tmp_path, monkeypatch):
    folder = onnx_folder(tmp_path / "m")
    other_disk(monkeypatch)
    with pytest.raises(UsageError, match="another disk"):
        api.link_model(str(folder))
    assert files_in(store) == []


def test_the_same_again_is_the_same(store, model):
    first = api.link_model(str(model))
    assert api.link_model(str(model)) == first
    assert store.leftovers() == []


def test_what_the_store_has_as_a_copy_stays_a_copy(store, fake, model):
    copied = store.ensure(fake_variant(), NO_LICENCE)
    linked = api.link_model(str(model), name="mine")
    assert linked.links == {}
    assert linked.digest == copied.digest
    assert not linked.weights_path.samefile(model)


def test_a_copy_takes_the_place_of_a_link(store, fake, model):
    linked = api.link_model(str(model), name="mine")
    store.ensure(fake_variant(), NO_LICENCE)
    assert linked.links == {}
    in_place(model, changed_bytes(model))
    assert [entry.id for entry in store.installed()] == ["mine:q4_0", "tiny:q4_0"]
    assert digest(linked.weights_path) == linked.digest


# When the original changes.


@pytest.mark.parametrize("kind", ["hard", "symbolic"])
def test_a_changed_original_is_noticed_and_told(store, model, monkeypatch, kind):
    if kind == "symbolic":
        other_disk(monkeypatch)
    linked = api.link_model(str(model), name="mine")
    in_place(model, changed_bytes(model))
    assert store.installed() == []
    assert store.find(linked.variant) is None
    (error,) = store.troubles()
    assert (error.code, str(model) in error.message, "has changed since" in error.message) == (
        "link_broken",
        True,
        True,
    )
    with pytest.raises(AuditionError, match="has changed since") as caught:
        store.ensure(known_models(store).resolve("mine"), NO_LICENCE)
    assert f"--link '{model}' --name mine:q4_0" in caught.value.fix
    again = api.link_model(str(model), name="mine:q4_0")
    assert again.digest == digest(model) != linked.digest
    assert store.installed() == [again]
    assert store.troubles() == []


def test_a_write_that_hides_its_time_is_found_by_verify(store, model):
    linked = api.link_model(str(model))
    before = model.stat()
    model.write_bytes(changed_bytes(model))
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(store.verify(linked)) == 1
    assert "has changed on the disk" in store.verify(linked)[0]


def test_an_original_that_another_file_replaced_leaves_the_link_as_it_was(store, model):
    linked = api.link_model(str(model))
    new = model.with_name("new")
    new.write_bytes(changed_bytes(model))
    new.replace(model)
    assert store.installed() == [linked]
    assert store.verify(linked) == []


def test_a_removed_original_of_a_symbolic_link_is_absent(store, model, monkeypatch):
    other_disk(monkeypatch)
    linked = api.link_model(str(model), name="mine")
    model.unlink()
    assert store.installed() == []
    with pytest.raises(AuditionError, match="is gone") as caught:
        store.ensure(linked.variant, NO_LICENCE)
    assert "audition model rm mine:q4_0" in caught.value.fix
    assert store.remove(linked) == 0
    assert files_in(store) == []
    assert not linked.weights_path.is_symlink()


def test_a_changed_link_is_never_taken_for_the_file_that_it_was(store, fake, model):
    content = model.read_bytes()
    linked = api.link_model(str(model), name="mine")
    in_place(model, changed_bytes(model))
    fake.contents = ([content],)
    fetched = store.ensure(fake_variant(), NO_LICENCE)
    assert digest(fetched.weights_path) == linked.digest
    assert store.verify(fetched) == []
    assert model.read_bytes() != content


def test_a_changed_file_of_a_linked_folder_is_put_together_anew(store, tmp_path):
    folder = hf_folder(tmp_path / "m")
    linked = api.link_model(str(folder), name="mine")
    config = folder / "config.json"
    in_place(config, config.read_bytes().replace(b"{", b"{ ", 1))
    assert store.installed() == []
    again = api.link_model(str(folder), name=linked.id)
    assert digest(again.weights_path / "config.json") == digest(config)
    assert store.verify(again) == []


def test_a_folder_of_changed_links_is_not_taken_for_a_copy_of_what_it_was(store, tmp_path):
    folder = hf_folder(tmp_path / "m")
    api.link_model(str(folder), name="mine")
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = folder / "config.json"
    in_place(config, config.read_bytes().replace(b"llama", b"LLAMA"))  # of the same size
    imported = api.import_model(str(copy), name="yours")
    assert digest(imported.weights_path / "config.json") == digest(copy / "config.json") != digest(config)
    assert store.verify(imported) == []


def test_a_file_that_is_written_to_meanwhile_is_refused(store, model):
    with pytest.raises(AuditionError) as caught:
        api.link_model(str(model), progress=lambda *_: in_place(model, changed_bytes(model) + b"x"))
    assert caught.value.code == "file_changed"
    assert files_in(store) == []


def test_a_damaged_record_does_not_hide_the_model(store, model):
    linked = api.link_model(str(model))
    (_, record), *_ = store.links.records()
    record.write_text("{")
    assert store.installed() == [linked]
    assert store.verify(linked) == []


# What is refused.


@pytest.mark.parametrize("content", [b"", b"GGUF", b"\x80\x04pickle", b"PK\x03\x04"])
def test_what_is_no_model_is_refused(store, tmp_path, content):
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(AuditionError) as caught:
        api.link_model(str(path))
    assert caught.value.code == "bad_model_file"
    assert files_in(store) == []
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_a_device_or_a_pipe_is_refused_at_once(store, tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "null.gguf").symlink_to("/dev/zero")
    for name in ("pipe.gguf", "null.gguf"):
        with pytest.raises(AuditionError, match="not a regular file"):
            api.link_model(str(tmp_path / name))
        with pytest.raises(UsageError, match="no regular file"):
            Links(store.root / "links", store.blobs).make(
                "x", tmp_path / name, promised=None, check=lambda _: None, progress=lambda *_: None
            )


def test_pickles_alone_are_refused(store, tmp_path):
    folder = hf_folder(tmp_path / "m", **{"model.safetensors": None, "pytorch_model.bin": b"\x80\x04"})
    with pytest.raises(AuditionError, match="pickle"):
        api.link_model(str(folder))
    assert files_in(store) == []


def test_a_folder_with_a_link_that_leads_out_is_refused(store, tmp_path):
    folder = hf_folder(tmp_path / "m")
    (tmp_path / "secret.json").write_text("{}")
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "generation_config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(AuditionError, match="leads out"):
        api.link_model(str(folder))


def test_a_name_that_is_taken_is_refused_and_nothing_stays(store, model, tmp_path):
    api.link_model(str(model), name="mine")
    other = write_gguf(tmp_path / "other.gguf", metadata=tiny_metadata(general__name="Tony"))
    with pytest.raises(UsageError, match="another model called mine:q4_0"):
        api.link_model(str(other), name="mine")
    assert len(store.links.records()) == 1
    assert other.is_file()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="takes permissions that hold")
def test_a_store_that_cannot_be_written_to_is_told(store, model):
    store.root.mkdir(parents=True)
    store.root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(AuditionError) as caught:
            api.link_model(str(model))
        assert caught.value.code == "not_writable"
    finally:
        store.root.chmod(0o755)


@pytest.mark.parametrize(("number", "code"), [(errno.EROFS, "not_writable"), (errno.ENOSPC, "disk_full")])
def test_a_disk_that_refuses_is_told_in_one_sentence(store, model, monkeypatch, number, code):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("audition.store.linked.write_json", refuse)
    with pytest.raises(AuditionError) as caught:
        api.link_model(str(model))
    assert caught.value.code == code
    assert "AUDITION_HOME" in caught.value.fix
    assert files_in(store) == []


def test_one_damaged_manifest_hides_no_name(store, model, tmp_path):
    first = api.link_model(str(model), name="mine")
    other = write_gguf(tmp_path / "other.gguf", metadata=tiny_metadata(general__name="Tony"))
    api.link_model(str(other), name="other")
    first.manifest.write_text("{")
    assert [entry.id for entry in Store().installed()] == ["other:q4_0"]
    assert "other" in known_models(store)


def test_a_store_that_lets_nothing_be_removed_is_told(store, model, monkeypatch):
    linked = api.link_model(str(model))

    def refuse(self, missing_ok=False):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(AuditionError, match="Read-only file system") as caught:
            store.remove(linked)
    assert caught.value.code == "not_writable"
    assert store.installed() == [linked]
