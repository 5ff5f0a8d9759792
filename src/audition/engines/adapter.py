"""Any engine in one shape, inside its process: whatever its methods return, the rest sees pieces of text with times.

An adapter may be a class of ours or of somebody who has never seen ours: `generate` gives a string, an iterator of
strings, an async iterator, or is a coroutine; so does `chat`, which may also give `Chunk` and `Finish`.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import queue
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from audition.engines.protocol import Chunk, EngineError, Finish

MAX_ANSWER = 8 * 2**20
"""Characters, with 32 more for every piece, of the longest answer that is kept: it has to fit into the pipe."""

PLAIN = "plain text"
"""How an adapter without `chat` gets a prompt: the messages' contents with a blank line between them, no template."""

_OPTIONAL = ("chat", "unload", "count_tokens", "describe", "estimate_memory")
_PARAMS = ("max_tokens", "temperature", "seed")
_PATIENCE_S = 0.05
_MOST_WORDS = 20

Piece = tuple[object, int]


class AnyEngine:
    """An engine that was made, and what it offers."""

    def __init__(self, engine: Any, package: str | None = None) -> None:
        """Take an engine.

        Args:
            engine: It.
            package: The distribution that registers it, with the version.

        Raises:
            EngineError: It has not the methods that every adapter has.
        """
        self._engine = engine
        self._package = package
        self._accepts: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        missing = [name for name in ("load", "generate") if not callable(getattr(engine, name, None))]
        if self._method == "chat":
            missing = [name for name in missing if name != "generate"]
        if missing:
            wanted = {"load": "load(weights_path)", "generate": "generate(prompt, **params)"}
            raise EngineError(
                f"{type(engine).__name__} has no {' and no '.join(wanted[name] for name in missing)}",
                code="engine_unavailable",
            )

    @property
    def is_concurrent(self) -> bool:
        """Whether the engine says that it can answer several requests at once; else they wait for one another."""
        return bool(getattr(self._engine, "concurrent", False))

    @property
    def _method(self) -> str:
        return "chat" if callable(getattr(self._engine, "chat", None)) else "generate"

    @property
    def device(self) -> str | None:
        """Where the engine says that the loaded model runs."""
        device = getattr(self._engine, "device", None)
        return device if isinstance(device, str) else None

    def describe(self) -> dict[str, Any]:
        """Return what the engine says about itself; of somebody else's, what can be seen besides."""
        describe = getattr(self._engine, "describe", None)
        said = self._settled(describe()) if describe else {}
        if not isinstance(said, dict):
            raise TypeError(f"describe must give a dict, not {type(said).__name__}")
        try:
            json.dumps(said, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"describe must give what JSON can hold: {error}") from error
        cls = type(self._engine)
        if cls.__module__.startswith("audition.engines."):
            return said
        method = self._method
        seen = {
            "package": _origin(cls, self._package),
            "class": f"{cls.__module__}:{cls.__qualname__}",
            "offers": [name for name in _OPTIONAL if callable(getattr(self._engine, name, None))],
            "formats": _words(getattr(self._engine, "formats", None)),
            "capabilities": _words(getattr(self._engine, "capabilities", None)),
            "takes": list(self._accepted(method, dict.fromkeys(_PARAMS))),
            "prompt": "messages" if method == "chat" else PLAIN,
        }
        return {**seen, **said}

    def load(self, weights_path: str | None, settings: dict[str, Any]) -> None:
        """Load the weights, with those of the settings that the engine takes."""
        self._settled(self._engine.load(weights_path, **self._accepted("load", settings)))

    def unload(self) -> None:
        """Free the model, where the engine can."""
        unload = getattr(self._engine, "unload", None)
        if unload is not None:
            self._settled(unload())

    def estimate_memory(self, weights_path: str | None, settings: dict[str, Any]) -> int | None:
        """Return the bytes that the engine expects a load to need; None where it does not say."""
        estimate = getattr(self._engine, "estimate_memory", None)
        if estimate is None:
            return None
        needed = self._settled(estimate(weights_path, **self._accepted("estimate_memory", settings)))
        if isinstance(needed, bool) or not isinstance(needed, int) or not 0 <= needed < 2**63:
            raise TypeError(f"estimate_memory must give a number of bytes as int, not {needed!r:.40}")
        return needed

    @property
    def explains(self) -> bool:
        """Whether the engine can read its own log."""
        return callable(getattr(self._engine, "explain_failure", None))

    def explain_failure(self, log: str) -> str | None:
        """Return the reason from the engine's log; ask only one that `explains`."""
        reason = self._engine.explain_failure(log)
        return str(reason) if reason else None

    def answer(
        self, messages: list[dict[str, str]], params: dict[str, Any], cancelled: threading.Event
    ) -> Generator[Chunk | Finish, None, None]:
        """Yield the pieces of an answer, each with its time, and then its end.

        Args:
            messages: Role and content pairs.
            params: `max_tokens`, `temperature`, `seed`; the engine gets those that it takes.
            cancelled: Stops an engine that is waited for; between pieces, close this iterator.
        """
        method = self._method
        if method == "chat":
            result = self._engine.chat(messages, **self._accepted(method, params))
        else:
            prompt = "\n\n".join(message["content"] for message in messages)
            result = self._engine.generate(prompt, **self._accepted(method, params))
        texts: list[str] = []
        size = 0
        finish: Finish | None = None
        try:
            with closing(self._pieces(result, cancelled, method)) as pieces:
                for piece, at_ns in pieces:
                    if isinstance(piece, Finish):
                        finish = piece
                        break
                    chunk = Chunk(piece, at_ns) if isinstance(piece, str) else piece
                    if not isinstance(chunk, Chunk) or not isinstance(chunk.text, str):
                        raise TypeError(f"{method} must give str, not {_kind(chunk)}")
                    size += len(chunk.text) + 32
                    if size > MAX_ANSWER:
                        raise EngineError("the answer is longer than can be kept, and was stopped", code="engine_error")
                    texts.append(chunk.text)
                    yield chunk
                finish = finish or Finish(None, time.perf_counter_ns())
        except asyncio.CancelledError:
            if cancelled.is_set():
                return
            raise
        yield self._counted(finish, texts, params.get("max_tokens"))

    def _pieces(self, result: object, cancelled: threading.Event, method: str) -> Generator[Piece, None, None]:
        if inspect.isawaitable(result) or isinstance(result, AsyncIterable):
            yield from self._awaited(result, cancelled)
        elif isinstance(result, str) or not _is_pieces(result):
            at_ns = time.perf_counter_ns()
            if not isinstance(result, str):
                raise TypeError(f"{method} must give str, not {_kind(result)}")
            yield result, at_ns
        else:
            iterator = iter(result)
            try:
                for piece in iterator:
                    yield piece, time.perf_counter_ns()
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()

    def _awaited(self, result: object, cancelled: threading.Event) -> Generator[Piece, None, None]:
        """Yield what comes from asynchronous code, which runs in a loop that lives as long as the engine.

        Its clients and connections belong to the loop that they were opened in, in `load` say.
        """
        arrived: queue.SimpleQueue[Piece | BaseException | None] = queue.SimpleQueue()
        tasks: list[asyncio.Task[None]] = []

        async def pump() -> None:
            try:
                value: object = await result if inspect.isawaitable(result) else result
                if isinstance(value, AsyncIterable):
                    async for piece in value:
                        arrived.put((piece, time.perf_counter_ns()))
                else:
                    for piece in value if _is_pieces(value) else (value,):
                        arrived.put((piece, time.perf_counter_ns()))
            except BaseException as error:  # noqa: BLE001 - carried to the request's thread and raised there
                arrived.put(error)

        def start() -> None:
            tasks.append(loop.create_task(pump()))
            # The last item in any case: a task that is cancelled before it began never gets into its `try`.
            tasks[0].add_done_callback(lambda _: arrived.put(None))

        def cancel() -> None:
            tasks[0].cancel()

        loop = self._running_loop()
        loop.call_soon_threadsafe(start)
        stopping = ended = False
        try:
            while True:
                try:
                    item = arrived.get(timeout=_PATIENCE_S)
                except queue.Empty:
                    if cancelled.is_set() and not stopping:
                        stopping = True
                        loop.call_soon_threadsafe(cancel)
                    continue
                ended = item is None
                if ended and not stopping:
                    return
                if item is None:
                    raise asyncio.CancelledError
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            # Not before it has put its things away: the next request would meet them.
            if not ended:
                loop.call_soon_threadsafe(cancel)
                while arrived.get() is not None:
                    pass

    def _settled(self, value: Any) -> Any:
        """Return what a method gave, once it is there, if it is a coroutine."""
        if not inspect.isawaitable(value):
            return value

        async def wait() -> tuple[Any, BaseException | None]:
            try:
                return await value, None
            except BaseException as error:  # noqa: BLE001 - `SystemExit` would end the loop; raised below
                return None, error

        result, error = asyncio.run_coroutine_threadsafe(wait(), self._running_loop()).result()
        if error is not None:
            raise error
        return result

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="adapter loop", daemon=True).start()
        return self._loop

    def _counted(self, finish: Finish, texts: list[str], max_tokens: int | None) -> Finish:
        """Return the end with the tokens that the engine's own tokenizer counts, where it did not say them itself.

        The timer has stopped by then. The prompt is not counted: what the engine makes of it only the engine knows, and
        its text without the chat template would look like another prompt than that of other engines.
        """
        count = getattr(self._engine, "count_tokens", None)
        if count is None or finish.completion_tokens is not None:
            return finish
        try:
            completion = _count(self._settled(count("".join(texts))))
        except Exception:  # noqa: BLE001 - the answer is there all the same, and its tokens are not known
            traceback.print_exc()
            return finish
        is_cut = finish.reason is None and max_tokens is not None and completion >= max_tokens
        reason = "length" if is_cut else finish.reason
        return replace(finish, reason=reason, completion_tokens=completion, token_source="tokenizer")  # noqa: S106

    def _accepted(self, method: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that a method has parameters for: `load(weights_path)` alone is a complete adapter."""
        if method not in self._accepts:
            self._accepts[method] = accepted(getattr(self._engine, method))
        return self._accepts[method](settings)


def accepted(function: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what picks the settings that a function has parameters for."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # native code does not tell
        return dict
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict
    # The first is the prompt or the path, whatever its name.
    names = {p.name for p in parameters[1:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return lambda settings: {name: value for name, value in settings.items() if name in names}


def _is_pieces(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray | memoryview | Mapping)


def _kind(value: object) -> str:
    if isinstance(value, Chunk):
        return f"a Chunk of {type(value.text).__name__}"
    return type(value).__name__


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise TypeError(f"count_tokens must give the number of tokens as int, not {value!r:.40}")
    return value


def _words(value: object) -> list[str] | None:
    """Return a list of short names that an adapter states; None where it states none."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    return [str(word)[:60] for word, _ in zip(value, range(_MOST_WORDS), strict=False)]


def _origin(cls: type, package: str | None) -> str | None:
    """Return which code an adapter is: its package with the version, else its file with the start of its SHA-256."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if package is not None or file is None:
        return package
    try:
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return None
    return f"{Path(file).name} {digest[:12]}"
