"""What a model takes: time to load, memory, disk, and how much of the memory's speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from audition.bench.meters.gpu_memory import WHOLE_DEVICE
from audition.bench.sample import Load, Memory, Sample
from audition.summary.metrics.base import Metric, PerLoad, PerRequest, Reading, Readings, Records
from audition.summary.metrics.estimate import Estimate
from audition.summary.metrics.speed import decode_rate

WHOLE_SERVER = "whole server"
"""With all that it has loaded besides the model that is measured."""


class LoadTime(PerLoad):
    """Making the model ready."""

    tag = "load_time"
    header = "Load"
    unit = "ms"
    formula = "engine's load call, in its own process; its start and import apart; weights may be in the page cache"
    digits = 0
    statistic = "median"

    def value(self, load: Load) -> float | str:
        """A reason when the load failed, or a server had loaded the model already."""
        return "no load was timed" if load.load_ms is None else load.load_ms


class PeakMemory(PerLoad):
    """The most memory the process tree held."""

    tag = "peak_memory"
    header = "Peak memory"
    unit = "bytes"
    formula = (
        "largest resident size of the process tree of the engine, or of the server where it runs on this machine, "
        "anonymous + file-backed, sampled every 10 ms (of a server 100 ms)"
    )
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | str:
        """A reason when nothing could be read."""
        return _total(load.peak, load)

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the maximum; of a server it is the whole of it, and its label says so."""
        return _whole_server(super().condense(used, records), self.header, records)


class PeakAnonymousMemory(PerLoad):
    """The part of it that the system cannot drop."""

    tag = "peak_memory_anonymous"
    header = "Peak anonymous memory"
    unit = "bytes"
    formula = "largest anonymous resident size: what is not backed by a file such as memory-mapped weights"
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | str:
        """A reason where the system does not tell it apart."""
        if load.peak is None:
            return _unknown(load)
        anonymous = load.peak.anonymous
        return "the system does not tell anonymous memory apart" if anonymous is None else float(anonymous)

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the maximum; of a server it is the whole of it, and its label says so."""
        return _whole_server(super().condense(used, records), self.header, records)


class MemoryAfterUnload(PerLoad):
    """What the process still holds once the engine gave the model up; the process's end frees that too."""

    tag = "memory_after_unload"
    header = "Memory after unload"
    unit = "bytes"
    formula = "resident size of the process tree after the engine unloaded the model, before its process ended"
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | str:
        """A reason when nothing could be read."""
        return _total(load.after_unload, load)


class PeakGpuMemory(PerLoad):
    """Memory on the accelerator, apart from the machine's."""

    tag = "peak_gpu_memory"
    header = "Peak GPU memory"
    unit = "bytes"
    formula = "largest memory of the engine's process tree on the GPU"
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | str:
        """A reason when nothing could be read."""
        found = load.gpu_memory or {}
        peak = found.get("peak_bytes")
        return float(peak) if isinstance(peak, int) else found.get("reason") or "GPU memory was not recorded"

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the maximum; what other programs held may be in it, and then its label says so."""
        estimate = super().condense(used, records)
        methods = {(r.record.gpu_memory or {}).get("method") for r in used if isinstance(r.record, Load)}
        return replace(estimate, label=f"{self.header}, {WHOLE_DEVICE}") if WHOLE_DEVICE in methods else estimate


class Disk(Metric):
    """Room on the disk."""

    tag = "disk"
    header = "Disk"
    unit = "bytes"
    formula = "unique bytes of the variant's files"
    statistic = "constant"
    digits = 0
    by_level = False

    def read(self, records: Records) -> Readings:
        """Return nothing: it stands in the plan, not in the records."""
        return Readings((), ())

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the size from the store's manifest."""
        if records.target.disk_bytes is None:
            return Estimate(self.statistic, reason="a server does not show its files")
        return Estimate(self.statistic, value=records.target.disk_bytes, n=1)

    def estimate(self, records: Records) -> Estimate:
        """Return the size from the store's manifest."""
        return self.condense((), records)


class BandwidthUse(PerRequest):
    """How far the engine is from the physical limit: decoding reads the weights for every token.

    Source: S. Williams, A. Waterman, D. Patterson, Roofline (CACM 52, 2009), with memory as the roof.
    """

    tag = "bandwidth_use"
    header = "Bandwidth use"
    unit = "%"
    formula = "bytes touched per token x decode_tps / this machine's measured memory read bandwidth"
    better = "higher"
    failures_count = False
    counts_tokens = True

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason for servers, for devices other than the CPU or unknown, and where the bandwidth was not measured."""
        touched = records.target.active_bytes
        if touched is None:
            return "the bytes that a token touches are not known"
        devices = {records.target.device, *(load.device for load in records.loads if load.device)}
        known = {device.casefold() for device in devices} - {"unknown"}
        if not known:
            return "the engine does not say which device it runs on"
        if known != {"cpu"}:
            return "only the bandwidth of the CPU's memory is measured"
        bandwidth = _bandwidth(records.host)
        if isinstance(bandwidth, str):
            return bandwidth
        rate = decode_rate(sample, records)
        return rate if isinstance(rate, str) else 100 * touched * rate / bandwidth


def _bandwidth(host: Mapping[str, Any]) -> float | str:
    """Return bytes per second, or in words why they are not known."""
    found = (host.get("machine") or {}).get("memory_bandwidth") or {}
    bytes_per_s = found.get("bytes_per_s")
    if isinstance(bytes_per_s, int | float) and bytes_per_s > 0:
        return float(bytes_per_s)
    reason = found.get("reason")
    return f"memory bandwidth: {reason}" if reason else "this machine's memory bandwidth was not measured"


def _total(memory: Memory | None, load: Load) -> float | str:
    return _unknown(load) if memory is None else float(memory.total)


def _unknown(load: Load) -> str:
    return load.memory_reason or "its memory could not be read"


def _whole_server(estimate: Estimate, header: str, records: Records) -> Estimate:
    return replace(estimate, label=f"{header}, {WHOLE_SERVER}") if records.target.is_server else estimate
