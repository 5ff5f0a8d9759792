"""What the header of a `.safetensors` file says: eight bytes of length, then JSON; the tensor data is not read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.models.header import ModelFileError
from audition.text import one_line, printable

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_MAX_TENSORS = 200_000

# Bits of one element, by the format's names.
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")


@dataclass(frozen=True, slots=True)
class Tensors:
    """What the tensors of one or more files add up to.

    Attributes:
        elements: How many numbers they hold.
        bytes_by_type: Their bytes, by type.
        lookup_bytes: Of token embeddings that are only looked up, because the output has a matrix of its own.
    """

    elements: int
    bytes_by_type: Counter[str]
    lookup_bytes: int

    @property
    def quantization(self) -> str | None:
        """The type of most bytes."""
        largest = self.bytes_by_type.most_common(1)
        return largest[0][0] if largest else None


def read_tensors(paths: Sequence[Path]) -> Tensors:
    """Return what the tensors of these files add up to.

    Raises:
        ModelFileError: A file cannot be read, is cut off, or contradicts itself.
    """
    elements, by_type, embeddings, has_head = 0, Counter[str](), 0, False
    for path in paths:
        for name, dtype, count, size in _tensors(path):
            elements += count
            by_type[dtype] += size
            embeddings += size if name.endswith(_EMBEDDINGS) else 0
            has_head |= name.endswith(_HEADS)
    return Tensors(elements, by_type, embeddings if has_head else 0)


def _tensors(path: Path) -> list[tuple[str, str, int, int]]:
    """Return name, type, elements and bytes of each tensor; each is checked against the file's length."""
    shown = printable(path.name)
    header, data_bytes = _header(path, shown)
    found, end = [], 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
            count = _elements(shape)
            bits = _BITS[dtype]
            if not all(type(offset) is int for offset in (start, stop)) or not 0 <= start <= stop:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(shown, f"its tensor {one_line(str(name), 80)} is described in no known way") from error
        if (stop - start) * 8 != -(-count * bits // 8) * 8:
            raise _damaged(shown, f"its tensor {one_line(str(name), 80)} has another size than its shape")
        end = max(end, stop)
        found.append((name, dtype, count, stop - start))
    if end > data_bytes:
        raise ModelFileError(
            f"{shown} is truncated: its tensors need {end:,} bytes, it has {data_bytes:,}", fix="download it again"
        )
    if sum(size for *_, size in found) > data_bytes:
        raise _damaged(shown, "its tensors overlap")
    return found


def _header(path: Path, shown: str) -> tuple[dict[str, Any], int]:
    """Return the JSON header, and the bytes after it."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                raise ModelFileError(f"{shown} is truncated, or no safetensors file", fix="download it again")
            if length > MAX_HEADER_BYTES:
                raise _damaged(shown, f"its header has {length:,} bytes")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise ModelFileError(f"cannot read {shown}: {error.strerror or error}", fix="check the path") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(shown, "its header is not JSON") from error
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise _damaged(shown, "its header is no list of tensors")
    return header, size - 8 - length


def _elements(shape: Any) -> int:
    if not isinstance(shape, list) or len(shape) > 16:
        raise TypeError
    count = 1
    for side in shape:
        if type(side) is not int or not 0 <= side < 2**40 or count > 2**60:
            raise ValueError
        count *= side
    return count


def _damaged(shown: str, reason: str) -> ModelFileError:
    return ModelFileError(f"{shown} is damaged: {reason}", fix="download it again")
