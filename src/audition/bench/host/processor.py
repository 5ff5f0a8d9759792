"""The processor: name, instruction sets, caches, clock."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SYS = Path("/sys")

# What engines choose their kernels by; the kernel's names of the flags on the left.
_FLAGS = {
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_tile": "amx",
    "asimd": "neon",
    "neon": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve": "sve",
}


@dataclass(frozen=True, slots=True)
class Clock:
    """Clock frequencies of the processor in MHz; None where the system does not tell."""

    base_mhz: float | None = None
    max_mhz: float | None = None
    current_mhz: float | None = None


def cpu_name() -> str | None:
    """Return the processor's name as its maker gives it."""
    if sys.platform == "linux":
        return _cpuinfo(PROC, "model name") or _cpuinfo(PROC, "Model")
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    return platform.processor() or None


def cpu_flags(proc: Path = PROC) -> list[str] | None:
    """Return the instruction sets that matter to engines (`avx2`, `amx`, `neon`, ...), sorted; None when not told."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ["neon"]  # part of the architecture; the others are not asked for
    words = (_cpuinfo(proc, "flags") or _cpuinfo(proc, "Features") or "").split()
    return sorted({_FLAGS[word] for word in words if word in _FLAGS}) if words else None


def has_hypervisor_flag(proc: Path = PROC) -> bool | None:
    """Return whether an x86 processor says that it is a guest; None where there is no such flag."""
    flags = _cpuinfo(proc, "flags")
    return None if flags is None else "hypervisor" in flags.split()


def l3_bytes(sys_root: Path = SYS) -> int | None:
    """Return the bytes of all last-level (L3) caches together; a virtual machine may show more than is its own."""
    if sys.platform == "darwin":
        size = _sysctl("hw.l3cachesize")
        return int(size) if size and size.isdecimal() and size != "0" else None
    caches: dict[str, int] = {}
    for index in sys_root.glob("devices/system/cpu/cpu[0-9]*/cache/index*"):
        if _text(index / "level") == "3":
            size = _text(index / "size") or ""
            if match := re.fullmatch(r"(\d+)([KMG])", size):
                # Cores that share a cache each list it, with the same cores.
                caches[_text(index / "shared_cpu_list") or str(index)] = int(match[1]) << _SHIFT[match[2]]
    return sum(caches.values()) or None


_SHIFT = {"K": 10, "M": 20, "G": 30}


def numa_nodes(sys_root: Path = SYS) -> int | None:
    """Return how many memory nodes there are, or None where the system does not tell."""
    return len(list(sys_root.glob("devices/system/node/node[0-9]*"))) or None


def governors(sys_root: Path = SYS) -> list[str] | None:
    """Return the frequency governors in use (`performance`, `powersave`), sorted, or None when there are none."""
    files = sys_root.glob("devices/system/cpu/cpufreq/policy*/scaling_governor")
    return sorted({text for file in files if (text := _text(file))}) or None


def clock(sys_root: Path = SYS) -> Clock:
    """Return the processor's clock; of several kinds of cores the fastest.

    Outside Linux, and in most virtual machines, `current_mhz` is the nominal clock rather than the present one.
    """
    import psutil

    frequency = psutil.cpu_freq()
    base = [
        int(text) / 1000  # the kernel counts kHz
        for file in sys_root.glob("devices/system/cpu/cpufreq/policy*/base_frequency")
        if (text := _text(file)) and text.isdecimal()
    ]
    if frequency is None:
        return Clock(max(base, default=None))
    # psutil says 0 for what it does not know.
    return Clock(max(base, default=None), frequency.max or None, frequency.current or None)


def current_mhz(sys_root: Path = SYS) -> float | None:
    """Return the present clock of the fastest core in MHz, or None where the kernel does not scale it.

    The fastest and not the mean: idle cores clock down, and would hide how fast the busy ones are. Without `cpufreq`
    (most virtual machines) `/proc/cpuinfo` repeats a constant, so it is not asked.
    """
    values = [
        int(text) / 1000
        for file in sys_root.glob("devices/system/cpu/cpufreq/policy*/scaling_cur_freq")
        if (text := _text(file)) and text.isdecimal()
    ]
    return max(values, default=None)


def _cpuinfo(proc: Path, name: str) -> str | None:
    try:
        lines = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip() or None
    return None


def _sysctl(name: str) -> str | None:
    command = ["/usr/sbin/sysctl", "-n", name]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    return answer.stdout.strip() or None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
