"""Several expectations as one: all of them, or none counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from audition.quality.checks.base import Answer, Check, Context, Example, Outcome, kind


@dataclass(frozen=True, slots=True)
class All(Check):
    """Every inner check passes. There is no partial credit: separate checks of a case are the way to that."""

    name: ClassVar[str] = "all"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"all": ["total", 42]}, "The total is 42.", "The total is 41.")

    inner: tuple[Check, ...]

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read a list of specifications."""
        context.no_options()
        if not isinstance(value, list):
            raise context.fault(f"needs a list of checks, not {kind(value)}")
        if not value:
            raise context.fault("the list of checks is empty")
        return cls(tuple(context.build(item, f"[{index}]") for index, item in enumerate(value)))

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when all pass and 0 when one fails; unscored when none fails and one is unscored."""
        outcomes = [check.score(answer) for check in self.inner]
        failed = [outcome.reason for outcome in outcomes if outcome.passed is False]
        if failed:
            return Outcome.scored(0.0, "; ".join(failed))
        unscored = next((outcome for outcome in outcomes if outcome.status == "unscored"), None)
        return unscored or Outcome.scored(1.0, "; ".join(outcome.reason for outcome in outcomes))

    def describe(self) -> str:
        """Return every inner phrase."""
        return "all of: " + "; ".join(check.describe() for check in self.inner)
