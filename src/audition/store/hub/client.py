"""Calls of Hugging Face's own client, `huggingface_hub`, within bounds, and its errors as sentences.

The client waits without end, sleeps for as long as a server says, reads answers of any size, and sends the token along
with whatever address an answer names. A hub can be slow, broken or hostile, so all of this is bounded here, for our
calls alone: a program that uses the client for itself as well finds it as it was.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from audition.errors import AuditionError, UsageError
from audition.store.hub.failures import Unreachable, Unusable, explained, offline

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from audition.store.transfer.web import Location

T = TypeVar("T")

TIMEOUT_S = 15.0
"""For a connection, and between two pieces of an answer."""
TOTAL_S = 60.0
"""For one answer as a whole."""
ATTEMPTS = 3
BACK_OFF_S = 0.5
MAX_WAIT_S = 10.0
"""A hub that asks for a longer pause than this is told of instead of waited for."""
MAX_ANSWER_BYTES = 32 * 2**20
MAX_REQUESTS = 25
"""For one answer: pages of a list, and redirects."""
DEFAULT_ENDPOINT = "https://huggingface.co"

_TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its variables


@dataclass(slots=True)
class _Call:
    """One of our calls, while it runs."""

    origin: tuple[str, str]
    ends: float
    requests: int = 0


_call: ContextVar[_Call | None] = ContextVar("_call", default=None)
_prepared = threading.Lock()
_is_prepared = False


def endpoint() -> str:
    """Return the hub's address, without a slash at its end: HF_ENDPOINT, else Hugging Face's own.

    Raises:
        UsageError: HF_ENDPOINT is no address.
    """
    address = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) and address.isascii()
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment or " " in address:
        raise UsageError(
            "HF_ENDPOINT is no address of a hub", fix="write it as https://host, without a name or a password in it"
        )
    return address


def host() -> str:
    """Return the hub's host, for a sentence."""
    return urlsplit(endpoint()).netloc


def token() -> str | None:
    """Return the token to send to the hub: HF_TOKEN, else what `hf auth login` wrote; None when there is none.

    Raises:
        UsageError: What is set is no token.
    """
    if _is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None
    _prepare()
    from huggingface_hub import get_token
    from huggingface_hub.errors import OIDCError

    call = _call.set(_Call(_origin(endpoint()), time.monotonic() + TOTAL_S))  # it may have to renew the token
    try:
        found = get_token()
    except (OSError, ValueError, RuntimeError, OIDCError, Unreachable, Unusable) as error:
        raise UsageError("the hub's token cannot be read", fix="hf auth login, or set HF_TOKEN") from error
    finally:
        _call.reset(call)
    if found is not None and not (found.isascii() and found.isprintable() and " " not in found):
        raise UsageError("HF_TOKEN, or what `hf auth login` wrote, is no token", fix="hf auth login, or set HF_TOKEN")
    if found is not None and _is_clear(endpoint()):
        raise UsageError(
            f"{host()} is asked over http://, where everybody on the way could read the token",
            fix="use https:// in HF_ENDPOINT, or go without the token: HF_HUB_DISABLE_IMPLICIT_TOKEN=1",
            code="insecure",
        )
    return found


def refuse_offline(what: str) -> None:
    """Raise when HF_HUB_OFFLINE says that the hub is not to be asked.

    Raises:
        AuditionError: `offline`, with what is missing for it.
    """
    variable = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    if _is_true(variable):
        raise offline(what, variable)


def location_of(repository: str, commit: str, path: str) -> Location:
    """Return where a file of a repository is fetched from, with the token for that origin alone."""
    from audition.store.transfer.web import Location

    address, secret = endpoint(), token()
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    url = f"{address}/{repository}/resolve/{commit}/{quote(path)}"
    return Location(url, headers, plain_http=bool(os.environ.get("HF_ENDPOINT")))


