"""A model in several GGUF files is installed, verified, linked and removed as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from audition.api import import_model, link_model
from audition.errors import AuditionError, UsageError
from audition.models.catalog import adhoc_spec
from audition.models.gguf import read_gguf_header
from audition.store.folders import folder_digest
from audition.store.store import Store
from ggufs import Tensor, write_split

PARTS = (
    (Tensor("token_embd.weight", (32, 4)),),
    (Tensor("blk.0.ffn_up.weight", (32, 8)),),
    (Tensor("output.weight", (32, 4)),),
)
NAMES = [f"tiny-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "split"
    folder.mkdir()
    return write_split(folder, PARTS)


def test_the_first_part_takes_all_into_a_folder_of_links(store: Store, parts: list[Path]) -> None:
    spec = adhoc_spec(parts[0])
    installed = store.ensure(spec.variants[0], spec.licence)
    assert (spec.alias, [file.name for file in installed.files]) == ("tiny", NAMES)
    path = installed.weights_path
    assert (path.name, sorted(each.name for each in path.parent.iterdir())) == (NAMES[0], NAMES)
    assert path.samefile(store.blobs.path(installed.files[0].sha256))
    assert installed.digest == folder_digest(installed.files)
    assert installed.header == read_gguf_header(parts[0]) == read_gguf_header(path)
    assert (installed.header.parameters, installed.disk_bytes) == (512, sum(part.stat().st_size for part in parts))
    assert store.find(spec.variants[0]) == installed
    assert store.verify(installed) == []


def test_it_leaves_nothing_behind(store: Store, parts: list[Path]) -> None:
    spec = adhoc_spec(parts[0])
    installed = store.ensure(spec.variants[0], spec.licence)
    assert store.leftovers() == []
    assert store.remove(installed) > 0
    assert list(store.blobs.root.iterdir()) == []
    assert not installed.weights_path.parent.exists()


def test_a_folder_that_lost_a_part_is_put_together_again(store: Store, parts: list[Path]) -> None:
    spec = adhoc_spec(parts[0])
    installed = store.ensure(spec.variants[0], spec.licence)
    (installed.weights_path.parent / NAMES[1]).unlink()
    again = store.find(spec.variants[0])
    assert again is not None and read_gguf_header(again.weights_path).parameters == 512


def test_an_edit_of_any_part_is_noticed(store: Store, parts: list[Path]) -> None:
    spec = adhoc_spec(parts[0])
    store.ensure(spec.variants[0], spec.licence)
    parts[2].write_bytes(parts[2].read_bytes() + b"\0")
    assert store.find(spec.variants[0]) is None
    parts[2].unlink()
    assert store.find(spec.variants[0]) is not None, "the copy stays usable without the original"


def test_nothing_is_copied_while_a_part_is_missing(store: Store, parts: list[Path]) -> None:
    parts[1].unlink()
    spec = adhoc_spec(parts[0])
    with pytest.raises(AuditionError, match="a part of the model is missing"):
        store.ensure(spec.variants[0], spec.licence)
    assert not list(store.blobs.root.glob("*"))


def test_another_part_than_the_first_is_refused(store: Store, parts: list[Path]) -> None:
    spec = adhoc_spec(parts[1])
    with pytest.raises(AuditionError, match="is part 2 of 3"):
        store.ensure(spec.variants[0], spec.licence)
    assert not list(store.blobs.root.glob("*"))


@pytest.mark.parametrize("link", [False, True])
def test_an_import_takes_all_parts(store: Store, parts: list[Path], link: bool) -> None:
    installed = (link_model if link else import_model)(str(parts[0]), name="own")
    assert installed.id == "own:q4_0"
    assert [file.name for file in installed.files] == NAMES
    assert read_gguf_header(installed.weights_path).parameters == 512
    assert set(installed.links) == (set(NAMES) if link else set())


def test_a_conversion_says_that_it_takes_one_file(store: Store, parts: list[Path]) -> None:
    with pytest.raises(UsageError, match="is in 3 files") as caught:
        import_model(str(parts[0]), to="onnx-genai")
    assert "merge" in (caught.value.fix or "")


def test_a_manifest_whose_names_would_lead_out_of_the_folder_is_refused(store: Store, parts: list[Path]) -> None:
    spec = adhoc_spec(parts[0])
    installed = store.ensure(spec.variants[0], spec.licence)
    text = installed.manifest.read_text()
    assert text.count(NAMES[1]) == 1
    installed.manifest.write_text(text.replace(NAMES[1], "../../escaped.gguf"))
    with pytest.raises(AuditionError, match="is damaged"):
        store.find(spec.variants[0])
