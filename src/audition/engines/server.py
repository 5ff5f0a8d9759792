"""Reaching a server: its address, its model's name there, and the key that stays out of every file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audition.engines.protocol import EngineError
from audition.errors import UsageError
from audition.paths import expanded
from audition.text import one_line

if TYPE_CHECKING:
    from audition.engines.endpoint.session import EndpointSession

ENGINE = "endpoint"

_FIXES = {
    "connection_refused": "start the server, or check the address",
    "host_not_found": "check the address",
    "not_found": "check the path of the address; most end in /v1",
    "tls_error": "check whether the server speaks https or http",
    "unauthorized": "give its key with --key-env NAME or --key-file FILE",
}


def settings_of(
    text: str, *, key_env: str | None = None, key_file: Path | None = None, ca_file: Path | None = None
) -> dict[str, Any]:
    """Return the settings of a server that a person names as `URL` or `URL#MODEL`; `model` is "" when none is named.

    The key itself is never among them: they are written into the run.

    Raises:
        UsageError: The address is none, or the key is not where it is said to be.
    """
    from audition.engines.endpoint.address import normalised

    url, _, model = text.partition("#")
    settings: dict[str, Any] = {"url": normalised(url.strip()), "model": model.strip()}
    places = {"key_env": key_env, "key_file": key_file, "ca_file": ca_file}
    settings |= {name: str(place) for name, place in places.items() if place is not None}
    read_key(settings.get("key_env"), settings.get("key_file"))
    return settings


def list_models(settings: dict[str, Any], timeout_s: float = 5.0) -> list[dict[str, Any]]:
    """Return what a server lists as its models.

    Raises:
        EngineError: It cannot be reached, or shows no list.
    """

    async def ask() -> list[dict[str, Any]]:
        session = connect({"model": "", **settings})
        try:
            return await session.models(timeout_s)
        finally:
            await session.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(ask())


def named_model(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model that is to be asked, and what the server's list says of it.

    A server that shows no list is asked all the same when the model is named; what is wrong with it will show then.

    Raises:
        EngineError: No model is named, and there is no list to take it from.
        UsageError: No model is named, and the server has none, or several; or the address leads to no list.
    """
    name = settings["model"]
    try:
        listed = list_models(settings)
    except EngineError as error:
        if name:
            return name, {}
        fix = _FIXES.get(error.code, f"name the model: --endpoint '{settings['url']}#MODEL'")
        if error.code == "not_found":
            # Somebody answers, but not at this path: the command is wrong.
            message = f"{settings['url']}/models is not there: {error.message}"
            raise UsageError(message, fix=fix, code=error.code) from error
        raise EngineError(error.message, fix=fix, code=error.code) from error
    if name:
        return name, next((entry for entry in listed if entry["id"] == name), {})
    ids = [one_line(entry["id"]) for entry in listed]
    if len(ids) != 1:
        known = f"it has {', '.join(ids[:10])}" if ids else "it lists none"
        raise UsageError(
            f"no model is named for {settings['url']}, and {known}",
            fix=f"--endpoint '{settings['url']}#{ids[0] if ids else 'MODEL'}'",
        )
    return listed[0]["id"], listed[0]


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
