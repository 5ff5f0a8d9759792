"""A least and a greatest count, for the checks that count something in the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from audition.quality.checks.base import Context, Outcome, kind


@dataclass(frozen=True, slots=True)
class Limits:
    """Inclusive bounds of a count; None where there is no bound."""

    least: int | None
    most: int | None

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read `{"min": 1, "max": 2}`, or a bare whole number, which is the greatest count."""
        given = context.arguments(value, main="max", known=("min", "max"))
        for name, bound in given.items():
            if type(bound) is not int:
                raise context.fault(f'"{name}" must be a whole number, not {_shown(bound)}')
            if bound < 1:
                raise context.fault(f'"{name}" must be at least 1')
        least, most = given.get("min"), given.get("max")
        if least is None and most is None:
            raise context.fault('needs "min", "max" or both')
        if least is not None and most is not None and least > most:
            raise context.fault('"min" is greater than "max"')
        return cls(least, most)

    def outcome(self, count: int, singular: str) -> Outcome:
        """Return 1 when the count is within the bounds, else 0."""
        noun = singular if count == 1 else singular + "s"
        within = (self.least is None or count >= self.least) and (self.most is None or count <= self.most)
        reason = f"{count} {noun}" if within else f"{count} {noun}, not {self.describe(singular)}"
        return Outcome.scored(1.0 if within else 0.0, reason)

    def describe(self, singular: str) -> str:
        """Return the bounds as a phrase, such as "1 to 2 sentences"."""
        noun = singular if (self.most or self.least) == 1 else singular + "s"
        if self.most is None:
            return f"at least {self.least} {noun}"
        if self.least is None:
            return f"at most {self.most} {noun}"
        return f"{self.least} {noun}" if self.least == self.most else f"{self.least} to {self.most} {noun}"


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, float) else kind(value)
