"""Search a hub for models that could run here."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from audition.errors import AuditionError
from audition.models.folder import GGUF, ONNX, OPENVINO, SAFETENSORS
from audition.models.hub_name import is_repository
from audition.models.spec import Variant
from audition.store.hub import client
from audition.store.hub.lookup import look_up
from audition.store.hub.repository import Repository
from audition.store.hub.variants import default_of, variants_of
from audition.text import one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    ModelSort = Literal["downloads", "likes", "last_modified"]

_AT_ONCE = 8
_MAX_TEXT = 200
_MAX_NAMES = 100
_SPARE = 2
"""So many times the limit is looked at: not everything with the right tag has a model that could run."""
_TAGS = {GGUF: "gguf", ONNX: "onnx", SAFETENSORS: "safetensors", OPENVINO: "openvino"}
_SORTS: dict[str, ModelSort] = {"downloads": "downloads", "likes": "likes", "modified": "last_modified"}


@dataclass(frozen=True, slots=True)
class Found:
    """One repository that a search found.

    Attributes:
        name: `owner/repo`.
        repository: What the hub says of it; None when that could not be had.
        variant: The one that is taken when none is named; None when there is none, or the repository is broken.
        problem: Why `repository` or `variant` is None, one sentence.
    """

    name: str
    repository: Repository | None
    variant: Variant | None
    problem: str | None = None


def search(
    text: str,
    *,
    formats: Sequence[str] = ("gguf",),
    limit: int = 20,
    author: str | None = None,
    max_size: int | None = None,
    sort: str | None = None,
) -> list[Found]:
    """Return repositories whose names hold a text and that have a model in one of the formats, in the hub's order.

    Args:
        text: What the name holds; empty lists all.
        formats: `gguf`, `onnx-genai`, `safetensors`, `openvino`.
        limit: At most so many.
        author: Only this owner's.
        max_size: Bytes; only what has a variant that is not larger, and then that one.
        sort: `downloads`, `likes` or `modified`, the highest first; None leaves it to the hub.

    Raises:
        AuditionError: The hub cannot be reached, or refuses.
    """
    candidates, end = client.ask(lambda api: _names(api, text, tuple(formats), limit, author, sort), "a search")
    rows: list[Found] = []
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for start in range(0, len(candidates), _AT_ONCE):
            found = pool.map(lambda name: _found(name, formats, max_size), candidates[start : start + _AT_ONCE])
            rows += [row for row in found if row is not None]
            if len(rows) >= limit:
                return rows[:limit]
    return rows if end is None else [*rows, end]


def _names(
    api: HfApi, text: str, formats: tuple[str, ...], limit: int, author: str | None, sort: str | None
) -> tuple[list[str], Found | None]:
    """Return the names of repositories, and a row for what the hub's list has after them that cannot be read."""
    names: dict[str, None] = {}
    for format_ in formats:
        entries = api.list_models(
            search=one_line(text, _MAX_TEXT) or None,
            author=author,
            filter=_TAGS[format_],
            sort=_SORTS[sort] if sort else None,
            limit=min(_SPARE * limit, _MAX_NAMES),
            expand=["downloads"],  # the least that can be asked for: the rest comes with each repository
        )
        try:
            for entry in entries:
                if isinstance(entry.id, str) and is_repository(entry.id):
                    names[entry.id] = None
        except (KeyError, TypeError, ValueError, AttributeError):
            end = Found("?", None, None, "the hub's list goes on with an entry that cannot be read")
            return list(names), end
    return list(names), None


def _found(name: str, formats: Sequence[str], max_size: int | None) -> Found | None:
    """Return the row of one repository; None where it has nothing that was asked for."""
    try:
        repository = look_up(name)
    except AuditionError as error:
        return Found(name, None, None, error.message)
    fitting = [
        variant
        for variant in variants_of(repository)
        if variant.format in formats and (max_size is None or (variant.size or 0) <= max_size)
    ]
    return Found(name, repository, default_of(fitting)) if fitting else None
