"""Two runs, before and after: what changed, on the same cases, with intervals; unlike runs are refused."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from audition.bench.guards import Evidence, Finding, run_guards
from audition.bench.plan import Level, Plan, Target
from audition.bench.rundir import RunDir
from audition.bench.sample import Sample
from audition.errors import UsageError
from audition.pick.changes import COMPARED, Change, failure_change, metric_change, quality_change
from audition.pick.likeness import (
    Difference,
    Pair,
    Side,
    common_cases,
    pair_targets,
    refuse_unlike,
    run_differences,
)
from audition.quality.scores import SampleScore, score_samples
from audition.summary.metrics import METRICS, Records
from audition.summary.summarize import noise_floor_ms
from audition.text import one_line

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """One target of A and one of B.

    Attributes:
        differences: In engine, build, device, variant or settings: what the comparison may be about.
        changes: One per metric and load level.
        findings: What guards found on either side, as sentences.
    """

    a: str
    b: str
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]
    findings: tuple[str, ...]

    @property
    def title(self) -> str:
        """Both ids, or the one that they share."""
        return self.a if self.a == self.b else f"{self.a} -> {self.b}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from run A to run B.

    Attributes:
        a: The folder of A, the baseline.
        differences: What the runs differ in and what was allowed.
        cases: How many cases are compared.
        notes: What a reader must know to weigh it.
    """

    a: str
    b: str
    cases: int
    differences: tuple[Difference, ...]
    targets: tuple[Compared, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data; infinite numbers are the string `"inf"`."""
        data = {"schema": SCHEMA, **asdict(self)}
        for target, plain in zip(self.targets, data["targets"], strict=True):
            plain["changes"] = [
                {**plain_numbers(entry), "sentence": change.sentence}
                for change, entry in zip(target.changes, plain["changes"], strict=True)
            ]
        return data


def compare(
    a: RunDir, b: RunDir, *, allow: Collection[str] = (), targets: Sequence[tuple[str, str]] = ()
) -> Comparison:
    """Compare run B with run A, the baseline.

    Args:
        a: Before.
        b: After.
        allow: Names of `likeness.ALLOWABLE` in which the runs may differ.
        targets: Which target of A is compared with which of B; empty takes those that belong together.

    Raises:
        UsageError: The runs are unlike in what is not allowed, or nothing of them belongs together.
        AuditionError: A file of a run is damaged.
    """
    before, after = Side.read("A", a), Side.read("B", b)
    pairs = pair_targets(before, after, targets)
    differences = run_differences(before, after)
    refuse_unlike([*differences, *(item for pair in pairs for item in pair.differences)], allow)
    cases = common_cases(before.plan, after.plan)
    levels = [level for level in before.plan.levels if level in after.plan.levels]
    if not cases or not levels:
        raise UsageError(f"the runs have no {'load level' if cases else 'case'} in common", code="unlike")
    ids = {case.id for case in cases}
    weights = {case.id: case.weight for case in cases}
    unlike = _not_compared(before.plan, after.plan, len(cases))
    halves = [_halves(before, after, pair, ids) for pair in pairs]
    return Comparison(
        a=str(a.path),
        b=str(b.path),
        cases=len(cases),
        differences=tuple(differences),
        targets=tuple(
            _compared(pair, x, y, levels, weights, unlike, _noise_ms(before, after))
            for pair, (x, y) in zip(pairs, halves, strict=True)
        ),
        notes=tuple(_notes(before, after, pairs)),
    )


@dataclass(frozen=True, slots=True)
class _Half:
    """One target of one run, on the cases that both runs have."""

    side: Side
    target: Target
    samples: Sequence[Sample]
    scores: Sequence[SampleScore]
    findings: Sequence[Finding]

    def at(self, level: Level) -> Records:
        return Records.of(self.side.plan, self.target, level, self.samples, self.side.loads, self.side.host)


def _halves(a: Side, b: Side, pair: Pair, cases: Collection[str]) -> tuple[_Half, _Half]:
    before, after = (_samples(side, target, cases) for side, target in ((a, pair.a), (b, pair.b)))
    x = _half(a, pair.a, before, {f"{pair.b.id} in B": _measured(after)} if pair.a.model == pair.b.model else {})
    y = _half(b, pair.b, after, {f"{pair.a.id} in A": _measured(before)} if pair.a.model == pair.b.model else {})
    return x, y


def _samples(side: Side, target: Target, cases: Collection[str]) -> list[Sample]:
    return [
        sample
        for sample in side.samples
        if sample.target == target.id and (sample.phase != "measured" or sample.case in cases)
    ]


def _measured(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.phase == "measured"]


def _half(side: Side, target: Target, samples: Sequence[Sample], others: Mapping[str, Sequence[Sample]]) -> _Half:
    """Return one half; `others` are the measured samples of the other one where it has the same model."""
    evidence = replace(Evidence.of(side.plan, target, samples, side.loads, side.host), others=others)
    return _Half(side, target, samples, score_samples(side.plan, _measured(samples)), run_guards(evidence))


def _not_compared(a: Plan, b: Plan, common: int) -> dict[str, str]:
    """Return the metrics that more went into than what both runs asked, with the reason."""
    unlike = {}
    if common < max(len(a.cases), len(b.cases)):
        whole = ("throughput", "energy_per_token", "energy_per_answer", "peak_memory", "first_request")
        unlike = dict.fromkeys(whole, "because the runs asked other prompts besides")
    if set(a.levels) != set(b.levels):
        unlike["peak_memory"] = "because the runs have other load levels besides"
    return unlike


def _compared(
    pair: Pair,
    a: _Half,
    b: _Half,
    levels: Sequence[Level],
    weights: Mapping[str, float],
    unlike: Mapping[str, str],
    noise_ms: float | None,
) -> Compared:
    changes = [quality_change(a.scores, b.scores, weights)]
    metrics = [metric for metric in METRICS if metric.tag in COMPARED]
    for level in levels:
        x, y = a.at(level), b.at(level)
        changes += [metric_change(metric, x, y, noise_ms) for metric in metrics if metric.by_level]
        changes.append(failure_change(x, y))
    x, y = a.at(levels[0]), b.at(levels[0])
    changes += [metric_change(metric, x, y, noise_ms) for metric in metrics if not metric.by_level]
    changes = [
        replace(change, value=None, low=None, high=None, verdict="unknown", reason=unlike[change.metric])
        if change.metric in unlike
        else change
        for change in changes
    ]
    findings = {f"{finding.code} in {half.side.name}": finding for half in (a, b) for finding in half.findings}
    marked = []
    for change in changes:
        known = change.value is not None
        taints = tuple(name for name, finding in findings.items() if known and change.metric in finding.taints)
        # A run with one level need not name it in every sentence.
        marked.append(replace(change, tainted_by=taints, level=change.level if len(levels) > 1 else None))
    return Compared(
        pair.a.id,
        pair.b.id,
        pair.differences,
        tuple(marked),
        tuple(f"{name}: {one_line(finding.sentence, 400)}" for name, finding in findings.items()),
    )


def _noise_ms(a: Side, b: Side) -> float | None:
    """Return what measuring alone added to a time, the larger of the two; None when nobody measured it."""
    floors = (noise_floor_ms(side.host) for side in (a, b))
    return max((floor for floor in floors if floor is not None), default=None)


def _notes(a: Side, b: Side, pairs: Sequence[Pair]) -> list[str]:
    notes = []
    if a.path.resolve() == b.path.resolve() and any(pair.a.id == pair.b.id for pair in pairs):
        notes.append("A and B are the same run")
    for side, used in ((a, {pair.a.id for pair in pairs}), (b, {pair.b.id for pair in pairs})):
        left = [one_line(target.id, 80) for target in side.plan.targets if target.id not in used]
        if left:
            notes.append(f"not compared, of {side.name}: {', '.join(left)}")
    return notes


def plain_numbers(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its numbers rounded, and infinite ones as the string `"inf"`."""

    def plain(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return str(value) if math.isinf(value) else round(value, 6)

    return {name: plain(value) for name, value in entry.items()}
