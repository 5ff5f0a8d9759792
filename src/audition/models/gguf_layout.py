"""The layout of a GGUF file, read within fixed bounds of time and memory.

A model file comes from the network, so nothing in it is believed: each length is checked against the bytes
that are left before anything is read, and lists of tokens are walked, never built. What is refused is refused
with one sentence. The rules are those of llama.cpp (`ggml/src/gguf.cpp`); the bounds are tighter.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from audition.models.gguf_source import GgufError, Source
from audition.models.gguf_types import TENSOR_TYPES
from audition.models.git_lfs import IS_POINTER, POINTER, PULL
from audition.text import one_line

_STEPS_PER_PAIR = 25
_STEPS_PER_TENSOR = 25
_MAX_STRING_BYTES = 16 * 2**20
_MAX_LAYERS = 4096
_MAX_ALIGNMENT = 2**20
_MAX_DIMENSIONS = 4

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_COUNTS = struct.Struct("<QQ")
_ARRAY_HEAD = struct.Struct("<IQ")
_TENSOR_TAILS = [struct.Struct(f"<{rank}QIQ") for rank in range(_MAX_DIMENSIONS + 1)]  # shape, type, offset
_BOOL = 7
_STRING = 8
_ARRAY = 9
_INTEGERS = {
    code: struct.Struct(f"<{letter}")
    for code, letter in {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}.items()
}
_WIDTHS = {code: layout.size for code, layout in _INTEGERS.items()} | {6: 4, _BOOL: 1, 12: 8}  # f32, bool, f64


class _Entry(NamedTuple):
    """Where a value is: `length` elements, or the bytes of a string that stands alone."""

    kind: int
    is_array: bool
    length: int
    offset: int


class Metadata:
    """The key-value pairs, as an index into the file: a value is read when it is asked for.

    Args:
        source: The file, at the first pair.
        pairs: How many there are.
        leading: Stop at the first of the tokenizer's lists of strings: of that only the length is known.
    """

    def __init__(self, source: Source, pairs: int, *, leading: bool = False) -> None:
        self._source = source
        self._entries: dict[bytes, _Entry] = {}
        for _ in range(pairs):
            key = source.take_name()
            if not key:
                raise source.damaged("its header has an empty key")
            if key in self._entries:
                raise source.damaged(f"its header has the key {_shown(key)} twice")
            entry = self._entries[key] = self._value(key)
            if leading and entry.is_array and entry.kind == _STRING and key.startswith(b"tokenizer."):
                source.expect(entry.length * _U64.size)
                break
            self._skip(key, entry)

    def _value(self, key: bytes) -> _Entry:
        source = self._source
        (kind,) = source.unpack(_U32)
        is_array, length = kind == _ARRAY, 1
        if is_array:
            kind, length = source.unpack(_ARRAY_HEAD)
        elif kind == _STRING:
            (length,) = source.unpack(_U64)
        if kind not in _WIDTHS and kind != _STRING:
            nested = " in an array" if is_array else ""  # llama.cpp knows no arrays of arrays
            raise source.damaged(f"its key {_shown(key)} has a value of the unknown type {kind}{nested}")
        return _Entry(kind, is_array, length, source.position)

    def _skip(self, key: bytes, entry: _Entry) -> None:
        if entry.kind in _WIDTHS:
            self._source.skip(entry.length * _WIDTHS[entry.kind])
        elif entry.is_array:
            self._source.skip_strings(entry.length)
        else:
            self._source.skip(entry.length)
            if entry.length > _MAX_STRING_BYTES:
                raise self._source.damaged(f"its key {_shown(key)} has a text of {entry.length:,} bytes")

    def keys(self, prefix: bytes) -> list[bytes]:
        """Return the keys that begin with `prefix`, sorted."""
        return sorted(key for key in self._entries if key.startswith(prefix))

    def array_length(self, key: bytes) -> int | None:
        """Return how many elements the array at `key` has."""
        entry = self._entries.get(key)
        return entry.length if entry is not None and entry.is_array else None

    def raw_text(self, key: bytes, limit: int) -> bytes:
        """Return the first `limit` bytes of the text at `key`; nothing when there is no text."""
        entry = self._entries.get(key)
        if entry is None or entry.kind != _STRING or entry.is_array or entry.length == 0:
            return b""  # an empty text needs no read, and a hostile file can have very many
        return self._source.take_at(entry.offset, min(entry.length, limit))

    def text(self, key: bytes) -> str | None:
        """Return the text at `key` as one printable line, cut to 200 characters."""
        return one_line(self.raw_text(key, 4096).decode(errors="replace")) or None

    def integers(self, key: bytes, *, at_most: int = 1) -> tuple[int, ...]:
        """Return the integer or the array of integers at `key`; nothing when there is no such key."""
        entry = self._entries.get(key)
        if entry is None:
            return ()
        if entry.kind not in _INTEGERS or entry.length > at_most:
            raise self._source.damaged(f"the value of its key {_shown(key)} has the wrong type or length")
        layout = _INTEGERS[entry.kind]
        values = self._source.take_at(entry.offset, entry.length * layout.size)
        return tuple(number for (number,) in layout.iter_unpack(values))

    def size(self, key: bytes) -> int | None:
        """Return the size or count at `key`."""
        return next(iter(self._sizes(key, at_most=1)), None)

    def sizes(self, key: bytes) -> int | tuple[int, ...] | None:
        """Return the size or count at `key`, or one for each layer where the file has an array."""
        numbers = self._sizes(key, at_most=_MAX_LAYERS)
        return numbers if numbers and self._entries[key].is_array else next(iter(numbers), None)

    def flags(self, key: bytes) -> int | tuple[int, ...] | None:
        """Return the number at `key`, or a 0 or 1 for each layer where the file has an array of them."""
        entry = self._entries.get(key)
        if entry is None or entry.kind != _BOOL:
            return self.sizes(key)
        if entry.length > _MAX_LAYERS:
            raise self._source.damaged(f"the value of its key {_shown(key)} has the wrong type or length")
        return tuple(int(flag != 0) for flag in self._source.take_at(entry.offset, entry.length))

    def _sizes(self, key: bytes, *, at_most: int) -> tuple[int, ...]:
        numbers = self.integers(key, at_most=at_most)
        for number in numbers:
            if not 0 <= number < 2**32:
                raise self._source.damaged(f"its key {_shown(key)} has the impossible value {number}")
        return numbers


@dataclass(frozen=True, slots=True)
class Tensors:
    """What the descriptions of all tensors add up to.

    Attributes:
        count: How many there are.
        elements: How many numbers they hold.
        bytes_by_type: The bytes of the tensors of each known type.
        has_unknown_type: Whether a tensor has another type; its size cannot be known.
        embedding_bytes: Of the token embeddings.
        has_output: Whether there is an output matrix.
        expert_bytes: Of the tensors that hold all experts of a layer, of which a token takes a few.
        data_offset: Where in the file their data starts.
        room: The bytes from there to the end of the file.
    """

    count: int
    elements: int
    bytes_by_type: Counter[str]
    has_unknown_type: bool
    embedding_bytes: int
    has_output: bool
    expert_bytes: int
    data_offset: int
    room: int

    @property
    def stored_bytes(self) -> int:
        """The bytes of tensor data; with a type that is not known, those that can be nothing else."""
        return self.room if self.has_unknown_type else self.bytes_by_type.total()

    @property
    def lookup_bytes(self) -> int:
        """The bytes of the token embeddings where they are only looked up: a row a token."""
        # Without an output matrix of its own a model multiplies with the embeddings, all of them.
        return self.embedding_bytes if self.has_output else 0

    def __add__(self, other: Tensors) -> Tensors:
        """Return what the tensors of two parts of one model add up to."""
        return Tensors(
            self.count + other.count,
            self.elements + other.elements,
            self.bytes_by_type + other.bytes_by_type,
            self.has_unknown_type or other.has_unknown_type,
            self.embedding_bytes + other.embedding_bytes,
            self.has_output or other.has_output,
            self.expert_bytes + other.expert_bytes,
            self.data_offset,
            self.room + other.room,
        )


def read_layout(source: Source) -> tuple[int, Metadata, Tensors]:
    """Return the format's version, the metadata and the tensors of a whole GGUF file.

    Raises:
        GgufError: The bytes are no GGUF file that can be read.
    """
    version, pair_count, tensor_count = _read_head(source)
    metadata = Metadata(source, pair_count)
    return version, metadata, _read_tensors(source, tensor_count, _alignment(source, metadata))


def read_leading(source: Source) -> tuple[int, Metadata]:
    """Return the format's version, and the metadata as far as the first of the tokenizer's lists.

    Raises:
        GgufError: The bytes are no GGUF file that can be read.
    """
    version, pair_count, _ = _read_head(source)
    return version, Metadata(source, pair_count, leading=True)


def _read_head(source: Source) -> tuple[int, int, int]:
    """Return the version, and how many pairs and tensors there are."""
    version = _read_version(source)
    tensor_count, pair_count = source.unpack(_COUNTS)
    source.spend(pair_count * _STEPS_PER_PAIR, f"{pair_count:,} metadata keys")
    source.spend(tensor_count * _STEPS_PER_TENSOR, f"{tensor_count:,} tensors")
    return version, pair_count, tensor_count


def _read_version(source: Source) -> int:
    if source.size == 0:
        raise GgufError(f"{source.name} is empty", fix="download it again")
    if source.take_at(0, min(len(POINTER), source.size)) == POINTER:
        raise GgufError(f"{source.name} {IS_POINTER}", fix=PULL)
    if source.take(min(4, source.size)) != b"GGUF":
        raise GgufError(f"{source.name} is not a GGUF model file", fix="name a file in the GGUF format")
    (version,) = source.unpack(_U32)
    if version in (2, 3):
        return version
    if version and version & 0xFFFF == 0:
        raise GgufError(
            f"{source.name} is a big-endian GGUF file; only little-endian ones can be read",
            fix="get the little-endian file, which is the usual one",
        )
    old = version == 1
    raise GgufError(
        f"{source.name} is a GGUF file of version {version}; only versions 2 and 3 can be read",
        fix="convert the model again with a current llama.cpp" if old else "download it again",
    )


def _alignment(source: Source, metadata: Metadata) -> int:
    alignment = metadata.size(b"general.alignment")
    if alignment is None:
        return 32
    if not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise source.damaged(f"its alignment is {alignment}, not a power of two up to {_MAX_ALIGNMENT}")
    return alignment


def _read_tensors(source: Source, count: int, alignment: int) -> Tensors:
    """Read the tensors' descriptions, and check that the file goes on to the end of their data.

    The size of a tensor of an unknown type cannot be checked; that it begins within the file is.
    """
    names: set[bytes] = set()
    bytes_by_type: Counter[str] = Counter()
    elements = end = embedding_bytes = expert_bytes = 0
    has_unknown_type = False
    for _ in range(count):
        name = source.take_name()
        if name in names:
            raise source.damaged(f"its header has the tensor {_shown(name)} twice")
        names.add(name)
        (rank,) = source.unpack(_U32)
        if rank > _MAX_DIMENSIONS:
            raise source.damaged(f"its tensor {_shown(name)} has {rank:,} dimensions")
        *shape, kind, offset = source.unpack(_TENSOR_TAILS[rank])
        size = math.prod(shape)
        type_name, block, block_bytes = TENSOR_TYPES.get(kind, ("", 1, 0))
        if size >= 2**63 or (shape[0] if shape else 1) % block or offset % alignment:
            raise source.damaged(f"its tensor {_shown(name)} has an impossible shape or offset")
        elements += size
        if type_name:
            stored = size // block * block_bytes
            bytes_by_type[type_name] += stored
            if name == b"token_embd.weight":
                embedding_bytes = stored
            elif b"_exps." in name:
                expert_bytes += stored
        else:
            has_unknown_type = True
            stored = 1
        end = max(end, offset + stored)
    # Without tensors there is no data to align: llama.cpp lets such a file end here.
    data_offset = source.position + (-source.position % alignment if count else 0)
    if data_offset + end > source.size:
        raise source.truncated(data_offset + end)
    return Tensors(
        count,
        elements,
        bytes_by_type,
        has_unknown_type,
        embedding_bytes,
        b"output.weight" in names,
        expert_bytes,
        data_offset,
        source.size - data_offset,
    )


def _shown(name: bytes) -> str:
    return f'"{one_line(name.decode(errors="replace"), 80)}"'
