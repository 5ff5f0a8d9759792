"""`models.lock`: names stand for exactly the bytes that it pins, or there is an error that says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audition import api
from audition.errors import AuditionError, UsageError
from audition.models.spec import Variant, VariantFile
from audition.store.lock import Pin, lock_in_force, pin, pinned, read_lock, write_lock
from audition.store.store import StoredFile
from fake_source import NO_LICENCE, fake_variant
from folders import onnx_folder
from ggufs import tiny_metadata, write_gguf

SHA = "a" * 64


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A working folder of this test's own."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AUDITION_LOCK", raising=False)
    return folder


@pytest.fixture
def mine(store, model):
    """A model of the store's own, called `mine`."""
    return api.import_model(str(model), name="mine")


@pytest.fixture
def other(tmp_path):
    """Another model file."""
    return write_gguf(tmp_path / "other.gguf", metadata=tiny_metadata(general__name="Tony"))


def locked(*names):
    return api.lock_models(names, Path("models.lock"))


# Writing.


def test_it_says_source_format_and_every_file(project, mine):
    locked("mine")
    data = json.loads((project / "models.lock").read_text())
    (file,) = mine.files
    assert data == {
        "schema": 1,
        "models": {
            "mine": {
                "id": "mine:q4_0",
                "source": "import:mine:q4_0",
                "revision": None,
                "format": "gguf",
                "quantization": "Q4_0",
                "files": [{"name": "tiny.gguf", "size": file.size, "sha256": file.sha256}],
            }
        },
    }


def test_the_same_models_give_the_same_bytes(project, mine, tmp_path):
    api.import_model(str(onnx_folder(tmp_path / "m")), name="folder")
    locked("mine", "folder")
    first = (project / "models.lock").read_bytes()
    (project / "models.lock").unlink()
    locked("folder")
    locked("mine")
    assert (project / "models.lock").read_bytes() == first
    assert first.endswith(b"}\n")


def test_it_is_read_as_it_was_written(project, mine, tmp_path):
    folder = api.import_model(str(onnx_folder(tmp_path / "m")), name="folder")
    lock = locked("mine", "folder")
    assert read_lock(project / "models.lock") == lock
    assert lock.pins == {"mine": pin(mine), "folder": pin(folder)}
    assert lock.pins["folder"].digest == folder.digest
    assert lock.pins["mine"].digest == mine.digest


def test_without_names_those_in_it_are_pinned_again(store, mine, other):
    locked("mine")
    store.remove(mine)
    again = api.import_model(str(other), name="mine")
    assert locked().pins["mine"].digest == again.digest != mine.digest


@pytest.mark.parametrize(
    ("names", "said"), [([], "no model is named"), (["nowhere"], "nowhere"), (["smollm2-135m"], "is not here")]
)
def test_what_cannot_be_pinned_is_told(project, names, said):
    with pytest.raises(UsageError, match=said) as caught:
        locked(*names)
    assert caught.value.fix
    assert not (project / "models.lock").exists()


def test_where_a_file_lies_here_is_not_written_down(store, tiny, model):
    installed = store.ensure(tiny, NO_LICENCE)
    assert pin(installed).source == "file:tiny.gguf"


# Checking.


def test_what_is_here_is_compared(store, mine, other, project):
    lock = project / "models.lock"
    locked("mine")
    assert api.check_lock(lock) == []
    store.remove(mine)
    (absent,) = api.check_lock(lock)
    assert (absent.state, mine.digest in absent.message) == ("absent", True)
    again = api.import_model(str(other), name="mine")
    (differs,) = api.check_lock(lock)
    assert differs.state == "differs"
    assert mine.digest in differs.message
    assert again.digest in differs.message


def test_the_same_bytes_of_another_name_are_the_same(store, mine, model, project):
    locked("mine")
    store.remove(mine)
    api.link_model(str(model), name="yours")
    assert api.check_lock(project / "models.lock") == []


# In force.


def test_none_is_in_force_where_there_is_none():
    assert lock_in_force() is None


def test_the_one_here_is_in_force_unless_the_variable_says_otherwise(project, mine, monkeypatch, tmp_path):
    locked("mine")
    assert lock_in_force().path == project / "models.lock"
    monkeypatch.setenv("AUDITION_LOCK", "")
    assert lock_in_force() is None
    monkeypatch.setenv("AUDITION_LOCK", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="which is no file"):
        lock_in_force()
    (project / "models.lock").rename(tmp_path / "there")
    monkeypatch.setenv("AUDITION_LOCK", str(tmp_path / "there"))
    assert lock_in_force().pins.keys() == {"mine"}


def test_a_pinned_name_is_found_with_its_digest(mine):
    locked("mine")
    for name in ("mine", "mine:q4_0"):
        spec, variant = api.find_model(name)
        assert [file.sha256 for file in variant.files] == [mine.digest]
        assert api.install(spec, variant).digest == mine.digest


def test_other_bytes_under_the_name_are_refused_with_both_digests(store, mine, other, project):
    locked("mine")
    store.remove(mine)
    again = api.import_model(str(other), name="mine")
    for name in ("mine", "mine:q4_0"):
        spec, variant = api.find_model(name)
        assert store.find(variant) is None
        with pytest.raises(AuditionError) as caught:
            api.install(spec, variant)
        assert caught.value.code == "lock_conflict"
        assert all(text in caught.value.message for text in (mine.digest, again.digest, str(project / "models.lock")))


