"""The machine that a run is made on: what stands in `host.json`, and how much memory is really free."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import audition

SCHEMA = 1
CONTROL_GROUP = Path("/sys/fs/cgroup")


def describe_machine() -> dict[str, Any]:
    """Return the facts of this machine; what it does not tell is None."""
    import psutil

    memory = psutil.virtual_memory()
    return {
        "os": platform.system(),
        "os_release": platform.release(),
        "architecture": platform.machine(),
        "cpu": cpu_name(),
        "cores_logical": usable_cores(),
        "cores_physical": psutil.cpu_count(logical=False),
        "memory_total_bytes": memory_limit() or memory.total,
        "memory_available_bytes": available_memory(),
        "python": platform.python_version(),
        "audition": audition.__version__,
    }


def available_memory() -> int:
    """Return the bytes a new process could take now: the system's, or the container's where that is less."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limit = memory_limit()
    used = _cgroup_number("memory.current", "memory/memory.usage_in_bytes")
    if limit is not None and used is not None:
        reclaimable = _cgroup_reclaimable()
        available = min(available, max(0, limit - used + reclaimable))
    return available


def memory_limit() -> int | None:
    """Return this container's memory limit in bytes, or None when there is none."""
    import psutil

    limit = _cgroup_number("memory.max", "memory/memory.limit_in_bytes")
    return limit if limit is not None and limit < psutil.virtual_memory().total else None


def usable_cores() -> int | None:
    """Return how many logical cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def cpu_name() -> str | None:
    """Return the processor's name as its maker gives it."""
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip()
        except OSError:
            return None
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
        return answer.stdout.strip() or None
    return platform.processor() or None


def _cgroup_number(v2: str, v1: str) -> int | None:
    """Read a control group's figure; `max` and a missing file are None."""
    for name in (v2, v1):
        try:
            return int((CONTROL_GROUP / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return None


def _cgroup_reclaimable() -> int:
    """Return the page cache that the container could give back."""
    for name, figure in (("memory.stat", "inactive_file"), ("memory/memory.stat", "total_inactive_file")):
        try:
            lines = (CONTROL_GROUP / name).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{figure} ")), 0)
    return 0
