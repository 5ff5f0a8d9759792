"""How much of the machine this process may take: memory and cores, inside a container too."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the bytes a new process could take now: the system's, or the container's where that is less."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limit = memory_limit()
    used = _number("memory.current", "memory/memory.usage_in_bytes")
    if limit is not None and used is not None:
        available = min(available, max(0, limit - used + _reclaimable()))
    return available


def memory_limit() -> int | None:
    """Return this container's memory limit in bytes, or None when there is none."""
    import psutil

    limit = _number("memory.max", "memory/memory.limit_in_bytes")
    return limit if limit is not None and limit < psutil.virtual_memory().total else None


def usable_cores() -> int | None:
    """Return how many logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def cores_quota() -> float | None:
    """Return the cores' worth of time this container may use (1.5 is possible), or None when there is no limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, `cpu.max`: microseconds of every period, or `max`.
    """
    try:
        quota, period = (CONTROL_GROUP / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        quota = str(_number("cpu/cpu.cfs_quota_us"))
        period = str(_number("cpu/cpu.cfs_period_us"))
    # The older control groups say -1 where there is no limit.
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _number(*names: str) -> int | None:
    """Read a control group's figure from the first file that has one; `max` and a missing file are None."""
    for name in names:
        try:
            return int((CONTROL_GROUP / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return None


def _reclaimable() -> int:
    """Return the page cache that the container could give back."""
    for name, figure in (("memory.stat", "inactive_file"), ("memory/memory.stat", "total_inactive_file")):
        try:
            lines = (CONTROL_GROUP / name).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{figure} ")), 0)
    return 0
