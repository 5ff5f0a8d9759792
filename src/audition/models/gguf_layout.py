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
from typing import BinaryIO, NamedTuple

from audition.models.header import ModelFileError
from audition.text import one_line

MAX_HEADER_BYTES = 64 * 2**20
"""The largest headers in use (262,144 tokens and 514,906 merges: Gemma 4) have about 20 MB."""

# One step is one string of a list walked: 70 to 100 ns, so that all steps take less than 100 ms. Unlike a
# deadline, this bound gives the same answer on a busy machine. Gemma 4 takes 800,000 steps.
_MAX_STEPS = 900_000
_STEPS_PER_PAIR = 25
_STEPS_PER_TENSOR = 25

_MAX_NAME_BYTES = 65_535  # of one key or tensor name, by the specification
_MAX_NAMES_BYTES = 4 * 2**20  # of all of them: they stay in memory to find duplicates
_MAX_STRING_BYTES = 16 * 2**20
_MAX_LAYERS = 4096
_MAX_ALIGNMENT = 2**20
_MAX_DIMENSIONS = 4
_WINDOW = 64 * 2**10

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_COUNTS = struct.Struct("<QQ")
_ARRAY_HEAD = struct.Struct("<IQ")
_TENSOR_TAILS = [struct.Struct(f"<{rank}QIQ") for rank in range(_MAX_DIMENSIONS + 1)]  # shape, type, offset
_STRING = 8
_ARRAY = 9
_INTEGERS = {
    code: struct.Struct(f"<{letter}")
    for code, letter in {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}.items()
}
_WIDTHS = {code: layout.size for code, layout in _INTEGERS.items()} | {6: 4, 7: 1, 12: 8}  # f32, bool, f64

# Name, elements per block and bytes per block, from llama.cpp's ggml_type_name, ggml_blck_size and
# ggml_type_size. The numbers left out are types that it has removed.
# fmt: off
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}

# llama_ftype in its order from 0, without the prefixes ALL_ and MOSTLY_.
FILE_TYPES = (
    "F32", "F16", "Q4_0", "Q4_1", "Q4_1_SOME_F16", "Q4_2", "Q4_3", "Q8_0", "Q5_0", "Q5_1",
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS",
    "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M",
    "IQ4_XS", "IQ1_M", "BF16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4",
    "Q1_0", "Q2_0",
)
# fmt: on


class GgufError(ModelFileError):
    """A GGUF file cannot be read, or is not what it has to be."""


class Source:
    """The beginning of a file, read one window at a time.

    Not memory-mapped: when another process truncates a mapped file, the next access kills this process.

    Args:
        stream: The file, open for reading.
        size: Its bytes.
        name: What errors call it.
    """

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self.position = 0
        self.size = size
        self.name = name
        self._stream = stream
        self._window = b""
        self._window_start = 0
        self._steps_left = _MAX_STEPS
        self._names_left = _MAX_NAMES_BYTES

    def damaged(self, reason: str) -> GgufError:
        """Return the error for bytes that contradict the format or themselves."""
        return GgufError(f"{self.name} is damaged: {reason}", fix="download it again")

    def excessive(self, claim: str) -> GgufError:
        """Return the error for a header that would cost more than any known model's."""
        return GgufError(f"{self.name} claims {claim}; no known model needs that many", fix="download it again")

    def truncated(self, needed: int) -> GgufError:
        """Return the error for a file that is shorter than it says."""
        return GgufError(
            f"{self.name} is truncated: its header needs {needed:,} bytes, the file has {self.size:,}",
            fix="download it again",
        )

    def spend(self, steps: int, claim: str) -> None:
        """Take steps off the budget before the work is done."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise self.excessive(claim)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes and go on behind them; the caller bounds `count`."""
        at = self._in_window(count)
        self.position += count
        return self._window[at : at + count]

    def take_at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from elsewhere in the header, and stay."""
        stay, self.position = self.position, offset
        found = self.take(count)
        self.position = stay
        return found

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the numbers that come next and go on behind them."""
        at = self._in_window(layout.size)
        self.position += layout.size
        return layout.unpack_from(self._window, at)

    def take_name(self) -> bytes:
        """Return the string that comes next: a key or a tensor's name."""
        (length,) = self.unpack(_U64)
        self._check(self.position + length)
        self._names_left -= length
        if length > _MAX_NAME_BYTES or self._names_left < 0:
            raise self.damaged(f"its header has a name of {length:,} bytes")
        return self.take(length)

    def skip(self, count: int) -> None:
        """Go on behind the next `count` bytes without reading them."""
        self._check(self.position + count)
        self.position += count

    def skip_strings(self, count: int) -> None:
        """Go on behind a list of `count` strings."""
        self._check(self.position + count * _U64.size)
        self.spend(count, f"a list of {count:,} strings")
        unpack = _U64.unpack_from  # nearly all of the time goes into this loop, so it calls nothing of ours
        while count:
            at = self._in_window(_U64.size)
            window, start, last = self._window, self._window_start, len(self._window) - _U64.size
            for walked in range(count):
                if at > last:
                    count -= walked
                    break
                (length,) = unpack(window, at)
                at += length + 8
            else:
                count = 0
            self.position = start + at
            self._check(self.position)

    def _check(self, end: int) -> None:
        """Refuse a header that goes on to `end` when the file or the bound does not."""
        if end > self.size:
            raise self.truncated(end)
        if end > MAX_HEADER_BYTES:
            raise self.excessive(f"a header of {end:,} bytes or more")

    def _in_window(self, count: int) -> int:
        """Return where the next `count` bytes begin in the window, after moving it there if need be."""
        at = self.position - self._window_start
        if at < 0 or at + count > len(self._window):
            self._check(self.position + count)
            self._stream.seek(self.position)
            self._window = self._stream.read(max(count, _WINDOW))
            self._window_start, at = self.position, 0
            if len(self._window) < count:  # another process cut the file
                self.size = self.position + len(self._window)
                raise self.truncated(self.position + count)
        return at


