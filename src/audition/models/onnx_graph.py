"""What an ONNX graph says about its weights, read from the protobuf within fixed bounds; no tensor is read.

Only the fields that matter are looked at (`onnx.proto`: ModelProto.graph, GraphProto, NodeProto, TensorProto), so that
neither the `onnx` package nor a runtime is needed to say what a folder lacks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from audition.models.header import ModelFileError
from audition.text import one_line, printable

# A step is one field of one message: about two microseconds. The graphs of known models take 20,000 to 500,000.
_MAX_STEPS = 3_000_000
_MAX_TEXT = 4096
_MAX_TEXTS = 64 * 2**20  # of all of them: names stay in memory
_MAX_DEPTH = 4
_WINDOW = 64 * 2**10

# TensorProto.DataType: name, and bits of one element.
_TYPES = {
    **{1: ("F32", 32), 2: ("U8", 8), 3: ("I8", 8), 4: ("U16", 16), 5: ("I16", 16), 6: ("I32", 32), 7: ("I64", 64)},
    **{9: ("BOOL", 8), 10: ("F16", 16), 11: ("F64", 64), 12: ("U32", 32), 13: ("U64", 64), 16: ("BF16", 16)},
    **{17: ("F8", 8), 18: ("F8", 8), 19: ("F8", 8), 20: ("F8", 8), 21: ("INT4", 4), 22: ("INT4", 4), 23: ("F4", 4)},
}
# Which inputs an operator takes rows of: embeddings (with their scales and zero points), and the angles of positions.
_LOOKUPS = {"Gather": (0,), "GatherBlockQuantized": (0, 2, 3), "GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3)}


class Span(NamedTuple):
    """Where a message, a text or packed numbers lie in the file."""

    start: int
    end: int


@dataclass(slots=True)
class Graph:
    """What one `.onnx` file says about its weights.

    Attributes:
        external: The files beside it that hold weights, and how many bytes each has to have.
        bytes_by_tensor: The bytes of each weight.
        bytes_by_type: The same, by the type of their elements.
        quantized: How many weights each width of bits has, in the operators for packed ones.
        read: The weights that operators take whole.
        looked_up: The weights of which an operator takes the rows of some tokens.
        has_experts: Whether operators take only some of their weights for a token.
        cache_bits: Of one number in the key-value cache.
    """

    external: dict[str, int] = field(default_factory=dict)
    bytes_by_tensor: dict[bytes, int] = field(default_factory=dict)
    bytes_by_type: Counter[str] = field(default_factory=Counter)
    quantized: Counter[int] = field(default_factory=Counter)
    read: set[bytes] = field(default_factory=set)
    looked_up: set[bytes] = field(default_factory=set)
    has_experts: bool = False
    cache_bits: int | None = None

    @property
    def tensor_bytes(self) -> int:
        """The bytes of all weights."""
        return sum(self.bytes_by_tensor.values())

    @property
    def lookup_bytes(self) -> int:
        """The bytes of the weights that are only looked up."""
        return sum(self.bytes_by_tensor.get(name, 0) for name in self.looked_up - self.read)

    @property
    def quantization(self) -> str | None:
        """The width of most packed weights, else the type of most bytes."""
        if self.quantized:
            return f"INT{self.quantized.most_common(1)[0][0]}"
        largest = self.bytes_by_type.most_common(1)
        return largest[0][0] if largest else None


def read_graph(path: Path) -> Graph:
    """Read what a `.onnx` file says about its weights.

    Raises:
        ModelFileError: It cannot be read, is no ONNX graph, or is too large to be one.
    """
    name = printable(path.name)
    try:
        with path.open("rb") as stream:
            wire = _Wire(stream, os.fstat(stream.fileno()).st_size, name)
            graph, found = Graph(), False
            for number, value in wire.fields(Span(0, wire.size)):
                if number == 7 and isinstance(value, Span):
                    _read_graph(wire, value, graph, 0)
                    found = True
            if not found:
                raise ModelFileError(f"{name} is no ONNX model: it has no graph", fix="download it again")
            return graph
    except OSError as error:
        raise ModelFileError(f"cannot read {name}: {error.strerror or error}", fix="check the path") from error


class _Wire:
    """A protobuf file, read one window at a time: lengths are checked before anything is read."""

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self._stream = stream
        self._window = b""
        self._start = 0
        self._steps = _MAX_STEPS
        self._text_left = _MAX_TEXTS

    def damaged(self) -> ModelFileError:
        return ModelFileError(f"{self.name} is damaged, or no ONNX model", fix="download it again")

    def fields(self, span: Span) -> Iterator[tuple[int, int | Span]]:
        """Yield number and value of each field of a message: an integer, or where its bytes lie."""
        at = span.start
        while at < span.end:
            self._steps -= 1
            if self._steps < 0:
                raise ModelFileError(f"{self.name} has more parts than any known model's graph")
            key, at = self._varint(at)
            kind, value = key & 7, Span(at, at)
            if kind == 0:
                number, at = self._varint(at)
                yield key >> 3, number
                continue
            if kind == 2:
                length, at = self._varint(at)
                value = Span(at, at + length)
            elif kind == 1:
                value = Span(at, at + 8)
            elif kind == 5:
                value = Span(at, at + 4)
            else:
                raise self.damaged()
            at = value.end
            if at > span.end:
                raise self.damaged()
            yield key >> 3, value
        if at != span.end:
            raise self.damaged()

    def text(self, span: Span) -> bytes:
        """Return a short text."""
        self._text_left -= span.end - span.start
        if span.end - span.start > _MAX_TEXT or self._text_left < 0:
            raise self.damaged()
        return self._take(span.start, span.end - span.start)

    def integers(self, value: int | Span) -> list[int]:
        """Return one integer, or the packed ones."""
        if isinstance(value, int):
            return [value]
        numbers, at = list[int](), value.start
        while at < value.end and len(numbers) < 64:
            number, at = self._varint(at)
            numbers.append(number)
        return numbers

    def _varint(self, at: int) -> tuple[int, int]:
        shift = result = 0
        while True:
            index = at - self._start
            if not 0 <= index < len(self._window):
                self._take(at, 1)
                index = 0
            byte = self._window[index]
            at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result, at
            shift += 7
            if shift > 63:
                raise self.damaged()

    def _take(self, at: int, count: int) -> bytes:
        index = at - self._start
        if not 0 <= index <= len(self._window) - count:
            if at + count > self.size:
                raise self.damaged()
            self._stream.seek(at)
            self._window, self._start, index = self._stream.read(max(count, _WINDOW)), at, 0
            if len(self._window) < count:
                raise self.damaged()
        return self._window[index : index + count]


def _read_graph(wire: _Wire, span: Span, graph: Graph, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise wire.damaged()
    for number, value in wire.fields(span):
        if not isinstance(value, Span):
            continue
        if number == 1:
            _read_node(wire, value, graph, depth)
        elif number == 5:
            _read_tensor(wire, value, graph)
        elif number == 11 and graph.cache_bits is None:
            graph.cache_bits = _cache_bits(wire, value)


def _read_node(wire: _Wire, span: Span, graph: Graph, depth: int) -> None:
    kind, inputs, attributes = b"", list[bytes](), dict[bytes, int]()
    for number, value in wire.fields(span):
        if not isinstance(value, Span):
            continue
        if number == 1:
            inputs.append(wire.text(value))
        elif number == 4:
            kind = wire.text(value)
        elif number == 5:
            name, integer = b"", None
            for inner, content in wire.fields(value):
                if inner == 1 and isinstance(content, Span):
                    name = wire.text(content)
                elif inner == 3 and isinstance(content, int):
                    integer = content
                elif inner == 6 and isinstance(content, Span):
                    _read_graph(wire, content, graph, depth + 1)
            if integer is not None:
                attributes[name] = integer
    operator = kind.decode(errors="replace")
    rows = _LOOKUPS.get(operator, ())
    for position, weight in enumerate(inputs):
        (graph.looked_up if position in rows else graph.read).add(weight)
    graph.has_experts |= operator in ("MoE", "QMoE")
    bits = attributes.get(b"bits", 4)
    if operator == "MatMulNBits" and 1 <= bits <= 16:
        graph.quantized[bits] += attributes.get(b"K", 0) * attributes.get(b"N", 0)


def _read_tensor(wire: _Wire, span: Span, graph: Graph) -> None:
    name, dtype, count, inline, stored = b"", 0, 1, 0, dict[str, str]()
    is_external = False
    for number, value in wire.fields(span):
        if number == 1:
            for side in wire.integers(value):
                count = min(count * side, 2**62)
        elif number == 2 and isinstance(value, int):
            dtype = value
        elif number == 8 and isinstance(value, Span):
            name = wire.text(value)
        elif number == 13 and isinstance(value, Span):
            pair = [
                wire.text(text).decode(errors="replace") for _, text in wire.fields(value) if isinstance(text, Span)
            ]
            if len(pair) == 2:
                stored[pair[0]] = pair[1]
        elif number == 14:
            is_external = value == 1
        elif number == 9 and isinstance(value, Span):
            inline = value.end - value.start
    type_name, bits = _TYPES.get(dtype, ("unknown", 0))
    size = -(-count * bits // 8)
    if is_external or "location" in stored:
        location = stored.get("location", "")
        offset, length = (_decimal(wire, stored.get(key)) for key in ("offset", "length"))
        size = size if length is None else length
        needed = (offset or 0) + size
        graph.external[location] = max(graph.external.get(location, 0), needed)
    elif inline:
        size = inline
    graph.bytes_by_tensor[name] = size
    graph.bytes_by_type[type_name] += size


def _cache_bits(wire: _Wire, span: Span) -> int | None:
    """Return the bits of one element of a graph's input, if it is a past key or value (ValueInfoProto)."""
    is_cache, bits = False, None
    for number, value in wire.fields(span):
        if not isinstance(value, Span):
            continue
        if number == 1:
            is_cache = wire.text(value).startswith(b"past")
        elif number == 2 and is_cache:
            for kind, tensor in wire.fields(value):
                if kind == 1 and isinstance(tensor, Span):
                    types = [content for inner, content in wire.fields(tensor) if inner == 1]
                    bits = _TYPES.get(types[0], ("", 0))[1] if types and isinstance(types[0], int) else None
    return bits or None


def _decimal(wire: _Wire, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise ModelFileError(f"{wire.name} places weights at {one_line(text, 40)!r}", fix="download it again")
    return int(text)
