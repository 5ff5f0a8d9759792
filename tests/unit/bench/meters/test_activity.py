"""The activity meter: others' load is seen, our own is not, and what cannot be told has its reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audition.bench.meters import activity
from audition.bench.meters.activity import Activity, ActivityMeter, background_now

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's files")

# The double fork leaves a process that is nobody's child here. It keeps no pipe open, and ends by itself should the
# test be cut off before it ends it.
STRANGER = """
import os, time
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
os.close(1)
while time.process_time() < 20:
    pass
"""
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that keeps one core busy and is no child of this one."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork to leave a process that is no child")
    command = [sys.executable, "-c", STRANGER]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30)
    pid = int(answer.stdout)
    yield pid
    os.kill(pid, 9)


def known(activity: Activity) -> float:
    assert activity.background_cores is not None, activity.reasons
    return activity.background_cores


def share_of(pid: int, seconds: float) -> tuple[float, float, float]:
    """Return the cores that a process got, and the background with and without knowing it, over the same time."""
    import psutil

    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    started = time.perf_counter()
    with ActivityMeter() as blind, ActivityMeter(lambda: {pid}) as knowing:
        time.sleep(seconds)
        cores = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - started)
        return cores, known(blind.stop()), known(knowing.stop())


def test_a_strangers_load_is_background_unless_it_is_named(stranger: int) -> None:
    """Compared with what the stranger really got, and with one another, so that a busy machine does not disturb."""
    cores, blind, knowing = share_of(stranger, 1.5)
    assert cores > 0.2, "the machine is too busy to test on"
    assert blind > cores - 0.15
    assert blind - knowing == pytest.approx(cores, abs=0.15)


def test_a_strangers_load_is_seen_before_the_run(stranger: int) -> None:
    load = background_now(0.5)
    assert load is not None and load > 0.2


def test_a_child_is_our_own_even_when_it_has_ended() -> None:
    """A child that works and ends within the block; Linux hands its time to us when we wait for it."""
    work = "import time\nwhile time.process_time() < 0.8: pass"
    with ActivityMeter() as meter:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", work], check=True)
        seconds = time.perf_counter() - started
        used = meter._ledger
        found = meter.stop()
    assert used.seconds > 0.75 if sys.platform == "linux" else used.seconds >= 0
    assert known(found) >= 0
    assert found.seconds == pytest.approx(seconds, abs=0.2)


def test_unknown_processes_of_the_engine_leave_the_background_unknown() -> None:
    with ActivityMeter(lambda: None) as meter:
        found = meter.stop()
    assert found.background_cores is None
    assert "not known" in found.reasons["background_cores"]


def test_a_server_that_ends_leaves_the_background_unknown() -> None:
    server = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with ActivityMeter(lambda: {server.pid}) as meter:
        server.communicate(b"\n")
        found = meter.stop()
    assert found.background_cores is None
    assert str(server.pid) in found.reasons["background_cores"]


def test_a_server_that_is_named_too_late_leaves_it_unknown(stranger: int, monkeypatch: pytest.MonkeyPatch) -> None:
    named: set[int] = set()
    meter = ActivityMeter(lambda: named)
    assert meter._ledger._opened is not None
    monkeypatch.setattr(meter._ledger, "_opened", meter._ledger._opened + 60)  # the stranger is now an old process
    named.add(stranger)
    assert "too late" in meter.stop().reasons["background_cores"]


def fake(root: Path, *, user: int, steal: int = 0, swapped: int = 0, throttled: int = 0, waited_us: int = 0) -> None:
    """Write the kernel's files for a moment at which `user` seconds of 2 x 1000 had been used."""
    cpu = root / "devices/system/cpu/cpu0"
    files = {
        root / "stat": f"cpu  {user * TICK} 0 0 {(2000 - user - steal) * TICK} 0 0 0 {steal * TICK} 0 0",
        root / "vmstat": f"pswpin {swapped}\npswpout {2 * swapped}",
        root / "pressure/cpu": f"some avg10=0 avg60=0 avg300=0 total={waited_us}",
        root / "pressure/memory": f"some avg10=0 avg60=0 avg300=0 total={waited_us // 2}",
        cpu / "topology/physical_package_id": "0",
        cpu / "topology/core_id": "0",
        cpu / "thermal_throttle/core_throttle_count": str(throttled),
        cpu / "thermal_throttle/package_throttle_count": "0",
    }
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")


