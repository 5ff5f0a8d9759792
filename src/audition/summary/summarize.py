"""The summary: estimates per target, from a run's samples, loads and scores."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from audition.bench.guards import Evidence, Finding, not_known, run_guards
from audition.bench.guards.same_model import agreement
from audition.bench.plan import Block, Plan, Target
from audition.bench.rundir import RunDir
from audition.bench.sample import Load, Sample, counted_latency
from audition.bench.schedule import Schedule
from audition.errors import AuditionError
from audition.jsonfile import read_json, write_json
from audition.quality.scores import NOT_ANSWERED, SampleScore
from audition.stats import quantiles
from audition.stats.fixed_cases import fixed_cases_interval
from audition.stats.proportions import wilson
from audition.summary.metrics import METRICS, Records

SCHEMA = 2
PHASES = ("load", "probe", "first", "warmup", "measured")
"""What can fail, in the order in which a target meets it."""


def summarize(
    plan: Plan,
    samples: Sequence[Sample],
    loads: Sequence[Load],
    scores: Sequence[SampleScore],
    *,
    blocks: Sequence[Block] | None = None,
    host: Mapping[str, Any] | None = None,
    stopped: str | None = None,
) -> dict[str, Any]:
    """Return the content of `summary.json`: plain numbers, rounded once, so that the same samples give the same bytes.

    Infinite values (a quantile that falls among failed requests) are written as the string `"inf"`. A target's own
    metrics are those of the first load level; `levels` has those of every level.

    Args:
        plan: The plan.
        samples: All samples.
        loads: All loads.
        scores: All scores.
        blocks: The blocks of the plan and those that were added; None takes the plan's.
        host: The content of `host.json`.
        stopped: Why an adaptive plan added no more rounds.
    """
    blocks = plan.blocks if blocks is None else blocks
    host = host or {}
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "complete": is_complete(plan, blocks, samples, loads),
        "quantile_method": quantiles.METHOD,
        "settings": asdict(plan.settings),
        "levels": [asdict(level) for level in plan.levels],
        "rounds": max((block.round for block in blocks), default=0),
        "blocks": {
            "measured": sum(not block.is_probe for block in blocks),
            "probes": sum(block.is_probe for block in blocks),
        },
        "stopped": stopped,
        "cases": len(plan.cases),
        "noise_floor": host.get("noise_floor"),
        "agreement": _agreement(plan, samples),
        "targets": [
            _target_summary(plan, target, samples, loads, [s for s in scores if s.target == target.id], host)
            for target in plan.targets
        ],
    }


def _agreement(plan: Plan, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return how alike the answers are of each two targets of one model; nothing where chance decided the texts."""
    if plan.settings.temperature > 0:
        return []
    by_target: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.phase == "measured":
            by_target[sample.target].append(sample)
    found = []
    for a, b in combinations(plan.targets, 2):
        alike = agreement(by_target[a.id], by_target[b.id]) if a.model == b.model else None
        if alike is not None:
            pair = {"model": a.model, "a": a.id, "b": b.id, **asdict(alike)}
            found.append(pair | {"similarity": round(alike.similarity, 4)})
    return found


def is_complete(plan: Plan, blocks: Sequence[Block], samples: Sequence[Sample], loads: Sequence[Load]) -> bool:
    """Return whether every block has ended, and every request that it must have has its sample."""
    return not Schedule.of(plan, blocks).left(samples, loads)


def write_summary(run: RunDir, summary: dict[str, Any]) -> None:
    """Write `summary.json`."""
    write_json(run.path / "summary.json", summary)


def read_summary(run: RunDir) -> dict[str, Any]:
    """Read `summary.json`.

    Raises:
        AuditionError: Another version wrote it, or it is damaged.
    """
    path = run.path / "summary.json"
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or "targets" not in data:
        raise AuditionError(
            f"{path} is damaged, or another version wrote it", fix=f"make it again: audition report '{run.path}'"
        )
    return data


