"""The store: what is installed, what makes it stay so, and what is said when it is not."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from audition.errors import AuditionError, UsageError
from audition.models.catalog import adhoc_spec
from audition.models.spec import Licence, LicenceClass, Variant, VariantFile
from audition.store.store import Store
from fake_source import NO_LICENCE, fake_variant
from ggufs import tiny_metadata, write_gguf

SAID = Licence.named("gemma", source="catalog")


def files_in(store):
    """Return every file in the store but locks, which stay."""
    return sorted(path for path in store.root.rglob("*") if path.is_file() and path.parent.name != "locks")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Installing.


def test_an_installed_variant_is_what_the_file_was(store, tiny, model):
    installed = store.ensure(tiny, NO_LICENCE)
    assert installed.id == "tiny:gguf"
    assert installed.source == f"file:{model}"
    assert (installed.format, installed.quantization) == ("gguf", "Q4_0")
    assert installed.header.architecture == "llama"
    assert installed.digest == digest(model) == digest(installed.weights_path)
    assert installed.disk_bytes == model.stat().st_size
    assert [(file.name, file.size) for file in installed.files] == [("tiny.gguf", installed.disk_bytes)]
    assert installed.installed_at.endswith("+00:00")
    assert files_in(store) == sorted([installed.weights_path, installed.manifest])


def test_it_is_found_again_by_another_store_object(store, tiny):
    assert store.find(tiny) is None
    installed = store.ensure(tiny, NO_LICENCE)
    assert Store().find(tiny) == installed
    assert Store().installed() == [installed]


def test_the_store_lies_in_the_data_folder(store, home):
    assert store.root == home / "store"
    assert not home.exists()


def test_nothing_installed_is_an_empty_list(store):
    assert (store.installed(), store.leftovers()) == ([], [])


def test_the_licence_is_the_catalogs_and_where_that_says_nothing_the_headers(store, fake):
    stated = store.ensure(fake_variant("one"), SAID).licence
    assert replace(stated, note=None) == SAID
    assert stated.note == "the gguf header says mit (permissive)"
    read = store.ensure(fake_variant("two"), NO_LICENCE).licence
    assert (read.id, read.cls, read.source) == ("mit", LicenceClass.PERMISSIVE, "gguf header")


def test_a_licence_that_nobody_states_stays_unknown(store, tmp_path):
    path = write_gguf(tmp_path / "none.gguf", metadata=tiny_metadata(general__license=None))
    assert store.ensure(adhoc_spec(path).variants[0], NO_LICENCE).licence.cls is LicenceClass.UNKNOWN


def test_the_second_time_nothing_is_fetched(store, fake):
    first = store.ensure(fake_variant(), NO_LICENCE)
    assert store.ensure(fake_variant(), NO_LICENCE) == first
    assert fake.fetches == 1


def test_a_file_that_both_names_share_counts_once(store, fake, model):
    fake.contents = ([model.read_bytes()], [model.read_bytes()])
    installed = store.ensure(fake_variant(), NO_LICENCE)
    assert [file.name for file in installed.files] == ["0.gguf", "1.gguf"]
    assert installed.disk_bytes == model.stat().st_size


def test_a_source_of_no_kind_is_refused_with_those_there_are(store):
    with pytest.raises(UsageError, match='"gopher:x"') as caught:
        store.ensure(Variant("x", "gguf", None, "gopher:x"), NO_LICENCE)
    assert "pypi:" in caught.value.fix


# When what is asked for changes.


def test_a_copy_stays_usable_when_the_original_is_gone(store, tiny, model):
    installed = store.ensure(tiny, NO_LICENCE)
    model.unlink()
    assert store.ensure(tiny, NO_LICENCE) == installed


def rewritten(model, **changes):
    """Write other content of the same size, at another time."""
    before = model.stat()
    write_gguf(model, metadata=tiny_metadata(general__name="Tony", **changes))
    assert model.stat().st_size == before.st_size
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


def test_a_changed_original_is_copied_again(store, tiny, model):
    old = store.ensure(tiny, NO_LICENCE)
    rewritten(model)
    assert store.find(tiny) is None
    new = store.ensure(tiny, NO_LICENCE)
    assert new.digest == digest(model) != old.digest
    assert store.installed() == [new]


def test_an_original_that_changes_during_the_copy_is_copied_again_next_time(store, tiny, model):
    old = store.ensure(tiny, NO_LICENCE, lambda what, done, total: rewritten(model))
    assert old.digest != digest(model)
    assert store.find(tiny) is None
    assert store.ensure(tiny, NO_LICENCE).digest == digest(model)


def test_other_bytes_that_the_catalog_promises_are_not_these(store, tiny, model):
    store.ensure(tiny, NO_LICENCE)
    promised = replace(tiny, files=(VariantFile("tiny.gguf", None, "a" * 64),))
    assert store.find(promised) is None
    with pytest.raises(AuditionError) as caught:
        store.ensure(promised, NO_LICENCE)
    assert caught.value.code == "digest_mismatch"
    assert store.find(replace(tiny, files=(VariantFile("tiny.gguf", None, digest(model)),)))


def test_files_of_one_name_in_two_folders_are_two(store, tmp_path):
    variants = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = write_gguf(tmp_path / folder / "m.gguf", metadata=tiny_metadata(general__name=folder))
        variants.append(adhoc_spec(path).variants[0])
    assert [store.ensure(variant, NO_LICENCE).header.name for variant in variants] == ["a", "b"]
    assert [store.find(variant).header.name for variant in variants] == ["a", "b"]


# When the disk has other plans.


def lose(path):
    path.unlink()


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("harm", [lose, cut])
def test_a_missing_or_cut_blob_is_noticed_and_fetched_again(store, fake, harm):
    installed = store.ensure(fake_variant(), NO_LICENCE)
    harm(installed.weights_path)
    assert store.find(fake_variant()) is None
    assert store.installed() == []
    assert store.ensure(fake_variant(), NO_LICENCE).digest == digest(installed.weights_path) == installed.digest
    assert fake.fetches == 2


def test_verify_finds_one_flipped_bit(store, tiny):
    installed = store.ensure(tiny, NO_LICENCE)
    told = []
    assert store.verify(installed, lambda *arguments: told.append(arguments)) == []
    assert told == [("tiny.gguf", installed.disk_bytes, installed.disk_bytes)]
    content = bytearray(installed.weights_path.read_bytes())
    content[-1] ^= 1
    installed.weights_path.write_bytes(content)
    (problem,) = store.verify(installed)
    assert "tiny.gguf has changed on the disk" in problem
    assert installed.digest in problem
    assert digest(installed.weights_path) in problem


def test_verify_finds_a_file_that_is_gone(store, tiny):
    installed = store.ensure(tiny, NO_LICENCE)
    lose(installed.weights_path)
    assert store.verify(installed) == ["tiny.gguf is missing"]


Usage = namedtuple("Usage", "total used free")


def test_a_disk_that_is_too_full_is_told_before_anything_is_copied(store, tiny, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6, 0))
    with pytest.raises(AuditionError, match="0 MB are free") as caught:
        store.ensure(tiny, NO_LICENCE)
    assert caught.value.code == "disk_full"
    assert files_in(store) == []


def fills_up():
    yield b"GGUF"
    raise OSError(errno.ENOSPC, "No space left on device")


def goes_away():
    yield b"GGUF"
    raise KeyboardInterrupt


@pytest.mark.parametrize(("content", "raised"), [(fills_up, AuditionError), (goes_away, KeyboardInterrupt)])
def test_a_transfer_that_breaks_leaves_nothing_and_can_be_tried_again(store, fake, model, content, raised):
    fake.contents = (content,)
    with pytest.raises(raised) as caught:
        store.ensure(fake_variant(), NO_LICENCE)
    assert raised is KeyboardInterrupt or caught.value.code == "disk_full"
    assert files_in(store) == []
    fake.contents = ([model.read_bytes()],)
    assert store.ensure(fake_variant(), NO_LICENCE).digest == digest(model)


def test_what_is_not_a_model_is_not_kept(store, fake):
    fake.contents = ([b"<html>not found</html>"],)
    with pytest.raises(AuditionError) as caught:
        store.ensure(fake_variant(), NO_LICENCE)
    assert caught.value.code == "bad_model_file"
    assert files_in(store) == []


def test_a_store_in_the_place_of_a_file_is_told_so(home, tiny):
    home.write_text("in the way")
    with pytest.raises(AuditionError, match="home") as caught:
        Store().ensure(tiny, NO_LICENCE)
    assert caught.value.code == "disk_error"


def test_a_staging_folder_that_cannot_be_made_is_told_so(store, tiny):
    store.root.mkdir(parents=True)
    (store.root / "staging").write_text("in the way")
    with pytest.raises(AuditionError, match="store") as caught:
        store.ensure(tiny, NO_LICENCE)
    assert caught.value.code == "disk_error"


# Removing.


def test_removing_frees_the_bytes(store, tiny):
    installed = store.ensure(tiny, NO_LICENCE)
    assert store.remove(installed) == installed.disk_bytes
    assert files_in(store) == []
    assert store.find(tiny) is None
    assert store.remove(installed) == 0


def test_a_blob_stays_as_long_as_another_variant_needs_it(store, fake):
    one, two = (store.ensure(fake_variant(name), NO_LICENCE) for name in ("one", "two"))
    assert one.weights_path == two.weights_path
    assert store.remove(one) == 0
    assert store.find(fake_variant("two")) == two
    assert store.verify(two) == []
    assert store.remove(two) == two.disk_bytes
    assert files_in(store) == []


def test_leftovers_are_listed_and_what_is_in_use_is_not(store, tiny):
    store.ensure(tiny, NO_LICENCE)
    assert store.leftovers() == []
    left = [
        store.blobs.root / "partial-x1",
        store.blobs.path("a" * 64),
        store.root / "staging" / "p-1" / "p-1-py3-none-any.whl",
        store.root / "staging" / "p-1" / "pip-unpack-x" / "p-1-py3-none-any.whl",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert store.leftovers() == sorted(left)


def test_what_an_earlier_attempt_left_in_staging_is_cleared(store, fake):
    old = store.root / "staging" / "tiny-1" / "old.whl"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    store.ensure(fake_variant(), NO_LICENCE)
    assert store.leftovers() == []
    assert not old.parent.exists()
