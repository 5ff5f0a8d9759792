"""What changed from one target to another: a figure, an interval and a sentence per metric."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from audition.bench.sample import Sample
from audition.pick import sentences
from audition.quality.scores import SampleScore
from audition.stats.proportions import wilson
from audition.summary.metrics import Metric, Records
from audition.summary.metrics.base import PerRequest
from audition.summary.units import counted

_SMALLEST = 1e-3
"""Times are written to a microsecond; a ratio needs more than nothing."""
_NOTHING = 0.0005
"""What is written as 0.0 %: a few pages of memory are always the same difference, and mean nothing."""
_SIGNS = 6
"""So many cases that all differ by the same amount show a difference: chance alone gives that in 2 of 64."""

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
        low: Lower end of its interval, None with a `reason`.
        basis: What was compared: `cases` (paired), `loads`, `requests`, or `exact` for what does not vary.
        n: How many of A and of B; the same number twice where they are paired.
        noise: What the clients themselves can differ by, as a relative change; None when nobody measured it.
        tainted_by: `cached_prompt in B`: guards whose findings mark the figure.
    """

    metric: str
    header: str
    unit: str
    better: Literal["lower", "higher"]
    basis: Literal["cases", "loads", "requests", "exact"]
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
    difference is smaller than the clients' own noise it means nothing, however narrow the interval is.

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
    low, high = (None if end is None else end - 1 for end in (found.low, found.high))
    change = replace(change, value=found.value - 1, low=low, high=high)
    return _judged(_with_noise(change, noise_ms), shown=found.shown)


def load_change(metric: Metric, a: Records, b: Records, noise_ms: float | None = None) -> Change:
    """Compare a metric that has one figure a load (or a round): the mean over loads, with Welch's interval.

    Args:
        metric: With an estimate for the records of one round.
        a: The records before.
        b: The records after.
        noise_ms: As for `case_change`.
    """
    from audition.stats.paired import difference_interval

    change = _headlines(metric, a, b, "loads")
    if change.reason or change.a is None or change.b is None:
        return change
    rounds_a, rounds_b = _by_round(metric, a), _by_round(metric, b)
    change = replace(change, n=(len(rounds_a), len(rounds_b)), value=_relative(change.b, change.a))
    if metric.estimate(a).statistic == "constant":
        change = replace(change, basis="exact", low=change.value, high=change.value)
        return _judged(change, shown=change.value != 0)
    if change.value is None or not all(map(math.isfinite, (*rounds_a, *rounds_b))):
        return replace(change, value=None, reason="because too many requests failed")
    if min(change.n) < 2:
        reason = f"{change.n[0]} and {counted(change.n[1], 'load')} do not tell how much loads differ (--rounds 3)"
        return replace(change, reason=reason, verdict="no difference shown")
    mean = math.fsum(rounds_a) / len(rounds_a)
    found = difference_interval(
        [("", load, value) for load, value in enumerate(rounds_a)],
        [("", load, value) for load, value in enumerate(rounds_b)],
    )
    if found.value is None or mean == 0:
        return replace(change, value=None, reason="because A took nothing")
    # Loads that are all alike have no width.
    ends = (found.value if end is None else end for end in (found.low, found.high))
    low, high = (end / mean for end in ends)
    change = replace(change, value=found.value / mean, low=low, high=high)
    return _judged(_with_noise(change, noise_ms), shown=not low <= 0 <= high)


def quality_change(a: Sequence[SampleScore], b: Sequence[SampleScore], weights: Mapping[str, float]) -> Change:
    """Compare the mean score case by case; repeats of a case are averaged first.

    Args:
        a: The scores before, of the cases that both have.
        b: The scores after.
        weights: By case, as the mean quality is weighted.
    """
    from audition.stats.paired import difference_interval

    scores_a, scores_b = case_scores(a), case_scores(b)
    both = [case for case in scores_a if case in scores_b]
    change = Change("quality", "Quality", "score", "higher", "cases", points=True)
    if not both:
        return replace(change, reason="because no case was scored on both sides")
    total = math.fsum(weights[case] for case in both)
    # Weighted so that the plain mean over cases is the weighted mean.
    share = {case: len(both) * (weights[case] / total) for case in both}
    means = [math.fsum(share[case] * scores[case] for case in both) / len(both) for scores in (scores_a, scores_b)]
    found = difference_interval(_weighted(a, share), _weighted(b, share))
    change = replace(change, a=means[0], b=means[1], n=(len(both), len(both)), reason=found.reason)
    change = replace(change, value=found.value, low=found.low, high=found.high)
    if found.value is not None and found.low is None and (found.value == 0 or len(both) >= _SIGNS):
        # Every case changed by the same, or none did: what there is to see of these cases is seen.
        change = replace(change, low=found.value, high=found.value, reason=None)
        return _judged(change, shown=found.value != 0)
    return _judged(change, shown=found.shown)


def failure_change(a: Records, b: Records) -> Change:
    """Compare the share of requests that failed, in points.

    The interval is Newcombe's method 10 (Statistics in Medicine 17, 1998), from Wilson's of each side, with the cases
    as the sample: a case that fails tends to fail in every round.
    """
    change = Change("failures", "Failures", "share", "lower", "requests", points=True, level=a.level.id)
    if not a.measured or not b.measured:
        return replace(change, reason="because nothing was measured")
    rates = [_failure_rates(records) for records in (a, b)]
    p, q = (wilson(min(1.0, math.fsum(rate) / len(rate)), len(rate)) for rate in rates)
    low = q.value - p.value - math.hypot(q.value - q.low, p.high - p.value)
    high = q.value - p.value + math.hypot(q.high - q.value, p.value - p.low)
    n = (len(a.measured), len(b.measured))
    if rates[0] == rates[1]:
        # Each case failed as often as before: what there is to see of these cases is seen.
        low = high = 0.0
    change = replace(change, a=p.value, b=q.value, value=q.value - p.value, low=low, high=high, n=n)
    return _judged(change, shown=not low <= 0 <= high)


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
    unknown = [f"in {name}: {reason}" for name, reason in reasons.items()]
    if len(reasons) == 2 and len(set(reasons.values())) == 1:
        unknown = [f"in both: {reasons['A']}"]
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
        reason="; ".join(unknown) or None,
    )


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


def _judged(change: Change, *, shown: bool) -> Change:
    """Give the verdict; a difference that is shown can still be too small to mean anything."""
    if change.value is None:
        return change
    if not shown:
        return replace(change, verdict="no difference shown")
    if change.basis != "exact" and abs(change.value) < _NOTHING:
        return replace(change, verdict="no difference shown", reason="too small to mean anything")
    if change.noise is not None and abs(change.value) < change.noise:
        return replace(change, verdict="too small")
    return replace(change, verdict="better" if (change.value > 0) == (change.better == "higher") else "worse")


def _weighted(scores: Sequence[SampleScore], share: Mapping[str, float]) -> list[tuple[Hashable, Hashable, float]]:
    """Return case, load and weighted score of each sample that was scored."""
    return [
        (score.case, score.block, share[score.case] * score.score)
        for score in scores
        if score.score is not None and score.case in share
    ]


def _failure_rates(records: Records) -> list[float]:
    """Return the share of each case's requests that failed, by the cases' names."""
    failed: dict[str, list[bool]] = defaultdict(list)
    for sample in records.measured:
        failed[sample.case].append(sample.status in ("failed", "timeout"))
    return [sum(hits) / len(hits) for _, hits in sorted(failed.items())]
