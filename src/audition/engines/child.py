"""The process a loaded model lives in: `python -m audition.engines.child`, driven over its standard streams.

Operations: `open` (import the engine), `load`, `unload`, and `chat`, of which several may be under way where the engine
says that it is `concurrent`. Each has a number, which its answer carries; `cancel` names the one that is to stop.
When the parent goes away, however it went, the pipe closes and this process ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from audition.engines import wire
from audition.engines.adapter import AnyEngine
from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.reference import Reference
from audition.errors import AuditionError

_LONGEST_MESSAGE = 2000
"""Characters of what an exception says."""


def main() -> None:
    """Serve the parent until its pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    faulthandler.enable()  # where a crash of native code happened is in the log too
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


def _return_freed_memory() -> None:
    """Have the C library give the system what was freed: glibc keeps it, and it would look like the engine's leak."""
    if sys.platform == "linux":
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


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
        _end()


def _end() -> None:
    """End this process and what the engine has started; native code may hold the main thread, so it is not asked."""
    with contextlib.suppress(OSError):
        if sys.platform != "win32" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
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
        self._adapter: AnyEngine | None = None
        self._log: Path | None = None
        self._under_way: dict[int, _Request] = {}

    @property
    def is_concurrent(self) -> bool:
        """Whether the engine says that it can answer several requests at once; else they wait for one another."""
        return self._adapter is not None and self._adapter.is_concurrent

    @property
    def _engine(self) -> AnyEngine:
        if self._adapter is None:
            raise EngineError("no engine was opened", code="engine_error")
        return self._adapter

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
        except BaseException as error:  # noqa: BLE001 - an adapter may raise anything, `sys.exit` is that too
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
        start = time.perf_counter_ns()
        self._log = Path(log).absolute()  # an adapter may go to another folder
        self._adapter = adapter = _opened(engine)
        return {"import_ms": _ms_since(start), "describe": adapter.describe()}

    def _estimate(self, weights_path: str | None, settings: dict[str, Any]) -> dict[str, Any]:
        return {"bytes": self._engine.estimate_memory(weights_path, settings)}

    def _load(self, weights_path: str | None, settings: dict[str, Any]) -> dict[str, Any]:
        log_start = self._log.stat().st_size if self._log is not None and self._log.exists() else 0
        start = time.perf_counter_ns()
        try:
            self._engine.load(weights_path, settings)
        except AuditionError as error:
            raise AuditionError(self._explained(error.message, log_start), code=error.code) from error
        except (MemoryError, ImportError):
            raise
        except BaseException as error:  # `sys.exit` in an adapter is a failure of its own too
            traceback.print_exc()
            raise AuditionError(f"{type(error).__name__}: {error}", code="load_failed") from error
        return {"load_ms": _ms_since(start), "device": self._engine.device}

    def _explained(self, message: str, log_start: int) -> str:
        """Return the reason from what the engine has logged since, where it can read one, else the message as it is."""
        if self._log is None or not self._engine.explains:
            return message
        try:
            reason = self._engine.explain_failure(_logged_since(log_start, self._log))
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
        problem: BaseException | None = None
        sent_ns = request.queued_ns or time.perf_counter_ns()
        answer = self._engine.answer(messages, params, request.cancelled)
        try:
            for item in answer:
                if isinstance(item, Finish):
                    finish = item
                    break
                chunks.append(item)
                if stream:
                    say({"text": item.text, "reasoning": item.reasoning})
                if request.cancelled.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - as in serve; the text so far is kept
            problem = error
        end_ns = time.perf_counter_ns()
        try:
            answer.close()
        except BaseException as error:  # noqa: BLE001 - as above
            problem = problem or error
        return {
            "sent_ns": sent_ns,
            "end_ns": finish.at_ns if finish and finish.at_ns else end_ns,
            "chunks": [[chunk.at_ns, chunk.reasoning, chunk.text] for chunk in chunks],
            "finish": None if finish is None else {name: getattr(finish, name) for name in Finish.__slots__},
            "cancelled": request.cancelled.is_set(),
            "failure": None if problem is None else _failure(problem),
        }

    def _unload(self) -> dict[str, Any]:
        self._engine.unload()
        gc.collect()
        _return_freed_memory()
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


def _opened(engine: str) -> AnyEngine:
    """Import an engine and make it.

    Raises:
        EngineError: A reference leads nowhere.
    """
    from audition.engines.registry import find_engine

    reference = Reference.parse(engine)
    if reference is not None and reference.folder is not None:
        sys.path.append(reference.folder)  # last: a file there must not stand in for an installed package
    point = find_engine(engine)
    try:
        made = point.load()()
    except ModuleNotFoundError as error:
        if reference is None or not f"{reference.module}.".startswith(f"{error.name}."):
            raise
        where = f"in {reference.folder}, nor installed" if reference.folder else "installed"
        raise EngineError(f"there is no module {error.name} {where}", code="engine_unavailable") from error
    except AttributeError as error:
        module = sys.modules.get(point.module)
        if module is None or hasattr(module, str(point.attr).partition(".")[0]):
            raise
        file = getattr(module, "__file__", point.module)
        raise EngineError(f"there is no {point.attr} in {file}", code="engine_unavailable") from error
    return AnyEngine(made, f"{point.dist.name} {point.dist.version}" if point.dist else None)


def _failure(error: BaseException) -> dict[str, str | None]:
    """Return what the parent is told of an exception."""
    if isinstance(error, AuditionError):
        return {"code": error.code, "message": error.message, "fix": error.fix}
    if isinstance(error, ImportError):
        return {"code": "engine_unavailable", "message": f"a package is missing: {error.name or error}", "fix": None}
    if isinstance(error, MemoryError):
        return {"code": "insufficient_memory", "message": "the engine ran out of memory", "fix": None}
    # Where it happened is in the log, for whoever wrote the engine.
    traceback.print_exception(error)
    return {"code": "engine_error", "message": f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE], "fix": None}


def _ms_since(start_ns: int) -> float:
    return (time.perf_counter_ns() - start_ns) / 1e6


if __name__ == "__main__":
    main()
