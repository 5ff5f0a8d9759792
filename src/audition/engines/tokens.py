"""What engines that work token by token share: sampling, the limit, the prompt's hash, and answers out of tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from audition.engines.native import called_back, reason
from audition.engines.protocol import Chunk, EngineError, Finish

SAMPLING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What every engine of ours samples with besides temperature and seed: nothing. The model's own distribution is
measured, not the engine's defaults, which differ from engine to engine and from file to file."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The chat template of models that bring none: llama.cpp's choice, so that all engines send the same."""

_SEEDS = 2**31
_PENDING = 8
"""Tokens after which text that is not whole is given out as it is: no character has as many."""


def check_messages(messages: Sequence[Mapping[str, str]]) -> None:
    """Refuse what engines answer differently, or with an error of their own each.

    Raises:
        EngineError: There is no message, or one is no text that can be encoded.
    """
    if not messages:
        raise EngineError("there is no message to answer", code="invalid_request")
    try:
        for message in messages:
            message["content"].encode("utf-8")
    except UnicodeEncodeError as error:
        raise EngineError("a message holds half of a surrogate pair: no text", code="invalid_request") from error


def prompt_sha256(tokens: Sequence[int]) -> str:
    """Return the SHA-256 of a prompt's tokens, as decimal numbers joined by commas: the same on every engine."""
    return hashlib.sha256(",".join(str(int(token)) for token in tokens).encode("ascii")).hexdigest()


def seed_for(seed: int | None) -> int:
    """Return a seed that every engine takes (31 bits); a random one for None, where engines would take a fixed one."""
    return secrets.randbelow(_SEEDS) if seed is None else seed % _SEEDS


def room(prompt_tokens: int, max_tokens: int, context: int) -> int:
    """Return how many tokens the answer can have.

    Raises:
        EngineError: The prompt alone fills the context. It is refused, and never cut without a word.
    """
    if prompt_tokens >= context:
        raise EngineError(
            f"the prompt has {prompt_tokens} tokens, and the context {context}",
            fix="a shorter prompt, or a larger --context",
            code="context_length_exceeded",
        )
    return min(max_tokens, context - prompt_tokens)


class TextStream:
    """Text out of tokens that come one at a time: all the pieces together are the text of all the tokens.

    A character can be spread over several tokens, and what a token looks like can depend on the one before it.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._given = 0
        self._before = ""

    def add(self, token: int) -> str:
        """Take a token; return the text that is whole by now, often of this token, sometimes nothing."""
        self._tokens.append(token)
        return self._take(whole=len(self._tokens) - self._given < _PENDING)

    def end(self) -> str:
        """Return what is left when no more tokens come; half a character at the very end is none."""
        if len(self._tokens) == self._given:
            return ""
        return self._take(whole=False).rstrip("\N{REPLACEMENT CHARACTER}")

    def _take(self, *, whole: bool) -> str:
        text = self._decode(self._tokens)
        piece = text[len(self._before) :]
        if whole and (not piece or piece.endswith("\N{REPLACEMENT CHARACTER}")):
            return ""
        # The last tokens given out stay, so that the next one is decoded as what follows them.
        self._tokens = self._tokens[self._given :]
        self._given = len(self._tokens)
        self._before = self._decode(self._tokens)
        return piece


def answer(
    generate: Callable[[Callable[[int], bool]], dict[str, float] | None],
    decode: Callable[[list[int]], str],
    *,
    prompt: Sequence[int],
    ends: Collection[int],
) -> Iterator[Chunk | Finish]:
    """Yield the answer of a library that calls back with each token.

    Args:
        generate: Generates, and calls back with each token as it comes; True in return asks it to stop. It may return
            the library's own figures.
        decode: Text out of tokens.
        prompt: The tokens that are fed.
        ends: The tokens that end an answer; they are counted, and are no text.
    """

    def run(call: Callable[[int | dict[str, float] | None], bool]) -> None:
        call(generate(call))

    text, count, last, at_ns, item = TextStream(decode), 0, None, 0, None
    calls = called_back(run)
    try:
        for at_ns, item in calls:
            piece = ""
            if not isinstance(item, int):
                piece = text.end()
            else:
                count, last = count + 1, item
                if item not in ends:
                    piece = text.add(item)
            if piece:
                yield Chunk(piece, at_ns)
    except MemoryError:
        raise
    except Exception as error:
        raise EngineError(f"the generation failed: {reason(error)}", code="engine_error") from error
    finally:
        calls.close()
    yield Finish(
        "stop" if last in ends else "length",
        at_ns,
        prompt_tokens=len(prompt),
        cached_tokens=0,
        completion_tokens=count,
        token_source="usage",  # noqa: S106 - a label
        engine_timings=item if isinstance(item, dict) else None,
        prompt_sha256=prompt_sha256(prompt),
    )