def test_a_source_that_gives_other_bytes_is_refused_with_both_digests(store, tiny, model, project):
    installed = store.ensure(tiny, NO_LICENCE)
    locked(str(model))
    content = write_gguf(model.parent / "x.gguf", metadata=tiny_metadata(general__name="Tony")).read_bytes()
    store.remove(installed)
    model.write_bytes(content)
    spec, variant = api.find_model(str(model))
    with pytest.raises(AuditionError) as caught:
        api.install(spec, variant)
    assert caught.value.code == "lock_conflict"
    assert installed.digest in caught.value.message
    assert "models.lock" in caught.value.message
    assert store.installed() == []


def test_an_alias_stays_the_variant_that_was_pinned(store, mine, other, home):
    locked("mine")
    entry = {"source": f"file:{other}", "quantization": "Q8_0"}
    (home / "models.json").write_text(json.dumps({"mine": entry}))
    assert api.find_model("mine", locked=False)[1].id == "mine:q8_0"
    spec, variant = api.find_model("mine")
    assert variant.id == "mine:q4_0"
    assert [each.id for each in spec.variants] == ["mine:q4_0"], "an engine has no other choice"
    assert api.find_model("mine:q8_0")[1].files[0].sha256 is None, "what is not pinned is as before"


def test_a_name_that_is_not_in_it_is_as_before(store, mine, other):
    locked("mine")
    api.import_model(str(other), name="yours")
    assert api.find_model("yours")[1] == api.find_model("yours", locked=False)[1]
    assert api.find_models(["mine", "yours"])


def test_a_pinned_revision_of_a_hub_is_asked_for(project):
    source = "hf:owner/Repo:Q4_K_M"
    write_lock(
        project / "models.lock", {"m": Pin("m:q4_k_m", source, "c" * 40, "gguf", "Q4_K_M", (StoredFile("m", 1, SHA),))}
    )
    lock = lock_in_force()
    variant = Variant("m", "gguf", "Q4_K_M", f"{source}@main")
    found = pinned(variant, lock)
    assert found.source == f"{source}@{'c' * 40}"
    assert found.files == (VariantFile("m", 1, SHA),)
    assert pinned(found, lock) == found


@pytest.mark.parametrize("change", [{"source": "hf:evil/Repo:Q4_K_M"}, {"format": "safetensors"}])
def test_a_lock_brings_nothing_in_from_elsewhere(project, change):
    given = {"source": "hf:owner/Repo:Q4_K_M", "format": "gguf"} | change
    one = Pin("m:q4_k_m", given["source"], None, given["format"], "Q4_K_M", (StoredFile("m", 1, SHA),))
    write_lock(project / "models.lock", {"m": one})
    with pytest.raises(AuditionError) as caught:
        pinned(Variant("m", "gguf", "Q4_K_M", "hf:owner/Repo:Q4_K_M"), lock_in_force())
    assert caught.value.code == "lock_conflict"
    assert "owner/Repo" in caught.value.message
    assert "AUDITION_LOCK=" in caught.value.fix


def test_parts_of_a_package_stay_with_their_file(project):
    file = VariantFile("x.gguf", 1, SHA, ("p==1!x",))
    variant = Variant("m", "gguf", "Q4_0", "pypi:p==1", (file,))
    one = Pin("m:q4_0", "pypi:p==1", None, "gguf", "Q4_0", (StoredFile("x.gguf", 1, SHA),))
    write_lock(project / "models.lock", {"m": one})
    assert pinned(variant, lock_in_force()) == variant


def test_bytes_that_are_here_under_another_source_are_not_fetched_again(store, fake, mine, project):
    (file,) = mine.files
    variant = fake_variant("elsewhere")
    one = Pin(variant.id, variant.source, None, "gguf", "Q4_0", (file,))
    write_lock(project / "models.lock", {"elsewhere": one})
    found = store.ensure(pinned(variant, lock_in_force()), NO_LICENCE)
    assert (found.digest, found.id, fake.fetches) == (mine.digest, variant.id, 0)


GOOD = {"id": "m:q", "source": "hf:a/b", "revision": None, "format": "gguf", "quantization": None,
        "files": [{"name": "m", "size": 1, "sha256": SHA}]}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        "", "{", "[]", "7", "{}", '{"schema": 2, "models": {}}', '{"schema": 1}', '{"schema": 1, "models": []}',
        *(json.dumps({"schema": 1, "models": {"m": GOOD | change}}) for change in (
            {"files": []}, {"files": [{"name": "../x", "size": 1, "sha256": SHA}]}, {"more": 1}, {"source": ""},
            {"files": [{"name": "m", "size": -1, "sha256": SHA}]}, {"files": [{"name": "m", "size": 1, "sha256": "b"}]},
        )),
    ],
)  # fmt: skip
def test_a_damaged_lock_is_told_and_never_ignored(project, data):
    (project / "models.lock").write_text(data)
    with pytest.raises(UsageError, match=r"models\.lock"):
        api.find_model("smollm2-135m")


def test_a_lock_that_cannot_be_written_is_told(project, mine, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("audition.store.lock.write_json", refuse)
    with pytest.raises(AuditionError, match="Permission denied"):
        locked("mine")
