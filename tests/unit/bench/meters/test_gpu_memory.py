"""The GPU memory of a process tree, against a driver that says what a test wants; and what it shows of the device."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audition.bench.guards.base import Evidence
from audition.bench.guards.endpoint import DeviceFallback
from audition.bench.meters import gpu_memory
from audition.bench.meters.gpu_memory import GpuMemoryMeter, GpuReading
from audition.bench.plan import Settings
from audition.bench.subject import EngineSubject, device_by_memory
from audition.engines.host import EngineProcess
from fake_nvml import FakeNvml, NVMLError, NVMLError_DriverNotLoaded, NVMLError_NotSupported
from plans import a_load, a_target

LONG = 60.0
"""Seconds; far more than any of this needs, on any machine."""
GIB = 2**30
WEIGHTS = 1000
CHILD = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
OWN, STRANGER = os.getpid(), os.getppid()
WHOLE = {"method": "whole device", "reason": "the driver names no memory of this process"}


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    nvml = FakeNvml(gpus=2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread does not sample: only the test does."""
    monkeypatch.setattr(gpu_memory, "INTERVAL_S", LONG)


@pytest.fixture
def meter(nvml: FakeNvml, still: None) -> Iterator[GpuMemoryMeter]:
    with GpuMemoryMeter() as meter:
        meter.watch(OWN)
        yield meter
    assert nvml.opened == 0, "the driver is given back"


def held(meter: GpuMemoryMeter) -> int | None:
    reading = meter.now()
    assert reading is not None
    return reading.process


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_processes_own_memory_is_summed_over_the_gpus(nvml: FakeNvml, meter: GpuMemoryMeter) -> None:
    nvml.compute = [[(OWN, 300), (STRANGER, 7000)], [(OWN, 40)]]
    assert held(meter) == 340
    nvml.compute = [[(OWN, 100)], []]
    assert held(meter) == 100
    assert meter.record() == {"peak_bytes": 340, "method": "process", "reason": None}


def test_a_process_in_both_lists_counts_once(nvml: FakeNvml, meter: GpuMemoryMeter) -> None:
    nvml.compute, nvml.graphics = [[(OWN, 300)], []], [[(OWN, 300)], [(OWN, 5)]]
    assert held(meter) == 305


def test_gpus_without_a_list_of_what_draws_are_read_all_the_same(nvml: FakeNvml, meter: GpuMemoryMeter) -> None:
    nvml.compute[0] = [(OWN, 300)]
    nvml.graphics = [NVMLError_NotSupported("Not Supported")] * 2
    assert held(meter) == 300


def test_children_and_theirs_count_and_strangers_do_not(nvml: FakeNvml, meter: GpuMemoryMeter) -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"
    arguments = [sys.executable, "-c", parent]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        grandchild = int(process.stdout.readline())
        gone = 2**22 + 1  # above what Linux gives
        nvml.compute[0] = [(OWN, 1), (process.pid, 20), (grandchild, 300), (STRANGER, 4000), (gone, 50000)]
        assert held(meter) == 321
        process.stdin.close()


@pytest.mark.parametrize(
    "compute",
    [
        [[(OWN, None)], []],
        [[(OWN, 300)], [(OWN, None)]],
        [[(STRANGER, 300)], []],
        [NVMLError_NotSupported("Not Supported"), []],
        [[(OWN, 300)], NVMLError("Unknown Error")],
    ],
    ids=["untold", "untold on one", "other pids", "no list", "no list of one"],
)
def test_where_processes_are_not_told_apart_it_is_the_growth_of_the_devices(
    compute: Any, nvml: FakeNvml, meter: GpuMemoryMeter
) -> None:
    nvml.compute = compute
    nvml.used = [GIB + 500, GIB + 20]
    assert meter.now() == GpuReading(None, 520)
    nvml.used = [GIB + 100, GIB - 9000]  # somebody else gave memory back
    assert meter.now() == GpuReading(None, 100)
    assert meter.record() == {"peak_bytes": 520, **WHOLE}


def test_what_the_driver_tells_of_the_process_goes_before_the_devices(nvml: FakeNvml, meter: GpuMemoryMeter) -> None:
    nvml.used[0] = GIB + 900
    meter.now()
    nvml.compute[0] = [(OWN, 300)]
    meter.now()
    nvml.compute[0] = []  # it has ended
    meter.now()
    assert meter.record() == {"peak_bytes": 300, "method": "process", "reason": None}


def test_without_any_figure_the_drivers_reason_stands(nvml: FakeNvml, meter: GpuMemoryMeter) -> None:
    nvml.used = [GIB, NVMLError("Not\x1b Supported")]
    assert meter.now() == GpuReading(None, None)
    reason = "NVML: Not\N{REPLACEMENT CHARACTER} Supported"
    assert meter.record() == {"peak_bytes": None, "method": None, "reason": reason}


@pytest.mark.usefixtures("still")
def test_without_a_first_figure_of_the_devices_their_growth_is_unknown(nvml: FakeNvml) -> None:
    nvml.used[1] = NVMLError("Unknown Error")
    with GpuMemoryMeter() as meter:
        nvml.used[1] = GIB
        assert meter.now() == GpuReading(None, None)
        assert meter.record()["reason"] == "NVML: Unknown Error"