def noise_floor_ms(record: Mapping[str, Any]) -> float | None:
    """Return what measuring alone adds to a typical time, milliseconds; None where nobody measured it.

    It is the median of the client's error. Its scatter is in every interval already; a shift is not.

    Args:
        record: The content of `summary.json` or of `host.json`.
    """
    floor = record.get("noise_floor")
    ttft = floor.get("ttft_ms") if isinstance(floor, Mapping) else None
    middle = ttft.get("p50") if isinstance(ttft, Mapping) else None
    return float(middle) if isinstance(middle, int | float) and 0 <= middle < math.inf else None


def _target_summary(
    plan: Plan,
    target: Target,
    samples: Sequence[Sample],
    loads: Sequence[Load],
    scores: Sequence[SampleScore],
    host: Mapping[str, Any],
) -> dict[str, Any]:
    mine = [sample for sample in samples if sample.target == target.id]
    measured = [sample for sample in mine if sample.phase == "measured"]
    evidence = Evidence.of(plan, target, samples, loads, host)
    findings = run_guards(evidence)
    requests = _counts(measured)
    answered = requests["ok"] + requests["truncated"]
    my_loads = [load for load in loads if load.target == target.id]
    # That only a question of the guards failed says nothing yet of what was to be measured.
    has_failed = any(load.error for load in my_loads) or any(s.error for s in mine if s.phase != "probe")
    status = "ok" if answered else "failed" if measured or has_failed else "not measured"
    if status == "ok" and answered < len(measured):
        status = "partly failed"
    levels = [
        {
            "level": level.id,
            "requests": _counts([sample for sample in measured if sample.level == level.id]),
            "metrics": _metrics(Records.of(plan, target, level, samples, loads, host), findings, level.id),
        }
        for level in plan.levels
    ]
    return {
        "id": target.id,
        "model": target.model,
        "variant": target.variant,
        "engine": target.engine,
        "device": target.device,
        "licence": target.licence,
        "licence_class": target.licence_class,
        "digest": target.digest,
        "status": status,
        "requests": requests,
        "errors": _errors(mine, my_loads),
        "token_sources": sorted({s.token_source for s in measured if s.token_source}),
        "metrics": levels[0]["metrics"],
        "levels": levels,
        "quality": quality_of(plan, scores, findings),
        "findings": [asdict(finding) for finding in findings],
        "not_known": [asdict(open_) for open_ in not_known(evidence, findings)],
        "latency_here": latency_here([sample for sample in measured if sample.level == plan.levels[0].id]),
        "by_case": _by_case(plan, [sample for sample in measured if sample.level == plan.levels[0].id], scores),
    }


def _by_load(samples: Sequence[Sample]) -> dict[str, float | str]:
    """Return a case's median latency in each load, so that targets can be compared case by case and load by load."""
    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        found[sample.block].append(counted_latency(sample))
    medians = {block: quantiles.estimate(values, 0.5).value for block, values in found.items()}
    return {block: "inf" if math.isinf(value) else round(value, 3) for block, value in medians.items()}


def latency_here(samples: Sequence[Sample]) -> dict[str, Any] | None:
    """Return the typical latency on just these cases, with its interval for new loads: what `--until` looks at."""
    if not samples:
        return None
    found = fixed_cases_interval(
        [counted_latency(sample) for sample in samples],
        [sample.case for sample in samples],
        [sample.block for sample in samples],
    )
    numbers = {"value_ms": found.value, "low_ms": found.low, "high_ms": found.high}
    return {
        **{name: "inf" if v is not None and math.isinf(v) else v and round(v, 3) for name, v in numbers.items()},
        "n": found.n,
        "loads": found.loads,
    }


def _metrics(records: Records, findings: Sequence[Finding], level: str) -> dict[str, Any]:
    return {
        metric.tag: {"unit": metric.unit, **metric.estimate(records).to_json(metric.digits + 2)}
        | {
            "tainted_by": sorted(
                finding.code
                for finding in findings
                # What belongs to a load as a whole is the same figure at every level.
                if metric.tag in finding.taints and (not metric.by_level or finding.concerns(level))
            )
        }
        for metric in METRICS
    }


def _counts(samples: Sequence[Sample]) -> dict[str, int]:
    counts = Counter(sample.status for sample in samples)
    return {"measured": len(samples), **{s: counts[s] for s in ("ok", "truncated", "failed", "timeout")}}


