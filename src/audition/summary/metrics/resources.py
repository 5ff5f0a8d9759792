"""What a model takes: time to load, memory, disk."""

from __future__ import annotations

from audition.bench.sample import Load
from audition.summary.metrics.base import Estimate, Metric, PerLoad, Records


class LoadTime(PerLoad):
    """Making the model ready."""

    tag = "load_time"
    header = "Load"
    unit = "ms"
    formula = "engine's load call, in its own process; its start and import apart; weights may be in the page cache"
    digits = 0
    statistic = "median"

    def value(self, load: Load) -> float | None:
        """None when the load failed."""
        return load.load_ms


class PeakMemory(PerLoad):
    """The most memory the process tree held."""

    tag = "peak_memory"
    header = "Peak memory"
    unit = "bytes"
    formula = "largest resident size of the engine's process tree, anonymous + file-backed, sampled every 10 ms"
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | None:
        """None when nothing could be read."""
        return load.peak.total if load.peak else None


class PeakAnonymousMemory(PerLoad):
    """The part of it that the system cannot drop."""

    tag = "peak_memory_anonymous"
    header = "Peak anonymous memory"
    unit = "bytes"
    formula = "largest anonymous resident size: what is not backed by a file such as memory-mapped weights"
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | None:
        """None where the system does not tell it apart."""
        return load.peak.anonymous if load.peak else None


class MemoryAfterUnload(PerLoad):
    """What the process still holds once the engine gave the model up; the process's end frees that too."""

    tag = "memory_after_unload"
    header = "Memory after unload"
    unit = "bytes"
    formula = "resident size of the process tree after the engine unloaded the model, before its process ended"
    digits = 0
    statistic = "maximum"

    def value(self, load: Load) -> float | None:
        """None when nothing could be read."""
        return load.after_unload.total if load.after_unload else None


class Disk(Metric):
    """Room on the disk."""

    tag = "disk"
    header = "Disk"
    unit = "bytes"
    formula = "unique bytes of the variant's files"
    digits = 0

    def estimate(self, records: Records) -> Estimate:
        """Return the size from the store's manifest."""
        return Estimate("constant", value=records.target.disk_bytes, n=1)
