"""The header of `.safetensors` files."""

from __future__ import annotations

import json
import struct

import pytest

from audition.models.header import ModelFileError
from audition.models.safetensors import read_tensors
from folders import EMBEDDING, HEAD, NORM, safetensors


def written(path, content):
    path.write_bytes(content)
    return path


def test_tensors_add_up_over_files(tmp_path):
    one = written(tmp_path / "1.safetensors", safetensors(EMBEDDING, NORM))
    two = written(tmp_path / "2.safetensors", safetensors(HEAD))
    found = read_tensors([one, two])
    assert found.elements == 16 * 8 * 2 + 8
    assert found.bytes_by_type == {"BF16": 512, "F32": 32}
    assert found.quantization == "BF16"
    assert found.lookup_bytes == 256, "the output has a matrix of its own"


def test_a_shared_table_is_read_whole(tmp_path):
    assert read_tensors([written(tmp_path / "m.safetensors", safetensors(EMBEDDING))]).lookup_bytes == 0


def test_metadata_is_no_tensor_and_half_bytes_are_counted(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}
    content = json.dumps(header).encode()
    path = written(tmp_path / "m.safetensors", struct.pack("<Q", len(content)) + content + b"\0\0")
    assert read_tensors([path]).bytes_by_type == {"F4": 2}


def raw(header, data=b"\0" * 8):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def one(**changes):
    return raw({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}})


BAD = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "a length past the end": struct.pack("<Q", 2**63) + b"{}",
    "a pickle": b"\x80\x04\x95" + b"\0" * 100,
    "no JSON": raw(b"nonsense"),
    "deep JSON": raw(b"[" * 100_000),
    "a list": raw([1, 2]),
    "an unknown type": one(dtype="F3"),
    "a type that is a list": one(dtype=["F32"]),
    "another size than its shape": one(shape=[3]),
    "a negative side": one(shape=[-2]),
    "a true side": one(shape=[True, 2]),
    "an endless shape": one(shape=[2**39] * 16),
    "no offsets": raw({"a": {"dtype": "F32", "shape": [2]}}),
    "offsets the wrong way": one(data_offsets=[8, 0]),
    "offsets that are text": one(data_offsets=["0", "8"]),
    "cut": one()[:-1],
    "a tensor that is a number": raw({"a": 7}),
    "overlapping": raw(
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in ("a", "b")},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_contradicts_itself_is_refused_in_one_sentence(tmp_path, name):
    with pytest.raises(ModelFileError) as caught:
        read_tensors([written(tmp_path / "m.safetensors", BAD[name])])
    assert "m.safetensors" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_header_larger_than_the_format_allows_is_not_read(tmp_path):
    path = tmp_path / "m.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 200_000_000))
        stream.truncate(300_000_000)
    with pytest.raises(ModelFileError, match="200,000,000"):
        read_tensors([path])
