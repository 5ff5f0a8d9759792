"""The processor's facts, from trees like those of real machines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from audition.bench.host import processor

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS tells them by sysctl")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


def test_flags_of_x86(tmp_path: Path) -> None:
    write(tmp_path, {"cpuinfo": "model name\t: A\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_tile hypervisor"})
    assert processor.cpu_flags(tmp_path) == ["amx", "avx2", "avx512_vnni", "avx512f"]
    assert processor.has_hypervisor_flag(tmp_path) is True


def test_flags_of_arm(tmp_path: Path) -> None:
    write(tmp_path, {"cpuinfo": "Features\t: fp asimd asimddp sve"})
    assert processor.cpu_flags(tmp_path) == ["dotprod", "neon", "sve"]
    assert processor.has_hypervisor_flag(tmp_path) is None, "there is no such flag"


def test_a_processor_that_says_nothing_has_no_flags(tmp_path: Path) -> None:
    assert processor.cpu_flags(tmp_path) is None
    assert processor.has_hypervisor_flag(tmp_path) is None


def test_a_processor_with_none_of_the_flags_has_an_empty_list(tmp_path: Path) -> None:
    write(tmp_path, {"cpuinfo": "flags : fpu sse2"})
    assert processor.cpu_flags(tmp_path) == []


def test_each_cache_counts_once(tmp_path: Path) -> None:
    """Two L3 caches of 32 MB, each shared by two cores."""
    for cpu in range(4):
        cache = f"devices/system/cpu/cpu{cpu}/cache"
        shared = "0-1" if cpu < 2 else "2-3"
        files = {"level": "3", "size": "32768K", "shared_cpu_list": shared}
        write(tmp_path, {f"{cache}/index3/{name}": text for name, text in files.items()})
        write(tmp_path, {f"{cache}/index2/level": "2", f"{cache}/index2/size": "1024K"})
    assert processor.l3_bytes(tmp_path) == 2 * 32 * 2**20


def test_no_l3_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"devices/system/cpu/cpu0/cache/index0/level": "1"})
    assert processor.l3_bytes(tmp_path) is None


def test_governors_nodes_and_the_clock_of_the_fastest_core(tmp_path: Path) -> None:
    policy = "devices/system/cpu/cpufreq/policy{}/{}"
    write(
        tmp_path, {policy.format(0, "scaling_governor"): "powersave", policy.format(1, "scaling_governor"): "powersave"}
    )
    write(tmp_path, {policy.format(0, "scaling_cur_freq"): "800000", policy.format(1, "scaling_cur_freq"): "4200000"})
    write(tmp_path, {policy.format(0, "base_frequency"): "2100000"})
    write(
        tmp_path,
        {"devices/system/node/node0/x": "", "devices/system/node/node1/x": "", "devices/system/node/online": ""},
    )
    assert processor.governors(tmp_path) == ["powersave"]
    assert processor.current_mhz(tmp_path) == 4200
    assert processor.clock(tmp_path).base_mhz == 2100
    assert processor.numa_nodes(tmp_path) == 2


def test_an_empty_tree_tells_nothing(tmp_path: Path) -> None:
    assert processor.governors(tmp_path) is None
    assert processor.current_mhz(tmp_path) is None
    assert processor.numa_nodes(tmp_path) is None
