"""The engine protocol: what executes a variant, and what it yields while it does.

Only two methods are required of an adapter: `load(weights_path)` and `generate(prompt, **params)`, where `generate`
returns a string or an iterator of strings. An engine that knows more (chat templates, token counts, its own
timestamps) offers `chat` instead, and yields `Chunk` and `Finish`.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    """

    reason: str | None
    at_ns: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    token_source: str | None = None
    engine_timings: dict[str, float] | None = None


@runtime_checkable
class Adapter(Protocol):
    """The least an adapter has to offer."""

    def load(self, weights_path: str) -> None:
        """Make the model ready to generate."""
        ...

    def generate(self, prompt: str, **params: Any) -> str | Iterator[str]:
        """Generate text; `params` holds `max_tokens`, `temperature` and `seed`."""
        ...


class ChatEngine(Protocol):
    """What an engine of our own offers.

    Optional besides: `unload()`, `describe() -> dict` (versions, devices), `explain_failure(log: str) -> str | None`.
    """

    def load(self, weights_path: str, *, context: int) -> None:
        """Load the weights with a context of that many tokens."""
        ...

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> Iterator[Chunk | Finish]:
        """Answer messages; closing the iterator stops the generation."""
        ...


class EngineError(AuditionError):
    """An engine refused or failed a request; it is still alive."""


class EngineDied(AuditionError):
    """An engine's process is gone or had to be ended: nothing more can be asked of it."""
