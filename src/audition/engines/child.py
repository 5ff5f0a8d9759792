"""The process a loaded model lives in: `python -m audition.engines.child`, driven over its standard streams.

Operations: `open` (import the engine), `load`, `unload`, and `chat`, of which several may be under way where the engine
says that it is `concurrent`. Each has a number, which its answer carries; `cancel` names the one that is to stop.
When the parent goes away, however it went, the pipe closes and this process ends.
"""

from __future__ import annotations

import gc
import inspect
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from audition.engines import wire
from audition.engines.protocol import Chunk, Finish
from audition.errors import AuditionError


def main() -> None:
    """Serve the parent until its pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _forbid_core_dumps()
    _die_with_the_parent()
    requests, replies = _take_over_standard_streams()
    child = _Child(replies)
    operations: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, operations, child), daemon=True).start()
    while True:
        child.serve(operations.get())


def _take_over_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for ourselves and send whatever the engine prints to the log (standard error)."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(requests, os.O_BINARY)
        msvcrt.setmode(replies, os.O_BINARY)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _forbid_core_dumps() -> None:
    """A crash of native code must not write the model's memory, prompts included, to the disk."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with_the_parent() -> None:
    """Have the kernel end this process too: native code that holds the interpreter's lock would not see the pipe close.

    xllamacpp holds it while it loads a model, which takes long for a large one. Linux only; elsewhere the process ends
    when the lock is given back. The kernel looks at the thread that started this process, so that one has to live as
    long as the model is wanted.
    """
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _read(requests: BinaryIO, operations: queue.SimpleQueue[dict[str, Any]], child: _Child) -> None:
    try:
        while (message := wire.receive(requests)) is not None:
            if message["op"] == "cancel":
                child.cancel(message["request"])
                continue
            if message["op"] == "chat":
                # Here and not where the operation starts: a `cancel` right behind it must not be lost.
                message["request"] = child.arrived(message["id"])
                if child.is_concurrent:
                    threading.Thread(target=child.serve, args=(message,), daemon=True).start()
                    continue
            operations.put(message)
    finally:
        # The parent is gone. Native code may hold the main thread, so this does not ask it.
        os._exit(0)


class _Request:
    """A request that is under way.

    Attributes:
        queued_ns: When it arrived, if another one was being answered by an engine that takes one at a time.
    """

    def __init__(self, queued_ns: int | None) -> None:
        self.cancelled = threading.Event()
        self.queued_ns = queued_ns


