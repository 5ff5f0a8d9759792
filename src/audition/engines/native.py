"""What libraries of native code need around them: an iterator out of callbacks, and a sentence out of an error."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from audition.engines.protocol import EngineError
from audition.errors import AuditionError

T = TypeVar("T")

_ORT = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_MOST = 300
"""Characters of a reason that a person will read."""


def reason(error: BaseException) -> str:
    """Return in one line why a library failed, without the places in its source code that it names."""
    lines = [line.strip() for line in _ORT.split(str(error))[-1].splitlines() if line.strip()]
    # OpenVINO says in which line of its code first, and why in the last line.
    told = lines[-1:] if lines and lines[0].startswith(("Exception from ", "Check '")) else lines
    line = " ".join(told) or type(error).__name__
    return line if len(line) <= _MOST else line[: _MOST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def check_gguf(file: Path) -> None:
    """Read a GGUF file's header with our own bounded reader, before a library does that crashes on a broken one.

    Raises:
        EngineError: It is no whole GGUF file, or one of several parts, which only llama.cpp loads.
    """
    from audition.models.gguf import gguf_parts

    try:
        parts = gguf_parts(file)
    except AuditionError as error:
        raise EngineError(error.message, code="load_failed") from error
    if len(parts) > 1:
        raise EngineError(
            f"the model is in {len(parts)} GGUF files, and only llama.cpp loads such models", code="load_failed"
        )


def called_back(run: Callable[[Callable[[T], bool]], object]) -> Generator[tuple[int, T], None, None]:
    """Yield what `run`, in a thread of its own, hands to its callback, each with the time when it did.

    Args:
        run: Generates, and calls back with each item; True in return asks it to stop. Closing the iterator does that,
            and waits for it.

    Raises:
        BaseException: What `run` raised, after all that it had handed over.
    """
    calls: queue.SimpleQueue[tuple[int, T] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def call(item: T) -> bool:
        calls.put((time.perf_counter_ns(), item))
        return stopped.is_set()

    def work() -> None:
        try:
            run(call)
            calls.put(None)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            calls.put(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while (item := calls.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        worker.join()
