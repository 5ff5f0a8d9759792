"""A graded judgement by a judge model or by people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from audition.errors import nearest
from audition.quality.checks.base import Answer, Check, Context, Example, Outcome, kind, quoted


@dataclass(frozen=True, slots=True)
class Rubric(Check):
    """The answer is to be graded by one of the file's rubrics.

    No check can do that from the answer alone, so it stays unscored here; the expectation is kept in the run,
    where ratings can be added later without asking the models again.
    """

    name: ClassVar[str] = "rubric"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"rubric": "clarity"}, None, None)

    rubric: str

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read the name of a rubric that stands under `rubrics` in the same file."""
        context.no_options()
        if not isinstance(value, str):
            raise context.fault(f"needs the name of a rubric, not {kind(value)}")
        if context.rubrics is not None and value not in context.rubrics:
            known = list(context.rubrics)
            fix = nearest(value, known) or ("known rubrics: " + ", ".join(known) if known else None)
            raise context.fault(
                f"there is no rubric {quoted(value)}", fix or 'write it under "rubrics" in the same file'
            )
        return cls(value)

    def score(self, answer: Answer) -> Outcome:
        """Return that nobody has judged yet."""
        return Outcome.unscored("needs a judge or manual ratings")

    def describe(self) -> str:
        """Return the rubric's name."""
        return f"rubric {quoted(self.rubric)}"
