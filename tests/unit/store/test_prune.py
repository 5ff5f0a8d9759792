"""What is left over is found and removed; what anybody needs, or is working on, is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from audition import api
from audition.errors import AuditionError
from audition.store import prune as pruning
from audition.store.prune import held_locks, prune, removable
from audition.store.transfer.partial import Partial, Wanted
from audition.store.transfer.ranges import Ranges
from audition.store.usage import usage
from fake_source import NO_LICENCE, fake_variant
from folders import onnx_folder

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(store):
    """Have another process hold locks by their keys until the test ends."""
    processes = []

    def held(key):
        (store.root / "locks").mkdir(parents=True, exist_ok=True)
        lock = store.root / "locks" / f"{key}.lock"
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield held
    for process in processes:
        process.communicate()


def interrupted_download(store, key="tiny-1", arrived=600):
    """Leave a download behind as a killed process does."""
    folder = store.partials / key
    folder.mkdir(parents=True)
    partial = Partial(
        folder, Wanted("tiny.gguf", "https://x/tiny.gguf", 1000, "a" * 64, model="tiny:q4_0", source="hf:a/b")
    )
    partial.path.write_bytes(bytes(arrived))
    partial.save(lambda: Ranges([(0, arrived)]))
    return partial


def loose_blob(store, name="sha256-" + "a" * 64):
    store.blobs.root.mkdir(parents=True, exist_ok=True)
    path = store.blobs.root / name
    path.write_bytes(b"12345")
    return path


def test_an_empty_store_has_nothing_to_remove(store):
    assert removable(store, partials=True) == []
    assert prune(store, []) == ([], [])


def test_models_stay_whatever_is_removed(store, fake, tiny, tmp_path, model):
    store.ensure(fake_variant(), NO_LICENCE)
    store.ensure(tiny, NO_LICENCE)
    folder = api.import_model(str(onnx_folder(tmp_path / "m")))
    linked = api.link_model(str(model), name="linked")
    before = store.installed()
    assert removable(store, partials=True) == []
    loose_blob(store)
    (store.folders.root / ("b" * 64)).mkdir()
    (store.folders.root / ("b" * 64) / "x").write_bytes(b"1")
    gone, left = prune(store, removable(store, partials=True))
    assert ([item.what for item in gone], left) == (["a file of no model", "a folder of no model"], [])
    assert sum(item.size for item in gone) == 6
    assert store.installed() == before
    assert store.verify(folder) == store.verify(linked) == []
    assert store.leftovers() == removable(store) == []


@pytest.mark.parametrize("name", ["sha256-" + "a" * 64, "partial-abc", "notes.txt"])
def test_what_no_manifest_names_goes(store, name):
    path = loose_blob(store, name)
    gone, _ = prune(store, removable(store))
    assert [item.path for item in gone] == [path]
    assert list(store.blobs.root.iterdir()) == []


def test_a_download_that_can_go_on_stays_unless_it_is_asked_for(store):
    partial = interrupted_download(store)
    assert removable(store) == []
    (item,) = removable(store, partials=True)
    assert (item.size, item.partial, "tiny:q4_0" in item.what) == (600, True, True)
    assert prune(store, [item]) == ([item], [])
    assert not partial.path.parent.exists()


def test_what_a_download_left_that_cannot_go_on_is_removed(store):
    partial = interrupted_download(store)
    partial.journal.write_text("{")
    gone, _ = prune(store, removable(store))
    assert [item.path for item in gone] == [partial.path.parent]
    assert not partial.path.exists()


def test_what_another_process_is_downloading_stays(store, hold):
    partial = interrupted_download(store)
    process = hold("tiny-1")
    assert held_locks(store) == {"tiny-1"}
    items = removable(store, partials=True)
    assert prune(store, items) == ([], items)
    assert partial.path.stat().st_size == 600
    process.communicate()
    assert prune(store, items) == (items, [])


def test_a_file_of_no_model_stays_while_any_process_is_at_work(store, hold):
    path = loose_blob(store)
    hold("another-model")
    (item,) = removable(store)
    assert prune(store, [item]) == ([], [item])
    assert path.read_bytes() == b"12345"
    assert list(store.blobs.root.iterdir()) == [path]


def test_a_file_that_a_manifest_names_by_now_is_put_back(store, fake, monkeypatch):
    installed = store.ensure(fake_variant(), NO_LICENCE)
    manifest = installed.manifest.read_bytes()
    installed.manifest.unlink()
    (item,) = removable(store)

    def published(_):
        installed.manifest.write_bytes(manifest)
        return set()

    monkeypatch.setattr(pruning, "held_locks", published)
    assert prune(store, [item]) == ([], [item])
    assert store.installed() == [installed]
    assert store.verify(installed) == []


def test_while_a_manifest_is_damaged_only_what_is_unfinished_goes(store, fake):
    installed = store.ensure(fake_variant(), NO_LICENCE)
    manifest = installed.manifest.read_bytes()
    installed.manifest.write_text("{")
    loose_blob(store)
    unfinished = loose_blob(store, "partial-x")
    gone, _ = prune(store, removable(store))
    assert [item.path for item in gone] == [unfinished]
    installed.manifest.write_bytes(manifest)
    assert store.installed() == [installed]


def test_a_manifest_that_is_damaged_by_now_keeps_what_it_may_need(store, fake):
    installed = store.ensure(fake_variant(), NO_LICENCE)
    manifest = installed.manifest.read_bytes()
    installed.manifest.unlink()
    items = removable(store)
    installed.manifest.write_text("{")
    assert prune(store, items) == ([], items)
    installed.manifest.write_bytes(manifest)
    assert store.verify(installed) == []


def test_a_conversion_that_is_under_way_stays_and_an_old_one_goes(store):
    work = store.root / "staging" / "convert-tiny-x"
    work.mkdir(parents=True)
    (work / "model.onnx").write_bytes(b"123")
    assert removable(store) == []
    old = time.time() - pruning.STALE_S - 60
    for path in (work / "model.onnx", work):
        os.utime(path, (old, old))
    gone, _ = prune(store, removable(store))
    assert [(item.path, item.size) for item in gone] == [(work, 3)]
    assert not work.exists()


def test_what_a_killed_import_has_linked_goes_and_the_original_stays(store, model):
    work = store.blobs.root / "partial-x"
    work.mkdir(parents=True)
    (work / "link").hardlink_to(model)
    content = model.read_bytes()
    assert store.leftovers() == [work]
    gone, _ = prune(store, removable(store))
    assert [item.path for item in gone] == [work]
    assert model.read_bytes() == content
    assert store.leftovers() == []


def test_the_record_of_a_link_that_is_gone_goes(store, model):
    linked = api.link_model(str(model))
    linked.manifest.unlink()
    linked.weights_path.unlink()
    (item,) = removable(store)
    assert prune(store, [item]) == ([item], [])
    assert store.links.records() == []


def test_locks_stay_since_somebody_may_wait_at_one(store, fake):
    store.remove(store.ensure(fake_variant(), NO_LICENCE))
    locks = list((store.root / "locks").iterdir())
    assert locks
    prune(store, removable(store, partials=True))
    assert list((store.root / "locks").iterdir()) == locks


def test_a_disk_that_refuses_is_told(store, monkeypatch):
    loose_blob(store)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pruning, "_remove", refuse)
    with pytest.raises(AuditionError) as caught:
        prune(store, removable(store))
    assert caught.value.code == "not_writable"


# What it all takes.


def test_shared_files_count_once_and_are_marked(store, fake, model, tmp_path):
    one = store.ensure(fake_variant("one"), NO_LICENCE)
    two = store.ensure(fake_variant("two"), NO_LICENCE)
    used = usage(store)
    assert used.own_bytes == one.disk_bytes
    assert used.linked_bytes == 0
    assert [kept.same_as for kept in used.kept] == [(two.id,), (one.id,)]


def test_linked_files_are_counted_apart_until_the_original_is_removed(store, model):
    linked = api.link_model(str(model))
    used = usage(store)
    assert (used.own_bytes, used.linked_bytes) == (0, linked.disk_bytes)
    model.unlink()
    used = usage(store)
    assert (used.own_bytes, used.linked_bytes) == (linked.disk_bytes, 0)


def test_what_is_missing_is_told_and_counts_nothing(store, fake):
    installed = store.ensure(fake_variant(), NO_LICENCE)
    installed.weights_path.unlink()
    used = usage(store)
    assert used.own_bytes == 0
    assert "missing" in used.kept[0].problem
    assert used.kept[0].fix == "audition model download tiny:q4_0"


def test_the_lock_of_ones_own_process_counts_too(store):
    (store.root / "locks").mkdir(parents=True)
    with FileLock(store.root / "locks" / "x.lock"):
        assert held_locks(store) == {"x"}
    assert held_locks(store) == set()
