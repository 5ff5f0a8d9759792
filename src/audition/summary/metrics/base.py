"""What a metric is: a name, a unit, a formula, and how to read it off the records."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from audition.bench.plan import Level, Plan, Settings, Target
from audition.bench.sample import Load, Sample
from audition.summary.metrics.estimate import Estimate, Tail, median_of_loads, median_of_requests
from audition.text import one_line

NO_SCHEDULE = "closed loop: requests have no schedule"
NOT_COUNTED = "nobody counted its tokens"
ZERO_FOR_TEXT = "the server counts 0 tokens for a text"

LoadKey = tuple[str, int]
"""Block and attempt: a block that was resumed was loaded twice."""


@dataclass(frozen=True, slots=True)
class Records:
    """What a metric may read of one target.

    Attributes:
        measured: The measured samples of one load level.
        first: The first request after each load.
        level: That level; every block asks it once a load.
        host: The content of `host.json`.
        settings: Of the plan.
    """

    target: Target
    measured: Sequence[Sample]
    first: Sequence[Sample]
    loads: Sequence[Load]
    level: Level = field(default_factory=lambda: Level.closed(1))
    host: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def of(
        cls,
        plan: Plan,
        target: Target,
        level: Level,
        samples: Sequence[Sample],
        loads: Sequence[Load],
        host: Mapping[str, Any],
    ) -> Records:
        """Return what a run recorded of one target under one level; `samples` and `loads` may be those of all.

        The load for the probes (round 0) is not among them: their prompts are not the plan's, and take other memory.
        """
        mine = [sample for sample in samples if sample.target == target.id]
        return cls(
            target=target,
            measured=[sample for sample in mine if sample.phase == "measured" and sample.level == level.id],
            first=[sample for sample in mine if sample.phase == "first"],
            loads=[load for load in loads if load.target == target.id and load.round > 0],
            level=level,
            host=host,
            settings=plan.settings,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What a metric made of one record.

    Attributes:
        values: What it takes from the record, several where a request has several gaps; a failed request may be
            infinite. Empty for a record that is left out.
        reason: Why it is left out.
    """

    record: Sample | Load
    values: tuple[float, ...] = ()
    reason: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it is that of a failed request; a load that failed may have been timed all the same."""
        return isinstance(self.record, Sample) and has_failed(self.record)


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything that a metric looked at, used or left out: the estimate and its explanation come from here alone."""

    used: tuple[Reading, ...]
    left_out: tuple[Reading, ...]

    @classmethod
    def sorted_out(cls, readings: Iterable[Reading]) -> Readings:
        """Part those that have a reason to be left out from the others."""
        readings = tuple(readings)
        return cls(
            used=tuple(reading for reading in readings if reading.reason is None),
            left_out=tuple(reading for reading in readings if reading.reason is not None),
        )

    def reasons(self) -> dict[str, int]:
        """Return how many records were left out for each reason."""
        return dict(sorted(Counter(reading.reason for reading in self.left_out if reading.reason).items()))

    def why_nothing(self) -> str:
        """Return why there is no figure: what most of the records lack, or that all failed."""
        lacking = Counter(reading.reason for reading in self.left_out if reading.reason and not reading.failed)
        if lacking:
            return min(lacking, key=lambda reason: (-lacking[reason], reason))
        return "every request failed" if self.used or self.left_out else "nothing was measured"


class Metric(ABC):
    """One metric. A new one is a subclass and a line in `METRICS`."""

    tag: ClassVar[str]
    header: ClassVar[str]
    unit: ClassVar[str]
    formula: ClassVar[str]
    statistic: ClassVar[str] = "median"
    digits: ClassVar[int] = 1
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    by_level: ClassVar[bool] = True
    """Whether it depends on how many requests are under way at a time."""
    counts_tokens: ClassVar[bool] = False
    """Whether completion tokens enter it, so that it must say who counted them."""

    @abstractmethod
    def read(self, records: Records) -> Readings:
        """Return what each record gives, and which are left out, with the reason."""

    @abstractmethod
    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the figure of the readings, of which at least one is not a failure's."""

    def estimate(self, records: Records) -> Estimate:
        """Return the estimate for one target under one level."""
        readings = self.read(records)
        used, left_out = readings.used, readings.reasons()
        failed = sum(reading.failed for reading in used)
        if failed == len(used):
            reason = readings.why_nothing()
            return Estimate(self.statistic, n=failed, failed=failed, left_out=left_out, reason=reason)
        estimate = replace(self.condense(used, records), n=len(used), failed=failed, left_out=left_out)
        return self._with_source(estimate, used) if self.counts_tokens else estimate

    def _with_source(self, estimate: Estimate, used: Sequence[Reading]) -> Estimate:
        """Say who counted the tokens; a count that is none is never shown without saying so."""
        answers = [reading.record for reading in used if isinstance(reading.record, Sample) and not reading.failed]
        sources = tuple(sorted({answer.token_source or "unknown" for answer in answers}))
        if {"chunks", "estimate", "unknown"}.intersection(sources):
            return replace(estimate, token_source=sources, label=f"{estimate.label or self.header}, tokens estimated")
        return replace(estimate, token_source=sources)


