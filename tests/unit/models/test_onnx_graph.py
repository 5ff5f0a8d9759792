"""ONNX graphs: what is read out of the protobuf, and what is refused."""

from __future__ import annotations

import time

import pytest

import folders
from audition.models.header import ModelFileError
from audition.models.onnx_graph import Graph, read_graph
from folders import graph, node, part, tensor, varint


@pytest.fixture
def read(tmp_path):
    def read(content: bytes) -> Graph:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return read_graph(path)

    return read


def test_weights_and_where_they_lie(read):
    found = read(folders.tiny_graph())
    assert found.external == {"model.onnx.data": 640}
    assert found.bytes_by_tensor == {b"embed": 512, b"head_Q4": 64, b"head_scales": 64, b"norm": 32}
    assert found.tensor_bytes == 672
    assert found.lookup_bytes == 512, "the embedding table is only looked up"
    assert found.quantization == "INT4"
    assert found.cache_bits == 32


def test_a_table_that_the_output_shares_is_read_whole(read):
    nodes = [node("GatherBlockQuantized", "t", "ids", "s"), node("MatMulNBits", "x", "t", "s", K=8, N=16, bits=8)]
    found = read(graph(nodes, [tensor("t", [128], folders.UINT8), tensor("s", [4])]))
    assert (found.tensor_bytes, found.lookup_bytes, found.quantization) == (144, 0, "INT8")


def test_without_packed_weights_the_type_of_most_bytes_counts(read):
    tensors = [tensor("a", [100], 10), tensor("b", [10], 1), tensor("c", [3], 999)]
    found = read(graph([node("MatMul", "x", "a"), node("Mul", "b", "c")], tensors))
    assert (found.quantization, found.tensor_bytes) == ("F16", 240)


def test_experts_are_noticed_and_so_are_graphs_within_graphs(read):
    inner = part(1, node("QMoE", "x", "w")) + part(5, tensor("w", [4]))
    branch = part(4, "If") + part(5, part(1, "then_branch") + part(6, inner))
    found = read(graph([branch], []))
    assert found.has_experts
    assert found.tensor_bytes == 16


def test_the_size_of_weights_without_a_length_comes_from_their_shape(read):
    found = read(graph([], [tensor("a", [10, 10], 16, location="w.bin", offset=100)]))
    assert found.external == {"w.bin": 300}


DEEP = b""
for _ in range(9):
    DEEP = part(1, part(4, "If") + part(5, part(6, DEEP)))

BAD = {
    "empty": b"",
    "text": b"just some notes\n" * 10,
    "a web page": b"<!DOCTYPE html><html></html>",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00",
    "no graph": part(1, 10),
    "cut": folders.tiny_graph()[:-10],
    "a length past the end": varint(7 << 3 | 2) + varint(2**40),
    "a varint without an end": b"\xff" * 20,
    "groups": varint(7 << 3 | 3),
    "a part that leaves its message": part(7, varint(1 << 3 | 2) + varint(100)),
    "an offset that is no number": graph([], [tensor("a", [1], location="x", offset="-1")]),
    "an endless offset": graph([], [tensor("a", [1], location="x", offset="9" * 4000)]),
    "a name that is a book": graph([node("x" * 100_000)], []),
    "too deep": part(7, DEEP),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_graph_is_refused_in_one_sentence(read, name):
    with pytest.raises(ModelFileError) as caught:
        read(BAD[name])
    assert caught.value.code == "bad_model_file"
    assert "model.onnx" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


def test_huge_shapes_cost_nothing_and_overflow_nothing(read):
    found = read(graph([], [tensor("a", [2**62] * 10)]))
    assert found.tensor_bytes < 2**70


def test_a_graph_of_millions_of_parts_is_given_up(read):
    begun = time.monotonic()
    with pytest.raises(ModelFileError, match="more parts"):
        read(part(7, b"\x10\x00" * 4_000_000))
    assert time.monotonic() - begun < 60


def test_the_tensor_data_is_never_read(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(graph([], [tensor("a", [25_000_000], inline=b"\0" * 100_000_000)]))
    begun = time.monotonic()
    assert read_graph(path).tensor_bytes == 100_000_000
    assert time.monotonic() - begun < 5