def ask(call: Callable[[HfApi], T], what: str) -> T:
    """Return what one call of the hub's client answers; tried again where that can help.

    Args:
        call: What to call; it reads its answer to the end.
        what: What is asked for, such as a repository's name, for the sentence when it fails.

    Raises:
        AuditionError: With the cause and the fix; the sentence never holds the token.
    """
    refuse_offline(what)
    _prepare()
    from huggingface_hub import HfApi

    address = endpoint()
    api = HfApi(endpoint=address, token=token() or False, library_name="audition")
    for attempt in range(1, ATTEMPTS + 1):
        reset = _call.set(_Call(_origin(address), time.monotonic() + TOTAL_S))
        try:
            return call(api)
        except AuditionError:
            raise
        except Exception as error:  # noqa: BLE001  the client turns a malformed answer into any exception at all
            failure = explained(error, what, address)
        finally:
            _call.reset(reset)
        wait = BACK_OFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311  no secret
        wait = max(wait, failure.wait_s or 0)
        if not failure.may_pass or attempt == ATTEMPTS or wait > MAX_WAIT_S:
            raise failure.error
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _prepare() -> None:
    """Put the bounds around the client that `huggingface_hub` makes, once a process."""
    global _is_prepared  # noqa: PLW0603  the client is the process's own, too
    with _prepared:
        if _is_prepared:
            return
        from huggingface_hub import constants, set_client_factory
        from huggingface_hub.utils import _http

        # Its user agent would otherwise tell what this program runs in, after asking the hub for a list of such.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        make = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
        set_client_factory(lambda: _bounded(make()))
        for name in ("huggingface_hub.utils._http", "huggingface_hub.utils._pagination"):
            logging.getLogger(name).addFilter(lambda _: _call.get() is None)  # errors are told once, by us
        _is_prepared = True


def _bounded(client: Any) -> Any:
    import httpx2

    hooks, send = client.event_hooks, client.send

    def sent(*arguments: Any, **keywords: Any) -> Any:
        try:
            return send(*arguments, **keywords)
        except httpx2.TransportError as error:
            if _call.get() is None:
                raise
            raise Unreachable from error  # else the client would sleep, and try again by a count of its own

    client.event_hooks = {"request": [*hooks["request"], _before], "response": [*hooks["response"], _after]}
    client.send = sent
    return client


def _before(request: Any) -> None:
    """Bound a request of ours; the client calls this for every redirect as well."""
    call = _call.get()
    if call is None:
        return
    call.requests += 1
    if call.requests > MAX_REQUESTS:
        raise Unusable("the hub's answer goes on and on")
    if _origin(str(request.url)) != call.origin:
        request.headers.pop("authorization", None)
    request.headers["accept-encoding"] = "identity"  # so that what arrives is what has to be kept
    left = max(0.1, min(TIMEOUT_S, call.ends - time.monotonic()))
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), left)


def _after(response: Any) -> None:
    """Bound an answer to a request of ours, before any of it is read."""
    call = _call.get()
    if call is None:
        return
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise Unusable("the hub's answer is compressed, which was not asked for")
    response.stream = _bounded_stream(response.stream, call)
    if response.status_code == 429 or response.status_code >= 500:
        response.read()
        raise Unusable.answered(response)


def _bounded_stream(stream: Any, call: _Call) -> Any:
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in stream:
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    raise Unusable(f"the hub's answer is larger than {MAX_ANSWER_BYTES // 2**20} MB")
                if time.monotonic() > call.ends:
                    raise Unusable(f"the hub's answer takes longer than {TOTAL_S:.0f} s", may_pass=True)
                yield chunk

        def close(self) -> None:
            stream.close()

    return Bounded()


def _is_clear(address: str) -> bool:
    """Return whether what goes to an address can be read on the way: it is http://, and not on this machine."""
    from audition.store.transfer.web import is_loopback

    parts = urlsplit(address)
    return parts.scheme == "http" and not is_loopback(parts.hostname)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, f"{(parts.hostname or '').lower()}:{port}"


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _TRUE
