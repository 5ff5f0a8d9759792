"""The metrics, one small class each."""

from __future__ import annotations

from audition.errors import UsageError, nearest
from audition.summary.metrics.base import Metric, Reading, Readings, Records
from audition.summary.metrics.energy import EnergyPerAnswer, EnergyPerAnswerNet, EnergyPerToken, EnergyPerTokenNet
from audition.summary.metrics.estimate import Estimate
from audition.summary.metrics.failures import FailureRate
from audition.summary.metrics.latency import ConnectTime, FirstRequest, Latency, Queue, TimeToAnswer, Ttfa, Ttft
from audition.summary.metrics.resources import (
    BandwidthUse,
    Disk,
    LoadTime,
    MemoryAfterUnload,
    PeakAnonymousMemory,
    PeakGpuMemory,
    PeakMemory,
)
from audition.summary.metrics.speed import CharsPerS, DecodeTps, E2eTps, Itl, PrefillTps, Tpot
from audition.summary.metrics.tokens import CompletionTokens, PromptTokens
from audition.summary.metrics.windows import ArrivalRate, RequestRate, Throughput

__all__ = ["METRICS", "Estimate", "Metric", "Reading", "Readings", "Records", "metric"]

METRICS: tuple[Metric, ...] = (
    Ttft(),
    Ttfa(),
    Latency(),
    TimeToAnswer(),
    FailureRate(),
    DecodeTps(),
    Tpot(),
    Itl(),
    PrefillTps(),
    E2eTps(),
    CharsPerS(),
    Throughput(),
    RequestRate(),
    ArrivalRate(),
    Queue(),
    ConnectTime(),
    PromptTokens(),
    CompletionTokens(),
    LoadTime(),
    FirstRequest(),
    PeakMemory(),
    PeakAnonymousMemory(),
    MemoryAfterUnload(),
    PeakGpuMemory(),
    Disk(),
    EnergyPerToken(),
    EnergyPerTokenNet(),
    EnergyPerAnswer(),
    EnergyPerAnswerNet(),
    BandwidthUse(),
)


def metric(tag: str) -> Metric:
    """Return the metric with this tag, in whatever case it is written.

    Raises:
        UsageError: There is none; the nearest ones are given.
    """
    found = next((metric for metric in METRICS if metric.tag == tag.casefold()), None)
    if found is None:
        tags = [*(metric.tag for metric in METRICS), "quality"]
        fix = nearest(tag.casefold(), tags) or f"one of: {', '.join(tags)}"
        raise UsageError(f'there is no metric "{tag}"', fix=fix, code="unknown_metric")
    return found
