"""The parent's side of an engine process: start it, ask it, notice when it dies or hangs, and end it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from audition.engines import wire
from audition.engines.environment import child_environment
from audition.engines.protocol import Chunk, EngineDied, EngineError, Finish, Reply
from audition.engines.reference import Reference, engine_name
from audition.store.blobs import disk_error

if TYPE_CHECKING:
    import psutil

OPEN_TIMEOUT_S = 120.0
LOAD_TIMEOUT_S = 900.0
CANCEL_GRACE_S = 10.0
"""How long an engine that was told to stop may take before its process is ended."""

Answer = dict[str, Any] | None
"""What comes back through the pipe; None is its end."""


class EngineProcess:
    """One engine in its own process. Use it as a context manager: leaving ends the process, come what may.

    Requests have numbers, so that several can be under way; `ask` is a `protocol.Session`'s, `chat` waits.
    """

    def __init__(self, engine: str, log: Path, open_timeout_s: float = OPEN_TIMEOUT_S) -> None:
        """Start the process and import the engine in it.

        Args:
            engine: A registered engine's name, or a `Reference` to an adapter.
            log: Where everything that the engine prints goes.
            open_timeout_s: How long the import may take.

        Raises:
            EngineError: The engine cannot be imported here.
            EngineDied: The process ended or hung while it started.
            AuditionError: The log cannot be written.
        """
        self.engine = engine_name(engine)
        self._log_path = log
        start = time.perf_counter_ns()
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            stream = log.open("ab")
        except OSError as error:
            raise disk_error(error, log.parent) from error
        with stream:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "audition.engines.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=child_environment(),
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                # A group of its own: what an adapter starts ends with it. Windows has no such groups.
                process_group=None if sys.platform == "win32" else 0,
            )
        self._pipe = cast(BinaryIO, self._process.stdin)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        threading.Thread(target=self._read, args=(cast(BinaryIO, self._process.stdout),), daemon=True).start()
        try:
            answer = self._ask({"op": "open", "engine": engine, "log": str(log)}, open_timeout_s)
        except BaseException:
            self.close()
            raise
        self.spawn_ms = (time.perf_counter_ns() - start) / 1e6 - answer["import_ms"]
        self.import_ms: float = answer["import_ms"]
        self.description: dict[str, Any] = answer["describe"]

    @property
    def pid(self) -> int:
        """The process's id, for the meters that watch it from outside."""
        return self._process.pid

    def load(self, weights_path: Path | None, settings: dict[str, Any], timeout_s: float = LOAD_TIMEOUT_S) -> float:
        """Load a model; return the milliseconds that the engine took. `device` then says where it runs.

        Args:
            weights_path: The file or folder; None for an adapter that brings its own.
            settings: What it is loaded with; the engine gets those that it takes.
            timeout_s: After this the process is ended.

        Raises:
            EngineError: The engine refused the file.
            EngineDied: The process crashed, or was ended because it did not answer in time.
        """
        answer = self._ask(_with_weights("load", weights_path, settings), timeout_s)
        self.device: str | None = answer["device"]
        return float(answer["load_ms"])

    def estimate_memory(self, weights_path: Path | None, settings: dict[str, Any]) -> int | None:
        """Return the bytes that the engine itself expects a load to need; None where it does not say.

        Raises:
            EngineError: It failed at that.
            EngineDied: The process crashed or hung.
        """
        answer = self._ask(_with_weights("estimate", weights_path, settings), OPEN_TIMEOUT_S)
        needed: int | None = answer["bytes"]
        return needed

    def chat(
        self,
        messages: list[dict[str, str]],
        params: dict[str, Any],
        timeout_s: float,
        on_text: Callable[[str, bool], None] | None = None,
    ) -> Reply:
        """Send one request and return the whole reply.

        Args:
            messages: Role and content pairs.
            params: `max_tokens`, `temperature`, `seed`.
            timeout_s: After this the engine is told to stop, and what it had written is returned.
            on_text: Called with text and `reasoning` as they arrive; not for measuring, the pipe costs time.

        Raises:
            EngineError: The request is too long for the pipe.
            EngineDied: The process crashed, or did not even stop when it was told to.
        """
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        number = self._send(_chat(messages, params, stream=on_text is not None), answers.put)
        try:
            answer = self._answer_or_cancel(number, answers, timeout_s, on_text)
        except EngineDied:
            raise
        except BaseException:  # Ctrl-C, or `on_text` failed
            self._abandon(number, answers)
            raise
        finally:
            self._waiting.pop(number, None)
        return _reply(answer)

    async def ask(
        self, messages: list[dict[str, str]], params: dict[str, Any], timeout_s: float
    ) -> Callable[[], Reply]:
        """Send one request; other requests may be under way.

        The reply's times are the engine process's own, so that nothing this process does is in them.

        Raises:
            EngineError: The request is too long for the pipe.
            EngineDied: The process crashed, or did not even stop when it was told to.
        """
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not arrived.done():
                arrived.set_result(answer)

        def pass_on(answer: Answer) -> None:
            loop.call_soon_threadsafe(settle, answer)

        number = self._send(_chat(messages, params, stream=False), pass_on)
        try:
            await asyncio.wait({arrived}, timeout=timeout_s)
            if not arrived.done():
                self._cancel(number)
                await asyncio.wait({arrived}, timeout=CANCEL_GRACE_S)
            if not arrived.done():
                raise self._hung("did not stop", CANCEL_GRACE_S)
        except asyncio.CancelledError:
            with contextlib.suppress(EngineDied):
                self._cancel(number)
            raise
        finally:
            self._waiting.pop(number, None)
        answer = arrived.result()
        if answer is None:
            raise self._crashed()
        return lambda: _reply(answer)

    def unload(self, timeout_s: float = 60.0) -> None:
        """Free the model inside the process, so that what stays behind can be measured.

        Raises:
            EngineDied: The process crashed or hung.
        """
        self._ask({"op": "unload"}, timeout_s)

    def close(self) -> None:
        """End the process, and those that it started, and wait until it is gone."""
        descendants = _descendants(self._process)
        with contextlib.suppress(OSError):
            self._pipe.close()
        try:
            self._wait(2)
        except subprocess.TimeoutExpired:
            self._kill()
        for descendant in descendants:
            with contextlib.suppress(Exception):  # psutil's: it is gone
                descendant.kill()

    def _kill(self) -> None:
        self._process.kill()
        self._wait(None)

    def _wait(self, timeout_s: float | None) -> int:
        """Wait for the end of the process and of those that it left behind; return its status."""
        self._watcher.join(timeout_s)
        if self._watcher.is_alive():
            raise subprocess.TimeoutExpired(self._process.args, timeout_s or 0.0)
        return int(self._process.returncode)

    def _watch(self) -> None:
        """End what the process left behind, at once: a child that it forked would keep the pipe open, and itself."""
        self._process.wait()
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, stream: BinaryIO) -> None:
        """Pass answers on until the pipe ends; a torn frame counts as the end."""
        try:
            while (message := wire.receive(stream)) is not None:
                waiting = self._waiting.get(message.pop("id"))
                if waiting is not None:  # else nobody waits for it any more
                    waiting(message)
        except (wire.WireError, OSError, ValueError, KeyError):
            pass
        finally:
            with self._lock:
                self._ended = True
                left = list(self._waiting.values())
            for waiting in left:
                with contextlib.suppress(RuntimeError):  # its event loop is gone
                    waiting(None)

    def _send(self, message: dict[str, Any], waiting: Callable[[Answer], None]) -> int:
        """Send a message; `waiting` is called in another thread with everything that answers it."""
        number = next(self._numbers)
        with self._lock:
            if self._ended:
                waiting(None)
                return number
            self._waiting[number] = waiting
        try:
            self._write({"id": number, **message})
        except BaseException:
            self._waiting.pop(number, None)
            raise
        return number

    def _write(self, message: dict[str, Any]) -> None:
        try:
            wire.send(self._pipe, message)
        except wire.WireError as error:
            raise EngineError(f"{self.engine} cannot be asked this: {error}", code="invalid_request") from error
        except (OSError, ValueError) as error:
            raise self._crashed() from error

    def _cancel(self, number: int) -> None:
        self._write({"op": "cancel", "request": number})

    def _ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        number = self._send(message, answers.put)
        try:
            answer = self._answer_or_kill(answers, timeout_s, None, "did not answer")
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            error = answer["error"]
            raise EngineError(f"{self.engine}: {error['message']}", code=error["code"], fix=error["fix"])
        return answer

    def _answer(
        self, answers: queue.SimpleQueue[Answer], timeout_s: float, on_text: Callable[[str, bool], None] | None
    ) -> dict[str, Any]:
        """Return the next answer, passing streamed text on; raise `queue.Empty` at the time limit."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if answer is None:
                raise self._crashed()
            if "text" not in answer:
                return answer
            if on_text is not None:
                on_text(answer["text"], answer["reasoning"])

    def _answer_or_kill(
        self,
        answers: queue.SimpleQueue[Answer],
        timeout_s: float,
        on_text: Callable[[str, bool], None] | None,
        what: str,
    ) -> dict[str, Any]:
        try:
            return self._answer(answers, timeout_s, on_text)
        except queue.Empty:
            raise self._hung(what, timeout_s) from None

    def _hung(self, what: str, timeout_s: float) -> EngineDied:
        """End the process and return why."""
        self._kill()
        return EngineDied(
            f"{self.engine} {what} within {timeout_s:.0f} s and was ended",
            fix=f"its log: {self._log_path}",
            code="engine_hung",
        )

    def _answer_or_cancel(
        self,
        number: int,
        answers: queue.SimpleQueue[Answer],
        timeout_s: float,
        on_text: Callable[[str, bool], None] | None,
    ) -> dict[str, Any]:
        try:
            return self._answer(answers, timeout_s, on_text)
        except queue.Empty:
            self._cancel(number)
            return self._answer_or_kill(answers, CANCEL_GRACE_S, on_text, "did not stop")

    def _abandon(self, number: int, answers: queue.SimpleQueue[Answer]) -> None:
        """Stop a generation that nobody waits for any more, so that it does not slow the next one down."""
        try:
            self._cancel(number)
            self._answer_or_kill(answers, CANCEL_GRACE_S, None, "did not stop")
        except EngineDied:
            pass
        except BaseException:  # Ctrl-C a second time
            self._process.kill()
            raise

    def _crashed(self) -> EngineDied:
        """Return why nothing comes from the process any more, once it has ended."""
        try:
            what = _ended(self._wait(5))
        except subprocess.TimeoutExpired:
            self._kill()
            what = "closed its pipe and was ended"
        return EngineDied(
            f"the process of {self.engine} {what}", fix=f"its log: {self._log_path}", code="engine_crashed"
        )


def _with_weights(operation: str, weights_path: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    path = None if weights_path is None else str(weights_path)
    return {"op": operation, "weights_path": path, "settings": settings}


def _descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes below an engine's: one that made a session of its own is not in the group."""
    import psutil

    if process.poll() is not None:
        return []
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


