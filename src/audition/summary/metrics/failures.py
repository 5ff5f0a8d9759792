"""How often nothing useful comes back: stands beside every percentile."""

from __future__ import annotations

import math
from collections.abc import Sequence

from audition.stats.proportions import wilson
from audition.summary.metrics.base import Metric, Reading, Readings, Records, columns, has_failed
from audition.summary.metrics.estimate import Estimate


class FailureRate(Metric):
    """The share of requests that failed or timed out."""

    tag = "failure_rate"
    header = "Failures"
    unit = "%"
    formula = "failed and timed-out requests / requests asked; Wilson interval, requests taken as independent"
    statistic = "rate"

    def read(self, records: Records) -> Readings:
        """Return 1 for each request that failed and 0 for each other."""
        return Readings.sorted_out(Reading(sample, (float(has_failed(sample)),)) for sample in records.measured)

    def estimate(self, records: Records) -> Estimate:
        """Return the rate; where every request failed it is 100 %, and not unknown."""
        used = self.read(records).used
        return self.condense(used, records) if used else Estimate(self.statistic, reason="nothing was measured")

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the rate with Wilson's interval."""
        values, cases, loads = columns(used)
        failed = math.fsum(values)
        rate = wilson(failed / len(values), len(values))
        return Estimate(
            self.statistic,
            value=100 * rate.value,
            low=100 * rate.low,
            high=100 * rate.high,
            scope="these prompts, asked again",
            n=len(values),
            failed=int(failed),
            cases=len(set(cases)),
            loads=len(set(loads)),
        )
