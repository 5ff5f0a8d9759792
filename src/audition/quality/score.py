"""From an answer to a case's score, and from a suite to what is wrong with its own checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from audition.bench.plan import Case
from audition.quality.checks import Answer, BuiltCheck, Outcome, build_check
from audition.quality.checks.terms import fold
from audition.reasoning import Split, split_reasoning
from audition.text import one_line

if TYPE_CHECKING:
    from audition.quality.cases import Suite

FAILURES = {
    "failed": "the request failed",
    "timeout": "the answer was not complete at the time limit",
    "unclosed_reasoning": "the reasoning was never closed, so there is no answer",
    "truncated": "the token limit cut the answer",
    "empty_answer": "the answer is empty",
}
"""What counts as a failure of the model, and scores 0; the words are stable, run files record them."""

MOST_OTHERS = 50
"""Other cases' references that a case is tried on; more would make the self-test of a large suite slow."""


@dataclass(frozen=True, slots=True)
class CheckScore:
    """The result of one check on one answer.

    Attributes:
        check: The check's name.
        version: The check's version: scores of different versions are not compared.
        spec: What the person wrote.
        status: `scored`, or `unscored`: no verdict, through no fault of the answer; excluded from means,
            never a 0.
    """

    check: str
    version: int
    spec: Any
    weight: float
    gate: bool
    status: str
    score: float | None
    passed: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class CaseScore:
    """The result of one case on one answer.

    Attributes:
        status: `unscored` when the case has no checks, or none that reached a verdict.
        score: The weighted mean of the scored checks; 0 when a gate failed.
        passed: Whether every scored check passed; None when unscored, or when that hangs on an unscored gate.
        failure: What the model failed at before there was an answer to check, a key of `FAILURES`; else None.
    """

    status: Literal["scored", "unscored"]
    score: float | None
    passed: bool | None
    checks: tuple[CheckScore, ...]
    failure: str | None


def score_answer(case: Case, *, status: str, text: str, finish_reason: str | None) -> CaseScore:
    """Score one answer by its case's checks.

    A failure of the model scores 0 on every check, rubrics included. A failure of a check leaves that check
    unscored.

    Args:
        case: The case, with its checks as written.
        status: How the request ended: `ok`, `failed`, `timeout` or `truncated`. Any other end says nothing
            about the model, and leaves the case unscored.
        text: The raw text, inline reasoning included.
        finish_reason: Why the engine stopped; `length` is a truncated answer.

    Raises:
        UsageError: A check of the case cannot be read.
    """
    return _score(case, _built(case), status=status, text=text, finish_reason=finish_reason)


def _built(case: Case) -> tuple[BuiltCheck, ...]:
    return tuple(
        build_check(spec, f"case {one_line(case.id, 60)}: expect[{index}]") for index, spec in enumerate(case.expect)
    )


def _score(
    case: Case, built: Sequence[BuiltCheck], *, status: str, text: str, finish_reason: str | None = None
) -> CaseScore:
    split = split_reasoning(text)
    failure = _failure(status, split, finish_reason)
    if failure:
        outcomes = [Outcome.scored(0.0, FAILURES[failure])] * len(built)
    elif status not in ("ok", *FAILURES):
        outcomes = [Outcome.unscored(f'the request ended as "{one_line(status, 40)}"')] * len(built)
    else:
        answer = Answer(split.answer, case.prompt)
        outcomes = [item.check.score(answer) for item in built]
    checks = tuple(map(_check_score, built, outcomes))
    return _case_score(checks, failure)


def _failure(status: str, split: Split, finish_reason: str | None) -> str | None:
    if status in ("failed", "timeout"):
        return status
    if status not in ("ok", "truncated"):
        return None
    # Reasoning that used up all tokens is both; that it never came to an answer says more.
    if split.unclosed:
        return "unclosed_reasoning"
    if status == "truncated" or finish_reason == "length":
        return "truncated"
    return None if split.answer else "empty_answer"


def _check_score(built: BuiltCheck, outcome: Outcome) -> CheckScore:
    return CheckScore(
        check=built.check.name,
        version=built.check.version,
        spec=built.spec,
        weight=built.weight,
        gate=built.gate,
        status=outcome.status,
        score=outcome.score,
        passed=outcome.passed,
        reason=outcome.reason,
    )


def _case_score(checks: tuple[CheckScore, ...], failure: str | None) -> CaseScore:
    scored = [(check.score, check.weight) for check in checks if check.score is not None]
    if not scored:
        return CaseScore("unscored", None, None, checks, failure)
    # Relative to the heaviest, so that no sum of weights overflows.
    heaviest = max(weight for _, weight in scored)
    shares = [weight / heaviest for _, weight in scored]
    score = sum(score * share for (score, _), share in zip(scored, shares, strict=True)) / sum(shares)
    if any(check.gate and check.passed is False for check in checks):
        score = 0.0
    passed: bool | None = all(check.passed for check in checks if check.score is not None)
    if passed and any(check.gate and check.passed is None for check in checks):
        passed = None
    return CaseScore("scored", score, passed, checks, failure)


def self_test(suite: Suite) -> list[str]:
    """Try every case's checks on answers whose verdict is known, without asking a model.

    The reference must pass; an empty answer, the prompt repeated, "I don't know." and the references of other
    cases must fail. Left out are references of the same text, and of cases that expect the same; of many
    others, at most `MOST_OTHERS` are tried.

    Returns:
        One plain sentence for each problem; an empty list when every case can tell good answers from bad
        ones.
    """
    return [problem for case in suite.cases if case.expect for problem in _problems(case, suite)]


def _problems(case: Case, suite: Suite) -> list[str]:
    built = _built(case)
    name = f"case {one_line(case.id, 60)}"
    problems = []
    if case.reference is not None:
        result = _score(case, built, status="ok", text=case.reference)
        if result.passed is False:
            failed = next(check.reason for check in result.checks if check.passed is False)
            problems.append(f"{name}: its own reference fails ({failed})")
    useless = "this case cannot tell models apart"
    bad = (
        ("an empty answer", ""),
        ("the echoed prompt", case.prompt),
        ('the answer "I don\'t know."', "I don't know."),
    )
    problems += [f"{name}: {what} passes: {useless}" for what, text in bad if _passes(case, built, text)]
    accepted = [other.id for other in _others(case, suite) if _passes(case, built, other.reference or "")]
    if accepted:
        listed = ", ".join(one_line(other, 60) for other in accepted[:3])
        more = f" and {len(accepted) - 3} more" if len(accepted) > 3 else ""
        problems.append(f"{name}: it accepts the reference of other cases ({listed}{more})")
    return problems


def _passes(case: Case, built: Sequence[BuiltCheck], text: str) -> bool:
    return _score(case, built, status="ok", text=text).passed is True


def _others(case: Case, suite: Suite) -> list[Case]:
    own = fold(case.reference or "")
    others = [
        other
        for other in suite.cases
        if other.reference is not None
        and other.id != case.id
        and other.expect != case.expect
        and fold(other.reference) != own
    ]
    # Evenly spread and the same on every call: a suite's order often groups like cases.
    step = max(1, -(-len(others) // MOST_OTHERS))
    return others[::step]
