"""How many sentences the answer has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import regex

from audition.quality.checks.base import Answer, Check, Context, Example, Outcome
from audition.quality.checks.limits import Limits


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_INSIDE = _set(
    "mr mrs mx dr prof rev hon mt sgt capt lt gov sen rep pres "
    "e.g i.e eg ie vs cf viz approx ca resp z.b d.h u.a bzw p.ex"
)
"""Abbreviations that something always follows."""
_BEFORE_NUMBER = _set("no nos nr fig figs p pp vol ch sec eq jan feb mar apr jun jul aug sep sept oct nov dec")
"""Abbreviations when a digit follows."""
_BEFORE_CAPITAL = _set("etc a.m p.m al usw")
"""Abbreviations that end a sentence when a capital letter follows."""
_BEFORE_NAME = _set("inc ltd co corp llc jr sr st ave blvd rd dept univ est ms gen col ph.d")
"""Abbreviations that end a sentence, as "U.S." and initials do, only before a word of `_STARTERS`."""
_STARTERS = _set(
    "the this that these those it he she we they i you a an in on at as for to of by from with and but "
    "or so if no yes not however there then when while where why how who what which also after before "
    "although because since our their his her its my your here each every all some many most both "
    "another next finally instead"
)

_MARKER = regex.compile(r"\s*(?:[>#]+\s+)?(?:[-*+\u2022\u2023\u25e6]\s+|(?:\d{1,3}|[A-Za-z])[.)]\s+)?")
_CLOSERS = r"""["'\u201d\u2019\u00bb)\]*_`]*+(?:\[\d+\])*+"""
_STOP = regex.compile(
    rf"(?<![.!?\u2026])(?P<run>[.!?\u2026]++){_CLOSERS}(?=\s|$)"
    r"|[\u3002\uff01\uff1f\uff61]++[\u300d\u300f\u201d\u2019\uff09)]*+"
)
_OPENERS = "\"'\u201c\u2018\u201e\u00ab([*_`"
_INITIALS = regex.compile(r"\p{Lu}|[^\W\d_](?:\.[^\W\d_])+")
_HAS_WORD = regex.compile(r"[^\W_]")


def count_sentences(text: str) -> int:
    """Count sentences by punctuation.

    A sentence ends at `.`, `!`, `?`, an ellipsis or their Chinese and Japanese forms, and at every line
    break, so that each item of a list is one, with or without a full stop. Inside it stay: decimals,
    abbreviations ("Dr.", "e.g."), "U.S." and initials unless a word follows that commonly starts a sentence,
    an ellipsis before a small letter, and a quotation before a small letter ("Why?" he asked). Lines and
    rests without a letter or digit are none.
    """
    return sum(_in_line(line) for line in text.splitlines())


def _in_line(line: str) -> int:
    marker = _MARKER.match(line)
    line = line[marker.end() :] if marker else line
    count, start = 0, 0
    for stop in _STOP.finditer(line):
        if _ends(line, stop):
            count += 1 if _HAS_WORD.search(line, start, stop.end()) else 0
            start = stop.end()
    return count + (1 if _HAS_WORD.search(line, start) else 0)


def _ends(line: str, stop: regex.Match[str]) -> bool:
    run = stop["run"]
    # A bounded look at what follows: the whole rest would make a long line quadratic.
    after = line[stop.end() : stop.end() + 80].split(maxsplit=1)
    if run is None or not after:
        return True
    following = after[0].lstrip(_OPENERS)
    trails_off = run.startswith("..") or "\u2026" in run
    closed = stop.end() > stop.end("run")
    if (trails_off or closed) and following[:1].islower():
        return False
    return run != "." or _full_stop_ends(line, stop.start(), following)


def _full_stop_ends(line: str, at: int, following: str) -> bool:
    before = line[max(0, at - 30) : at].split()
    written = before[-1].lstrip(_OPENERS) if before else ""
    word = written.casefold()
    if word in _INSIDE:
        return False
    if word in _BEFORE_NUMBER and following[:1].isdigit():
        return False
    if word in _BEFORE_CAPITAL:
        return following[:1].isupper()
    if word in _BEFORE_NAME or _INITIALS.fullmatch(written):
        return following[:1].isupper() and following.casefold().strip(",.'\u2019") in _STARTERS
    return True


@dataclass(frozen=True, slots=True)
class Sentences(Check):
    """The answer has a number of sentences within bounds; a bare number is the greatest."""

    name: ClassVar[str] = "sentences"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"sentences": {"max": 1}}, "Dr. Who is 3.5 m tall.", "Yes. No.")

    limits: Limits

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read `{"min": 1, "max": 2}`, or a whole number."""
        return cls(Limits.from_spec(value, context))

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when the count is within the bounds, else 0."""
        return self.limits.outcome(count_sentences(answer.text), "sentence")

    def describe(self) -> str:
        """Return the bounds."""
        return self.limits.describe("sentence")
