"""What changed from one target to another: a figure, an interval and a sentence per metric."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from audition.bench.sample import Sample
from audition.pick import sentences
from audition.quality.scores import NOT_ANSWERED, SampleScore
from audition.summary.metrics import Metric, Records
from audition.summary.metrics.base import PerRequest, has_failed
from audition.summary.units import counted

_SMALLEST = 1e-3
"""Times are written to a microsecond; a ratio needs more than nothing."""
_NOTHING = 0.0005
"""What is written as 0.0 %: a few pages of memory are always the same difference, and mean nothing."""

COMPARED = (
    *("ttft", "ttfa", "latency", "time_to_answer", "decode_tps", "tpot", "e2e_tps"),
    *("throughput", "load_time", "first_request", "peak_memory", "disk", "energy_per_token", "energy_per_answer"),
)
CLIENT_TIMED = ("ttft", "ttfa", "latency", "time_to_answer", "first_request")
"""Times that the client's own noise is part of."""

Verdict = Literal["better", "worse", "no difference shown", "too small", "unknown"]


@dataclass(frozen=True, slots=True)
class Change:
    """One metric, from A to B.

    Attributes:
        level: The load level; None for what has none.
        unit: Of `a` and `b`.
        a: The headline figure of A on what is compared; None when it is unknown.
        points: `value` is the difference B - A; else it is the relative change B/A - 1.
        value: 0.05 is 5 % (or 0.05 points) more; None when it is unknown.
        low: Lower end of its interval, None with a `reason`. A difference is shown only where the interval leaves
            out 0, and gates judge on its ends, so that verdict, interval and gate cannot contradict each other.
        basis: What was compared: `cases` (paired), `loads`, or `exact` for what does not vary.
        n: How many of A and of B; the same number twice where they are paired.
        noise: What the clients themselves can differ by, as a relative change; None when nobody measured it.
        tainted_by: `cached_prompt in B`: guards whose findings mark the figure.
    """

    metric: str
    header: str
    unit: str
    better: Literal["lower", "higher"]
    basis: Literal["cases", "loads", "exact"]
    level: str | None = None
    points: bool = False
    a: float | None = None
    b: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: tuple[int, int] = (0, 0)
    verdict: Verdict = "unknown"
    reason: str | None = None
    noise: float | None = None
    tainted_by: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The metric's name, with its load level where it has one."""
        return self.header if self.level is None else f"{self.header} at {self.level}"

    @property
    def sentence(self) -> str:
        """What changed, in words."""
        return sentences.change_sentence(self)


def metric_change(metric: Metric, a: Records, b: Records, noise_ms: float | None = None) -> Change:
    """Compare a metric by what it has a value of: each request, or each load.

    Args:
        metric: Any of `COMPARED`.
        a: The records before, of the cases that both have.
        b: The records after.
        noise_ms: What a median can be off by because of the client.
    """
    paired = isinstance(metric, PerRequest) and metric.by_level
    return (case_change if paired else load_change)(metric, a, b, noise_ms)


def case_change(metric: Metric, a: Records, b: Records, noise_ms: float | None = None) -> Change:
    """Compare a metric of requests case by case.

    The ratio B/A of each case, over rounds, with its interval; a failed request counts as infinitely slow. Where the
    difference is smaller than the clients' own noise it means nothing, however narrow the interval is. One load on
    either side leaves no interval: it would not contain what loads differ by.

    Args:
        metric: Of single requests.
        a: The requests before, of the cases that both have.
        b: The requests after.
        noise_ms: What a median can be off by because of the client.
    """
    from audition.stats.paired import ratio_interval

    change = _headlines(metric, a, b, "cases")
    if change.reason:
        return change
    found = ratio_interval(_requests(metric, a), _requests(metric, b))
    change = replace(change, n=(found.n_cases, found.n_cases), reason=found.reason)
    if found.value is None:
        return replace(change, reason=f"because {found.reason}")
    change = replace(change, value=found.value - 1)
    if found.low is not None and found.high is not None and found.between_loads:
        change = replace(change, low=found.low - 1, high=found.high - 1)
    return _judged(_with_noise(change, noise_ms))


