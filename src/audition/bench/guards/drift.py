"""Does the target become slower, or faster, while it is measured: heat, throttling, a cache that fills?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from statistics import median

from audition.bench.guards.base import TIMES, Evidence, Finding, Guard, answered
from audition.bench.sample import Load, Sample
from audition.stats.drift import Drift as Trend
from audition.stats.drift import drift_test


class Drift(Guard):
    """Latency has a trend."""

    code = "drift"
    taints = TIMES
    change = 0.05
    p = 0.01
    least = 12

    def check(self, evidence: Evidence) -> Finding | None:
        """Look for a trend within loads, and over loads where there are enough of them.

        The two are kept apart, because each load has a shift of its own: requests of three loads, taken as if they
        were independent, would show a trend nearly always.
        """
        found: list[tuple[Trend, str]] = []
        for level in sorted({sample.level for sample in evidence.samples}):
            samples = [s for s in answered(evidence.samples) if s.level == level and s.latency_ms and s.sent_ns]
            loads = _by_load(_comparable(samples), evidence.loads)
            if sum(map(len, loads)) < self.least:
                continue
            shifts = [median(latencies) for latencies in _relative(loads)]
            # Against their cases' medians alone, requests would tell of their load's shift and of nothing else.
            even = [[(s, ms / shift) for s, ms in load] for load, shift in zip(loads, shifts, strict=True)]
            where = f" ({level})" if level != "c1" else ""
            found += [
                (_within(_relative(even)), f"within a load{where}"),
                (_over(shifts), f"from the first load to the last{where}"),
            ]
        # Each test may be wrong by chance, and there are several (Bonferroni).
        real = [pair for pair in found if _is_real(pair[0], self.change, self.p / len(found))]
        if not real:
            return None
        trend, where = max(real, key=lambda pair: abs(pair[0].change or 0.0))
        change = trend.change or 0.0
        word = "rises" if change > 0 else "falls"
        return self.finding(f"latency {word} by {abs(change):.0%} {where} (p = {trend.p:.2g})")


def _is_real(trend: Trend, change: float, p: float) -> bool:
    return trend.change is not None and trend.p is not None and abs(trend.change) > change and trend.p < p


Latency = tuple[Sample, float]


def _comparable(samples: Sequence[Sample]) -> list[Latency]:
    """Return the latencies of cases that were asked more than once; the others have nothing to compare with."""
    times = Counter(sample.case for sample in samples)
    return [(s, s.latency_ms) for s in samples if times[s.case] > 1 and s.latency_ms is not None]


def _by_load(latencies: Sequence[Latency], loads: Sequence[Load]) -> list[list[Latency]]:
    """Return the latencies of each load as they were asked, the first load first."""
    started = {(load.block, load.attempt): load.started_at for load in loads}
    by_load: dict[tuple[str, int], list[Latency]] = {}
    for pair in latencies:
        by_load.setdefault((pair[0].block, pair[0].attempt), []).append(pair)
    order = sorted(by_load, key=lambda key: (started.get(key, ""), *key))
    return [sorted(by_load[key], key=lambda pair: pair[0].sent_ns or 0) for key in order]


def _relative(loads: Sequence[Sequence[Latency]]) -> list[list[float]]:
    """Return each latency in parts of its case's median."""
    by_case: dict[str, list[float]] = {}
    for sample, latency_ms in chain.from_iterable(loads):
        by_case.setdefault(sample.case, []).append(latency_ms)
    medians = {case: median(values) for case, values in by_case.items()}
    return [[latency_ms / medians[sample.case] for sample, latency_ms in load] for load in loads]


def _within(loads: Sequence[Sequence[float]]) -> Trend:
    """Test each load on its own; times are parts of a load. Cases come in an order that chance decided."""
    times = [position / max(1, len(load) - 1) for load in loads for position in range(len(load))]
    labels = [number for number, load in enumerate(loads) for _ in load]
    return drift_test(times, [value for load in loads for value in load], labels)


def _over(shifts: Sequence[float]) -> Trend:
    """Test the loads against each other."""
    return drift_test([float(number) for number in range(len(shifts))], shifts)
