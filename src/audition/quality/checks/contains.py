"""Whole words or phrases in the answer, in any case of letters: all of them, or any one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from audition.quality.checks.base import Answer, Check, Context, Example, Outcome, kind, quoted
from audition.quality.checks.terms import Term, fold


@dataclass(frozen=True, slots=True)
class Contains(Check):
    """The answer holds every one of these terms as whole words (`checks.terms` has the rules)."""

    name: ClassVar[str] = "contains"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"contains": "Paris"}, "It is **Paris**.", "A Parisian would know.")

    terms: tuple[Term, ...]

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read a text or a list of texts."""
        return cls(_terms(value, context))

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when every term is there, else 0."""
        text = fold(answer.text)
        missing = [term for term in self.terms if not term.pattern.search(text)]
        if missing:
            return Outcome.scored(0.0, "; ".join(_absence(term, text) for term in missing))
        return Outcome.scored(1.0, "found " + _listed(self.terms, "and"))

    def describe(self) -> str:
        """Return the terms, joined by "and"."""
        return "contains " + _listed(self.terms, "and")


@dataclass(frozen=True, slots=True)
class ContainsAny(Check):
    """The answer holds at least one of these terms as whole words."""

    name: ClassVar[str] = "contains_any"
    version: ClassVar[int] = 1
    example: ClassVar[Example] = Example({"contains_any": ["car", "automobile"]}, "An automobile.", "A carpet.")

    terms: tuple[Term, ...]

    @classmethod
    def from_spec(cls, value: Any, context: Context) -> Self:
        """Read a text or a list of texts."""
        return cls(_terms(value, context))

    def score(self, answer: Answer) -> Outcome:
        """Return 1 when one of the terms is there, else 0."""
        text = fold(answer.text)
        found = next((term for term in self.terms if term.pattern.search(text)), None)
        if found:
            return Outcome.scored(1.0, f"found {quoted(found.text)}")
        return Outcome.scored(0.0, "; ".join(_absence(term, text) for term in self.terms))

    def describe(self) -> str:
        """Return the terms, joined by "or"."""
        return "contains " + _listed(self.terms, "or")


def _terms(value: Any, context: Context) -> tuple[Term, ...]:
    value = context.arguments(value, main="text", known=("text",)).get("text")
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise context.fault("the list of texts to look for is empty")
    terms = []
    for text in texts:
        if not isinstance(text, str):
            fix = 'write {"number": ...} to compare numbers' if kind(text) == "a number" else None
            raise context.fault(f"looks for text, not for {kind(text)}", fix)
        term = Term.compile(text)
        if term is None:
            raise context.fault(f"{quoted(text)} leaves nothing to look for")
        terms.append(term)
    return tuple(terms)


def _absence(term: Term, text: str) -> str:
    longer = term.longer.search(text) if term.longer else None
    if longer:
        return (
            f"no {quoted(term.text)} as a whole word, only {quoted(longer[0])}: "
            f"write {quoted(term.text + '*')} to accept words that start so"
        )
    return f"no {quoted(term.text)}"


def _listed(terms: tuple[Term, ...], joint: str) -> str:
    return f" {joint} ".join(quoted(term.text) for term in terms)
