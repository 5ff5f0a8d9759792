"""The checks: from what a person expects of an answer, as written in a prompts file, to what scores it.

A new check is one new file with a `Check`, and one line in `CHECKS`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audition.errors import UsageError, nearest
from audition.quality.checks.base import Answer, Check, Context, Example, Outcome, is_number, kind, quoted
from audition.quality.checks.contains import Contains, ContainsAny
from audition.quality.checks.every import All
from audition.quality.checks.matches import Matches
from audition.quality.checks.negation import Not
from audition.quality.checks.number import Number
from audition.quality.checks.rubric import Rubric
from audition.quality.checks.sentences import Sentences
from audition.quality.checks.words import Words

__all__ = ["CHECKS", "Answer", "BuiltCheck", "Check", "Context", "Example", "Outcome", "build_check"]

CHECKS: tuple[type[Check], ...] = (
    All,
    Contains,
    ContainsAny,
    Matches,
    Not,
    Number,
    Rubric,
    Sentences,
    Words,
)

_NAMES = {check.name: check for check in CHECKS}
_DEEPEST = 16
"""Nobody nests further by hand; without a bound a hostile file would exhaust the stack."""


@dataclass(frozen=True, slots=True)
class BuiltCheck:
    """A check with its place in a case's score.

    Attributes:
        weight: Its share in the case's weighted mean.
        gate: When it fails, the whole case scores 0.
        spec: What the person wrote.
        label: How that was understood, in a phrase; `check --explain` prints it.
    """

    check: Check
    weight: float
    gate: bool
    spec: Any
    label: str


def build_check(spec: Any, where: str, rubrics: Mapping[str, Any] | None = None) -> BuiltCheck:
    """Read one entry of `expect`.

    A text means whole-word `contains`; a number means that the last number of the answer equals it; a list
    means all of its entries; an object names a check: `{name: value, option: ..., "gate": true, "weight":
    2}`.

    Args:
        spec: The entry, as JSON.
        where: File and path (`prompts.json: cases[3].expect[1]`); every error sentence begins with it.
        rubrics: The file's rubrics; None when they are not known, which leaves the names of rubrics
            unverified.

    Raises:
        UsageError: Unknown check or argument (with the nearest known one), or an argument the check cannot
            take.
    """
    weight, gate, bare = 1.0, False, spec
    if isinstance(spec, dict):
        bare = {name: value for name, value in spec.items() if name not in ("gate", "weight")}
        weight, gate = _weight(spec, where), _gate(spec, where)
    check = _check(bare, where, rubrics, depth=0)
    return BuiltCheck(check, weight, gate, spec, check.describe())


def _weight(spec: dict[str, Any], where: str) -> float:
    weight = spec.get("weight", 1.0)
    if not is_number(weight) or weight <= 0:
        raise _fault(where, f'"weight" must be a number greater than 0, not {_shown(weight)}')
    return float(weight)


def _gate(spec: dict[str, Any], where: str) -> bool:
    gate = spec.get("gate", False)
    if not isinstance(gate, bool):
        raise _fault(where, f'"gate" must be true or false, not {_shown(gate)}')
    return gate


def _check(spec: Any, where: str, rubrics: Mapping[str, Any] | None, depth: int) -> Check:
    if depth > _DEEPEST:
        raise _fault(where[:200], "the checks are nested too deeply")

    def build(inner: Any, step: str) -> Check:
        return _check(inner, where + step, rubrics, depth + 1)

    name, value, options = _named(spec, where, nested=depth > 0)
    context = Context(where, build, options, rubrics)
    if isinstance(spec, dict):
        # Only what a person named is named to them; the check behind a bare form would be news to them.
        context = dataclasses.replace(context, where=f"{where}: {name}")
    return _NAMES[name].from_spec(value, context)


def _named(spec: Any, where: str, *, nested: bool) -> tuple[str, Any, dict[str, Any]]:
    """Return the name of the check that any form of specification means, its value and its options."""
    if isinstance(spec, str):
        return Contains.name, spec, {}
    if isinstance(spec, list):
        texts = bool(spec) and all(isinstance(item, str) for item in spec)
        return (Contains.name if texts else All.name), spec, {}
    if isinstance(spec, dict):
        return _picked(spec, where, nested=nested)
    if is_number(spec):
        return Number.name, spec, {}
    raise _fault(where, f"expected a text, a number, a list or an object, not {_shown(spec)}")


def _picked(spec: dict[str, Any], where: str, *, nested: bool) -> tuple[str, Any, dict[str, Any]]:
    if nested and ("gate" in spec or "weight" in spec):
        raise _fault(where, '"gate" and "weight" belong to an entry of "expect" itself, not inside another check')
    names = [name for name in spec if name in _NAMES]
    if len(names) > 1:
        both = " and ".join(quoted(name) for name in names)
        raise _fault(where, f"{both} are two checks in one object", "write one object for each, in a list")
    if not names:
        if not spec:
            raise _fault(where, "an object must name a check", "known checks: " + ", ".join(_NAMES))
        unknown = next(iter(spec))
        fix = nearest(unknown, list(_NAMES)) or "known checks: " + ", ".join(_NAMES)
        raise _fault(where, f"unknown check {quoted(unknown)}", fix)
    return names[0], spec[names[0]], {name: value for name, value in spec.items() if name != names[0]}


def _fault(where: str, sentence: str, fix: str | None = None) -> UsageError:
    return UsageError(f"{where}: {sentence}", fix=fix, code="invalid_file")


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool | float) or value == 0:
        return json.dumps(value)
    return kind(value)
