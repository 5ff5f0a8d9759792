"""`scores.jsonl`: the result of every check on every measured sample; made again from the samples at any time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from audition.bench.plan import Plan
from audition.bench.rundir import RunDir
from audition.bench.sample import Sample
from audition.jsonfile import write_text
from audition.quality.score import CheckScore, score_answer

SCHEMA = 1
NOT_ANSWERED = "no request was answered"
"""Why a target has no quality of which nothing came back: there is nothing to judge."""


@dataclass(frozen=True, slots=True)
class SampleScore:
    """The score of one measured sample.

    Attributes:
        score: Between 0 and 1; None when nothing judged it, which is not 0.
        failure: Why the model gets 0 whatever the checks say, such as `truncated`; None when it answered.
    """

    target: str
    case: str
    block: str
    score: float | None
    passed: bool | None
    failure: str | None
    checks: tuple[CheckScore, ...]


def score_samples(plan: Plan, samples: Sequence[Sample]) -> list[SampleScore]:
    """Score every measured sample with its case's checks.

    A failed request scores 0, as it gives a product nothing; but a target that answered none has shown no answers,
    good or bad, so its samples stay unscored.
    """
    cases = {case.id: case for case in plan.cases}
    measured = [sample for sample in samples if sample.phase == "measured"]
    answering = {sample.target for sample in measured if sample.status in ("ok", "truncated")}
    out = []
    for sample in measured:
        result = score_answer(
            cases[sample.case], status=sample.status, text=sample.text, finish_reason=sample.finish_reason
        )
        score = SampleScore(
            sample.target,
            sample.case,
            sample.block,
            result.score,
            result.passed,
            result.failure,
            result.checks,
        )
        out.append(score if sample.target in answering else _unscored(score))
    return out


def _unscored(score: SampleScore) -> SampleScore:
    checks = tuple(
        replace(check, status="unscored", score=None, passed=None, reason=NOT_ANSWERED) for check in score.checks
    )
    return replace(score, score=None, passed=None, checks=checks)


def write_scores(run: RunDir, scores: Sequence[SampleScore]) -> None:
    """Write `scores.jsonl`, one line per check."""
    lines = []
    for score in scores:
        where = {"schema": SCHEMA, "target": score.target, "case": score.case, "block": score.block}
        for check in score.checks:
            record = {**where, **asdict(check), "model_failure": score.failure}
            lines.append(json.dumps(record, ensure_ascii=True, sort_keys=True))
    write_text(run.path / "scores.jsonl", "".join(f"{line}\n" for line in lines))
