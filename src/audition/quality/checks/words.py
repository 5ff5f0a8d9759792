"""How many words the answer has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import regex

from audition.quality.checks.base import Answer, Check, Context, Example, Outcome
from audition.quality.checks.limits import Limits
from audition.quality.checks.terms import strip_emphasis

_ONE_BY_ONE = r"\p{Han}\p{Hiragana}\p{Katakana}"
_LETTER = rf"[\w--[_{_ONE_BY_ONE}]]"
_WORD = regex.compile(
    rf"[{_ONE_BY_ONE}]|{_LETTER}++(?:(?:['\u2019.\-\u2010\u2011_](?={_LETTER})|(?<=\d),(?=\d)){_LETTER}++)*+",
    regex.V1,
)


def count_words(text: str) -> int:
    """Count words the way word processors do.

    A word is a run of letters and digits; apostrophes, hyphens and full stops inside hold it together
    ("don't", "state-of-the-art", "3.14" and "U.S." are one each), a slash or a dash does not. Chinese and
    Japanese characters count one each. Punctuation, bullets, emoji and Markdown marks are no words.
    """
    return sum(1 for _ in _WORD.finditer(strip_emphasis(text)))


@dataclass(frozen=True, slots=True)
class Words(Check):
    """The answer has a number of words within bounds; a bare number is the greatest."""

    name: ClassVar[str] = "words"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"words": {"max": 3}}, "Paris, of course.", "It is the city of Paris.")

    limits: Limits

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read `{"min": 1, "max": 120}`, or a whole number."""
        return cls(Limits.from_spec(value, context))

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when the count is within the bounds, else 0."""
        return self.limits.outcome(count_words(answer.text), "word")

    def describe(self) -> str:
        """Return the bounds."""
        return self.limits.describe("word")
