"""A number in the answer, compared by value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from audition.errors import nearest
from audition.quality.checks.base import Answer, Check, Context, Example, Outcome, is_number, kind, quoted
from audition.quality.checks.readings import numbers

Which = Literal["last", "first", "any", "only"]

DEFAULT_REL_TOL = 1e-9
"""Exact, but for what floating point does to a decimal fraction."""


@dataclass(frozen=True, slots=True)
class Number(Check):
    """A number in the answer equals `value` (`checks.readings` says what is read as a number).

    Attributes:
        which: The `last` number of the answer, the `first`, `any`, or the `only` one: no other value beside
            it.
        abs_tol: The greatest difference that still counts as equal, in the number's own unit, inclusive.
        rel_tol: The same as a share of `value`. The wider of the two tolerances holds.
    """

    name: ClassVar[str] = "number"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example(
        {"number": 23.8, "abs_tol": 0.01}, "19 % of 125.26 is €23.80.", "19 % of 125.26 is 24."
    )

    value: float
    which: Which = "last"
    abs_tol: float = 0.0
    rel_tol: float = DEFAULT_REL_TOL

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read a number with its options beside it, or an object with `value` and the options."""
        given = context.arguments(value, main="value", known=("value", "which", "abs_tol", "rel_tol"))
        if not is_number(given.get("value")):
            wrong = given.get("value")
            fix = "write it without quotes" if isinstance(wrong, str) else None
            raise context.fault(f"the value must be a finite number, not {kind(wrong)}", fix)
        for name in ("abs_tol", "rel_tol"):
            if name in given and not (is_number(given[name]) and given[name] >= 0):
                raise context.fault(f'"{name}" must be a number that is not negative')
        which = given.get("which", "last")
        if which not in get_args(Which):
            known = get_args(Which)
            fix = (nearest(which, known) if isinstance(which, str) else None) or "one of: " + ", ".join(known)
            shown = quoted(which) if isinstance(which, str) else kind(which)
            raise context.fault(f'"which" is {shown}', fix)
        return cls(
            float(given["value"]),
            which,
            float(given.get("abs_tol", 0.0)),
            float(given.get("rel_tol", DEFAULT_REL_TOL)),
        )

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when the number is there, else 0."""
        found = numbers(answer.text)
        if not found:
            return Outcome.scored(0.0, "no number in the answer")
        if self.which == "any":
            met = any(map(self._equal, found))
            return Outcome.scored(float(met), f"{_shown(self.value)} is {'' if met else 'not '}among the numbers")
        if self.which == "only":
            other = next((number for number in found if not self._equal(number)), None)
            if other is None:
                return Outcome.scored(1.0, f"the only number is {_shown(found[0])}")
            return Outcome.scored(0.0, f"there is the number {_shown(other)}, not only {_shown(self.value)}")
        number = found[-1] if self.which == "last" else found[0]
        if self._equal(number):
            return Outcome.scored(1.0, f"the {self.which} number is {_shown(number)}")
        return Outcome.scored(0.0, f"the {self.which} number is {_shown(number)}, not {_shown(self.value)}")

    def describe(self) -> str:
        """Return value, tolerance and which number is meant."""
        subject = {"any": "any number", "only": "the only number"}.get(self.which, f"the {self.which} number")
        tolerance = f" ± {_shown(self.abs_tol)}" if self.abs_tol else ""
        if self.rel_tol not in (0.0, DEFAULT_REL_TOL):
            tolerance += f" ± {_shown(self.rel_tol * 100)} %"
        return f"{subject} is {_shown(self.value)}{tolerance}"

    def _equal(self, number: float) -> bool:
        tolerance = max(self.abs_tol, self.rel_tol * abs(self.value))
        # Tolerances are inclusive as they are written, and 23.81 - 23.80 is not 0.01 in binary.
        slack = 4 * math.ulp(max(abs(number), abs(self.value)))
        return abs(number - self.value) <= tolerance + slack


def _shown(number: float) -> str:
    return f"{number:.12g}"
