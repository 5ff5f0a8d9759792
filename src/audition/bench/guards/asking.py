"""Prompts for probes: each begins like no other, so that no cache knows it, not even that of an earlier run."""

from __future__ import annotations

import secrets

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
