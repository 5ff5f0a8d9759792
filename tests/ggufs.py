"""Small GGUF files for tests: valid ones, and ones that lie about themselves.

`write_gguf` writes what it is told, also when that is wrong; `hostile_files` is the set of files that a
reader has to refuse (or read) at once. The format is written down here a second time, apart from the reader.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {
    "u8": (0, "B"),
    "i8": (1, "b"),
    "u16": (2, "H"),
    "i16": (3, "h"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "u64": (10, "Q"),
    "i64": (11, "q"),
    "f64": (12, "d"),
}
STRING = 8
ARRAY = 9
BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    8: (32, 34),
    12: (256, 144),
}  # F32 F16 Q4_0 Q4_1 Q8_0 Q4_K

HOLE = 100 * 2**30 if os.name == "posix" else 100 * 2**20
"""The size of files that are almost only a hole; on Windows a hole takes space."""


@dataclass(frozen=True)
class Value:
    """A metadata value with its type said outright: `Value("i64", 5)`, or a type number and raw bytes."""

    kind: str | int
    content: Any = b""


@dataclass(frozen=True)
class Tensor:
    """One tensor's description; `offset` and `size` are what the format asks for unless they are given."""

    name: str = "token_embd.weight"
    shape: tuple[int, ...] = (32, 4)
    kind: int = 0
    offset: int | None = None
    size: int | None = None


def tiny_metadata(**changes: Any) -> dict[str, Any]:
    """Return the metadata of a tiny complete model, with changes: `a__b=3` sets `a.b`, None takes it out."""
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.license": "mit",
        "general.file_type": 2,
        "llama.block_count": 2,
        "llama.context_length": 512,
        "llama.embedding_length": 32,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["<s>", "</s>", "a", "b", ""],
        "tokenizer.ggml.scores": [0.0, -1.0, -2.0, -3.0, -4.0],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": "{{ messages }}",
    }
    metadata |= {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in metadata.items() if value is not None}


