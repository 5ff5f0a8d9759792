"""Asking: prompts that begin like no other, so that no cache knows them, and a second try where a request failed."""

from __future__ import annotations

import re
import secrets

from audition.bench.guards.base import Ask, has_answer
from audition.bench.sample import HOPELESS, Sample

_WOULD_FAIL_AGAIN = (HOPELESS - {"connection_lost", "connection_reset"}) | {
    *("context_length_exceeded", "invalid_request", "not_found", "answer_too_large")
}
_DIGITS = re.compile(r"\d{6}\. ")

_WORDS = (
    "river market teacher window letter garden street picture question answer village station engine doctor morning "
    "kitchen forest number paper machine library bridge family winter story island road student table farmer"
)
"""Plain ones, so that a long prompt has the same tokens per word as a short one."""


def unlike_others(prompt: str) -> str:
    """Return the prompt behind six random digits."""
    return f"{secrets.randbelow(900_000) + 100_000}. {prompt}"


def words(count: int) -> str:
    """Return that many plain words, the same ones each time."""
    plain = _WORDS.split()
    return " ".join(plain[(i + i // len(plain)) % len(plain)] for i in range(count))


def patiently(ask: Ask) -> Ask:
    """Return a way to ask that asks once more where a request failed and the next one may not.

    A prompt that was sent in vain may be known to a cache, so it is asked again behind other digits, and so is what
    repeats it later. A prompt that was answered before stays: it is there to be repeated.
    """
    answered: set[str] = set()
    instead: dict[str, str] = {}

    async def asked(
        step: str, prompt: str, *, max_tokens: int = 16, temperature: float = 0.0, seed: int | None = 0
    ) -> Sample:
        async def once() -> Sample:
            sent = instead.get(prompt, prompt)
            return await ask(step, sent, max_tokens=max_tokens, temperature=temperature, seed=seed)

        sample = await once()
        if _may_pass(sample):
            if prompt not in answered and _DIGITS.match(prompt):
                instead[prompt] = unlike_others(_DIGITS.sub("", prompt, count=1))
            sample = await once()
        if has_answer(sample):
            answered.add(prompt)
        return sample

    return asked


def _may_pass(sample: Sample) -> bool:
    """Return whether a failure is one that the same request need not meet again."""
    code = "" if sample.error is None else sample.error["code"]
    return sample.status == "failed" and code not in _WOULD_FAIL_AGAIN and not code.startswith("http_4")