class _Child:
    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._sending = threading.Lock()
        self._engine: Any = None
        self._log: Path | None = None
        self._under_way: dict[int, _Request] = {}

    @property
    def is_concurrent(self) -> bool:
        """Whether the engine says that it can answer several requests at once; else they wait for one another."""
        return bool(getattr(self._engine, "concurrent", False))

    def arrived(self, number: int) -> _Request:
        """Note a request, so that it can be cancelled; return it."""
        waits = bool(self._under_way) and not self.is_concurrent
        request = self._under_way[number] = _Request(time.perf_counter_ns() if waits else None)
        return request

    def cancel(self, number: int) -> None:
        """Tell a request to stop, if it is still under way."""
        request = self._under_way.get(number)
        if request is not None:
            request.cancelled.set()

    def serve(self, message: dict[str, Any]) -> None:
        """Carry out one operation and answer it; an exception is an answer too."""
        operation, number = message.pop("op"), message.pop("id")
        if operation == "chat":
            message["say"] = lambda text: self._send(number, text)
        try:
            answer = getattr(self, f"_{operation}")(**message)
        except Exception as error:  # noqa: BLE001 - an adapter may raise anything; it is reported by name
            answer = {"error": _failure(error)}
        self._under_way.pop(number, None)
        try:
            self._send(number, answer)
        except wire.WireError as error:
            # What an adapter says of itself and of its answers can be anything.
            failure = _failure(error)
            unsaid = {**answer, "chunks": [], "finish": None, "failure": failure}
            self._send(number, unsaid if operation == "chat" else {"error": failure})

    def _send(self, number: int, answer: dict[str, Any]) -> None:
        with self._sending:
            wire.send(self._replies, {"id": number, **answer})

    def _open(self, engine: str, log: str) -> dict[str, Any]:
        from audition.engines.registry import find_engine

        start = time.perf_counter_ns()
        self._log = Path(log)
        self._engine = find_engine(engine).load()()
        describe = getattr(self._engine, "describe", None)
        return {"import_ms": _ms_since(start), "describe": describe() if describe else {}}

    def _load(self, weights_path: str, settings: dict[str, Any]) -> dict[str, Any]:
        log_start = self._log.stat().st_size if self._log is not None and self._log.exists() else 0
        start = time.perf_counter_ns()
        try:
            self._engine.load(weights_path, **_accepted(self._engine.load, settings))
        except AuditionError as error:
            raise AuditionError(self._explained(error.message, log_start), code=error.code) from error
        except (MemoryError, ImportError):
            raise
        except Exception as error:
            raise AuditionError(f"{type(error).__name__}: {error}", code="load_failed") from error
        load_ms = _ms_since(start)
        device = getattr(self._engine, "device", None)
        return {"load_ms": load_ms, "device": device if isinstance(device, str) else None}

    def _explained(self, message: str, log_start: int) -> str:
        """Return the reason from what the engine has logged since, where it can read one, else the message as it is."""
        explain = getattr(self._engine, "explain_failure", None)
        if explain is None or self._log is None:
            return message
        try:
            reason = explain(_logged_since(log_start, self._log))
        except OSError:
            return message
        return str(reason) if reason else message

    def _chat(
        self,
        messages: list[dict[str, str]],
        params: dict[str, Any],
        stream: bool,
        request: _Request,
        say: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        """Answer one request. Text is timestamped as it comes and sent only at the end, unless `stream` is asked."""
        chunks: list[Chunk] = []
        finish: Finish | None = None
        error: dict[str, Any] | None = None
        sent_ns = request.queued_ns or time.perf_counter_ns()
        answer = _answer(self._engine, messages, params)
        try:
            for item in answer:
                if isinstance(item, Finish):
                    finish = item
                    break
                if not isinstance(item, Chunk) or not isinstance(item.text, str):
                    raise TypeError(f"chat must give Chunk and Finish with text in str, not {item!r:.80}")
                chunks.append(item)
                if stream:
                    say({"text": item.text, "reasoning": item.reasoning})
                if request.cancelled.is_set():
                    break
        except Exception as problem:  # noqa: BLE001 - as in serve; the text so far is kept
            error = _failure(problem)
        end_ns = time.perf_counter_ns()
        try:
            answer.close()
        except Exception as problem:  # noqa: BLE001 - as above
            error = error or _failure(problem)
        return {
            "sent_ns": sent_ns,
            "end_ns": finish.at_ns if finish and finish.at_ns else end_ns,
            "chunks": [[chunk.at_ns, chunk.reasoning, chunk.text] for chunk in chunks],
            "finish": None if finish is None else {name: getattr(finish, name) for name in Finish.__slots__},
            "cancelled": request.cancelled.is_set(),
            "failure": error,
        }

    def _unload(self) -> dict[str, Any]:
        unload = getattr(self._engine, "unload", None)
        if unload is not None:
            unload()
        gc.collect()
        return {}


def _logged_since(start: int, log: Path) -> str:
    """Return the end of what has been logged since, once no more comes: native loggers write from threads."""
    deadline = time.monotonic() + 2
    size = start
    while time.monotonic() < deadline:
        time.sleep(0.2)
        before, size = size, log.stat().st_size
        if before == size > start:
            break
    with log.open("rb") as stream:
        stream.seek(max(start, size - 20_000))
        return stream.read().decode("utf-8", errors="replace")


def _failure(error: Exception) -> dict[str, str | None]:
    """Return what the parent is told of an exception."""
    if isinstance(error, AuditionError):
        return {"code": error.code, "message": error.message, "fix": error.fix}
    if isinstance(error, ImportError):
        return {"code": "engine_unavailable", "message": f"a package is missing: {error.name or error}", "fix": None}
    if isinstance(error, MemoryError):
        return {"code": "insufficient_memory", "message": "the engine ran out of memory", "fix": None}
    return {"code": "engine_error", "message": f"{type(error).__name__}: {error}", "fix": None}


def _answer(
    engine: Any, messages: list[dict[str, str]], params: dict[str, Any]
) -> Generator[Chunk | Finish, None, None]:
    """Return what the engine yields for these messages, in one shape for every kind of adapter."""
    if hasattr(engine, "chat"):
        yield from engine.chat(messages, **params)
        return
    # An adapter with only `generate` takes one string: it is given the conversation's text, without a template.
    result = engine.generate("\n\n".join(message["content"] for message in messages), **params)
    for text in result if isinstance(result, Iterable) and not isinstance(result, str | bytes) else [result]:
        if not isinstance(text, str):
            raise TypeError(f"generate must give str, not {type(text).__name__}")
        yield Chunk(text, time.perf_counter_ns())
    yield Finish(None, time.perf_counter_ns())


def _accepted(function: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a function has parameters for: `load(weights_path)` alone is a complete adapter."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return settings
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in settings.items() if name in names}


def _ms_since(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) / 1e6


if __name__ == "__main__":
    main()
