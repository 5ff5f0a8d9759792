"""Requests without a whole answer: those that failed, and those that the token limit cut."""

from __future__ import annotations

from collections import Counter

from audition.bench.guards.base import Evidence, Finding, Guard, answered, has_answer
from audition.text import one_line


class FailingRequests(Guard):
    """Some of the measured requests failed."""

    code = "failing_requests"
    taints = ()
    share = 0.5
    """From here on the target must not be picked."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Count them by their codes. Metrics count failures themselves, so nothing is marked."""
        failed = [sample for sample in evidence.samples if not has_answer(sample)]
        if not failed:
            return None
        codes = Counter(sample.error["code"] if sample.error else sample.status for sample in failed)
        kinds = ", ".join(f"{one_line(code, 40)} {count}" for code, count in sorted(codes.items()))
        n = len(evidence.samples)
        return self.finding(
            f"{len(failed)} of {n} requests failed ({kinds})",
            affected=len(failed),
            of=n,
            disqualifies=len(failed) >= self.share * n,
        )


class Truncation(Guard):
    """Answers were cut by the token limit."""

    code = "truncated_answers"
    taints = ("latency", "quality")

    def check(self, evidence: Evidence) -> Finding | None:
        """Count the answers whose finish reason is the length."""
        samples = answered(evidence.samples)
        cut = sum(sample.status == "truncated" for sample in samples)
        if not cut:
            return None
        return self.finding(
            f"{cut} of {len(samples)} answers were cut at the token limit; their latency is that of the limit, and "
            "checks score them 0",
            affected=cut,
            of=len(samples),
        )
