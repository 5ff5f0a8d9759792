"""How many tokens come in a second. Aggregates are ratios of sums, never means of ratios."""

from __future__ import annotations

import math

from audition.bench.sample import Sample
from audition.summary.metrics.base import Estimate, Metric, PerRequest, Records

_SHORTEST_PREFILL_MS = 1e-6


class DecodeTps(PerRequest):
    """The rate at which tokens follow the first one."""

    tag = "decode_tps"
    header = "Decode"
    unit = "tokens/s"
    formula = "(n - 1) / (last text - first text), n = completion tokens"
    better = "higher"
    failures_count = False

    def value(self, sample: Sample) -> float | None:
        """None when there are fewer than two tokens, no count of them, or all text came at once."""
        times, n = sample.chunk_times_ms, sample.completion_tokens
        if n is None or n < 2 or len(times) < 2 or times[-1] <= times[0]:
            return None
        return 1000 * (n - 1) / (times[-1] - times[0])


class PrefillTps(PerRequest):
    """The rate at which the prompt is read, as the engine reports it."""

    tag = "prefill_tps"
    header = "Prefill"
    unit = "tokens/s"
    formula = "prompt tokens that were not cached / prefill time, both as the engine reports them"
    better = "higher"
    failures_count = False

    def value(self, sample: Sample) -> float | None:
        """None when the engine reports no prefill time."""
        timings = sample.engine_timings or {}
        n, ms = timings.get("prompt_n") or 0, timings.get("prompt_ms") or 0
        # The engine's own word: a figure that cannot be is no figure.
        return 1000 * n / ms if 0 < n < math.inf and _SHORTEST_PREFILL_MS <= ms < math.inf else None


class Throughput(Metric):
    """Tokens over the whole measured time, at the stated concurrency."""

    tag = "throughput"
    header = "Throughput"
    unit = "tokens/s"
    formula = "sum of completion tokens / sum of latencies, closed loop at concurrency 1"
    better = "higher"

    def estimate(self, records: Records) -> Estimate:
        """Return the ratio of sums over the requests that ended and whose tokens were counted."""
        ended = [
            (sample.completion_tokens, sample.latency_ms)
            for sample in records.measured
            if sample.completion_tokens is not None and sample.latency_ms
        ]
        if not ended:
            return Estimate("ratio of sums", reason="no request ended with its tokens counted")
        tokens, ms = (math.fsum(part) for part in zip(*ended, strict=True))
        return Estimate("ratio of sums", value=1000 * tokens / ms, n=len(ended))


class CompletionTokens(PerRequest):
    """How long the answers are: a model that says less is done sooner."""

    tag = "completion_tokens"
    header = "Answer length"
    unit = "tokens"
    formula = "completion tokens of a request, as `token_source` counts them"
    digits = 0
    failures_count = False

    def value(self, sample: Sample) -> float | None:
        """None when nobody counted."""
        return None if sample.completion_tokens is None else float(sample.completion_tokens)
