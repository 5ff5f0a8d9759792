"""What is measured of the machine itself before a run's first block, for `host.json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from audition.bench.meters.activity import background_now
from audition.bench.meters.energy import EnergyMeter
from audition.bench.noise import measure_noise_floor
from audition.bench.plan import Plan


async def calibrate(host: dict[str, Any], plan: Plan, meter: EnergyMeter) -> dict[str, Any]:
    """Return `host.json` with the background load, the idle power, the memory bandwidth and the noise floor.

    They are measured in that order: what comes later makes the machine busy. It takes about two seconds.

    Args:
        host: What it held so far.
        plan: For the concurrencies at which the noise floor is measured.
        meter: The open energy counters; it may have none.
    """
    from audition.bench.meters.bandwidth import measure_bandwidth

    background = background_now()
    idle_watts = meter.idle_watts() if meter.sources else None
    # A server's memory is not this machine's, or not known to be.
    bandwidth = None if all(target.is_server for target in plan.targets) else measure_bandwidth()
    widest = max((level.concurrency or 1 for level in plan.levels), default=1)
    reason = None if meter.sources else "; ".join(meter.missing.values()) or "there is no energy counter"
    return {
        **host,
        "machine": {**host["machine"], "memory_bandwidth": None if bandwidth is None else asdict(bandwidth)},
        "background_cores": background,
        "energy": {"sources": list(meter.sources), "idle_watts": idle_watts, "reason": reason},
        "noise_floor": await measure_noise_floor([1, widest]),
    }
