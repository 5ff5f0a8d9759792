"""What a target gets done while so many requests are under way. Ratios of sums, never means of ratios.

A window is the time of one load at one level, from the first request sent to the last one ended. Windows of several
loads are added up; what happens between them is in none of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence

from audition.bench.sample import Sample
from audition.summary.metrics.base import LoadKey, Metric, Reading, Readings, Records, by_load, has_failed, load_of
from audition.summary.metrics.estimate import Estimate
from audition.summary.metrics.speed import NO_TOKEN, NOT_COUNTED

IN_TURN = "targets were asked in turn: none has a window of its own"
OTHER_NOT_COUNTED = "nobody counted the tokens of another answer in its window"


def window_seconds(samples: Iterable[Sample]) -> float:
    """Return the wall time of one load's requests, from the first one sent to the last one ended.

    `sent_ns` is the clock itself; where requests have a schedule, `elapsed_ms` counts from there.
    """
    spans = [
        (sample.sent_ns, sample.sent_ns + 1e6 * (sample.elapsed_ms - (sample.queue_ms or 0.0)))
        for sample in samples
        if sample.sent_ns is not None and sample.elapsed_ms is not None
    ]
    if not spans:
        return 0.0
    start = min(sent for sent, _ in spans)
    return max(end - start for _, end in spans) / 1e9


def in_windows(records: Records, *, with_tokens: bool) -> Readings:
    """Return which requests a ratio over windows rests on.

    A failed request's time counts, its tokens do not. A window with an answer whose tokens nobody counted is left out
    as a whole: its time cannot be parted from the others'.

    Args:
        records: Of one target and level.
        with_tokens: Whether tokens are summed; else requests are.
    """
    readings: list[Reading] = []
    for samples in by_load(records.measured).values():
        timed = [sample for sample in samples if sample.sent_ns is not None and sample.elapsed_ms is not None]
        uncounted = with_tokens and any(not has_failed(s) and s.completion_tokens is None for s in timed)
        for sample in samples:
            if records.settings.interleave:
                readings.append(Reading(sample, reason=IN_TURN))
            elif sample.sent_ns is None or sample.elapsed_ms is None:
                readings.append(Reading(sample, reason="it was never sent"))
            elif uncounted:
                own = not has_failed(sample) and sample.completion_tokens is None
                readings.append(Reading(sample, reason=NOT_COUNTED if own else OTHER_NOT_COUNTED))
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
        seconds = math.fsum(window_seconds(samples) for samples in grouped(used).values())
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
        "request sent to the last one ended in one load; a failed request's time counts, its tokens do not"
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
