"""The quality of a run, traced: how each prompt's answers were judged, and how many were judged at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from audition.bench.plan import Plan
from audition.bench.sample import Sample
from audition.quality.score import FAILURES
from audition.quality.scores import SampleScore, score_samples
from audition.report.figures import QUALITY_FORMULA
from audition.summary.summarize import case_scores, quality_of
from audition.summary.units import counted
from audition.text import one_line

TAG = "quality"
ABOUT: Mapping[str, str] = {
    "tag": TAG,
    "header": "Quality",
    "unit": "0 to 1",
    "formula": QUALITY_FORMULA,
    "better": "higher",
    "about": "How good the answers are, as the checks of the prompts judge them.",
}
_CASES = 20
"""The most prompts that are named; the rest is counted."""


def quality_by_target(plan: Plan, samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """Return, as plain JSON, what the quality of each target rests on: its figure and every prompt's score.

    Args:
        plan: Of the run.
        samples: All of the run, of all load levels.
    """
    scores = score_samples(plan, samples)
    return {target.id: _traced(plan, [s for s in scores if s.target == target.id]) for target in plan.targets}


def quality_lines(traced: Mapping[str, Any]) -> list[str]:
    """Return the same of one target as lines for a person."""
    estimate, cases = traced["estimate"], traced["cases"]
    if estimate["score"] is None:
        out = [f"  Quality: unknown: {one_line(estimate['reason'])}"]
    else:
        interval = f"95 % interval [{estimate['low']:.2f}, {estimate['high']:.2f}] (new prompts of this kind)"
        out = [f"  Quality: mean {estimate['score']:.2f}, {interval}"]
    judged = f"{estimate['cases']} of {counted(len(cases), 'prompt')}"
    out.append(f"  used: {judged}, {counted(sum(case['scored'] for case in cases), 'answer')}")
    if estimate["pass_rate"] is not None:
        out.append(f"  {100 * estimate['pass_rate']:.0f} % of the answers with a verdict passed all their checks")
    out += [f"  {_case_line(case)}" for case in cases[:_CASES]]
    if len(cases) > _CASES:
        out.append(f"  and {counted(len(cases) - _CASES, 'prompt')} more")
    return out


def _traced(plan: Plan, scores: Sequence[SampleScore]) -> dict[str, Any]:
    means = case_scores(scores)
    cases = []
    for case in plan.cases:
        mine = [score for score in scores if score.case == case.id]
        mean = means.get(case.id)
        cases.append(
            {
                "case": case.id,
                "score": None if mean is None else round(mean, 4),
                "weight": case.weight,
                "answers": len(mine),
                "scored": sum(score.score is not None for score in mine),
                "failures": dict(sorted(Counter(score.failure for score in mine if score.failure).items())),
                "checks": _checks(mine),
            }
        )
    return {"estimate": quality_of(plan, scores, ()), "cases": cases}


def _checks(scores: Sequence[SampleScore]) -> list[dict[str, Any]]:
    """Return what each check of a prompt said of its answers; the n-th check is the same one in all of them."""
    out = []
    for verdicts in zip(*(score.checks for score in scores), strict=False):
        scored = [check.score for check in verdicts if check.score is not None]
        out.append(
            {
                "check": verdicts[0].check,
                "weight": verdicts[0].weight,
                "gate": verdicts[0].gate,
                "score": round(sum(scored) / len(scored), 4) if scored else None,
                "passed": sum(check.passed is True for check in verdicts),
                "scored": len(scored),
                "answers": len(verdicts),
            }
        )
    return out


def _case_line(case: Mapping[str, Any]) -> str:
    name = one_line(case["case"], 80)
    if case["score"] is None:
        why = "no verdict" if case["checks"] else "no check" if case["answers"] else "nothing was measured"
        return f"{name}: left out, {why}"
    weight = "" if case["weight"] == 1 else f", weight {case['weight']:g}"
    checks = "; ".join(
        f"{one_line(check['check'], 40)} {check['passed']} of {counted(check['scored'], 'answer')} passed"
        for check in case["checks"]
    )
    failures = "".join(f"; {FAILURES[code]}: {n}" for code, n in case["failures"].items())
    return f"{name}: {case['score']:.2f}{weight} ({checks}{failures})"