def load_change(metric: Metric, a: Records, b: Records, noise_ms: float | None = None) -> Change:
    """Compare a metric that has one figure a load (or a round): the mean over loads, with Welch's interval.

    Args:
        metric: With an estimate for the records of one round.
        a: The records before.
        b: The records after.
        noise_ms: As for `case_change`.
    """
    from audition.stats.paired import load_difference

    change = _headlines(metric, a, b, "loads")
    if change.reason or change.a is None or change.b is None:
        return change
    rounds_a, rounds_b = _by_round(metric, a), _by_round(metric, b)
    change = replace(change, n=(len(rounds_a), len(rounds_b)), value=_relative(change.b, change.a))
    if metric.estimate(a).statistic == "constant":
        change = replace(change, basis="exact", low=change.value, high=change.value)
        return _judged(change)
    unknown = None
    if change.value is None or not all(map(math.isfinite, (*rounds_a, *rounds_b))):
        unknown = "because too many requests failed"
    elif rounds_a and not any(rounds_a):
        unknown = "because A took nothing"
    if unknown:
        return replace(change, value=None, reason=unknown)
    found = load_difference(rounds_a, rounds_b)
    if found is None:
        few = f"{change.n[0]} and {counted(change.n[1], 'load')} do not tell how much loads differ (--rounds 3)"
        alike = "the loads are all alike, so how much loads could differ is unknown"
        return _judged(replace(change, reason=few if min(change.n) < 2 else alike))
    mean = math.fsum(rounds_a) / len(rounds_a)
    change = replace(change, value=found.value / mean, low=found.low / mean, high=found.high / mean)
    return _judged(_with_noise(change, noise_ms))


def quality_change(a: Sequence[SampleScore], b: Sequence[SampleScore], weights: Mapping[str, float]) -> Change:
    """Compare the mean score case by case; repeats of a case are averaged first.

    Args:
        a: The scores before, of the cases that both have.
        b: The scores after.
        weights: By case, as the mean quality is weighted.
    """
    scores_a, scores_b = case_scores(a), case_scores(b)
    change = Change("quality", "Quality", "score", "higher", "cases", points=True)
    reasons = {name: _unscored(scores) for name, scores in (("A", a), ("B", b)) if not case_scores(scores)}
    if reasons:
        return replace(change, reason=_unknown(reasons))
    both = [case for case in scores_a if case in scores_b]
    if not both:
        return replace(change, reason="because no case was scored on both sides")
    return _points(change, scores_a, scores_b, {case: weights[case] for case in both})


def failure_change(a: Records, b: Records) -> Change:
    """Compare the share of requests that failed, in points, case by case: one that fails tends to fail every time."""
    change = Change("failures", "Failures", "share", "lower", "cases", points=True, level=a.level.id)
    rates_a, rates_b = _failure_rates(a), _failure_rates(b)
    both = [case for case in rates_a if case in rates_b]
    if not both:
        return replace(change, reason="because no case was asked on both sides")
    return _points(change, rates_a, rates_b, dict.fromkeys(both, 1.0))


def case_scores(scores: Sequence[SampleScore]) -> dict[str, float]:
    """Return the mean score of each case that was scored at all."""
    values: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        if score.score is not None:
            values[score.case].append(score.score)
    return {case: math.fsum(numbers) / len(numbers) for case, numbers in values.items()}


def _headlines(metric: Metric, a: Records, b: Records, basis: Literal["cases", "loads"]) -> Change:
    """Return the change with its two figures, and the reason when one is unknown."""
    before, after = metric.estimate(a), metric.estimate(b)
    reasons = {
        name: estimate.reason or "nothing tells it"
        for name, estimate in (("A", before), ("B", after))
        if estimate.value is None
    }
    return Change(
        metric.tag,
        # An estimate is never shown without saying so.
        after.label or before.label or metric.header,
        metric.unit,
        metric.better,
        basis,
        level=a.level.id if metric.by_level else None,
        a=before.value,
        b=after.value,
        reason=_unknown(reasons),
    )


