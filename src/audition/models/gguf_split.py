"""Models in several GGUF files, as llama.cpp's `gguf-split` makes them: `name-00001-of-00003.gguf` and its siblings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audition.models.gguf_layout import Metadata, Tensors
from audition.models.gguf_source import GgufError
from audition.text import printable

_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
_TOGETHER = "download all parts again, into one folder"


@dataclass(frozen=True, slots=True)
class Part:
    """What one file says of its place among the parts of a model.

    Attributes:
        number: From 0.
        count: How many parts there are; 1 for a model in one file.
        tensor_count: Of all parts; None where the file does not say.
        tensors: Those in this part.
    """

    number: int
    count: int
    tensor_count: int | None
    tensors: Tensors

    @classmethod
    def of(cls, metadata: Metadata, tensors: Tensors) -> Part:
        """Return what a file's header says."""
        number, count = metadata.size(b"split.no") or 0, metadata.size(b"split.count") or 1
        return cls(number, count, metadata.size(b"split.tensors.count"), tensors)


def split_names(name: str) -> tuple[str, ...]:
    """Return the names of all parts of the model that a file is a part of; its own where it is the only one."""
    match = _NAME.fullmatch(name)
    count = int(match[3]) if match else 0
    if match is None or not 0 < int(match[2]) <= count:
        return (name,)
    return tuple(f"{match[1]}-{number:05d}-of-{count:05d}{match[4]}" for number in range(1, count + 1))


def whole_name(name: str) -> str:
    """Return a file's name without what makes it a part."""
    match = _NAME.fullmatch(name)
    return f"{match[1]}{match[4]}" if match else name


def part_paths(path: Path, first: Part) -> list[Path]:
    """Return the files that make up a model.

    Args:
        path: The file that was named.
        first: What it says; it has to be the first part.

    Raises:
        GgufError: It is another part, it does not have a part's name, or a part is not there.
    """
    if first.count == 1:
        return [path]
    shown, names = printable(str(path)), split_names(path.name)
    if first.number:
        raise GgufError(
            f"{shown} is part {first.number + 1} of {first.count} of a model",
            fix="name the first part; the others are found beside it",
        )
    if len(names) != first.count or names[0] != path.name:
        raise GgufError(
            f"{shown} is the first of {first.count} parts of a model, and its name does not tell where the others are",
            fix=f"keep the parts together, under names that end in -00001-of-{first.count:05d}.gguf and so on",
        )
    for name in names[1:]:
        if not path.with_name(name).is_file():
            raise GgufError(f"a part of the model is missing: {printable(str(path.with_name(name)))}", fix=_TOGETHER)
    return [path.with_name(name) for name in names]


def all_tensors(path: Path, parts: Sequence[Part]) -> Tensors:
    """Return what the tensors of all parts add up to.

    Args:
        path: The first part.
        parts: What each file says, in the order of their names.

    Raises:
        GgufError: They do not make up one model.
    """
    total = parts[0].tensors
    for number, part in enumerate(parts):
        if (part.number, part.count, part.tensor_count) != (number, len(parts), parts[0].tensor_count):
            name = printable(split_names(path.name)[number])
            raise GgufError(f"{name} is not part {number + 1} of the model that {path.name} begins", fix=_TOGETHER)
        if number:
            total += part.tensors
    if total.count != parts[0].tensor_count:
        raise GgufError(
            f"the parts of {printable(path.name)} have {total.count:,} tensors, "
            f"and the first one says {parts[0].tensor_count or 0:,}",
            fix=_TOGETHER,
        )
    return total
