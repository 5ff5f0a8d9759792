"""The metrics, one small class each."""

from __future__ import annotations

from audition.summary.metrics.base import Estimate, Metric, Records
from audition.summary.metrics.latency import FirstRequest, Latency, Ttft
from audition.summary.metrics.resources import (
    Disk,
    LoadTime,
    MemoryAfterUnload,
    PeakAnonymousMemory,
    PeakMemory,
)
from audition.summary.metrics.speed import CompletionTokens, DecodeTps, PrefillTps, Throughput

__all__ = ["METRICS", "Estimate", "Metric", "Records", "metric"]

METRICS: tuple[Metric, ...] = (
    Ttft(),
    Latency(),
    DecodeTps(),
    PrefillTps(),
    Throughput(),
    CompletionTokens(),
    LoadTime(),
    FirstRequest(),
    PeakMemory(),
    PeakAnonymousMemory(),
    MemoryAfterUnload(),
    Disk(),
)


def metric(tag: str) -> Metric:
    """Return the metric with this tag."""
    return next(metric for metric in METRICS if metric.tag == tag)
