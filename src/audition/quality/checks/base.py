"""What a check is: it reads its specification once, and then turns answers into outcomes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

from audition.errors import UsageError, nearest
from audition.text import one_line

FULL_SCORE = 1.0 - 1e-9
"""From here on a score passes; the gap absorbs the rounding of means."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check sees.

    Attributes:
        text: The model's answer, its reasoning already removed.
        prompt: The last thing the user said.
    """

    text: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check says of one answer; made by `scored` or `unscored`, never directly.

    Attributes:
        score: From 0 to 1; None when unscored.
        passed: Whether the expectation is met; None when unscored.
        reason: One sentence for a person.
    """

    status: Literal["scored", "unscored"]
    score: float | None
    passed: bool | None
    reason: str

    @classmethod
    def scored(cls, score: float, reason: str) -> Outcome:
        """Return a verdict on the answer; a full score passes.

        Raises:
            ValueError: The score is outside 0 to 1: a fault of the check, not evidence about the answer.
        """
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"a score must be from 0 to 1, not {score}")
        return cls("scored", float(score), score >= FULL_SCORE, reason)

    @classmethod
    def unscored(cls, reason: str) -> Outcome:
        """Return that no verdict could be reached, through no fault of the answer.

        It is preserved in the run with its reason and excluded from means: it lowers the number of scored
        checks, and never counts as 0.
        """
        return cls("unscored", None, None, reason)


class Example(NamedTuple):
    """A specification of a check with an answer that passes and one that fails, where it can tell."""

    spec: Any
    passes: str | None
    fails: str | None


@dataclass(frozen=True, slots=True)
class Context:
    """Where a specification stands, and what stands around it.

    Attributes:
        where: File and path (`prompts.json: cases[3].expect[1]`), for error sentences.
        build: Builds the check of an inner specification, given the specification and the step that leads to
            it.
        options: The arguments that stand beside the check's name in the same object.
        rubrics: The rubrics of the file; None when they are not known, so that names cannot be verified.
    """

    where: str
    build: Callable[[Any, str], Check]
    options: Mapping[str, Any] = field(default_factory=dict)
    rubrics: Mapping[str, Any] | None = None

    def fault(self, sentence: str, fix: str | None = None) -> UsageError:
        """Return the error that says `sentence` about this place."""
        return UsageError(f"{self.where}: {sentence}", fix=fix, code="invalid_file")

    def arguments(self, value: Any, *, main: str, known: tuple[str, ...]) -> dict[str, Any]:
        """Return all arguments by name, from `{check: value, option: ...}` or `{check: {argument: ...}}`.

        Args:
            value: What stands under the check's name.
            main: The argument that `value` is when it is not an object.
            known: Every argument that the check takes.

        Raises:
            UsageError: An argument is unknown, or stands twice.
        """
        given = dict(value) if isinstance(value, dict) else {main: value}
        for name, option in self.options.items():
            if name in given:
                raise self.fault(f"{quoted(name)} is given twice")
            given[name] = option
        for name in given:
            if name not in known:
                known = (*known, "gate", "weight")
                fix = nearest(name, known) or "known arguments: " + ", ".join(known)
                raise self.fault(f"unknown argument {quoted(name)}", fix)
        return given

    def no_options(self) -> None:
        """Refuse arguments beside the check's name.

        Raises:
            UsageError: There is one.
        """
        for name in self.options:
            raise self.fault(f"takes no argument {quoted(name)}")


class Check(ABC):
    """An expectation of an answer. Subclasses are small frozen dataclasses, one file each.

    Attributes:
        name: The key that names the check in a prompts file.
        version: Raised whenever the same answer could get another score; runs record it.
        example: What the contract tests and the documentation show.
    """

    __slots__ = ()

    name: ClassVar[str]
    version: ClassVar[int]
    example: ClassVar[Example]

    @classmethod
    @abstractmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read what stands under the check's name.

        Raises:
            UsageError: It is not what this check takes; names the place.
        """

    @abstractmethod
    def score(self, answer: Answer) -> Outcome:
        """Return the outcome for one answer; never raises, whatever the answer holds."""

    @abstractmethod
    def describe(self) -> str:
        """Return how the specification was understood, as a phrase without a final stop."""


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a finite number that fits a float; `true` and `false` are not numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def kind(value: Any) -> str:
    """Return what a JSON value is, in words for an error sentence."""
    words = {
        bool: "true or false",
        str: "text",
        list: "a list",
        dict: "an object",
        int: "a number",
        float: "a number",
    }
    return words.get(type(value), "null")


def quoted(text: str) -> str:
    """Return a text as it may stand in a sentence: printable, short, in quotes."""
    return f'"{one_line(text, 60)}"'
