"""What a target gets done while so many requests are under way. Ratios of sums, never means of ratios.

A window is the time of one load at one level, from the first request sent (open loop: scheduled) to the last one ended,
and at least the duration that the level states: a last second in which no request happens to come is part of it.
Windows of several loads are added up; what happens between them is in none of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from audition.bench.sample import Sample
from audition.summary.metrics.base import (
    NO_SCHEDULE,
    LoadKey,
    Metric,
    Reading,
    Readings,
    Records,
    by_load,
    counted_tokens,
    has_failed,
    load_of,
)
from audition.summary.metrics.estimate import Estimate
from audition.summary.metrics.speed import NO_TOKEN

IN_TURN = "targets were asked in turn: none has a window of its own"
NEVER_SENT = "it was never sent"
OTHER_NOT_COUNTED = "nobody counted the tokens of another answer in its window"


def window_seconds(samples: Iterable[Sample]) -> float:
    """Return the wall time of one load's requests, from the first one sent or scheduled to the last one ended.

    `sent_ns` is the clock itself; where requests have a schedule, `elapsed_ms` counts from there.
    """
    timed = [sample for sample in samples if sample.sent_ns is not None and sample.elapsed_ms is not None]
    if not timed:
        return 0.0
    first = min(map(_start_ns, timed))
    return max(_start_ns(sample) - first + round(1e6 * (sample.elapsed_ms or 0.0)) for sample in timed) / 1e9


def _start_ns(sample: Sample) -> int:
    """Return the moment that a sent request's times count from: its schedule's, where it has one."""
    return (sample.sent_ns or 0) - round(1e6 * (sample.queue_ms or 0.0))


def _whole_blocks(records: Records) -> set[str]:
    """Return the blocks that were asked for as long as their levels state: they were not broken off or given up."""
    return {load.block for load in records.loads if load.status == "ok"}


def _idle_blocks(records: Records) -> set[str]:
    """Return the blocks that were there for the whole duration, but by chance no request came."""
    if records.level.duration_s is None:
        return set()
    return _whole_blocks(records) - {sample.block for sample in records.measured}


def _seconds(windows: Mapping[LoadKey, Sequence[Sample]], records: Records) -> float:
    """Return the time of all windows, each with the duration that its level states.

    A block that was resumed shares its duration among its loads; one to which no request came took its time too.
    """
    least, whole = records.level.duration_s or 0.0, _whole_blocks(records)
    by_block: dict[str, list[float]] = {block: [] for block in _idle_blocks(records)}
    for (block, _), samples in windows.items():
        by_block.setdefault(block, []).append(window_seconds(samples))
    return math.fsum(max(math.fsum(seconds), least if block in whole else 0.0) for block, seconds in by_block.items())


def _by_block(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each block, whose loads share a stated duration where it was resumed."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.block, []).append(sample)
    return groups


def why_uncounted(sample: Sample) -> str | None:
    """Return why nobody knows an answer's tokens; None when they are known, or there is no answer."""
    tokens = None if has_failed(sample) else counted_tokens(sample)
    return tokens if isinstance(tokens, str) else None


def in_windows(records: Records, *, with_tokens: bool) -> Readings:
    """Return which requests a ratio over windows rests on.

    A failed request's time counts, its tokens do not. A window with an answer whose tokens nobody counted is left out
    as a whole: its time cannot be parted from the others'.

    Args:
        records: Of one target and level.
        with_tokens: Whether tokens are summed; else requests are.
    """
    readings: list[Reading] = []
    for samples in _by_block(records.measured).values():
        timed = [sample for sample in samples if sample.sent_ns is not None and sample.elapsed_ms is not None]
        uncounted = with_tokens and any(why_uncounted(s) for s in timed)
        for sample in samples:
            if records.settings.interleave:
                readings.append(Reading(sample, reason=IN_TURN))
            elif sample.sent_ns is None or sample.elapsed_ms is None:
                readings.append(Reading(sample, reason=NEVER_SENT))
            elif uncounted:
                readings.append(Reading(sample, reason=why_uncounted(sample) or OTHER_NOT_COUNTED))
            else:
                done = 0.0 if has_failed(sample) else float(sample.completion_tokens or 0) if with_tokens else 1.0
                readings.append(Reading(sample, (done,)))
    return Readings.sorted_out(readings)


