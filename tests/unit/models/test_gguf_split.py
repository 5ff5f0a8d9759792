"""A model in several GGUF files is one model: its facts are those of all parts, and every part is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audition.models.catalog import alias_of
from audition.models.gguf import GgufError, gguf_parts, read_gguf_header, read_gguf_part
from audition.models.gguf_split import split_names
from ggufs import Tensor, Value, tiny_metadata, write_gguf, write_split

EMBEDDING = Tensor("token_embd.weight", (32, 4), 0)
LAYER = Tensor("blk.0.ffn_up.weight", (32, 8), 2)
OUTPUT = Tensor("output.weight", (32, 4), 8)
PARTS = ((EMBEDDING,), (LAYER, Tensor("blk.1.ffn_up.weight", (32, 8), 2)), (OUTPUT,))


def refusal(path: Path) -> str:
    with pytest.raises(GgufError) as caught:
        read_gguf_header(path)
    assert caught.value.fix
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_first_part_stands_for_all(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    whole = read_gguf_header(
        write_gguf(tmp_path / "whole.gguf", metadata=tiny_metadata(), tensors=[t for part in PARTS for t in part])
    )
    header = read_gguf_header(paths[0])
    assert gguf_parts(paths[0]) == paths
    assert header.parameters == whole.parameters == 128 + 2 * 256 + 128
    assert header.tensor_bytes == whole.tensor_bytes == 512 + 2 * 144 + 136
    assert header.token_bytes == whole.token_bytes == 2 * 144 + 136, (
        "the embeddings lie in another part than the output"
    )
    assert (header.architecture, header.kv, header.vocab_size) == (whole.architecture, whole.kv, whole.vocab_size)


def test_a_model_in_one_file_is_its_own_part(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    assert gguf_parts(path) == [path]
    (only,) = write_split(tmp_path, [[EMBEDDING]])
    assert gguf_parts(only) == [only]


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    paths[1].unlink()
    assert f"a part of the model is missing: {paths[1]}" in refusal(paths[0])


def test_a_later_part_is_not_the_model(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    assert "is part 2 of 3 of a model" in refusal(paths[1])


def test_parts_keep_their_names(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    other = paths[0].rename(tmp_path / "renamed.gguf")
    assert "the first of 3 parts" in refusal(other)
    other = other.rename(tmp_path / "tiny-00001-of-00004.gguf")
    assert "the first of 3 parts" in refusal(other)


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"split__tensors__count": Value("i32", 5)}, "have 4 tensors, and the first one says 5"),
        ({"split__tensors__count": None}, "have 4 tensors, and the first one says 0"),
        ({"split__no": Value("u16", 0)}, "tiny-00002-of-00003.gguf is not part 2"),
    ],
)
def test_parts_have_to_agree(tmp_path: Path, claims: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(write_split(tmp_path, PARTS, **claims)[0])


def test_a_part_of_another_model_is_noticed(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    write_split(tmp_path, [[], [], [], [OUTPUT]], name="other")[3].replace(paths[2])
    assert "tiny-00003-of-00003.gguf is not part 3" in refusal(paths[0])


def test_a_damaged_part_is_noticed(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    with paths[2].open("r+b") as stream:
        stream.truncate(paths[2].stat().st_size - 64)
    assert f"{paths[2]} is truncated" in refusal(paths[0])


def test_each_part_can_be_looked_at_alone(tmp_path: Path) -> None:
    paths = write_split(tmp_path, PARTS)
    for path in paths:
        read_gguf_part(path)
    alone = tmp_path / "alone"
    alone.mkdir()
    read_gguf_part(paths[2].rename(alone / "x"))
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    with pytest.raises(GgufError, match="truncated"):
        read_gguf_part(paths[1])


def test_a_claim_of_very_many_parts_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tiny-00001-of-65535.gguf"
    write_gguf(path, metadata=tiny_metadata(split__no=0, split__count=Value("u16", 65_535)))
    assert "tiny-00002-of-65535.gguf" in refusal(path)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a-00002-of-00003.gguf", ("a-00001-of-00003.gguf", "a-00002-of-00003.gguf", "a-00003-of-00003.gguf")),
        ("A-00001-of-00001.GGUF", ("A-00001-of-00001.GGUF",)),
        ("a-00004-of-00003.gguf", ("a-00004-of-00003.gguf",)),
        ("a-00000-of-00003.gguf", ("a-00000-of-00003.gguf",)),
        ("a-1-of-3.gguf", ("a-1-of-3.gguf",)),
        ("a.gguf", ("a.gguf",)),
    ],
)
def test_the_names_of_parts(name: str, names: tuple[str, ...]) -> None:
    assert split_names(name) == names


def test_a_part_gives_the_model_its_name() -> None:
    assert alias_of(Path("Big Model-00001-of-00003.gguf")) == "big-model"