def _chat(messages: list[dict[str, str]], params: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    return {"op": "chat", "messages": messages, "params": params, "stream": stream}


def _reply(answer: dict[str, Any]) -> Reply:
    failure = answer["failure"]
    return Reply(
        sent_ns=answer["sent_ns"],
        end_ns=answer["end_ns"],
        chunks=tuple(Chunk(text, at_ns, reasoning) for at_ns, reasoning, text in answer["chunks"]),
        finish=Finish(**answer["finish"]) if answer["finish"] else None,
        cancelled=answer["cancelled"],
        failure=(failure["code"], failure["message"]) if failure else None,
    )


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended by itself with status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def probe(engine: str, log: Path, timeout_s: float = OPEN_TIMEOUT_S) -> dict[str, Any]:
    """Return what an engine says about itself, or raise why it cannot be used here.

    Raises:
        EngineError: A package is missing; the fix installs it.
    """
    try:
        with EngineProcess(engine, log, timeout_s) as process:
            return process.description
    except EngineError as error:
        if error.code != "engine_unavailable" or Reference.parse(engine) is not None:
            raise
        raise EngineError(
            f"the engine {engine} is not installed here ({error.message})",
            fix=f"{Path(sys.executable).name} -m pip install 'audition[{engine}]'",
            code=error.code,
        ) from error
