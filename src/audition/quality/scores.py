"""`scores.jsonl`: the result of every check on every measured sample; made again from the samples at any time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from audition.bench.plan import Plan
from audition.bench.rundir import RunDir
from audition.bench.sample import Sample
from audition.jsonfile import write_text
from audition.quality.score import CheckScore, score_answer

SCHEMA = 1


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
    """Score every measured sample with its case's checks."""
    cases = {case.id: case for case in plan.cases}
    out = []
    for sample in samples:
        if sample.phase != "measured":
            continue
        result = score_answer(
            cases[sample.case], status=sample.status, text=sample.text, finish_reason=sample.finish_reason
        )
        out.append(
            SampleScore(
                sample.target,
                sample.case,
                sample.block,
                result.score,
                result.passed,
                result.failure,
                result.checks,
            )
        )
    return out


def write_scores(run: RunDir, scores: Sequence[SampleScore]) -> None:
    """Write `scores.jsonl`, one line per check."""
    lines = []
    for score in scores:
        where = {"schema": SCHEMA, "target": score.target, "case": score.case, "block": score.block}
        for check in score.checks:
            record = {**where, **asdict(check), "model_failure": score.failure}
            lines.append(json.dumps(record, ensure_ascii=True, sort_keys=True))
    write_text(run.path / "scores.jsonl", "".join(f"{line}\n" for line in lines))