class PerRequest(Metric):
    """A metric that every measured request has its own value of; the headline is the median."""

    failures_count: ClassVar[bool] = True
    """A failed request is infinitely slow; a rate of tokens per second leaves it out."""

    @abstractmethod
    def value(self, sample: Sample, records: Records) -> float | str:
        """Return one request's value, or in words why it has none."""

    def samples(self, records: Records) -> Sequence[Sample]:
        """Return the requests that it is about."""
        return records.measured

    def read(self, records: Records) -> Readings:
        """Return each request's value."""
        return Readings.sorted_out(self._reading(sample, records) for sample in self.samples(records))

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the median, and the 95th and 99th percentile of the bad end."""
        tail: Tail = "p5" if self.better == "higher" else "p95"
        return median_of_requests(*columns(used), tail)

    def _reading(self, sample: Sample, records: Records) -> Reading:
        if has_failed(sample):
            return Reading(sample, (math.inf,)) if self.failures_count else Reading(sample, reason=failure(sample))
        value = self.value(sample, records)
        return Reading(sample, reason=value) if isinstance(value, str) else Reading(sample, (value,))


class PerLoad(Metric):
    """A metric that every load of the target has its own value of."""

    statistic: ClassVar[Literal["median", "maximum"]]
    by_level = False

    @abstractmethod
    def value(self, load: Load) -> float | str:
        """Return one load's value, or in words why it has none."""

    def read(self, records: Records) -> Readings:
        """Return each load's value; a load that failed may have one all the same, such as the memory it took."""
        return Readings.sorted_out(self._reading(load) for load in records.loads)

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the median or the maximum over the loads."""
        values = [value for reading in used for value in reading.values]
        if self.statistic == "maximum":
            return Estimate("maximum", value=max(values), loads=len(values))
        return median_of_loads(values)

    def _reading(self, load: Load) -> Reading:
        value = self.value(load)
        if isinstance(value, str):
            return Reading(load, reason=failure(load) if has_failed(load) else value)
        return Reading(load, (value,))


def has_failed(record: Sample | Load) -> bool:
    """Whether a request or a load failed; a time-out is a failure, an answer cut at its token limit is none."""
    return record.status in ("failed", "timeout")


def failure(record: Sample | Load) -> str:
    """Return in words how a record failed."""
    if record.status == "timeout":
        return "the request timed out"
    what = "request" if isinstance(record, Sample) else "load"
    return f"the {what} failed ({one_line((record.error or {}).get('code', 'unknown'), 40)})"


def counted_tokens(sample: Sample) -> int | str:
    """Return an answer's completion tokens, or in words why they are not known: every metric of tokens asks here.

    No tokenizer makes 0 tokens of a text, so that count is none; an answer that is empty does have 0.
    """
    if sample.completion_tokens is None:
        return NOT_COUNTED
    if sample.completion_tokens == 0 and (sample.text or sample.reasoning):
        return ZERO_FOR_TEXT
    return sample.completion_tokens


def load_of(record: Sample | Load) -> LoadKey:
    """Return which load of the target a record belongs to."""
    return record.block, record.attempt


def by_load(samples: Iterable[Sample]) -> dict[LoadKey, list[Sample]]:
    """Return the samples of each load."""
    groups: dict[LoadKey, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(load_of(sample), []).append(sample)
    return groups


def columns(used: Sequence[Reading]) -> tuple[list[float], list[str], list[LoadKey]]:
    """Return the values with the case and the load of each."""
    rows = [
        (value, reading.record.case, load_of(reading.record))
        for reading in used
        if isinstance(reading.record, Sample)
        for value in reading.values
    ]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def not_streamed(sample: Sample, records: Records) -> bool:
    """Whether the answer came as one piece because it was asked for, or sent, that way."""
    return not records.settings.stream or "not_streamed" in (sample.wire or {}).get("notes", ())
