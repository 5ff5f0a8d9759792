"""Foundry Local's routes beside the OpenAI ones: which id a name stands for, and having that model loaded.

Its two generations differ. 2.x answers chats only to full ids (`name:version`) of models that are loaded, and loads
only by alias, which its list does not show. 0.x lists aliases in a catalog and loads by id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from audition.engines.endpoint.identify import FOUNDRY_2, entries, match, words
from audition.engines.endpoint.session import EndpointSession
from audition.engines.protocol import EngineError
from audition.errors import UsageError, nearest
from audition.text import one_line

_TIMEOUT_S = 30.0
"""An unreachable catalog costs 2.x more than four seconds for each name that it does not know."""
_LOAD_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A model that can be asked.

    Attributes:
        id: What requests have to name.
        load_ms: What loading it took; None where it was loaded already.
        device: Where the catalog says that it runs.
    """

    id: str
    load_ms: float | None = None
    device: str | None = None


async def make_ready(session: EndpointSession, api: str, name: str, listed: Sequence[Mapping[str, Any]]) -> Ready:
    """Find the model that a name stands for, and have it loaded.

    Args:
        session: With the service.
        api: Which generation it is (`Identity.api`).
        name: An alias, an id, or an id without its version.
        listed: What `/v1/models` lists.

    Raises:
        UsageError: It has no such model, or the name stands for several.
        EngineError: It cannot load the model.
    """
    ids = [str(entry["id"]) for entry in listed]
    return await (_ready_2(session, name, ids) if api == FOUNDRY_2 else _ready_0(session, name, ids))


async def _ready_2(session: EndpointSession, name: str, ids: list[str]) -> Ready:
    loaded = _names(await session.fetch("/models/loaded", _TIMEOUT_S))
    id_ = match(name, ids)
    if id_ not in ids:
        return await _by_alias(session, name, ids, loaded)
    if id_ in loaded:
        return Ready(id_)
    for candidate in _aliases(id_):
        found, load_ms = await _load_2(session, candidate)
        if not found:
            continue
        after = _names(await session.fetch("/models/loaded", _TIMEOUT_S))
        if id_ in after:
            return Ready(id_, load_ms)
        # The alias chose another variant: it is not left in memory for nothing.
        if load_ms is not None:
            await session.fetch(f"/models/unload/{_quoted(candidate)}", _TIMEOUT_S)
        break
    raise EngineError(
        f"{one_line(id_)} is not loaded, and Foundry Local loads another variant, or none, by its alias",
        fix=f"foundry model load {one_line(id_)}",
        code="load_failed",
    )


async def _by_alias(session: EndpointSession, name: str, ids: list[str], loaded: list[str]) -> Ready:
    """Load by an alias, which the list of ids does not show, and see which id that is."""
    for alias in dict.fromkeys((name, name.lower())):
        found, load_ms = await _load_2(session, alias)
        if found:
            break
    else:
        known = nearest(name, ids) or f"it has {', '.join(map(one_line, ids[:5])) or 'none'}"
        raise UsageError(f'Foundry Local has no model "{one_line(name)}"', fix=known, code="model_not_found")
    after = _names(await session.fetch("/models/loaded", _TIMEOUT_S))
    begins = re.compile(re.escape(alias.casefold()) + r"[-:]")
    new = [id_ for id_ in after if id_ not in loaded]
    meant = new if load_ms is not None and new else [id_ for id_ in after if begins.match(id_.casefold())]
    if len(meant) != 1:
        found_ = ", ".join(map(one_line, meant[:5])) or "none of the models that are loaded"
        raise UsageError(f'"{one_line(name)}" stands for {found_}', fix="name the model by its id")
    return Ready(meant[0], load_ms)


async def _load_2(session: EndpointSession, alias: str) -> tuple[bool, float | None]:
    """Load by alias; return whether there is such an alias, and the milliseconds where it was not loaded already."""
    started = time.perf_counter()
    try:
        answer = await session.fetch(f"/models/load/{_quoted(alias)}", _LOAD_TIMEOUT_S)
    except EngineError as error:
        if error.code == "not_found":
            return False, None
        raise _not_loaded(alias, error) from error
    already = isinstance(answer, dict) and answer.get("status") == "already_loaded"
    return True, None if already else round((time.perf_counter() - started) * 1e3, 3)


async def _ready_0(session: EndpointSession, name: str, ids: list[str]) -> Ready:
    catalog = _catalog(await session.fetch("/foundry/list", _TIMEOUT_S))
    here = _names(await session.fetch("/openai/models", _TIMEOUT_S)) or ids
    id_ = match(name, [*ids, *here, *(str(entry["name"]) for entry in catalog)])
    if id_ is None:
        # In the catalog's own order of preference; what would have to be downloaded first comes last.
        variants = [str(entry["name"]) for entry in catalog if str(entry.get("alias")).casefold() == name.casefold()]
        id_ = next((one for one in variants if one in here), None) or next(iter(variants), None)
    if id_ is None:
        known = nearest(name, [*ids, *here]) or f"it has {', '.join(map(one_line, here[:5])) or 'none'}"
        raise UsageError(f'Foundry Local has no model "{one_line(name)}"', fix=known, code="model_not_found")
    runtime = next((entry.get("runtime") for entry in catalog if entry["name"] == id_), None)
    device = words(runtime.get("deviceType"), 40) if isinstance(runtime, dict) else None
    if id_ in _names(await session.fetch("/openai/loadedmodels", _TIMEOUT_S)):
        return Ready(id_, device=device)
    started = time.perf_counter()
    try:
        await session.fetch(f"/openai/load/{_quoted(id_)}", _LOAD_TIMEOUT_S)
    except EngineError as error:
        raise _not_loaded(id_, error) from error
    return Ready(id_, round((time.perf_counter() - started) * 1e3, 3), device)


def _not_loaded(name: str, error: EngineError) -> EngineError:
    # What the two generations say of a model that was never downloaded.
    missing = re.search(r"not cached|must be downloaded|No OpenAIService provider", error.message)
    return EngineError(
        f"Foundry Local cannot load {one_line(name)}: {error.message}",
        fix=f"foundry model download {one_line(name)}" if missing else None,
        code="load_failed",
    )


def _aliases(id_: str) -> list[str]:
    """Return what may be an id's alias: aliases are the beginnings of names, without device and version.

    Examples:
        >>> _aliases("qwen2.5-0.5b-instruct-generic-cpu:4")[-2:]
        ['qwen2.5-0.5b-instruct', 'qwen2.5-0.5b']
    """
    parts = id_.rpartition(":")[0].split("-") if ":" in id_ else id_.split("-")
    return ["-".join(parts[:n]) for n in range(len(parts), 0, -1)][:8]


def _names(value: Any) -> list[str]:
    return [name for name in value[:1000] if isinstance(name, str)] if isinstance(value, list) else []


def _catalog(value: Any) -> list[dict[str, Any]]:
    listed = value.get("models") if isinstance(value, dict) else value
    return [entry for entry in entries(listed) if isinstance(entry.get("name"), str)]


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="replace")