class _Entry(NamedTuple):
    """Where a value is: `length` elements, or the bytes of a string that stands alone."""

    kind: int
    is_array: bool
    length: int
    offset: int


class Metadata:
    """The key-value pairs, as an index into the file: a value is read when it is asked for."""

    def __init__(self, source: Source, pairs: int) -> None:
        self._source = source
        self._entries: dict[bytes, _Entry] = {}
        for _ in range(pairs):
            key = source.take_name()
            if not key:
                raise source.damaged("its header has an empty key")
            if key in self._entries:
                raise source.damaged(f"its header has the key {_shown(key)} twice")
            self._entries[key] = self._skip_value(key)

    def _skip_value(self, key: bytes) -> _Entry:
        source = self._source
        (kind,) = source.unpack(_U32)
        is_array, length = kind == _ARRAY, 1
        if is_array:
            kind, length = source.unpack(_ARRAY_HEAD)
        elif kind == _STRING:
            (length,) = source.unpack(_U64)
        entry = _Entry(kind, is_array, length, source.position)
        if kind in _WIDTHS:
            source.skip(length * _WIDTHS[kind])
        elif kind != _STRING:
            nested = " in an array" if is_array else ""  # llama.cpp knows no arrays of arrays
            raise source.damaged(f"its key {_shown(key)} has a value of the unknown type {kind}{nested}")
        elif is_array:
            source.skip_strings(length)
        else:
            source.skip(length)
            if length > _MAX_STRING_BYTES:
                raise source.damaged(f"its key {_shown(key)} has a text of {length:,} bytes")
        return entry

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
        lookup_bytes: Of the token embeddings where they are only looked up: a row a token.
        expert_bytes: Of the tensors that hold all experts of a layer, of which a token takes a few.
        data_offset: Where in the file their data starts.
    """

    count: int
    elements: int
    bytes_by_type: Counter[str]
    has_unknown_type: bool
    lookup_bytes: int
    expert_bytes: int
    data_offset: int


def read_layout(source: Source) -> tuple[int, Metadata, Tensors]:
    """Return the format's version, the metadata and the tensors of a whole GGUF file.

    Raises:
        GgufError: The bytes are no GGUF file that can be read.
    """
    version = _read_version(source)
    tensor_count, pair_count = source.unpack(_COUNTS)
    source.spend(pair_count * _STEPS_PER_PAIR, f"{pair_count:,} metadata keys")
    source.spend(tensor_count * _STEPS_PER_TENSOR, f"{tensor_count:,} tensors")
    metadata = Metadata(source, pair_count)
    return version, metadata, _read_tensors(source, tensor_count, _alignment(source, metadata))


def _read_version(source: Source) -> int:
    if source.size == 0:
        raise GgufError(f"{source.name} is empty", fix="download it again")
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
    # Without an output matrix of its own a model multiplies with the embeddings, all of them.
    lookup_bytes = embedding_bytes if b"output.weight" in names else 0
    return Tensors(count, elements, bytes_by_type, has_unknown_type, lookup_bytes, expert_bytes, data_offset)


def _shown(name: bytes) -> str:
    return f'"{one_line(name.decode(errors="replace"), 80)}"'
