"""The mock server: routes, its log, and the loop that it runs in."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import select
import selectors
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from audition.errors import AuditionError, UsageError
from audition.mock.exchange import Exchange, Record
from audition.mock.faults import STREAM_ONLY
from audition.mock.http import MAX_CONNECTIONS, Connection, HttpError, Request
from audition.mock.model import Model
from audition.mock.request import parse_chat
from audition.mock.script import Script

TRUTH_HEADER = b"x-audition-truth"
"""A request with this header and the value 1 gets the times of the server's writes in its last event."""

_CHAT = "/v1/chat/completions"
_ROUTES = {"/health": "GET", "/v1/models": "GET", _CHAT: "POST"}


class Server:
    """Answers requests by one script.

    Args:
        log: Gets one line of JSON for every chat request; None: nothing is logged.
    """

    def __init__(self, script: Script, log: TextIO | None) -> None:
        self._script = script
        self._log = log
        self._model = Model(script)
        self._started_ns = time.perf_counter_ns()
        self._chats = 0
        self.connections: set[Connection] = set()

    def connect(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self._handle, self.connections)

    async def _handle(self, request: Request, link: Connection) -> None:
        try:
            self._admit(request)
        except HttpError as error:
            link.respond(error.status, error.body())
            return
        if request.path == _CHAT:
            await self._chat(request, link)
        elif request.path == "/health":
            link.respond(200, b'{"status": "ok"}')
        else:
            link.respond(200, json.dumps({"object": "list", "data": [self._entry()]}).encode())

    def _admit(self, request: Request) -> None:
        method = _ROUTES.get(request.path)
        if method is None:
            raise HttpError(404, f"unknown path: {request.method} {request.path[:200]}", code="unknown_url")
        if request.method != method:
            raise HttpError(405, f"{request.path} takes {method} only", code="method_not_supported")
        if self._script.api_key is not None and request.path != "/health":
            from hmac import compare_digest

            key = f"Bearer {self._script.api_key}".encode()
            if not compare_digest(request.headers.get(b"authorization", b""), key):
                raise HttpError(401, "the API key is missing or wrong", code="invalid_api_key")

    def _entry(self) -> dict[str, object]:
        device = self._script.device
        if "cpu_fallback" in self._script.lies:
            device = device or "gpu"
        entry: dict[str, object] = {
            "id": self._script.model,
            "object": "model",
            "created": 0,
            "owned_by": "audition",
            "context_length": self._script.context,
        }
        return entry if device is None else entry | {"device": device}

    async def _chat(self, request: Request, link: Connection) -> None:
        self._chats += 1
        record = Record(self._chats, request.received_ns)
        try:
            await self._answer(request, link, record)
        except HttpError as error:
            record.status = error.status
            link.respond(error.status, error.body())
        except asyncio.CancelledError:
            record.client_gone = record.end_ns is None
            raise
        finally:
            record.end_ns = record.end_ns or time.perf_counter_ns()
            if self._log is not None:
                self._log.write(json.dumps(dataclasses.asdict(record)) + "\n")
                self._log.flush()

    async def _answer(self, request: Request, link: Connection, record: Record) -> None:
        chat = parse_chat(request.body)
        record.stream = chat.stream
        self._model.check(chat)
        failure = self._script.failure_of(record.request)
        record.failure = None if failure in STREAM_ONLY and not chat.stream else failure
        elapsed_ms = (request.received_ns - self._started_ns) / 1e6
        answer = self._model.answer(chat, record.request, elapsed_ms)
        record.prompt_tokens = answer.prompt_tokens
        record.cached_tokens = answer.cached_tokens
        record.completion_tokens = answer.completion_tokens
        record.finish_reason = answer.finish_reason
        exchange = Exchange(
            link=link,
            script=self._script,
            answer=answer,
            record=record,
            created=int(time.time()),
            usage=self._model.usage(answer) if chat.include_usage or not chat.stream else None,
            truth=request.headers.get(TRUTH_HEADER) == b"1",
        )
        if await exchange.refuse():
            return
        await (exchange.stream() if chat.stream else exchange.whole())
        self._model.remember(chat, answer)


async def serve(script: Script, host: str, port: int, log: TextIO | None, ready: Callable[[str, int], None]) -> None:
    """Serve until cancelled.

    Args:
        script: What the server does.
        host: Where it listens; other than loopback only with an API key.
        port: 0 takes any free one.
        log: Gets the truth; see `Server`.
        ready: Called once with the URL and the port, when the server listens.

    Raises:
        UsageError: The host is reachable from outside and no key is asked for.
        AuditionError: The port cannot be had.
    """
    if script.api_key is None and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, and the server would answer anyone",
            fix="set api_key (--api-key)",
        )
    server = Server(script, log)
    try:
        listener = await asyncio.get_running_loop().create_server(server.connect, host, port, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise AuditionError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            fix="port 0 takes any free one",
            code="port_unavailable",
        ) from error
    bound = listener.sockets[0].getsockname()[1]
    try:
        ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}/v1", bound)
        await asyncio.Event().wait()
    finally:
        listener.close()
        for connection in list(server.connections):
            connection.abort()


def run(script: Script, host: str, port: int, log: Path | None, ready: Callable[[str, int], None]) -> None:
    """Run `serve` in a loop of its own, until Ctrl-C or until what `ready` arranged cancels it.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        AuditionError: The log cannot be written, or what `serve` raises.
    """
    _allow_many_connections()
    # What is alive by now stays: the collector need not walk over it between two tokens.
    gc.collect()
    gc.freeze()
    with contextlib.ExitStack() as stack:
        stream = None
        if log is not None:
            try:
                stream = stack.enter_context(log.open("a", encoding="utf-8"))
            except OSError as error:
                raise AuditionError(f"cannot write {log}: {error.strerror or error}") from error
        runner = stack.enter_context(asyncio.Runner(loop_factory=_loop))
        with contextlib.suppress(asyncio.CancelledError):
            runner.run(serve(script, host, port, stream, ready))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`."""
    import ipaddress

    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if sys.platform == "linux" or TYPE_CHECKING:

    class FineSelector(selectors.EpollSelector):
        """An epoll selector whose waits end within about 0.1 ms.

        `epoll_wait` counts in whole milliseconds, so asyncio's timers come up to a millisecond late. `select` on the
        epoll descriptor itself counts in microseconds. The kernel also ends long waits late by a share of their
        length, so a wait stops a little early and the loop waits for the rest.
        """

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Wait for events or until the time is over, or nearly so."""
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout * 0.98 if timeout > 0.001 else timeout)
                timeout = 0
            return super().select(timeout)


def _loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "linux":
        return asyncio.SelectorEventLoop(FineSelector())
    return asyncio.new_event_loop()


def _allow_many_connections() -> None:
    """Raise the limit of open files where the system has one that is lower than our own."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + 64
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