def grouped(used: Sequence[Reading]) -> dict[LoadKey, list[Sample]]:
    """Return the requests of each window."""
    return by_load(reading.record for reading in used if isinstance(reading.record, Sample))


class _Rate(Metric):
    """What was done in all windows, over their time."""

    statistic = "ratio of sums"
    better = "higher"

    @abstractmethod
    def read(self, records: Records) -> Readings:
        """Return what each request adds."""

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the ratio of sums."""
        done = math.fsum(value for reading in used for value in reading.values)
        seconds = _seconds(grouped(used), records)
        if done == 0:
            return Estimate(self.statistic, reason=NO_TOKEN)
        if seconds == 0:
            return Estimate(self.statistic, reason="no time passed")
        cases = {reading.record.case for reading in used if isinstance(reading.record, Sample)}
        loads = {load_of(reading.record) for reading in used}
        return Estimate(self.statistic, value=done / seconds, cases=len(cases), loads=len(loads))


class Throughput(_Rate):
    """Tokens over the whole measured time, at the level's concurrency or rate."""

    tag = "throughput"
    header = "Throughput"
    unit = "tokens/s"
    formula = (
        "sum of completion tokens / sum of windows, at the stated concurrency; a window is the time from the first "
        "request sent (open loop: scheduled) to the last one ended in one load, and at least the stated duration; a "
        "failed request's time counts, its tokens do not"
    )
    counts_tokens = True

    def read(self, records: Records) -> Readings:
        """Return each request's tokens."""
        return in_windows(records, with_tokens=True)


class RequestRate(_Rate):
    """Requests that a target completes in a second, at the level's concurrency or rate."""

    tag = "request_rate"
    header = "Requests"
    unit = "requests/s"
    formula = "completed requests / sum of windows (as in `throughput`); cut answers count, failed ones do not"
    digits = 2

    def read(self, records: Records) -> Readings:
        """Return 1 for each request that was completed."""
        return in_windows(records, with_tokens=False)


class ArrivalRate(Metric):
    """How often requests came: the schedule is drawn, so that a short run has more or fewer of them than planned."""

    tag = "arrival_rate"
    header = "Arrivals"
    unit = "requests/s"
    formula = (
        "requests scheduled / the stated duration, both added up over the loads; without one, and in a load that "
        "broke off, those after the first / time from the first to the last one scheduled (open loop only)"
    )
    statistic = "ratio of sums"
    digits = 2
    better = "higher"

    def read(self, records: Records) -> Readings:
        """Return 1 for each request that had a schedule."""
        return Readings.sorted_out(self._reading(sample, records) for sample in records.measured)

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the ratio of sums."""
        duration, whole = records.level.duration_s, _whole_blocks(records)
        windows = grouped(used)
        stated = {block for block, _ in windows if duration is not None and block in whole}
        came, seconds = 0, (duration or 0.0) * len(stated | _idle_blocks(records))
        others_ns = 0
        for (block, _), samples in windows.items():
            moments = [_start_ns(sample) for sample in samples]
            if block in stated:
                came += len(moments)
            else:
                came += len(moments) - 1
                others_ns += max(moments) - min(moments)
        seconds += others_ns / 1e9
        if seconds == 0:
            return Estimate(self.statistic, reason="one request has no rate")
        cases = {reading.record.case for reading in used if isinstance(reading.record, Sample)}
        return Estimate(self.statistic, value=came / seconds, cases=len(cases), loads=len(windows))

    @staticmethod
    def _reading(sample: Sample, records: Records) -> Reading:
        if records.level.rate is None:
            return Reading(sample, reason=NO_SCHEDULE)
        return Reading(sample, (1.0,)) if sample.sent_ns is not None else Reading(sample, reason=NEVER_SENT)
