"""Engines for faults and known timings; each is registered under its class's name in lower case.

`install` copies this file and an entry-point list into a folder, which becomes importable in engine processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
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
    """Yields strings from `chat`, where a `Chunk` belongs."""

    def chat(self, messages: list[dict[str, str]], **params: Any) -> Any:
        yield "one"


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
        *(Seizes, Endless, Dozes, CannotStop, Raises, Bytes, OneBytes, Nothing, PlainChat, Unspeakable),
        *(Undescribable, Chatty, Missing, Parallel),
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
