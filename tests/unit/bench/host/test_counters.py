"""The counters of the system, from files like the kernel's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from audition.bench.host.counters import SystemCounters, read_counters

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


@linux
def test_the_files_of_the_kernel(tmp_path: Path) -> None:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    seconds = [10, 1, 2, 50, 7, 0, 3, 4, 9, 0]  # user nice system idle iowait irq softirq steal guest guest_nice
    write(tmp_path, {"stat": f"cpu  {' '.join(str(value * tick) for value in seconds)}\ncpu0 1"})
    write(tmp_path, {"vmstat": "nr_free_pages 5\npswpin 3\npswpout 8"})
    write(tmp_path, {"pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0 total=0"})
    write(tmp_path, {"pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0 total=9"})
    counters = read_counters(tmp_path, tmp_path)
    assert counters == SystemCounters(16, 4, 77, 3 * page, 8 * page, None, 1.5, 0.25)


@linux
def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_counters(tmp_path, tmp_path) == SystemCounters()
    write(tmp_path, {"stat": "cpu  1 2 three", "pressure/cpu": "some total=soon"})
    assert read_counters(tmp_path, tmp_path) == SystemCounters()


@linux
def test_a_throttled_core_counts_once_though_its_siblings_all_show_it(tmp_path: Path) -> None:
    """One package of two cores with two threads each: core 0 was slowed 3 times, core 1 once, the package 5 times."""
    for cpu in range(4):
        folder, core = f"devices/system/cpu/cpu{cpu}", cpu % 2
        write(tmp_path, {f"{folder}/topology/physical_package_id": "0", f"{folder}/topology/core_id": str(core)})
        write(tmp_path, {f"{folder}/thermal_throttle/core_throttle_count": "1" if core else "3"})
        write(tmp_path, {f"{folder}/thermal_throttle/package_throttle_count": "5"})
    assert read_counters(tmp_path, tmp_path).throttles == 3 + 1 + 5


def test_this_machine_counts() -> None:
    counters = read_counters()
    assert counters.busy_s is not None and counters.total_s is not None
    assert 0 < counters.busy_s <= counters.total_s
