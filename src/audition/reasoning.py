"""Thinking aloud is not the answer: inline reasoning is split off before anything is checked."""

from __future__ import annotations

import re
from typing import NamedTuple

TAGS = (
    ("<think>", "</think>"),  # DeepSeek R1, Qwen 3, SmolLM 3, Granite and most others
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
)
"""Opening and closing tags, in any case of letters. Engines that report reasoning apart never get here."""

_OPEN = re.compile("|".join(re.escape(opening) for opening, _ in TAGS), re.IGNORECASE)
_CLOSE = re.compile("|".join(re.escape(closing) for _, closing in TAGS), re.IGNORECASE)


class Split(NamedTuple):
    """A model's text in its two parts.

    Attributes:
        reasoning: What was thought aloud, without its tags.
        answer: What is left for the person who asked, without surrounding blanks.
        unclosed: Reasoning was opened and never closed, so that there is no answer at all.
    """

    reasoning: str
    answer: str
    unclosed: bool


def split_reasoning(text: str) -> Split:
    """Split inline reasoning from the answer: everything up to the last closing tag is reasoning.

    A closing tag without an opening one counts, because some chat templates put the opening tag into the
    prompt. A tag that is opened after the last closing one and never closed leaves an empty answer.

    Examples:
        >>> split_reasoning("<think>6 x 7</think> 42")
        Split(reasoning='6 x 7', answer='42', unclosed=False)
    """
    end = 0
    for closing in _CLOSE.finditer(text):
        end = closing.end()
    reasoning, answer = text[:end], text[end:]
    opening = _OPEN.search(answer)
    if opening:
        return Split(_untagged(text), "", unclosed=True)
    return Split(_untagged(reasoning), answer.strip(), unclosed=False)


def _untagged(text: str) -> str:
    return _CLOSE.sub("", _OPEN.sub("", text)).strip()
