"""Counters of the whole system that only grow; two readings and their difference cost nothing in between."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from audition.bench.host.processor import PROC, SYS


@dataclass(frozen=True, slots=True)
class SystemCounters:
    """One reading; None where the system does not count.

    Attributes:
        busy_s: CPU seconds of all cores in which something ran, interrupts included.
        steal_s: CPU seconds that the hypervisor gave to others.
        total_s: CPU seconds of all cores: busy, idle, waiting, stolen.
        swap_in_bytes: Read back from swap.
        swap_out_bytes: Written to swap.
        throttles: Times that a core or a package was slowed for its heat.
        cpu_pressure_s: Seconds in which some thread waited for a core.
        memory_pressure_s: Seconds in which some thread waited for memory.
    """

    busy_s: float | None = None
    steal_s: float | None = None
    total_s: float | None = None
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    throttles: int | None = None
    cpu_pressure_s: float | None = None
    memory_pressure_s: float | None = None


def read_counters(proc: Path = PROC, sys_root: Path = SYS) -> SystemCounters:
    """Read every counter that this system has.

    Source: proc_stat(5); https://docs.kernel.org/accounting/psi.html.
    """
    if sys.platform != "linux":
        return _read_portable()
    busy, steal, total = _cpu_seconds(proc / "stat", os.sysconf("SC_CLK_TCK"))
    swapped = _pairs(proc / "vmstat")
    page = os.sysconf("SC_PAGE_SIZE")
    pages_in, pages_out = swapped.get("pswpin"), swapped.get("pswpout")
    return SystemCounters(
        busy,
        steal,
        total,
        None if pages_in is None else pages_in * page,
        None if pages_out is None else pages_out * page,
        _throttles(sys_root),
        _pressure(proc / "pressure/cpu"),
        _pressure(proc / "pressure/memory"),
    )


def _read_portable() -> SystemCounters:
    """Read what psutil has elsewhere.

    Swap is left out: psutil's figures are always 0 on Windows, and on macOS they count every page-in, so that mapping
    a model's file would look like swapping.
    """
    import psutil

    times = psutil.cpu_times()
    # On Windows `system` contains the times of interrupts, which are listed once more beside it.
    busy = times.user + times.system + getattr(times, "nice", 0.0)
    return SystemCounters(busy_s=busy, total_s=busy + times.idle)


def _cpu_seconds(stat: Path, tick: int) -> tuple[float | None, float | None, float | None]:
    """Return busy, stolen and all CPU seconds; the times of guests are inside `user` already."""
    try:
        head = stat.read_text(encoding="ascii", errors="replace").partition("\n")[0].split()
        user, nice, system, idle, wait, irq, softirq, steal = (int(part) for part in head[1:9])
    except (OSError, ValueError):
        return None, None, None
    busy = user + nice + system + irq + softirq
    return busy / tick, steal / tick, (busy + idle + wait + steal) / tick


def _pairs(file: Path) -> dict[str, int]:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _pressure(file: Path) -> float | None:
    """Return the seconds of the line `some ... total=<microseconds>`; None without pressure stall information."""
    try:
        for line in file.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("some "):
                return int(line.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):  # reading fails, not opening, where the kernel has it switched off
        return None
    return None


def _throttles(sys_root: Path) -> int | None:
    """Add each core's and each package's count once; siblings of a core or package all show the same one."""
    counts: dict[tuple[str, ...], int] = {}
    for cpu in sys_root.glob("devices/system/cpu/cpu[0-9]*"):
        try:
            package = (cpu / "topology/physical_package_id").read_text(encoding="ascii").strip()
            core = (cpu / "topology/core_id").read_text(encoding="ascii").strip()
            keys = {"core": ("core", package, core), "package": ("package", package)}
            for kind, key in keys.items():
                text = (cpu / f"thermal_throttle/{kind}_throttle_count").read_text(encoding="ascii")
                counts[key] = max(int(text), counts.get(key, 0))
        except (OSError, ValueError):
            continue
    return sum(counts.values()) if counts else None
