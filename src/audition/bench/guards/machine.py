"""What else the machine did meanwhile: others' load, a busy hypervisor, swap, heat, the battery; memory kept."""

from __future__ import annotations

from typing import Any

from audition.bench.guards.base import TIMES, Evidence, Finding, Guard, number
from audition.bench.sample import Load
from audition.sizes import size


def measured_loads(evidence: Evidence) -> list[Load]:
    """Return the loads in which something was measured; probes have round 0."""
    return [load for load in evidence.loads if load.round > 0]


def _values(evidence: Evidence, name: str) -> list[float]:
    """Return a figure of each load's activity, where it is known."""
    values = (number(load.activity, name) for load in measured_loads(evidence))
    return [value for value in values if value is not None]


class BackgroundLoad(Guard):
    """Something else used the processor."""

    code = "background_load"
    taints = (*TIMES, "energy_per_token", "energy_per_answer")
    cores = 0.5
    share = 0.15
    """Of the cores; on a machine with few of them half a core is much, and less counts already."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Take the worst load of each round; a round has several where it was interrupted."""
        machine: Any = evidence.host.get("machine")
        total = number(machine, "cores_logical") if isinstance(machine, dict) else None
        limit = self.cores if total is None else min(self.cores, self.share * total)
        found: dict[int, float] = {}
        for load in measured_loads(evidence):
            value = number(load.activity, "background_cores")
            if value is not None:
                found[load.round] = max(value, found.get(load.round, 0.0))
        over = [value for value in found.values() if value > limit]
        if not over:
            return None
        of = "" if total is None else f" of {total:g}"
        return self.finding(
            f"in {len(over)} of {len(found)} rounds other programs kept up to {max(over):.1f}{of} cores busy",
            affected=len(over),
            of=len(found),
        )


class Steal(Guard):
    """The hypervisor gave the processor to others."""

    code = "cpu_steal"
    taints = TIMES
    share = 0.02

    def check(self, evidence: Evidence) -> Finding | None:
        """Take the worst load."""
        worst = max(_values(evidence, "steal_share"), default=0.0)
        if worst <= self.share:
            return None
        return self.finding(f"the hypervisor gave up to {worst:.0%} of the processor's time to other machines")


class Swapping(Guard):
    """Memory was written to the disk and read back."""

    code = "swapping"
    taints = (*TIMES, "peak_memory")
    least_bytes = 10_000_000

    def check(self, evidence: Evidence) -> Finding | None:
        """Add what went in and out during each load, and take the worst."""
        moved = [
            (number(load.activity, "swap_in_bytes") or 0.0) + (number(load.activity, "swap_out_bytes") or 0.0)
            for load in measured_loads(evidence)
        ]
        worst = max(moved, default=0.0)
        if worst <= self.least_bytes:
            return None
        return self.finding(f"up to {size(worst)} went to or came from swap during one load: memory was short")


class Throttled(Guard):
    """The processor was slowed down."""

    code = "throttled"
    taints = TIMES
    share = 0.8

    def check(self, evidence: Evidence) -> Finding | None:
        """Trust the counters of heat; where there are none, compare the clock between loads of this same target.

        The clock against its nominal value proves nothing: it falls whenever the processor waits, for a GPU say.
        """
        events = _values(evidence, "throttle_events")
        if sum(events):
            return self.finding(f"the processor was slowed for its heat {sum(events):,.0f} times")
        clocks = _values(evidence, "frequency_mhz_mean")
        if events or len(clocks) < 2 or min(clocks) >= self.share * max(clocks):
            return None
        return self.finding(
            f"the processor's clock was {min(clocks):,.0f} MHz in one load and {max(clocks):,.0f} MHz in another"
        )


class OnBattery(Guard):
    """The machine ran from its battery."""

    code = "on_battery"
    taints = TIMES

    def check(self, evidence: Evidence) -> Finding | None:
        """Count the rounds at whose end it did."""
        loads = [load for load in measured_loads(evidence) if load.activity is not None]
        rounds = {load.round for load in loads}
        hits = {load.round for load in loads if load.activity and load.activity.get("on_battery") is True}
        if not hits:
            return None
        return self.finding(
            f"in {len(hits)} of {len(rounds)} rounds the machine ran from its battery, which may slow it",
            affected=len(hits),
            of=len(rounds),
        )


class MemoryKept(Guard):
    """After unloading, the engine's process still holds much of what the model took."""

    code = "memory_not_given_back"
    taints = ("memory_after_unload",)
    share = 0.5
    floor_bytes = 32 * 2**20
    """What a load took is the process's own noise below this: imported code, buffers."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the resident sizes before loading, at the peak and after unloading."""
        worst = 0.0
        for load in evidence.loads:
            if load.baseline is None or load.peak is None or load.after_unload is None:
                continue
            taken = load.peak.total - load.baseline.total
            if taken >= self.floor_bytes:
                worst = max(worst, (load.after_unload.total - load.baseline.total) / taken)
        if worst <= self.share:
            return None
        return self.finding(
            f"after unloading, {worst:.0%} of the memory that the model took was still held until its process ended"
        )
