"""JSON files that people write and JSON files that we write: exact errors in, atomic bytes out."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from audition.errors import UsageError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    M = TypeVar("M", bound=BaseModel)

MAX_BYTES = 64 * 1024 * 1024
"""A file that people write is never larger; a larger one is a mistake (weights given for prompts, say)."""


def read_json(path: Path) -> Any:
    """Read one JSON document that a person wrote.

    Raises:
        UsageError: The file is missing, unreadable, too large, not UTF-8 or not JSON; the sentence names the file,
            and for broken JSON the line and the column.
    """
    try:
        large = path.stat().st_size > MAX_BYTES
        with path.open("rb") as stream:
            # A device or a pipe has no size, and may never end.
            raw = b"" if large else stream.read(MAX_BYTES + 1)
        if large or len(raw) > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES // 2**20} MB: not a file that people write")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})", fix="save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_json(text, str(path))


def parse_json(text: str, name: str) -> Any:
    """Parse JSON text strictly: no NaN, no infinity, no repeated keys.

    Raises:
        UsageError: With `name`, the line and the column of the first fault.
    """
    try:
        return json.loads(text, parse_constant=_reject_constant, parse_float=_finite, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        start = max(0, error.colno - 41)
        around = text.split("\n")[error.lineno - 1][start : start + 60].strip()
        ended = "the file ends before it is complete" if text.strip() else "the file is empty"
        raise UsageError(
            f"{name} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            fix=f"look at: {around}" if around else ended,
        ) from error
    except RecursionError as error:
        raise UsageError(f"{name} is nested too deeply to be read") from error
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def _reject_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number; leave an unknown value out")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:40]} is too large a number")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f'the key "{key}" stands twice in the same object')
        out[key] = value
    return out


def validate(model: type[M], data: Any, name: str) -> M:
    """Check `data` against a pydantic model, and speak of the first fault in a person's terms.

    An unknown key comes before other faults: a mistyped one is often why another is missing.

    Raises:
        UsageError: Names the file, the path inside it, and for an unknown key the nearest known one.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
        where = _dotted(first["loc"])
        if first["type"] == "extra_forbidden":
            key = str(first["loc"][-1])
            known = _known_keys(model, first["loc"][:-1])
            sentence = f'{name}: {where}: unknown key "{key}"'
            fix: str | None = nearest(key, known) or ("known keys: " + ", ".join(known) if known else None)
        else:
            message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            sentence = f"{name}: {where}: {message[:1].lower()}{message[1:]}" if where else f"{name}: {message}"
            fix = f"{len(faults) - 1} more fault(s) in this file" if len(faults) > 1 else None
        raise UsageError(sentence, fix=fix, code="invalid_file") from error


def _dotted(location: Iterable[str | int]) -> str:
    """Render a pydantic location as `cases[3].prompt`."""
    out = ""
    for part in location:
        if isinstance(part, int):
            out += f"[{part}]"
        elif not part.startswith("function-"):
            out += f".{part}" if out else str(part)
    return out


def _known_keys(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """Return the keys allowed at `location` inside `model`, following nested models, lists and dictionaries."""
    current: Any = model
    for part in location:
        current = _inside(_bare(current), part)
    return [field.alias or name for name, field in _fields(_bare(current)).items()]


def _inside(annotation: Any, part: str | int) -> Any:
    """Return the annotation of what lies at `part`: a model's field, else an element of a list or dictionary."""
    fields = _fields(annotation)
    if fields:
        return next((field.annotation for name, field in fields.items() if part in (name, field.alias)), None)
    return next((inner for inner in reversed(get_args(annotation)) if inner is not ...), None)


def _bare(annotation: Any) -> Any:
    """Return an annotation without what may stand around it: a root model, `Annotated`, `| None`."""
    from pydantic import RootModel

    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return _bare(annotation.model_fields["root"].annotation)
    inner = [argument for argument in get_args(annotation) if argument is not NoneType]
    if get_origin(annotation) is Annotated or (get_origin(annotation) in (Union, UnionType) and len(inner) == 1):
        return _bare(inner[0])
    return annotation


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    from pydantic import BaseModel as Base

    return annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, Base) else {}


def dumps(data: Any, *, ascii_only: bool = False) -> str:
    """Return canonical JSON: sorted keys, no NaN, other scripts kept readable; the same data gives the same bytes."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=ascii_only, allow_nan=False)


def write_json(path: Path, data: Any) -> None:
    """Write canonical JSON atomically: readers see the old file or the new one, never half of one."""
    write_text(path, dumps(data) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (temporary file in the same folder, then rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        # Lone surrogates can come out of a model's text; they must not lose the whole file.
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
