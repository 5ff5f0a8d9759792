"""Engines for faults and known timings; each is registered under its class's name in lower case.

`install` copies this file and an entry-point list into a folder, which becomes importable in engine processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

TOKEN_S = 0.002


class Steady:
    """Answers every prompt with eight tokens, two milliseconds apart."""

    text = "one two three four five six seven eight"

    def load(self, weights_path: str) -> None:
        if not Path(weights_path).is_file():
            raise FileNotFoundError(weights_path)

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        for word in self.text.split():
            time.sleep(TOKEN_S)
            yield f"{word} "


class Whole(Steady):
    """Returns the answer as one string."""

    def generate(self, prompt: str, **params: Any) -> str:
        return self.text


class Talks(Steady):
    """Offers `chat`: says nothing, thinks, answers, and counts its tokens itself."""

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Iterator[Any]:
        from audition.engines.protocol import Chunk, Finish

        for text, reasoning in (("", False), ("hm ", True), ("", False), ("yes", False), ("!", False)):
            time.sleep(TOKEN_S)
            yield Chunk(text, time.perf_counter_ns(), reasoning)
        timings = {"prompt_ms": 1.5}
        yield Finish("length", time.perf_counter_ns(), 7, 2, 3, "usage", timings)


class Reveals(Steady):
    """Answers with what it sees of its own process."""

    def generate(self, prompt: str, **params: Any) -> str:
        core = None
        if sys.platform != "win32":
            import resource

            core = resource.getrlimit(resource.RLIMIT_CORE)
        return json.dumps({"environment": dict(os.environ), "core": core, "params": params, "prompt": prompt})


class Counts(Steady):
    """Answers with the number of requests since it was loaded."""

    def load(self, weights_path: str) -> None:
        self.requests = 0

    def generate(self, prompt: str, **params: Any) -> str:
        self.requests += 1
        return f"{self.requests}: {prompt}"


class LoadFails(Steady):
    def load(self, weights_path: str) -> None:
        raise RuntimeError("these weights are not for me")


class LoadCrashes(Steady):
    def load(self, weights_path: str) -> None:
        os.abort()


class LoadHangs(Steady):
    def load(self, weights_path: str) -> None:
        time.sleep(3600)


class LoadStarves(Steady):
    def load(self, weights_path: str) -> None:
        raise MemoryError


class Crashes(Steady):
    """Dies in the middle of the answer to any prompt that says so."""

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield "one "
        if "crash" in prompt:
            os._exit(7)
        yield "two"


class Hangs(Steady):
    """Never goes on after the first token of any prompt that says so, and cannot be told to stop."""

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield "one "
        if "hang" in prompt:
            print("asleep")
            time.sleep(3600)
        yield "two"


class Seizes(Steady):
    """Never goes on after the first token, and lets nothing else in its process run."""

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield "one "
        re.match(r"(a+)+b", "a" * 100)


class Endless(Steady):
    """Writes on and on, but can be told to stop."""

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        while True:
            time.sleep(TOKEN_S)
            yield "word "


class Dozes(Steady):
    """Repeats the prompt half a second later, and cannot be told to stop before."""

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield "so: "
        print("asleep")
        time.sleep(0.5)
        yield prompt


class CannotStop(Steady):
    """Fails when it is told to stop."""

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Iterator[Any]:
        from audition.engines.protocol import Chunk

        try:
            while True:
                time.sleep(TOKEN_S)
                yield Chunk("word ", time.perf_counter_ns())
        finally:
            raise RuntimeError("could not clean up")


class Raises(Steady):
    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield "one "
        raise ValueError("no more words")


class Bytes(Steady):
    def generate(self, prompt: str, **params: Any) -> Any:
        yield b"one"


class OneBytes(Steady):
    def generate(self, prompt: str, **params: Any) -> Any:
        return b"one"


class PlainChat(Steady):
    """Yields strings from `chat`."""

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Any:
        yield "one "
        yield messages[-1]["content"]


class OddChat(Steady):
    """Yields a number from `chat`."""

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Any:
        yield 1


class Unspeakable(Steady):
    """Says things about itself that are no JSON."""

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Iterator[Any]:
        from audition.engines.protocol import Chunk, Finish

        yield Chunk("one", time.perf_counter_ns())
        yield Finish("stop", time.perf_counter_ns(), engine_timings={"tokens_per_second": float("inf")})


class Undescribable(Steady):
    def describe(self) -> dict[str, Any]:
        return {"path": Path()}


class Nothing(Steady):
    def generate(self, prompt: str, **params: Any) -> Any:
        return None


class Chatty(Steady):
    """Prints to both standard streams, as native libraries do."""

    def load(self, weights_path: str) -> None:
        print("loading, loading")
        os.write(1, b"raw bytes on descriptor 1\n")
        os.write(2, b"raw bytes on descriptor 2\n")


class Coroutine(Steady):
    """Is asynchronous throughout, and keeps to the loop that it was loaded in."""

    async def load(self, weights_path: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopped = 0

    async def generate(self, prompt: str, **params: Any) -> str:
        assert asyncio.get_running_loop() is self.loop
        try:
            await asyncio.sleep(3600 if "wait" in prompt else TOKEN_S)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return f"{prompt}, stopped {self.stopped} times"

    async def unload(self) -> None:
        assert asyncio.get_running_loop() is self.loop


class AsyncPieces(Steady):
    """Yields asynchronously, and puts its things away slowly."""

    cleaned = True

    async def generate(self, prompt: str, **params: Any) -> AsyncIterator[str]:
        assert self.cleaned, "an earlier answer is not over"
        self.cleaned = False
        try:
            for word in self.text.split():
                await asyncio.sleep(TOKEN_S)
                yield f"{word} "
                if "wait" in prompt:
                    await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(10 * TOKEN_S)
            self.cleaned = True


class AsyncPiecesLater(AsyncPieces):
    """Is a coroutine that gives an async iterator."""

    async def generate(self, prompt: str, **params: Any) -> AsyncIterator[str]:  # type: ignore[override]
        return super().generate(prompt, **params)


class Listed(Steady):
    def generate(self, prompt: str, **params: Any) -> list[str]:
        return ["one ", "two"]


class Mapped(Steady):
    def generate(self, prompt: str, **params: Any) -> Any:
        return {"text": "one"}


class Few(Steady):
    """Takes nothing but what it needs."""

    def generate(self, text: str, max_tokens: int = 3) -> Iterator[str]:  # type: ignore[override]
        yield from (f"{word} " for word in self.text.split()[:max_tokens])


class Tokens(Steady):
    """Counts its tokens, says what it can load, and how much memory that takes."""

    formats = ("gguf", "onnx-genai")
    capabilities = ("chat", "summarise")

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield from (f"{word} " for word in self.text.split()[: params["max_tokens"]])

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def estimate_memory(self, weights_path: str | None, context: int) -> int:
        return 1000 * context


class BadTokens(Steady):
    def count_tokens(self, text: str) -> Any:
        raise ValueError("no tokenizer")


class OddTokens(Steady):
    def count_tokens(self, text: str) -> Any:
        return 1.5


class NeedsArguments(Steady):
    def __init__(self, size: int) -> None:
        self.size = size


class NoLoad:
    def generate(self, prompt: str, **params: Any) -> str:
        return "one"


class Quits(Steady):
    """Ends things in the ways that Python knows, as the prompt says."""

    def load(self, weights_path: str) -> None:
        if "quit" in weights_path:
            sys.exit(3)

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        yield "one "
        if "exit" in prompt:
            sys.exit("enough")
        if "interrupt" in prompt:
            raise KeyboardInterrupt
        if "memory" in prompt:
            raise MemoryError
        if "deep" in prompt:
            self.generate_deeply()
        if "folder" in prompt:
            os.chdir(os.sep)
        if "stdin" in prompt:
            sys.stdin.close()
            os.close(0)
        if "threads" in prompt:
            threading.Thread(target=time.sleep, args=(3600,)).start()
        yield "two"

    def generate_deeply(self) -> None:
        self.generate_deeply()


class QuitsAsync(Steady):
    async def generate(self, prompt: str, **params: Any) -> str:
        if "exit" in prompt:
            sys.exit("enough")
        return "one"


class Segfaults(Steady):
    def generate(self, prompt: str, **params: Any) -> str:
        import ctypes

        ctypes.string_at(0)
        return "one"


class Floods(Steady):
    """Writes without end, as fast as it can."""

    def generate(self, prompt: str, **params: Any) -> Iterator[str]:
        while True:
            yield "word " * (200_000 if "wide" in prompt else 1)


class Huge(Steady):
    """Answers with more than the pipe takes, in one string."""

    def generate(self, prompt: str, **params: Any) -> str:
        return "\N{BLACK HEART SUIT}" * 20_000_000


class Parents(Steady):
    """Starts two processes, one in a session of its own, says which, and crashes when it is asked to."""

    def generate(self, prompt: str, **params: Any) -> str:
        import subprocess

        sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
        plain = subprocess.Popen(sleep)
        apart = subprocess.Popen(sleep, start_new_session=True)
        if "crash" in prompt:
            print("children", plain.pid, apart.pid, flush=True)
            os._exit(7)
        return f"{plain.pid} {apart.pid}"


class Forks(Steady):
    """Has a fork of itself that holds on to the pipe, and crashes."""

    def generate(self, prompt: str, **params: Any) -> str:
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(7)


class Missing:
    """Needs a package that is not here."""

    def __init__(self) -> None:
        import a_package_that_is_not_installed  # type: ignore[import-not-found] # noqa: F401


class Parallel(Steady):
    """Answers several requests at once: repeats the prompt, and says how many are under way, and were at most.

    A prompt can say `wait 500 ms`, which shows as dots, or `crash`.
    """

    concurrent = True
    device = "toy0"

    def load(self, weights_path: str, *, parallel: int = 1) -> None:
        super().load(weights_path)
        self.parallel = parallel
        self.lock = threading.Lock()
        self.under_way = self.most = 0

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Iterator[Any]:
        from audition.engines.protocol import Chunk, Finish

        prompt = messages[-1]["content"]
        wait = re.search(r"wait (\d+) ms", prompt)
        until = time.perf_counter() + (int(wait[1]) / 1000 if wait else 10 * TOKEN_S)
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            while time.perf_counter() < until:
                time.sleep(TOKEN_S)
                yield Chunk(".", time.perf_counter_ns())
            if "crash" in prompt:
                os._exit(7)
            answer = {"prompt": prompt, "now": self.under_way, "most": self.most, "parallel": self.parallel}
            yield Chunk(json.dumps(answer), time.perf_counter_ns())
            yield Finish("stop", time.perf_counter_ns())
        finally:
            with self.lock:
                self.under_way -= 1


NAMES = [
    cls.__name__
    for cls in (
        *(Steady, Whole, Talks, Reveals, Counts, LoadFails, LoadCrashes, LoadHangs, LoadStarves, Crashes, Hangs),
        *(Seizes, Endless, Dozes, CannotStop, Raises, Bytes, OneBytes, Nothing, PlainChat, OddChat, Unspeakable),
        *(Undescribable, Chatty, Missing, Parallel, Coroutine, AsyncPieces, AsyncPiecesLater, Listed, Mapped, Few),
        *(Tokens, BadTokens, OddTokens, NeedsArguments, NoLoad, Quits, QuitsAsync, Segfaults, Floods, Huge, Parents),
        *(Forks,),
    )
]


def install(folder: Path) -> None:
    """Make the engines importable from `folder`, as an installed distribution would."""
    info = folder / "faulty_engines-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(__file__, folder / "faulty_engines.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-engines\nVersion: 1.0\n")
    lines = [f"{name.lower()} = faulty_engines:{name}" for name in NAMES]
    (info / "entry_points.txt").write_text("[audition.engines.v1]\n" + "\n".join(lines) + "\n")
