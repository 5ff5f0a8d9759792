"""How long a request takes."""

from __future__ import annotations

import math

from audition.bench.sample import Sample
from audition.summary.metrics.base import Estimate, PerRequest, Records, quantile_estimate


class Ttft(PerRequest):
    """Time to first token."""

    tag = "ttft"
    header = "TTFT"
    unit = "ms"
    formula = "first non-empty generated text (reasoning included) - request sent"

    def value(self, sample: Sample) -> float | None:
        """None when no text came."""
        return sample.ttft_ms


class Latency(PerRequest):
    """The whole answer."""

    tag = "latency"
    header = "Latency"
    unit = "ms"
    formula = "end of the stream - request sent, of the same fully drained request"

    def value(self, sample: Sample) -> float | None:
        """None when the stream did not end."""
        return sample.latency_ms


class FirstRequest(PerRequest):
    """The first request after a load: what a person waits for when the model was not in use."""

    tag = "first_request"
    header = "First request"
    unit = "ms"
    formula = "latency of the first request after a load (always the same prompt); kept apart from `latency`"

    def value(self, sample: Sample) -> float | None:
        """None when the stream did not end."""
        return sample.latency_ms

    def estimate(self, records: Records) -> Estimate:
        """Return the median over the loads; one that failed is infinitely slow, as among the measured requests."""
        values = [value for sample in records.first if (value := self.value(sample)) is not None]
        failed = sum(sample.status in ("failed", "timeout") for sample in records.first)
        if not values:
            return Estimate("median", n=failed, failed=failed, reason="no first request succeeded")
        return quantile_estimate([*values, *[math.inf] * failed], failed, with_p95=False)
