"""The machine that a run is made on: what stands in `host.json`, and how much memory is really free."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from typing import Any, TypeVar

import audition
from audition.bench.host.limits import CONTROL_GROUP, available_memory, cores_quota, memory_limit, usable_cores
from audition.bench.host.processor import cpu_name
from audition.models.fit import Memory

__all__ = [
    "CONTROL_GROUP",
    "available_memory",
    "cores_quota",
    "cpu_name",
    "describe_machine",
    "machine_memory",
    "memory_limit",
    "usable_cores",
]

_T = TypeVar("_T")


def machine_memory() -> Memory:
    """Return how much memory a model could have here: the machine's, or the container's where that is less."""
    import psutil

    from audition.bench.host import gpu

    gpu_total, gpu_free = _fact(gpu.largest_free) or (None, None)
    total = memory_limit() or int(psutil.virtual_memory().total)
    return Memory(total, available_memory(), gpu_total, gpu_free)


def describe_machine() -> dict[str, Any]:
    """Return the facts of this machine, plain as JSON; what it does not tell is None.

    Nothing that names the machine or its user is read: no host name, serial number, UUID or address. What has to be
    measured, such as the memory bandwidth, is added before a run's first block (`calibrate`).

    Returns:
        One dictionary, of which each fact is read on its own, so that one failure leaves the others.
    """
    import psutil

    from audition.bench.host import gpu, processor, surroundings

    gpus, gpus_reason = _fact(gpu.list_gpus) or (None, "the driver could not be asked")
    power_source, battery_percent = _fact(surroundings.battery) or (None, None)
    clock = _fact(processor.clock) or processor.Clock()
    return {
        "os": platform.system(),
        "os_release": platform.release(),
        "architecture": platform.machine(),
        "model": _fact(surroundings.machine_model),
        "container": _fact(surroundings.container),
        "virtual_machine": _fact(surroundings.virtual_machine),
        "cpu": _fact(cpu_name),
        "cpu_flags": _fact(processor.cpu_flags),
        "cpu_governor": _fact(processor.governors),
        "cpu_mhz_base": clock.base_mhz,
        "cpu_mhz_max": clock.max_mhz,
        "cpu_mhz_current": clock.current_mhz,
        "cores_logical": _fact(usable_cores),
        "cores_logical_total": _fact(psutil.cpu_count),
        "cores_physical": _fact(lambda: psutil.cpu_count(logical=False)),
        "cores_quota": _fact(cores_quota),
        "threading": _fact(surroundings.threading),
        "l3_bytes": _fact(processor.l3_bytes),
        "numa_nodes": _fact(processor.numa_nodes),
        "memory_total_bytes": _fact(lambda: memory_limit() or int(psutil.virtual_memory().total)),
        "memory_available_bytes": _fact(available_memory),
        "swap_total_bytes": _fact(lambda: int(psutil.swap_memory().total)),
        "gpus": gpus,
        "gpus_reason": gpus_reason,
        "power_source": power_source,
        "battery_percent": battery_percent,
        "load_average": _fact(surroundings.load_average),
        "python": platform.python_version(),
        "audition": audition.__version__,
    }


def _fact(read: Callable[[], _T]) -> _T | None:
    """Read one fact. What the system refuses, lacks or garbles is None: psutil raises all of these for it."""
    import psutil

    try:
        return read()
    except (
        OSError,
        ValueError,
        LookupError,
        AttributeError,
        RuntimeError,  # NotImplementedError is one
        psutil.Error,
        subprocess.SubprocessError,
    ):
        return None
