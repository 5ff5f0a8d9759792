"""What every tool's folder of models has in common: bounded looks, and no step out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audition.errors import UsageError, nearest
from audition.models.gguf_split import split_names
from audition.models.spec import Licence
from audition.text import one_line

MOST_ENTRIES = 10_000
"""Of one tool that are looked at: a folder with more is no folder of models, or leads in circles."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A model that another tool has on this disk.

    Attributes:
        tool: `ollama`, `lmstudio` or `hf`.
        name: What the tool calls it.
        path: Its file, or its folder.
        size: Bytes, or None when they cannot be counted.
        how_to_link: The command that links it into the store.
        quantization: What the tool or the file's name says; None when neither does.
        already_linked: Whether the store has it already, as a link to this very file.
    """

    tool: str
    name: str
    path: Path
    size: int | None
    how_to_link: str
    quantization: str | None
    already_linked: bool = False


@dataclass(frozen=True, slots=True)
class Original:
    """A tool's model as something to link.

    Attributes:
        path: The file, or the folder.
        alias: The name that it gets when nobody gives it one.
        provenance: Where it is from, for the manifest.
        file_name: What the file is called for people; None takes the path's own name.
        promised: The tool's own digests of the files, by name: SHA-256, or the SHA-1 of a git blob.
        licence: What the tool keeps of it.
    """

    path: Path
    alias: str
    provenance: dict[str, str]
    file_name: str | None = None
    promised: dict[str, str] = field(default_factory=dict)
    licence: Licence | None = None


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name, without what is hidden; an absent folder is empty.

    Raises:
        OSError: It is there and cannot be read.
    """
    try:
        found = []
        for path in folder.iterdir():
            if not path.name.startswith("."):
                found.append(path)
            if len(found) > MOST_ENTRIES:
                raise OSError(f"it has more than {MOST_ENTRIES:,} entries")
        return sorted(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def ggufs(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the `.gguf` files down to some depth: of a split one its first part, of a projector nothing."""
    for path in entries(folder):
        if path.suffix.lower() == ".gguf":
            is_first = split_names(path.name)[0] == path.name
            if is_first and "mmproj" not in path.name.lower() and path.is_file():
                yield path
        elif depth > 0 and path.is_dir():
            yield from ggufs(path, depth - 1)


def size_of(path: Path) -> int | None:
    """Return the bytes of a file and, where it is the first of several parts, of them all."""
    try:
        return sum(path.with_name(name).stat().st_size for name in split_names(path.name)[:MOST_ENTRIES])
    except OSError:
        return None


def unknown(tool: str, name: str, known: list[str], root: Path) -> UsageError:
    """Return the error for a name that a tool does not have."""
    return UsageError(
        f'{tool} has no model "{one_line(name, 100)}" in {root}',
        fix=nearest(name, known) or "audition model list --elsewhere",
        code="model_not_found",
    )