def _unknown(reasons: Mapping[str, str]) -> str | None:
    """Return in which of A and B a figure is unknown and why; None when it is known in both."""
    if len(reasons) == 2 and len(set(reasons.values())) == 1:
        return f"in both: {reasons['A']}"
    return "; ".join(f"in {name}: {reason}" for name, reason in reasons.items()) or None


def _unscored(scores: Sequence[SampleScore]) -> str:
    """Return why there is no score at all."""
    if scores and all(score.failure in ("failed", "timeout") for score in scores):
        return NOT_ANSWERED
    return "no check reached a verdict" if any(score.checks for score in scores) else "no case has a check"


def _points(change: Change, a: Mapping[str, float], b: Mapping[str, float], weights: Mapping[str, float]) -> Change:
    """Add the difference of two means over the weighted cases, with its interval and verdict.

    The cases alone are the sample: a load shifts all times together, but not all answers.
    """
    from audition.stats.paired import bounded_difference

    # A weighted mean of ones can be 1 and a last digit.
    differences = [max(-1.0, min(1.0, b[case] - a[case])) for case in weights]
    found = bounded_difference(differences, list(weights.values()))
    heaviest = max(weights.values())
    total = math.fsum(weight / heaviest for weight in weights.values())
    means = [math.fsum(weight / heaviest * side[case] for case, weight in weights.items()) / total for side in (a, b)]
    change = replace(change, a=means[0], b=means[1], n=(len(weights), len(weights)))
    return _judged(replace(change, value=found.value, low=found.low, high=found.high))


def _requests(metric: Metric, records: Records) -> list[tuple[Hashable, Hashable, float]]:
    """Return case, round and value of each request that has one."""
    return [
        (reading.record.case, reading.record.round, max(value, _SMALLEST))
        for reading in metric.read(records).used
        for value in reading.values
        # A rate of nothing is no rate: failures count where less is better, and in the failure rate.
        if isinstance(reading.record, Sample) and not (math.isinf(value) and metric.better == "higher")
    ]


def _by_round(metric: Metric, records: Records) -> list[float]:
    """Return the metric's figure in each round that has one."""
    rounds = sorted({load.round for load in records.loads} | {sample.round for sample in records.measured})
    found = []
    for round_ in rounds:
        part = replace(
            records,
            measured=[sample for sample in records.measured if sample.round == round_],
            first=[sample for sample in records.first if sample.round == round_],
            loads=[load for load in records.loads if load.round == round_],
        )
        value = metric.estimate(part).value
        if value is not None:
            found.append(value)
    return found


def _relative(b: float, a: float) -> float | None:
    """Return b/a - 1; None where both are infinite, or both nothing changes from nothing."""
    if math.isinf(a):
        return None if math.isinf(b) else -1.0
    if a == 0:
        return 0.0 if b == 0 else math.inf
    return b / a - 1


def _with_noise(change: Change, noise_ms: float | None) -> Change:
    """Add what the clients can differ by, to a time that they took."""
    if change.metric not in CLIENT_TIMED or noise_ms is None or not change.a or math.isinf(change.a):
        return change
    return replace(change, noise=noise_ms / change.a)


def _judged(change: Change) -> Change:
    """Give the verdict; a difference that is shown can still be too small to mean anything."""
    if change.value is None:
        return change
    if change.low is None or change.high is None or change.low <= 0 <= change.high:
        return replace(change, verdict="no difference shown")
    if change.basis != "exact" and abs(change.value) < max(_NOTHING, change.noise or 0.0):
        return replace(change, verdict="too small")
    return replace(change, verdict="better" if (change.value > 0) == (change.better == "higher") else "worse")


def _failure_rates(records: Records) -> dict[str, float]:
    """Return the share of each case's requests that failed."""
    failed: dict[str, list[bool]] = defaultdict(list)
    for sample in records.measured:
        failed[sample.case].append(has_failed(sample))
    return {case: sum(hits) / len(hits) for case, hits in failed.items()}
