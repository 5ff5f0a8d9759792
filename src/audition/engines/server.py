"""Reaching a server: its address, who it is, its model's name there, and the key that stays out of every file."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from audition.engines.protocol import EngineError
from audition.errors import UsageError, nearest
from audition.paths import expanded
from audition.text import one_line

if TYPE_CHECKING:
    from audition.engines.endpoint.identify import Identity
    from audition.engines.endpoint.session import EndpointSession

ENGINE = "endpoint"

_LIST_TIMEOUT_S = 10.0
"""Foundry Local takes more than four seconds to list its models where its catalog cannot be reached."""

_T = TypeVar("_T")

_FIXES = {
    "connection_refused": "start the server, or check the address",
    "connection_failed": "check the network and the address",
    "connect_timeout": "check the address, and whether a firewall is between",
    "host_not_found": "check the address",
    "not_found": "check the path of the address; most end in /v1",
    "tls_error": "check whether the server speaks https or http",
    "unauthorized": "give its key with --key-env NAME or --key-file FILE",
}


def settings_of(
    text: str, *, key_env: str | None = None, key_file: Path | None = None, ca_file: Path | None = None
) -> dict[str, Any]:
    """Return the settings of a server that a person names as `URL` or `URL#MODEL`; `model` is "" when none is named.

    `foundry`, `ollama`, `lmstudio`, `llama-server` and `vllm` stand for where those listen. The key itself is never
    among the settings: they are written into the run.

    Raises:
        UsageError: The address is none, no Foundry Local is found, or the key is not where it is said to be.
    """
    from audition.engines.endpoint import local
    from audition.engines.endpoint.address import normalised

    url, _, model = text.partition("#")
    url = url.strip()
    settings: dict[str, Any] = {"url": normalised(local.address_of(url) or url), "model": model.strip()}
    places = {"key_env": key_env, "key_file": key_file, "ca_file": ca_file}
    settings |= {name: str(place) for name, place in places.items() if place is not None}
    read_key(settings.get("key_env"), settings.get("key_file"))
    return settings


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it was found, before a run.

    Attributes:
        settings: Those that were given, with the model as the server calls it; of Foundry Local with its `api`.
        entry: What its list says of the model; anything may be missing.
        identity: Who it is.
        notes: What a person should know of it, in sentences without full stops.
        load_ms: What loading the model took; None where it was loaded already, or cannot be told to.
    """

    settings: dict[str, Any]
    entry: dict[str, Any]
    identity: Identity
    notes: tuple[str, ...] = ()
    load_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record of `host.json`."""
        return {**self.identity.to_json(), "load_ms": self.load_ms, "notes": list(self.notes)}


def find_server(settings: dict[str, Any]) -> Server:
    """Find out who a server is and which of its models is meant; Foundry Local is made to load it.

    A server that shows no list is asked all the same when the model is named; what is wrong with it will show then.

    Raises:
        EngineError: No model is named, and there is no list to take it from; or the model cannot be loaded.
        UsageError: No model is named, and the server has none, or several; or the address leads to no list.
    """
    return _run(_find(settings))


def local_servers(timeout_s: float = 1.0) -> dict[str, Identity]:
    """Return who answers at the usual servers' addresses, by address; within `timeout_s`.

    Those are on this machine, but for Foundry Local's, which `FOUNDRY_LOCAL_ENDPOINT` sets.
    """
    from audition.engines.endpoint import local
    from audition.engines.endpoint.address import normalised

    urls = list(local.USUAL.values())
    if foundry := os.environ.get(local.FOUNDRY_VARIABLE, "").strip():
        with contextlib.suppress(UsageError):
            urls.append(normalised(foundry))

    async def ask() -> list[Identity | None]:
        return await asyncio.gather(*(_look(url, timeout_s) for url in urls))

    return {url: found for url, found in zip(urls, _run(ask()), strict=True) if found is not None}


async def _look(url: str, timeout_s: float) -> Identity | None:
    from audition.engines.endpoint.identify import identify

    session = connect({"url": url, "model": ""})
    try:
        async with asyncio.timeout(timeout_s):
            return await identify(session, "", await session.models(timeout_s), timeout_s)
    except (EngineError, TimeoutError):
        return None
    finally:
        await session.close()


async def _find(settings: dict[str, Any]) -> Server:
    from audition.engines.endpoint import local
    from audition.engines.endpoint.identify import FOUNDRY, Identity, identify, match

    session = connect(settings)
    try:
        try:
            listed = await session.models(_LIST_TIMEOUT_S)
        except EngineError as error:
            if settings["model"]:
                return Server(settings, {}, Identity())
            fix = _FIXES.get(error.code, f"name the model: --endpoint '{settings['url']}#MODEL'")
            if error.code == "host_not_found":
                names = [*local.USUAL, local.FOUNDRY]
                fix = nearest(urlsplit(settings["url"]).hostname or "", names) or fix
            if error.code == "not_found":
                # Somebody answers, but not at this path: the command is wrong.
                message = f"{settings['url']}/models is not there: {error.message}"
                raise UsageError(message, fix=fix, code=error.code) from error
            raise EngineError(error.message, fix=fix, code=error.code) from error
        asked = settings["model"] or _only_model(settings["url"], listed)
        model = match(asked, [entry["id"] for entry in listed]) or asked
        identity = await identify(session, model, listed)
        if identity.name == FOUNDRY:
            return await _find_in_foundry(session, {**settings, "model": asked}, listed, identity)
        notes = [_taken(asked, model)] if model != asked else []
        entry = next((entry for entry in listed if entry["id"] == model), {})
        return Server({**settings, "model": model}, entry, identity, tuple(notes))
    finally:
        await session.close()


async def _find_in_foundry(
    session: EndpointSession, settings: dict[str, Any], listed: Sequence[dict[str, Any]], identity: Identity
) -> Server:
    from dataclasses import replace

    from audition.engines.endpoint.foundry_rest import make_ready

    asked = settings["model"]
    ready = await make_ready(session, str(identity.api), asked, listed)
    notes = [_taken(asked, ready.id)] if ready.id != asked else []
    if ready.load_ms is not None:
        notes.append(f"Foundry Local loaded {one_line(ready.id)} in {ready.load_ms / 1e3:.1f} s, and keeps it")
    settings = {**settings, "model": ready.id, "api": identity.api}
    entry = next((entry for entry in listed if entry["id"] == ready.id), {})
    identity = replace(identity, model=one_line(ready.id, 100), device=ready.device)
    return Server(settings, entry, identity, tuple(notes), ready.load_ms)


def _taken(asked: str, model: str) -> str:
    return f'"{one_line(asked)}" is "{one_line(model)}" there'


def _only_model(url: str, listed: Sequence[dict[str, Any]]) -> str:
    ids = [one_line(entry["id"]) for entry in listed]
    if len(ids) != 1:
        known = f"it has {', '.join(ids[:10])}" if ids else "it lists none"
        raise UsageError(
            f"no model is named for {url}, and {known}", fix=f"--endpoint '{url}#{ids[0] if ids else 'MODEL'}'"
        )
    return str(listed[0]["id"])


async def load(session: EndpointSession, settings: dict[str, Any]) -> float | None:
    """Have a server load its model where it has a route for that; a server may have dropped it since the last block.

    Returns:
        The milliseconds that it took; None where nothing was loaded.

    Raises:
        EngineError: It cannot load the model, or has it no more.
    """
    if "api" not in settings:
        return None
    from audition.engines.endpoint.foundry_rest import make_ready

    listed = [{"id": settings["model"]}]
    try:
        ready = await make_ready(session, settings["api"], settings["model"], listed)
    except UsageError as error:
        raise EngineError(error.message, fix=error.fix, code=error.code) from error
    return ready.load_ms


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(coroutine)


def connect(settings: dict[str, Any], *, stream: bool = True, connections: int = 1) -> EndpointSession:
    """Return a session with the server that a target's settings name; nothing is sent yet.

    Args:
        settings: `url`, `model`, and where the key is: `key_env` (a variable's name) or `key_file` (a path).
        stream: Whether answers are asked for piece by piece.
        connections: How many requests will be under way at once.

    Raises:
        UsageError: The key is not where it is said to be.
    """
    from audition.engines.endpoint.session import EndpointSession

    ca_file = settings.get("ca_file")
    return EndpointSession(
        settings["url"],
        settings["model"],
        key=read_key(settings.get("key_env"), settings.get("key_file")),
        stream=stream,
        ca_file=Path(ca_file) if ca_file else None,
        connections=connections,
    )


def read_key(variable: str | None, file: str | None) -> str | None:
    """Return the key from an environment variable or a file; None when neither is named.

    Raises:
        UsageError: The variable is not set, or the file holds no key.
    """
    if variable is not None:
        key = os.environ.get(variable, "").strip()
        where = f"the environment variable {variable} is not set"
    elif file is not None:
        try:
            key = expanded(file).read_text(encoding="utf-8").strip()
            where = f"the file {file} is empty"
        except (OSError, ValueError) as error:  # no UTF-8, or a null byte in the path
            raise UsageError(f"cannot read the key from {file}", fix="name a text file with --key-file") from error
    else:
        return None
    if not key:
        raise UsageError(f"there is no key: {where}", fix="set it, or leave --key-env and --key-file out")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"the key from {variable or file} holds characters that no key has", fix="check it")
    return key
