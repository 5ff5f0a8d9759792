"""How fast text comes, request by request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from audition.bench.sample import Sample
from audition.summary.metrics.base import (
    Metric,
    PerRequest,
    Reading,
    Readings,
    Records,
    counted_tokens,
    failure,
    has_failed,
    load_of,
    not_streamed,
)
from audition.summary.metrics.estimate import Estimate, median_of_gaps

NO_TOKEN = "no token was generated"  # noqa: S105 - no secret

_SHORTEST_PREFILL_MS = 1e-6
_CHUNKS_ARE_TOKENS = 0.1
"""Pieces of text are taken for tokens while the two counts differ by no more than this part."""


class DecodeTps(PerRequest):
    """The rate at which tokens follow the first one."""

    tag = "decode_tps"
    header = "Decode"
    unit = "tokens/s"
    formula = "(n - 1) / (last text - first text), n = completion tokens"
    better = "higher"
    failures_count = False
    counts_tokens = True

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when there are fewer than two tokens, no count of them, or all text came at once."""
        return decode_rate(sample, records)


class Tpot(PerRequest):
    """Time per output token, the first one apart."""

    tag = "tpot"
    header = "TPOT"
    unit = "ms"
    formula = "1000 / decode_tps of the same request: (last text - first text) / (n - 1), n = completion tokens"
    digits = 2
    failures_count = False
    counts_tokens = True

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason where there is no decode rate."""
        rate = decode_rate(sample, records)
        return rate if isinstance(rate, str) else 1000 / rate


class E2eTps(PerRequest):
    """Tokens over the whole request, prefill included."""

    tag = "e2e_tps"
    header = "End to end"
    unit = "tokens/s"
    formula = "completion tokens / latency"
    better = "higher"
    failures_count = False
    counts_tokens = True

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when there are no tokens, no count of them, or the stream did not end."""
        tokens = counted_tokens(sample)
        if isinstance(tokens, str):
            return tokens
        if tokens == 0:
            return NO_TOKEN
        return 1000 * tokens / sample.latency_ms if sample.latency_ms else "no time passed"


class PrefillTps(PerRequest):
    """The rate at which the prompt is read, as the engine reports it."""

    tag = "prefill_tps"
    header = "Prefill"
    unit = "tokens/s"
    formula = "prompt tokens that were not cached / prefill time, both as the engine reports them"
    better = "higher"
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when the engine reports no prefill time: from outside, prefill and the first token are one."""
        timings = sample.engine_timings or {}
        n, ms = timings.get("prompt_n"), timings.get("prompt_ms")
        if n is None or ms is None:
            return "the engine reports no prefill time"
        if n == 0:
            return "the whole prompt was cached"
        # The engine's own word: a figure that cannot be is no figure.
        possible = 0 < n < math.inf and _SHORTEST_PREFILL_MS <= ms < math.inf
        return 1000 * n / ms if possible else "the engine reports a prefill that cannot be"


class CharsPerS(PerRequest):
    """Speed that does not depend on how a model cuts text into tokens.

    The first piece came before the time began, so that only the pieces after it count, as in `decode_tps`; how long
    each is was not recorded, and they are taken to be alike.
    """

    tag = "chars_per_s"
    header = "Characters"
    unit = "characters/s"
    formula = "characters of text and reasoning x (k - 1) / k / (last text - first text), k = pieces of text"
    better = "higher"
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when all text came at once."""
        seconds = _text_seconds(sample, records)
        if isinstance(seconds, str):
            return seconds
        pieces = len(sample.chunk_times_ms)
        return (len(sample.text) + len(sample.reasoning)) * (pieces - 1) / pieces / seconds


class Itl(Metric):
    """Inter-token latency: how evenly text comes. Gaps of all requests in one pool, not a mean of each request."""

    tag = "itl"
    header = "ITL"
    unit = "ms"
    formula = (
        "time between one piece of text and the next, pooled over requests; a chunk gap where pieces are no tokens"
    )
    statistic = "median of gaps"
    digits = 2

    def read(self, records: Records) -> Readings:
        """Return each request's gaps; one that failed has no more of them to wait for.

        Text that came all at once shows no gaps: the time between pieces that one read brought is not known.
        """
        return Readings.sorted_out(self._reading(sample, records) for sample in records.measured)

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return median, 95th and 99th percentile of the gaps."""
        found = median_of_gaps(
            [reading.values for reading in used],
            [reading.record.case for reading in used if isinstance(reading.record, Sample)],
            [load_of(reading.record) for reading in used],
        )
        return replace(found, label=None if self._are_tokens(used) else "chunk gap")

    def _reading(self, sample: Sample, records: Records) -> Reading:
        if has_failed(sample):
            return Reading(sample, reason=failure(sample))
        gaps = tuple(round(later - earlier, 6) for earlier, later in pairwise(sample.chunk_times_ms))
        return Reading(sample, gaps) if any(gaps) else Reading(sample, reason=_at_once(sample, records))

    @staticmethod
    def _are_tokens(used: Sequence[Reading]) -> bool:
        """Whether there are as many pieces of text as tokens, over all answers whose tokens were counted."""
        answers = [reading.record for reading in used if isinstance(reading.record, Sample)]
        counts = [(counted_tokens(answer), len(answer.chunk_times_ms)) for answer in answers]
        known = [(tokens, pieces) for tokens, pieces in counts if not isinstance(tokens, str)]
        tokens, pieces = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0)
        return bool(known) and abs(tokens - pieces) <= _CHUNKS_ARE_TOKENS * tokens


def decode_rate(sample: Sample, records: Records) -> float | str:
    """Return tokens per second after the first one, or in words why there is no such rate."""
    tokens = counted_tokens(sample)
    if isinstance(tokens, str):
        return tokens
    if tokens < 2:
        return "fewer than two tokens were generated"
    seconds = _text_seconds(sample, records)
    return seconds if isinstance(seconds, str) else (tokens - 1) / seconds


def _text_seconds(sample: Sample, records: Records) -> float | str:
    """Return the time from the first text to the last, or in words why there is none."""
    times = sample.chunk_times_ms
    if len(times) < 2 or times[-1] <= times[0]:
        return _at_once(sample, records)
    return (times[-1] - times[0]) / 1000


def _at_once(sample: Sample, records: Records) -> str:
    if not sample.chunk_times_ms:
        return "no text came"
    return "the answer was not streamed" if not_streamed(sample, records) else "all text came at once"
