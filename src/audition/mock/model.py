"""The pretended model: what it answers, how long that takes, and what it has seen before."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from random import Random

from audition.mock.http import HttpError
from audition.mock.request import ChatRequest, Message
from audition.mock.script import Script
from audition.mock.text import Text, write
from audition.mock.timing import schedule

TEMPLATE_TOKENS = 8
"""What the pretended chat template adds to every message."""

BLOCK_TOKENS = 16
"""Prefixes are cached in whole blocks, as vLLM does, so that a template alone is never a hit."""

_MAX_BLOCKS = 100_000
_MAX_ANSWERS = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, cut where the request has it cut.

    Attributes:
        times_ms: When each token is due after the request; one entry more than none where there is no token.
        cached_tokens: Prompt tokens that cost no prefill, whether usage reports them or not.
        burst: All at once, from the cache of whole answers.
    """

    text: Text
    times_ms: list[float]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    burst: bool = False

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answer, reasoning included."""
        return len(self.text.reasoning) + len(self.text.content)


class Model:
    """Answers by the script. Its caches live as long as it does, and are bounded."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def check(self, chat: ChatRequest) -> None:
        """Refuse what this server does not take.

        Raises:
            HttpError: 400 for a field that the script has it reject, 404 for another model's name.
        """
        for name in ("stream_options", "seed"):
            if f"rejects_{name}" in self._script.lies and name in chat.fields:
                raise HttpError(400, f"Unrecognized request argument supplied: {name}", param=name)
        if chat.model is not None and chat.model != self._script.model:
            known = f'there is no model "{chat.model[:200]}" here, only "{self._script.model}"'
            raise HttpError(404, known, code="model_not_found", param="model")

    def answer(self, chat: ChatRequest, number: int, elapsed_ms: float) -> Answer:
        """Return the answer to the `number`-th request, `elapsed_ms` after the server started.

        Raises:
            HttpError: 400, `context_length_exceeded`.
        """
        script, lies = self._script, self._script.lies
        if "response_cache" in lies and (earlier := self._answers.get(_key(chat))):
            return replace(earlier, times_ms=[0.0] * len(earlier.times_ms), burst=True)
        messages = _last_words(chat.messages, script.context // 4) if "small_context" in lies else chat.messages
        tokens = _tokenize(messages, template="no_template" not in lies)
        room = script.context - len(tokens)
        if (chat.max_tokens or 1) > room:
            wanted = len(tokens) + (chat.max_tokens or 1)
            raise HttpError(
                400,
                f"This model's maximum context length is {script.context} tokens. However, you requested {wanted} "
                f"tokens ({len(tokens)} in the messages, {wanted - len(tokens)} in the completion).",
                code="context_length_exceeded",
                param="messages",
            )
        cached = self._cached(tokens) if lies & {"prompt_cache", "prompt_cache_reported"} else 0
        text = write(self._text_rng(chat, messages), script.tokens, script.reasoning_tokens, lies, messages[-1].content)
        kept = text if "ignore_max_tokens" in lies else _cut(text, chat.max_tokens or room)
        count = len(kept.reasoning) + len(kept.content)
        rng = _random(f"{script.seed}:{number}")
        return Answer(
            text=kept,
            times_ms=schedule(script, count, len(tokens) - cached, elapsed_ms, rng),
            finish_reason="stop" if kept == text or "wrong_finish_reason" in lies else "length",
            prompt_tokens=len(tokens),
            cached_tokens=cached,
        )

    def remember(self, chat: ChatRequest, answer: Answer) -> None:
        """Keep a finished answer for identical requests, where the script has it so."""
        if "response_cache" in self._script.lies:
            self._answers[_key(chat)] = answer
            if len(self._answers) > _MAX_ANSWERS:
                self._answers.popitem(last=False)

    def usage(self, answer: Answer) -> dict[str, object] | None:
        """Return what the server says about tokens, true or not; None where it says nothing."""
        lies = self._script.lies
        if "no_usage" in lies:
            return None
        factor = 3 if "wrong_usage" in lies else 0 if "zero_usage" in lies else 1
        prompt, completion = answer.prompt_tokens * factor, answer.completion_tokens * factor
        usage: dict[str, object] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if "prompt_cache_reported" in lies:
            usage["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens}
        if answer.text.reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": len(answer.text.reasoning) * factor}
        return usage

    def _text_rng(self, chat: ChatRequest, messages: tuple[Message, ...]) -> Random:
        """Return what decides the text: the prompt, and above temperature 0 the seed or chance."""
        lies = self._script.lies
        seed = None
        if "fixed_output" not in lies:
            if chat.temperature == 0:
                if "ignore_temperature" in lies:
                    return _random(None)
            elif chat.seed is None or "ignore_seed" in lies:
                return _random(None)
            else:
                seed = chat.seed
        return _random(json.dumps([messages, seed]))

    def _cached(self, tokens: list[str]) -> int:
        """Return how many tokens at the start were seen before, and keep this prompt's blocks."""
        cached, chain, hit = 0, 0, True
        for start in range(0, len(tokens) - BLOCK_TOKENS, BLOCK_TOKENS):  # the last token is always computed
            chain = hash((chain, *tokens[start : start + BLOCK_TOKENS]))
            hit = hit and chain in self._blocks
            cached += BLOCK_TOKENS * hit
            self._blocks[chain] = None
            self._blocks.move_to_end(chain)
        while len(self._blocks) > _MAX_BLOCKS:
            self._blocks.popitem(last=False)
        return cached


def _tokenize(messages: tuple[Message, ...], *, template: bool) -> list[str]:
    tokens: list[str] = []
    for message in messages:
        tokens += [f"<{message.role}>"] * TEMPLATE_TOKENS * template + message.content.split()
    return tokens


def _last_words(messages: tuple[Message, ...], count: int) -> tuple[Message, ...]:
    """Return the messages that hold the last `count` words, the first of them cut; at least one message."""
    kept: list[Message] = []
    for message in reversed(messages):
        words = message.content.split()
        if len(words) >= count:
            kept.append(Message(message.role, " ".join(words[len(words) - count :])))
            break
        kept.append(message)
        count -= len(words)
    return tuple(reversed(kept))


def _cut(text: Text, limit: int) -> Text:
    reasoning = text.reasoning[:limit]
    return Text(reasoning, text.content[: limit - len(reasoning)])


def _key(chat: ChatRequest) -> str:
    return json.dumps([chat.messages, chat.max_tokens, chat.temperature, chat.seed])


def _random(key: str | None) -> Random:
    return Random(key)  # noqa: S311 (texts and jitter, no secrets)