def _errors(samples: Sequence[Sample], loads: Sequence[Load]) -> list[dict[str, Any]]:
    """Return each kind of error once: the shortest of its sentences, how often it came, and when.

    `requests` leaves the guards' questions out; `phases` has them, and loads, each with how many there were in all.
    """
    sentences: dict[str, set[str]] = defaultdict(set)
    counts: Counter[tuple[str, str]] = Counter()
    records: list[tuple[str, Load | Sample]] = [*(("load", load) for load in loads), *((s.phase, s) for s in samples)]
    totals = Counter(phase for phase, _ in records)
    for phase, record in records:
        if record.error is not None:
            sentences[record.error["code"]].add(record.error["message"])
            counts[record.error["code"], phase] += 1
    # The shortest, because those of requests that were not asked any more repeat it with a preface.
    return [
        {
            "code": code,
            "requests": sum(counts[code, phase] for phase in ("first", "warmup", "measured")),
            "message": min(sentences[code], key=lambda text: (len(text), text)),
            "phases": [
                {"phase": phase, "failed": counts[code, phase], "of": totals[phase]}
                for phase in PHASES
                if counts[code, phase] or (phase == "measured" and totals[phase])
            ],
        }
        for code in sorted(sentences)
    ]


def quality_of(plan: Plan, scores: Sequence[SampleScore], findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the weighted mean over cases; repeats of a case are averaged first, they are not independent."""
    by_case = case_scores(scores)
    unscored = sum(score.score is None for score in scores)
    out: dict[str, Any] = {
        "score": None,
        "low": None,
        "high": None,
        "cases": len(by_case),
        "unscored_samples": unscored,
        "pass_rate": None,
        "tainted_by": sorted(finding.code for finding in findings if "quality" in finding.taints),
    }
    if not by_case:
        return out | {"reason": _why_no_quality(scores)}
    weights = {case.id: case.weight for case in plan.cases}
    # Relative to the heaviest, so that no sum overflows; fsum, so that the order of the samples changes no digit.
    heaviest = max(weights[case] for case in by_case)
    total = math.fsum(weights[case] / heaviest for case in by_case)
    mean = math.fsum(weights[case] / heaviest * score for case, score in by_case.items()) / total
    interval = wilson(min(1.0, max(0.0, mean)), len(by_case))
    passed = [score.passed for score in scores if score.passed is not None]
    return out | {
        "score": round(interval.value, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "pass_rate": round(sum(passed) / len(passed), 4) if passed else None,
    }


def _why_no_quality(scores: Sequence[SampleScore]) -> str:
    checks = [check for score in scores for check in score.checks]
    if not scores:
        return "nothing was measured"
    if not checks:
        return "no case has a check"
    return NOT_ANSWERED if all(check.reason == NOT_ANSWERED for check in checks) else "no check reached a verdict"


def case_scores(scores: Sequence[SampleScore]) -> dict[str, float]:
    """Return the mean score of each case that was scored at all."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if score.score is not None:
            values[score.case].append(score.score)
    return {case: math.fsum(numbers) / len(numbers) for case, numbers in values.items()}


def _by_case(plan: Plan, measured: Sequence[Sample], scores: Sequence[SampleScore]) -> dict[str, Any]:
    scored = case_scores(scores)
    out = {}
    for case in plan.cases:
        samples = [sample for sample in measured if sample.case == case.id]
        latencies = [sample.latency_ms for sample in samples if sample.latency_ms is not None]
        score = scored.get(case.id)
        out[case.id] = {
            "n": len(samples),
            "failed": sum(sample.status in ("failed", "timeout") for sample in samples),
            "truncated": sum(sample.status == "truncated" for sample in samples),
            "latency_median_ms": round(quantiles.estimate(latencies, 0.5).value, 3) if latencies else None,
            "latency_by_load": _by_load(samples),
            "latency_min_ms": min(latencies, default=None),
            "latency_max_ms": max(latencies, default=None),
            # Not rounded to what is shown: paired tests compare sums of these, and ties among them must stay ties.
            "score": None if score is None else round(score, 9),
            "weight": case.weight,
        }
    return out
