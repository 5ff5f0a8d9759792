"""The engine protocol: what executes a variant, and what it yields while it does.

Only two methods are required of an adapter: `load(weights_path)` and `generate(prompt, **params)`, where `generate`
returns a string or an iterator of strings, asynchronous or not. An engine that knows more (chat templates, token
counts, its own timestamps) offers `chat` instead, and yields `Chunk` and `Finish`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from audition.errors import AuditionError


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of generated text.

    Attributes:
        at_ns: `time.perf_counter_ns()` of the child, taken first thing when the engine handed the text over.
        reasoning: The text is the model thinking, not its answer.
    """

    text: str
    at_ns: int
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of one generation, with what the engine says about it; None is "it does not say".

    Attributes:
        reason: `stop` (the model ended), `length` (the limit cut it).
        at_ns: When the stream ended.
        token_source: Who counted: `usage` (the engine's own report), `tokenizer`, or `chunks`.
        engine_timings: The engine's own figures, kept for comparison and never mixed with ours.
        prompt_sha256: Of the tokens that were really fed (`tokens.prompt_sha256`): the same tokens, the same hash.
    """

    reason: str | None
    at_ns: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    token_source: str | None = None
    engine_timings: dict[str, float] | None = None
    prompt_sha256: str | None = None


NOT_STREAMED = "not_streamed"
"""The note of an answer that came in one piece."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a client saw of one request on the wire, besides the text.

    Attributes:
        status: HTTP status; None when no answer began.
        model: The model that the answer names.
        device: The device that the answer names; few servers do.
        stamps: `kernel` when arrival times are the kernel's, `process` when they were taken after the read.
        lag_ms: The longest that bytes had waited for the client; None without the kernel's times.
        shared: Pieces of text that came in one read with an earlier piece, and so share its time.
        connect_ms: Opening the connection, before the timer; None when an open one was used again.
        notes: What the stream did otherwise than the field does, such as `no_done`, `broken_event`, `no_usage`;
            `sent_again` where a first try met a kept connection that the server was closing.
    """

    status: int | None = None
    model: str | None = None
    device: str | None = None
    stamps: str = "process"
    lag_ms: float | None = None
    shared: int = 0
    connect_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answered request; all times are of one monotonic clock, in nanoseconds.

    Attributes:
        sent_ns: The last moment before the request went out.
        end_ns: The end of the fully drained stream, or of the attempt.
        finish: None when the stream did not end by itself.
        cancelled: It was stopped at the time limit.
        failure: `(code, message)` when the request was refused or failed.
        wire: For a server over the network; None for an engine in a process of its own.
    """

    sent_ns: int
    end_ns: int
    chunks: tuple[Chunk, ...]
    finish: Finish | None
    cancelled: bool
    failure: tuple[str, str] | None
    wire: Wire | None = None


class Session(Protocol):
    """An engine with a model, or a server, that can be asked; many requests may be under way at once."""

    async def ask(
        self, messages: list[dict[str, str]], params: dict[str, Any], timeout_s: float
    ) -> Callable[[], Reply]:
        """Send one request and drain its answer.

        Args:
            messages: Role and content pairs.
            params: `max_tokens`, `temperature`, `seed`.
            timeout_s: After this the request is stopped; what had come is in the reply.

        Returns:
            A function that reads the answer: called later, when no other stream waits for this process.

        Raises:
            EngineDied: Nothing more can be asked of it.
        """
        ...


@runtime_checkable
class Adapter(Protocol):
    """The least an adapter has to offer.

    Optional besides, in `docs/adapters.md`: `chat(messages, **params)`, `unload()`, `count_tokens(text)`, `describe()`,
    `estimate_memory(weights_path, **settings)`, `formats`, `capabilities`, `concurrent`, `device`.
    """

    def load(self, weights_path: str) -> None:
        """Make the model ready to generate; the path is None where the adapter brings its own weights."""
        ...

    def generate(
        self, prompt: str, **params: Any
    ) -> str | Iterable[str] | AsyncIterable[str] | Awaitable[str | Iterable[str] | AsyncIterable[str]]:
        """Generate text; `params` holds those of `max_tokens`, `temperature` and `seed` that it has parameters for."""
        ...


class ChatEngine(Protocol):
    """What an engine of our own offers.

    Optional besides: `unload()`, `describe() -> dict` (versions, devices), `explain_failure(log: str) -> str | None`,
    `concurrent = True` (several requests may be under way, in threads; `load` then takes `parallel`, how many),
    `device` (where the loaded model runs). Of the class, so that they are read before anything heavy is imported:
    `formats` (what it can load: `gguf`, `onnx-genai`, `openvino`, `safetensors`; absent means any) and `requires` (the
    package that it comes with).
    """

    def load(self, weights_path: str, *, context: int) -> None:
        """Load the weights with a context of that many tokens."""
        ...

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        """Answer messages, with a seed of its own where `seed` is None; closing the iterator stops the generation."""
        ...


class EngineError(AuditionError):
    """An engine refused or failed a request; it is still alive."""


class EngineDied(AuditionError):
    """An engine's process is gone or had to be ended: nothing more can be asked of it."""
