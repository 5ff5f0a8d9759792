"""Models that are folders, in the store."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

import pytest

import folders
from audition.errors import AuditionError, UsageError
from audition.models.catalog import adhoc_spec
from audition.models.spec import Licence, LicenceClass, Variant
from audition.store.store import Store
from fake_source import NO_LICENCE
from folders import FOLDERS, hf_folder, onnx_folder

VARIANT = Variant("mine", "onnx-genai", "INT4", "import:mine:int4")
PROVENANCE = {"imported_from": "somewhere"}


def add(store, folder, variant=VARIANT):
    return store.add(variant, folder, NO_LICENCE, provenance=PROVENANCE, parameters=136)


def files_in(store):
    return sorted(path for path in store.root.rglob("*") if path.is_file() and path.parent.name != "locks")


@pytest.mark.parametrize("format_", FOLDERS)
def test_a_folder_that_is_named_by_its_path_is_installed_like_a_file(store, tmp_path, format_):
    folder = FOLDERS[format_](tmp_path / "My model")
    variant = adhoc_spec(folder).variants[0]
    installed = store.ensure(variant, NO_LICENCE)
    assert (installed.id, installed.format) == (f"my-model:{format_}", format_)
    names = sorted(path.name for path in folder.iterdir())
    assert [file.name for file in installed.files] == names
    assert sorted(path.name for path in installed.weights_path.iterdir()) == names
    assert all((installed.weights_path / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert not any(path.is_symlink() for path in installed.weights_path.iterdir())
    assert Store().find(variant) == installed == store.installed()[0]
    assert store.verify(installed) == []
    assert store.leftovers() == []


def test_its_files_are_on_the_disk_once(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    for file in installed.files:
        assert (installed.weights_path / file.name).samefile(store.blobs.path(file.sha256))
    # Two of the files are equal: one blob.
    assert installed.disk_bytes == sum(path.stat().st_size for path in store.blobs.root.iterdir())


def test_its_digest_is_that_of_names_and_contents(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    installed = add(store, folder)
    lines = sorted(f"{p.name} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in folder.iterdir())
    assert installed.digest == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert installed.weights_path.name == installed.digest


def test_where_the_disk_knows_no_links_files_are_copied(store, tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("no links here")

    monkeypatch.setattr(type(tmp_path), "hardlink_to", refuse)
    installed = add(store, onnx_folder(tmp_path / "m"))
    copy = installed.weights_path / "model.onnx"
    assert copy.stat().st_nlink == 1
    assert store.verify(installed) == []
    copy.write_bytes(b"x" * copy.stat().st_size)
    assert store.verify(installed) == [f"model.onnx in {installed.weights_path} is not what was stored"]


def lose_all(folder):
    shutil.rmtree(folder)


def lose_one(folder):
    (folder / "model.onnx").unlink()


def cut_one(folder):
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").write_bytes(b"x")


@pytest.mark.parametrize("harm", [lose_all, lose_one, cut_one])
def test_a_folder_that_is_not_whole_is_made_again(store, tmp_path, harm):
    installed = add(store, onnx_folder(tmp_path / "m"))
    harm(installed.weights_path)
    assert store.find(VARIANT) == installed
    assert store.verify(installed) == []
    assert sorted(path.name for path in installed.weights_path.iterdir()) == [file.name for file in installed.files]


def test_verify_finds_changes_and_strangers(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    (installed.weights_path / "generation_config.json").write_text("{}")
    (problem,) = store.verify(installed)
    assert "generation_config.json" in problem
    weights = installed.weights_path / "model.onnx.data"
    weights.write_bytes(b"\1" * weights.stat().st_size)
    (problem,) = store.verify(installed)
    assert "model.onnx.data has changed on the disk" in problem


def test_a_blob_that_is_gone_means_that_it_is_not_installed(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    store.blobs.path(installed.files[0].sha256).unlink()
    assert store.find(VARIANT) is None
    assert store.installed() == []


def test_removing_takes_the_folder_too(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    assert store.remove(installed) == installed.disk_bytes
    assert files_in(store) == []
    assert not installed.weights_path.exists()


def test_what_another_variant_needs_stays(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    one = add(store, folder)
    two = add(store, folder, Variant("other", "onnx-genai", "INT4", "import:other:int4"))
    shared = add(store, hf_folder(tmp_path / "h"), Variant("third", "safetensors", "BF16", "import:third:bf16"))
    assert one.weights_path == two.weights_path
    assert store.remove(one) == 0
    assert store.verify(two) == []
    assert store.remove(two) < two.disk_bytes, "the third has the same empty tokenizer"
    assert store.verify(shared) == []


def test_folders_that_no_manifest_names_are_leftovers(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    stray = store.root / "folders" / ("b" * 64) / "model.onnx"
    half = store.root / "folders" / "partial-x" / "model.onnx"
    for path in (stray, half):
        path.parent.mkdir()
        path.write_bytes(b"x")
    assert store.leftovers() == sorted([stray, half])
    assert store.verify(installed) == []


def test_an_import_is_written_down_with_where_it_came_from(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    data = json.loads(installed.manifest.read_text())
    assert (data["schema"], data["provenance"], data["source"]) == (1, PROVENANCE, "import:mine:int4")
    assert installed.header.parameters == 136, "its files do not tell, whoever imported it did"
    assert Store().installed()[0].provenance == PROVENANCE


def test_importing_the_same_again_changes_nothing(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    installed = add(store, folder)
    assert add(store, folder) == installed


def test_another_one_of_the_same_name_is_refused_and_leaves_nothing(store, tmp_path):
    installed = add(store, onnx_folder(tmp_path / "m"))
    before = files_in(store)
    with pytest.raises(UsageError, match="another model called mine:int4") as caught:
        add(store, onnx_folder(tmp_path / "other", **{"tokenizer.json": {"a": 1}}))
    assert "--name" in caught.value.fix
    assert files_in(store) == before
    assert store.verify(installed) == []


@pytest.mark.parametrize(
    "change",
    [
        {"genai_config.json": None},
        {"model.onnx.data": None},
        {"model.onnx": folders.POINTER},
        {"tokenizer.json": None},
    ],
)
def test_a_folder_that_no_engine_could_load_is_not_copied(store, tmp_path, change):
    with pytest.raises(AuditionError) as caught:
        add(store, onnx_folder(tmp_path / "m", **change))
    assert caught.value.code == "bad_model_file"
    assert files_in(store) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own there")
def test_a_link_that_leads_out_is_refused(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    (folder / "vocab.txt").symlink_to("/etc/hosts")
    with pytest.raises(AuditionError, match="leads out"):
        add(store, folder)
    assert files_in(store) == []


def test_a_folder_that_changes_during_the_copy_is_looked_at_again(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")

    def harm(what, done, total):
        (folder / "model.onnx.data").write_bytes(b"")

    with pytest.raises(AuditionError):
        store.add(VARIANT, folder, NO_LICENCE, harm, provenance={})
    assert store.installed() == []
    assert files_in(store) == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "", ".", "..", "a\\b", "MODEL.onnx"])
def test_a_manifest_whose_names_lead_out_is_damaged(store, tmp_path, name):
    installed = add(store, onnx_folder(tmp_path / "m"))
    data = json.loads(installed.manifest.read_text())
    data["files"].append(data["files"][0] | {"name": name})
    installed.manifest.write_text(json.dumps(data))
    assert store.installed() == []
    assert "damaged" in store.damaged()[0].message


def test_a_manifest_of_before_is_still_read(store, tiny):
    installed = store.ensure(tiny, NO_LICENCE)
    data = json.loads(installed.manifest.read_text())
    del data["provenance"], data["header"]["kv"]["element_bytes"], data["header"]["token_bytes"]
    installed.manifest.write_text(json.dumps(data))
    found = store.find(tiny)
    assert (found.provenance, found.header.kv.element_bytes) == (None, 2.0)


def test_the_licence_of_a_model_card_is_taken(store, tmp_path):
    folder = hf_folder(tmp_path / "m", **{"README.md": "---\nlicense: gemma\n---\n"})
    installed = store.ensure(adhoc_spec(folder).variants[0], NO_LICENCE)
    assert installed.licence == Licence("gemma", LicenceClass.USE_RESTRICTED, "model card")


def test_a_changed_original_is_copied_again(store, tmp_path):
    folder = onnx_folder(tmp_path / "m")
    variant = adhoc_spec(folder).variants[0]
    old = store.ensure(variant, NO_LICENCE)
    folders.write(folder, {"chat_template.jinja": "another"})
    assert store.find(variant) is None
    new = store.ensure(variant, NO_LICENCE)
    assert new.digest != old.digest
    shutil.rmtree(folder)
    assert store.ensure(variant, NO_LICENCE) == new, "the copy stays usable"
