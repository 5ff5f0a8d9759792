"""Models that other tools have on this disk. A new tool is one module here and one line in `_TOOLS`."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from audition.errors import AuditionError, UsageError
from audition.store.elsewhere import hugging_face, lmstudio, ollama
from audition.store.elsewhere.base import Elsewhere, Original
from audition.store.store import Store
from audition.text import one_line

__all__ = ["Elsewhere", "Original", "found", "is_elsewhere", "locate", "look"]

_TOOLS: dict[str, ModuleType] = {tool.TOOL: tool for tool in (ollama, lmstudio, hugging_face)}


def found(store: Store | None = None) -> list[Elsewhere]:
    """Return what other tools have, by tool and name; nothing is hashed, and no file of a model is opened."""
    return look(store)[0]


def look(store: Store | None = None) -> tuple[list[Elsewhere], list[str]]:
    """Return what other tools have, and one sentence for each whose folder cannot be read."""
    store = store or Store()
    linked = {link.path for sha256, _ in store.links.records() if (link := store.links.of(sha256)) is not None}
    models: list[Elsewhere] = []
    problems: list[str] = []
    for name, tool in _TOOLS.items():
        try:
            for model in tool.found():
                models.append(replace(model, already_linked=_is_linked(model, linked)))
        except (OSError, ValueError, AuditionError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            problems.append(f"the models of {name} cannot be listed: {one_line(str(why))}")
    return models, problems


def is_elsewhere(name: str) -> bool:
    """Return whether a name is meant for another tool's models: `ollama:`, `lmstudio:` or `hf:` and something."""
    tool, colon, rest = name.partition(":")
    return bool(colon and rest) and tool in _TOOLS


def locate(name: str) -> Original:
    """Return what `TOOL:NAME` stands for.

    Raises:
        UsageError: There is no such tool or model.
        AuditionError: Its folder cannot be read.
    """
    tool, _, rest = name.partition(":")
    if not is_elsewhere(name):
        raise UsageError(f'"{one_line(name, 100)}" names no tool', fix="ollama:NAME, lmstudio:NAME or hf:OWNER/REPO")
    try:
        original: Original = _TOOLS[tool].locate(rest)
    except OSError as error:
        raise AuditionError(
            f"the models of {tool} cannot be read: {error.strerror or error}",
            fix="have its folder made readable for you",
            code="not_readable",
        ) from error
    return original


def _is_linked(model: Elsewhere, linked: set[str]) -> bool:
    real = model.path.resolve()
    if real.is_dir():
        return any(str(each.resolve()) in linked for each in model.path.iterdir())
    return str(real) in linked
