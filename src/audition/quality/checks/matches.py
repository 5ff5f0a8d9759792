"""A regular expression that matches somewhere in the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import regex

from audition.quality.checks.base import Answer, Check, Context, Example, Outcome, kind
from audition.text import one_line

TIMEOUT_S = 1.0
"""No pattern that a person means takes this long on an answer; one that backtracks without end does."""

_FLAGS = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE}


@dataclass(frozen=True, slots=True)
class Matches(Check):
    r"""The pattern matches somewhere in the answer; `^` and `$` tie it to the beginning and the end.

    Attributes:
        flags: Any of `i` (ignore case), `m` (`^` and `$` at every line), `s` (`.` matches line breaks), `x`
            (verbose).
    """

    name: ClassVar[str] = "regex"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"regex": r"^[A-D]\b", "flags": "i"}, "b) Jupiter", "Jupiter")

    pattern: regex.Pattern[str]
    flags: str = ""

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read a pattern with `flags` beside it, or an object with both."""
        given = context.arguments(value, main="pattern", known=("pattern", "flags"))
        pattern, flags = given.get("pattern"), given.get("flags", "")
        if not isinstance(pattern, str):
            raise context.fault(f"the pattern must be text, not {kind(pattern)}")
        if not pattern:
            raise context.fault("the pattern is empty, so that every answer would match")
        if not isinstance(flags, str) or not set(flags) <= _FLAGS.keys():
            raise context.fault('"flags" must be text', "any of: " + ", ".join(_FLAGS))
        bits = 0
        for flag in flags:
            bits |= _FLAGS[flag]
        try:
            return cls(regex.compile(pattern, bits), flags)
        except regex.error as error:
            # The stubs of regex know neither attribute.
            position, message = getattr(error, "pos", None), getattr(error, "msg", str(error))
            place = "" if position is None else f" at position {position}"
            raise context.fault(
                f"not a regular expression: {message}{place}", f"look at: {one_line(pattern, 80)}"
            ) from error
        except (RecursionError, OverflowError, ValueError, MemoryError) as error:
            raise context.fault("not a usable regular expression: nested or repeated too deeply") from error

    def score(self, answer: Answer) -> Outcome:
        """Return 1 for a match, else 0; unscored when the pattern does not come to an end."""
        try:
            found = self.pattern.search(answer.text, timeout=TIMEOUT_S)
        except (TimeoutError, MemoryError, RecursionError):
            return Outcome.unscored(f"{self.describe()}: no result within {TIMEOUT_S:g} s; make the pattern simpler")
        if found:
            return Outcome.scored(1.0, f'matched "{one_line(found[0], 60)}"')
        return Outcome.scored(0.0, "no match")

    def describe(self) -> str:
        """Return the pattern between slashes, with its flags."""
        return f"matches /{one_line(self.pattern.pattern, 80)}/{self.flags}"
