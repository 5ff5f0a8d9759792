"""The machine: its facts, and how much memory is really free inside a container."""

from __future__ import annotations

import getpass
import json
import platform
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from audition.bench import machine
from audition.bench.host import limits, processor
from audition.bench.meters import bandwidth
from audition.models.fit import Memory
from fake_nvml import FakeNvml, NVMLError_LibraryNotFound

GIGABYTE = 2**30


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty control group on a machine with 16 GB, of which 8 are free."""
    memory = SimpleNamespace(total=16 * GIGABYTE, available=8 * GIGABYTE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    folder = tmp_path / "cgroup"
    (folder / "memory").mkdir(parents=True)
    monkeypatch.setattr(limits, "CONTROL_GROUP", folder)
    return folder


def write(folder: Path, **files: int | str) -> None:
    for name, content in files.items():
        (folder / name.replace("__", "/").replace("_dot_", ".")).write_text(f"{content}\n")


def test_the_facts_of_this_machine_are_whole_and_json() -> None:
    facts = machine.describe_machine()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["os"] == platform.system()
    assert facts["python"] == platform.python_version()
    assert facts["cores_logical"] >= 1
    assert 0 < facts["memory_available_bytes"] <= facts["memory_total_bytes"]
    assert (facts["gpus"] is None) == (facts["gpus_reason"] is not None)


def test_nothing_names_the_machine_or_its_user() -> None:
    text = json.dumps(machine.describe_machine())
    for private in {platform.node(), getpass.getuser(), str(Path.home())} - {"", "/", "root", "localhost"}:
        assert not re.search(rf"\b{re.escape(private)}\b", text)


@pytest.mark.parametrize("error", [OSError, ValueError, NotImplementedError, psutil.AccessDenied, IndexError])
def test_a_fact_that_fails_leaves_the_others(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    for name in ("cpu_count", "cpu_freq", "swap_memory", "sensors_battery"):
        monkeypatch.setattr(psutil, name, fail, raising=False)
    monkeypatch.setattr(processor, "l3_bytes", fail)
    facts = machine.describe_machine()
    for name in ("cores_physical", "cpu_mhz_max", "swap_total_bytes", "power_source", "l3_bytes"):
        assert facts[name] is None
    assert facts["os"] == platform.system()
    assert facts["memory_total_bytes"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_processor_has_a_name_where_the_system_gives_one() -> None:
    if "model name" in Path("/proc/cpuinfo").read_text():
        assert machine.cpu_name()


def test_without_a_container_the_system_counts(group: Path) -> None:
    assert machine.memory_limit() is None
    assert machine.available_memory() == 8 * GIGABYTE


@pytest.mark.parametrize("limit", ["max", 64 * GIGABYTE, "nonsense", 9223372036854771712])
def test_a_limit_beyond_the_machine_is_none(group: Path, limit: int | str) -> None:
    write(group, memory_dot_max=limit, memory_dot_current=GIGABYTE)
    assert machine.memory_limit() is None
    assert machine.available_memory() == 8 * GIGABYTE


def test_the_limit_of_a_container_counts(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(group, memory_dot_max=4 * GIGABYTE, memory_dot_current=GIGABYTE)
    assert machine.memory_limit() == 4 * GIGABYTE
    assert machine.available_memory() == 3 * GIGABYTE
    monkeypatch.setattr(bandwidth, "measure_bandwidth", lambda: None)
    assert machine.describe_machine()["memory_total_bytes"] == 4 * GIGABYTE


def test_the_system_counts_where_it_has_less_than_the_container(group: Path) -> None:
    write(group, memory_dot_max=12 * GIGABYTE, memory_dot_current=GIGABYTE)
    assert machine.available_memory() == 8 * GIGABYTE


def test_page_cache_of_a_container_can_be_given_back(group: Path) -> None:
    write(group, memory_dot_max=4 * GIGABYTE, memory_dot_current=3 * GIGABYTE)
    write(group, memory_dot_stat=f"anon 5\nactive_file 7\ninactive_file {2 * GIGABYTE}\nslab 1")
    assert machine.available_memory() == 3 * GIGABYTE


def test_a_container_over_its_limit_has_nothing_free(group: Path) -> None:
    write(group, memory_dot_max=4 * GIGABYTE, memory_dot_current=5 * GIGABYTE)
    assert machine.available_memory() == 0


def test_the_older_control_groups_are_read_too(group: Path) -> None:
    write(group, memory__memory_dot_limit_in_bytes=4 * GIGABYTE, memory__memory_dot_usage_in_bytes=3 * GIGABYTE)
    assert machine.memory_limit() == 4 * GIGABYTE
    assert machine.available_memory() == GIGABYTE
    write(group, memory__memory_dot_stat=f"inactive_file 1\ntotal_inactive_file {GIGABYTE}")
    assert machine.available_memory() == 2 * GIGABYTE


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu_dot_max": "max 100000"}, None),
        ({"cpu_dot_max": "150000 100000"}, 1.5),
        ({"cpu__cpu_dot_cfs_quota_us": -1, "cpu__cpu_dot_cfs_period_us": 100000}, None),
        ({"cpu__cpu_dot_cfs_quota_us": 200000, "cpu__cpu_dot_cfs_period_us": 100000}, 2.0),
        ({"cpu_dot_max": "100000 0"}, None),
    ],
)
def test_the_cores_that_a_container_is_given(group: Path, files: dict[str, int | str], cores: float | None) -> None:
    (group / "cpu").mkdir()
    for name, content in files.items():
        path = name.replace("__", "/").replace("_dot_", ".")
        (group / path).write_text(f"{content}\n")
    assert machine.cores_quota() == cores


def test_the_memory_that_a_model_could_have(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fails=NVMLError_LibraryNotFound()))
    assert machine.machine_memory() == Memory(16 * GIGABYTE, 8 * GIGABYTE, None, None)
    write(group, memory_dot_max=4 * GIGABYTE, memory_dot_current=GIGABYTE)
    assert machine.machine_memory() == Memory(4 * GIGABYTE, 3 * GIGABYTE, None, None)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert machine.machine_memory() == Memory(4 * GIGABYTE, 3 * GIGABYTE, 24 * GIGABYTE, 23 * GIGABYTE)