def test_the_peak_is_seen_while_nobody_asks_and_errors_midway_do_not_end_the_watch(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    monkeypatch.setattr(gpu_memory, "INTERVAL_S", 0.001)
    lost: list[str] = []

    class Lost(NVMLError):
        def __str__(self) -> str:
            lost.append("asked")
            return "GPU is lost"

    with GpuMemoryMeter() as meter:
        meter.watch(OWN)
        nvml.compute[0] = [(OWN, 300)]
        wait_until(lambda: meter.record()["peak_bytes"] == 300)
        nvml.compute, nvml.used = [Lost(), Lost()], [Lost(), Lost()]
        wait_until(lambda: len(lost) > 3)
        assert meter.record()["peak_bytes"] == 300, "what was seen stays"
        nvml.compute, nvml.used = [[(OWN, 800)], []], [GIB, GIB]
        wait_until(lambda: meter.record()["peak_bytes"] == 800)
    assert failures == []


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "audition[gpu]"),
        (FakeNvml(fails=NVMLError_DriverNotLoaded("x")), "driver is not on this machine"),
        (FakeNvml(gpus=0), "there is no NVIDIA GPU"),
    ],
    ids=["no library", "no driver", "no GPU"],
)
def test_without_a_gpu_there_is_a_reason_and_no_thread(
    module: FakeNvml | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    threads = set(threading.enumerate())
    with GpuMemoryMeter() as meter:
        meter.watch(OWN)
        assert set(threading.enumerate()) <= threads
        assert meter.now() is None
        record = meter.record()
        assert (record["peak_bytes"], record["method"]) == (None, None)
        assert words in record["reason"]
    assert module is None or module.opened == 0


def test_closing_ends_the_watch_once_and_for_all(nvml: FakeNvml) -> None:
    threads = set(threading.enumerate())
    meter = GpuMemoryMeter()
    meter.watch(OWN)
    assert set(threading.enumerate()) - threads
    meter.close()
    assert not set(threading.enumerate()) - threads
    meter.close()
    assert (nvml.opened, meter.now()) == (0, None)


BEFORE = GpuReading(process=400, device=400)  # what CUDA itself takes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (BEFORE, GpuReading(400 + 900, 400 + 900), "cuda0"),
        (BEFORE, GpuReading(400 + 500, 400 + 500), "cuda0"),
        (BEFORE, GpuReading(400 + 499, 400 + 499), None),
        (BEFORE, GpuReading(400 + 50, 400 + 49), None),
        (BEFORE, GpuReading(400 + 49, 400 + 50), None),
        (BEFORE, GpuReading(400 + 49, 400 + 49), "cpu"),
        (GpuReading(None, 0), GpuReading(900, 900), "cuda0"),
        (BEFORE, GpuReading(400, 400 + 900), None),
        (BEFORE, GpuReading(400, None), None),
        (GpuReading(400, None), GpuReading(400, 400), None),
        (BEFORE, GpuReading(400 + 900, None), "cuda0"),
        (GpuReading(None, 0), GpuReading(None, 900), None),
        (GpuReading(None, 0), GpuReading(None, 0), None),
        (None, None, None),
    ],
)
def test_what_a_load_took_shows_the_device(
    before: GpuReading | None, after: GpuReading | None, expected: str | None
) -> None:
    assert device_by_memory(a_target(device="cuda0", disk_bytes=WEIGHTS), before, after) == expected


@pytest.mark.parametrize(
    "changes", [{"device": "cpu"}, {"device": "vulkan0"}, {"device": "npu"}, {"device": "cuda0", "disk_bytes": None}]
)
def test_nothing_is_said_of_devices_that_nvml_does_not_know(changes: dict[str, Any]) -> None:
    target = a_target(**{"disk_bytes": WEIGHTS, **changes})
    assert device_by_memory(target, BEFORE, BEFORE) is None
    assert device_by_memory(target, BEFORE, GpuReading(9999, 9999)) is None


def loaded(target: Any, nvml: FakeNvml, takes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a real engine process's load record says, if the driver says that it took so much while it loaded."""
    load = EngineProcess.load

    def load_and_take(self: EngineProcess, *args: Any) -> float:
        nvml.compute[0] = [(self.pid, 400 + takes)]
        nvml.used[0] = GIB + 400 + takes
        return load(self, *args)

    async def block() -> dict[str, Any]:
        subject = EngineSubject(target, weights, tmp_path / "log", lambda: 2**40)
        try:
            await subject.open()
            await subject.unload()
        finally:
            await subject.close()
        return subject.facts

    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")
    spawn = EngineProcess.__init__

    def spawn_and_take(self: EngineProcess, *args: Any) -> None:
        spawn(self, *args)
        nvml.compute[0], nvml.used[0] = [(self.pid, 400)], GIB + 400

    monkeypatch.setattr(EngineProcess, "__init__", spawn_and_take)
    monkeypatch.setattr(EngineProcess, "load", load_and_take)
    return asyncio.run(block())


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(("takes", "device"), [(900, "cuda0"), (0, "cpu")])
def test_the_record_of_a_load_has_both(
    takes: int, device: str, nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = a_target(device="cuda0", disk_bytes=WEIGHTS)
    facts = loaded(target, nvml, takes, tmp_path, monkeypatch)
    assert facts["device"] == device
    evidence = Evidence(target, [], [], [a_load(device=facts["device"])], {}, Settings())
    assert (DeviceFallback().check(evidence) is not None) == (device == "cpu")
    assert facts["gpu_memory"] == {"peak_bytes": 400 + takes, "method": "process", "reason": None}
    assert nvml.opened == 0