@linux
def test_the_arithmetic_of_a_block(tmp_path: Path) -> None:
    """Ten seconds in which others worked 30 core seconds of 40, 4 were stolen, and the clock fell."""
    frequency = tmp_path / "devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
    frequency.parent.mkdir(parents=True)
    frequency.write_text("4000000\n")
    stat = tmp_path / "stat"
    fake(tmp_path, user=100, throttled=2)
    times = iter([50.0, 60.0])
    meter = ActivityMeter(proc=tmp_path, sys_root=tmp_path, clock=lambda: next(times))
    fake(tmp_path, user=100, swapped=3, throttled=7, waited_us=2_500_000)
    stat.write_text(f"cpu  {130 * TICK} 0 0 {1906 * TICK} 0 0 0 {4 * TICK} 0 0\n")
    frequency.write_text("2000000\n")
    found = meter.stop()
    page = os.sysconf("SC_PAGE_SIZE")
    assert found.seconds == 10
    assert known(found) == pytest.approx(3, abs=0.1)
    assert found.steal_share == 0.1
    assert (found.swap_in_bytes, found.swap_out_bytes) == (3 * page, 6 * page)
    assert found.frequency_mhz_mean is not None and 2000 < found.frequency_mhz_mean < 4000
    assert found.frequency_mhz_min == 2000
    assert found.throttle_events == 5
    assert (found.cpu_pressure, found.memory_pressure) == (0.25, 0.125)
    assert meter.stop() is found


@linux
def test_counters_of_another_machine_are_not_compared_with_ours(tmp_path: Path) -> None:
    """The system counts 0.01 s of work while this process alone works half a second."""
    fake(tmp_path, user=100)
    meter = ActivityMeter(proc=tmp_path, sys_root=tmp_path)
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
    (tmp_path / "stat").write_text(f"cpu  {100 * TICK + 1} 0 0 {1901 * TICK} 0 0 0 0 0 0\n")
    found = meter.stop()
    assert found.background_cores is None
    assert "not of this machine" in found.reasons["background_cores"]


@linux
def test_a_system_that_counts_nothing_has_reasons_for_everything(tmp_path: Path) -> None:
    with ActivityMeter(proc=tmp_path, sys_root=tmp_path) as meter:
        found = meter.stop()
    empty = {name for name, value in found.to_json().items() if value is None}
    assert empty == set(found.reasons)
    assert {"background_cores", "steal_share", "swap_in_bytes", "frequency_mhz_mean", "throttle_events"} <= empty


@linux
def test_a_counter_that_was_set_back_is_unknown(tmp_path: Path) -> None:
    fake(tmp_path, user=100, throttled=9, swapped=9)
    meter = ActivityMeter(proc=tmp_path, sys_root=tmp_path)
    fake(tmp_path, user=50)
    found = meter.stop()
    assert found.throttle_events is None and found.swap_in_bytes is None and found.background_cores is None


@linux
def test_the_clock_is_sampled_by_a_thread_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "INTERVAL_S", 0.001)
    frequency = tmp_path / "devices/system/cpu/cpufreq/policy0/scaling_cur_freq"
    frequency.parent.mkdir(parents=True)
    frequency.write_text("4000000\n")
    threads = set(threading.enumerate())
    with ActivityMeter(proc=tmp_path, sys_root=tmp_path) as meter:
        assert set(threading.enumerate()) - threads
        frequency.write_text("1000000\n")
        deadline = time.monotonic() + 30
        while 1000.0 not in meter._frequencies:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        frequency.write_text("4000000\n")
    assert not set(threading.enumerate()) - threads
    assert meter.stop().frequency_mhz_min == 1000


@pytest.mark.parametrize(("seconds", "too_short"), [(0.05, True), (2.0, False)])
def test_a_time_of_a_few_clock_ticks_says_nothing_of_others(seconds: float, too_short: bool) -> None:
    clock = iter((0.0, seconds))
    reasons = ActivityMeter(clock=lambda: next(clock)).stop().reasons
    for name in ("background_cores", "steal_share"):
        assert ("ticks are too coarse" in reasons.get(name, "")) == too_short


def test_a_record_comes_back_from_json() -> None:
    record = Activity(1.5, 0.25, None, 0, 0, on_battery=False, reasons={"steal_share": "not counted here"})
    data = json.loads(json.dumps(record.to_json()))
    assert Activity.from_json(data) == record
    assert Activity.from_json({**data, "a_later_field": 1}) == record