def write_gguf(
    path: Path,
    *,
    metadata: Mapping[str, Any] | Iterable[tuple[str | bytes, Any]] | None = None,
    tensors: Sequence[Tensor] = (Tensor(),),
    version: int = 3,
    magic: bytes = b"GGUF",
    byte_order: str = "<",
    pair_count: int | None = None,
    tensor_count: int | None = None,
    alignment: int = 32,
    size: int | None = None,
) -> Path:
    """Write a GGUF file and return its path.

    Args:
        path: Where to.
        metadata: A mapping, or pairs when keys are to be repeated; by default a tiny complete model's. Values
            are strings, bytes (a string, raw), bools, integers (u32; i32 and u64 where that is too small),
            floats (f32), lists of one of these, or a `Value`.
        tensors: Their data is all zeros.
        version: What the file says.
        magic: The first four bytes.
        byte_order: ">" for a big-endian file.
        pair_count: What the file says, when that is not the truth.
        tensor_count: Likewise.
        alignment: How the data is aligned; it is not written into the metadata.
        size: The file's bytes, when it is to be cut off or to go on (with a hole, which takes no disk space).
    """
    if metadata is None:
        metadata = tiny_metadata()
    pairs = list(metadata.items() if isinstance(metadata, Mapping) else metadata)
    counts = (
        len(tensors) if tensor_count is None else tensor_count,
        len(pairs) if pair_count is None else pair_count,
    )
    out = bytearray(magic + struct.pack(byte_order + "IQQ", version, *counts))
    for key, value in pairs:
        out += string(key, byte_order) + encoded(value, byte_order)
    end = 0
    for tensor in tensors:
        block, block_bytes = BLOCKS.get(tensor.kind, (1, 1))
        offset = end if tensor.offset is None else tensor.offset
        stored = math.prod(tensor.shape) // block * block_bytes if tensor.size is None else tensor.size
        end = -(-(offset + stored) // alignment) * alignment
        out += string(tensor.name, byte_order) + struct.pack(
            f"{byte_order}I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape, tensor.kind, offset
        )
    if tensors:
        out += bytes(-len(out) % alignment)
    with path.open("wb") as stream:
        stream.write(out)
        stream.truncate(len(out) + end if size is None else size)
    return path


def string(text: str | bytes, byte_order: str = "<") -> bytes:
    """Return a string as GGUF writes it."""
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(byte_order + "Q", len(raw)) + raw


def encoded(value: Any, byte_order: str = "<") -> bytes:
    """Return a metadata value: its type and its content."""
    if isinstance(value, Value) and isinstance(value.kind, int):
        return struct.pack(byte_order + "I", value.kind) + value.content
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        elements = [encoded(element, byte_order) for element in value]
        kind = elements[0][:4] if elements else struct.pack(byte_order + "I", 4)
        return (
            struct.pack(byte_order + "I", ARRAY)
            + kind
            + struct.pack(byte_order + "Q", len(elements))
            + b"".join(element[4:] for element in elements)
        )
    if isinstance(value, str | bytes):
        return struct.pack(byte_order + "I", STRING) + string(value, byte_order)
    if not isinstance(value, Value):
        value = Value(_kind_of(value), value)
    number, letter = KINDS[value.kind]
    return struct.pack(byte_order + "I" + letter, number, value.content)


def _kind_of(value: bool | int | float) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return "f32"
    return "i32" if value < 0 else "u32" if value < 2**32 else "u64"


def array_claim(kind: int, count: int, content: bytes = b"") -> Value:
    """Return an array that claims `count` elements, whatever it has."""
    return Value(ARRAY, struct.pack("<IQ", kind, count) + content)


def hostile_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the hostile files into `folder`, one after the other, with a name for each.

    Most of the large ones are holes, which take no disk space. All must be refused but those whose names
    begin with "valid": they are correct, and as costly as a file can be.
    """
    mega = 2**20
    arch = ("general.architecture", "llama")

    def with_pair(value: Any, size: int = mega) -> Path:
        return write_gguf(folder / "hostile.gguf", metadata=[arch, ("x", value)], tensors=[], size=size)

    def with_bytes(content: bytes) -> Path:
        (folder / "hostile.gguf").write_bytes(content)
        return folder / "hostile.gguf"

    def with_many(pairs: int = 0, tensors: int = 0, strings: int = 0, size: int | None = None) -> Path:
        metadata: list[tuple[str, Any]] = [arch]
        if strings:
            metadata.append(("list", array_claim(STRING, strings, bytes(8 * strings))))
        metadata += [(f"key.{number}", number) for number in range(pairs)]
        described = [Tensor(f"blk.{number}.weight", (1, 1, 1, 1), offset=0) for number in range(tensors)]
        return write_gguf(folder / "hostile.gguf", metadata=metadata, tensors=described, size=size)

    yield "empty", with_bytes(b"")
    yield "three bytes", with_bytes(b"GGU")
    yield "magic only", with_bytes(b"GGUF")
    yield "array of 2^31 bytes in 1 MB", with_pair(array_claim(0, 2**31))
    yield "array of 2^63 bytes in 1 MB", with_pair(array_claim(0, 2**63))
    yield "array of 2^63 doubles in 1 MB", with_pair(array_claim(12, 2**63))
    yield "array of 2^31 strings in 1 MB", with_pair(array_claim(STRING, 2**31))
    yield "array of 2^63 strings in 1 MB", with_pair(array_claim(STRING, 2**63))
    yield "string of 2^64-1 bytes", with_pair(Value(STRING, struct.pack("<Q", 2**64 - 1)))
    yield "string in a list of 2^64-1 bytes", with_pair(array_claim(STRING, 2, struct.pack("<Q", 2**64 - 1)))
    yield "key of 2^64-1 bytes", with_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1))
    yield "2^64-1 keys", write_gguf(folder / "hostile.gguf", pair_count=2**64 - 1)
    yield "2^40 tensors", write_gguf(folder / "hostile.gguf", tensor_count=2**40)
    yield (
        "100,000 empty pairs",
        with_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 100_000) + bytes(13 * 100_000)),
    )
    yield "35,000 empty pairs", with_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 35_000) + bytes(13 * 35_000))
    yield "nested arrays", with_pair(array_claim(ARRAY, 2**20, struct.pack("<IQ", ARRAY, 1) * 80_000))
    yield "8 million empty strings in 64 MB", with_pair(array_claim(STRING, 8_000_000), 64 * mega)
    yield "valid: 890,000 empty strings", with_many(strings=890_000)
    yield "valid: 35,000 pairs", with_many(pairs=35_000)
    yield "valid: 35,000 tensors", with_many(tensors=35_000)
    yield "all of the budget, then cut off", with_many(6_000, 6_000, 590_000, size=590_000 * 8 + 500_000)
    yield (
        "valid: array of 50 MB",
        write_gguf(
            folder / "hostile.gguf",
            metadata=[arch, ("x", array_claim(0, 50 * mega))],
            tensors=[],
            size=60 * mega,
        ),
    )
    yield "hole of 100 GB", with_pair(array_claim(0, 2**36), HOLE)
    yield "valid: hole of 100 GB, list of empty strings", with_pair(array_claim(STRING, 890_000), HOLE)
    yield (
        "valid: 66 MB of strings",
        with_pair(array_claim(STRING, 890_000, string(bytes(66)) * 890_000), 66 * 10**6),
    )
    yield (
        "hole of 100 GB, zeros for tensors",
        write_gguf(folder / "hostile.gguf", tensors=[], tensor_count=30_000, size=HOLE),
    )
    long_strings = b"".join(string(bytes(65_529)) for _ in range(1_000))
    yield "strings as long as a window", with_pair(array_claim(STRING, 800_000, long_strings), HOLE)
    long_keys = [(b"%05d" % number + bytes(65_000), 0) for number in range(900)]
    yield "long keys", write_gguf(folder / "hostile.gguf", metadata=long_keys)
    template = tiny_metadata(tokenizer__chat_template=bytes(16 * mega))
    yield "template of 16 MB", write_gguf(folder / "hostile.gguf", metadata=template)
    names = [(f"tokenizer.chat_template.{number * 7919 % 30_000}", "") for number in range(30_000)]
    yield "valid: 30,000 empty templates", write_gguf(folder / "hostile.gguf", metadata=[arch, *names])
    yield (
        "tensor of 2^64 elements",
        write_gguf(folder / "hostile.gguf", tensors=[Tensor(shape=(2**32, 2**32), size=0)]),
    )
    yield (
        "tensor offset of 2^64-32",
        write_gguf(folder / "hostile.gguf", tensors=[Tensor(offset=2**64 - 32, size=0)], size=mega),
    )


def write_split(folder: Path, parts: Sequence[Sequence[Tensor]], *, name: str = "tiny", **changes: Any) -> list[Path]:
    """Write a model in several files, and return their paths.

    Args:
        folder: Where to.
        parts: The tensors of each file.
        name: What their names begin with.
        changes: `split__no`, `split__count` or `split__tensors__count`, as every part is to claim them; None takes
            it out. Others change the first part's metadata (`tiny_metadata`).
    """
    claims = {key: changes.pop(key) for key in list(changes) if key.startswith("split__")}
    paths = []
    for number, tensors in enumerate(parts):
        split = {
            "split__no": Value("u16", number),
            "split__count": Value("u16", len(parts)),
            "split__tensors__count": Value("i32", sum(map(len, parts))),
            **claims,
        }
        told = {key.replace("__", "."): value for key, value in split.items() if value is not None}
        metadata = (tiny_metadata(**changes) if number == 0 else {}) | told
        path = folder / f"{name}-{number + 1:05d}-of-{len(parts):05d}.gguf"
        paths.append(write_gguf(path, metadata=metadata, tensors=tensors))
    return paths
