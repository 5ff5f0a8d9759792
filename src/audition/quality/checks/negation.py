"""The opposite of another check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from audition.quality.checks.base import Answer, Check, Context, Example, Outcome


@dataclass(frozen=True, slots=True)
class Not(Check):
    """The inner check does not pass."""

    name: ClassVar[str] = "not"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"not": {"contains_any": ["sorry", "as an AI"]}}, "42", "Sorry, no.")

    inner: Check

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read any specification of a check."""
        context.no_options()
        return cls(context.build(value, ".not"))

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when the inner check fails and 0 when it passes; what is unscored stays unscored."""
        outcome = self.inner.score(answer)
        if outcome.status == "unscored":
            return outcome
        return Outcome.scored(0.0 if outcome.passed else 1.0, outcome.reason)

    def describe(self) -> str:
        """Return what must not hold."""
        return f"not ({self.inner.describe()})"
