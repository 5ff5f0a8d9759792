"""Energy from counters: RAPL in a made-up sysfs, NVML from a stand-in, and every way of not having them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from audition.bench.meters import energy
from audition.bench.meters.energy import Energy, EnergyMeter, energy_between, entered
from fake_nvml import FakeNvml, NVMLError, NVMLError_LibraryNotFound, NVMLError_NotSupported

RANGE = 262_143_328_850


def zone(root: Path, name: str, label: str, microjoules: int) -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return put(folder, microjoules)


def put(folder: Path, microjoules: int) -> Path:
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """No driver, until a test says otherwise."""
    nvml = FakeNvml(gpus=0, fails=NVMLError_LibraryNotFound("not found"))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


@pytest.fixture
def ticking() -> Callable[[], float]:
    """A clock that goes on by two seconds at every look."""
    times = iter(range(0, 1000, 2))
    return lambda: float(next(times))


@pytest.mark.usefixtures("nvml")
def test_packages_and_their_memory_are_added_and_nothing_twice(tmp_path: Path, ticking: Callable[[], float]) -> None:
    package0 = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    package1 = zone(tmp_path, "intel-rapl:1", "package-1", 1_000_000)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 1_000_000)
    inside = [
        zone(tmp_path, "intel-rapl:0:0", "core", 0),
        zone(tmp_path, "intel-rapl:0:2", "uncore", 0),
        zone(tmp_path, "intel-rapl:2", "psys", 0),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    with EnergyMeter.open(tmp_path, clock=ticking) as meter:
        assert meter.sources == ("rapl:package-0", "rapl:package-0/dram", "rapl:package-1")
        start = meter.read()
        for folder, joules in ((package0, 10), (package1, 20), (dram, 5)):
            put(folder, 1_000_000 + joules * 1_000_000)
        for folder in inside:
            put(folder, 777_000_000)
        found = energy_between(start, meter.read(), idle_watts=4.0)
    assert found == Energy(35.0, 35.0 - 2 * 4.0, 2.0, meter.sources)


@pytest.mark.usefixtures("nvml")
def test_a_register_that_wraps_goes_on_counting(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 3_000_000)
    with EnergyMeter.open(tmp_path) as meter:
        put(package, 2_000_000)
        assert meter.read().joules == {"rapl:package-0": 5.0}
        put(package, RANGE - 1_000_000)
        meter.read()
        put(package, 1_000_000)
        assert meter.read().joules["rapl:package-0"] == pytest.approx(5.0 + (RANGE - 3_000_000) / 1e6 + 2.0)


@pytest.mark.usefixtures("nvml")
def test_wraps_are_not_missed_while_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_READ_AT_LEAST_EVERY_S", 0.001)
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    threads = set(threading.enumerate())
    seen = threading.Event()
    monkeypatch.setattr(EnergyMeter, "read", lambda _: seen.set())
    with EnergyMeter.open(tmp_path):
        assert seen.wait(30)
    assert not set(threading.enumerate()) - threads


@pytest.mark.usefixtures("nvml")
def test_counters_for_root_only_name_the_file_and_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    read_text = Path.read_text

    def refuse(path: Path, **options: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with EnergyMeter.open(tmp_path) as meter:
        assert meter.sources == ()
        assert str(package / "energy_uj") in meter.missing["rapl"]
        assert "sudo chmod a+r" in meter.missing["rapl"]
        assert meter.idle_watts() is None
        found = energy_between(meter.read(), meter.read(), None)
    assert found.joules_gross is None and found.reason == "there is no energy counter"


@pytest.mark.usefixtures("nvml")
def test_without_rapl_or_a_gpu_both_have_their_reason(tmp_path: Path) -> None:
    with EnergyMeter.open(tmp_path / "powercap") as meter:
        assert set(meter.missing) == {"rapl", "nvml"}
        assert "no RAPL driver" in meter.missing["rapl"]
        assert "driver is not on this machine" in meter.missing["nvml"]


@pytest.mark.usefixtures("nvml")
def test_a_zone_that_holds_no_number_is_missing(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (package / "max_energy_range_uj").write_text("many\n")
    with EnergyMeter.open(tmp_path) as meter:
        assert meter.sources == () and "numbers" in meter.missing["rapl"]


@pytest.mark.usefixtures("nvml")
def test_a_counter_that_stops_leaves_the_energy_unknown_for_good(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    with EnergyMeter.open(tmp_path) as meter:
        start = meter.read()
        (package / "energy_uj").unlink()
        assert meter.read().reason is not None
        put(package, 9_000_000)
        found = energy_between(start, meter.read(), None)
    assert found.joules_gross is None
    assert found.reason is not None and "rapl:package-0 stopped" in found.reason


@pytest.mark.usefixtures("nvml")
def test_counters_that_stand_still_are_not_zero_joules(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    with EnergyMeter.open(tmp_path) as meter:
        found = energy_between(meter.read(), meter.read(), None)
        assert found.joules_gross is None and found.reason == "the counters stand still"
        assert meter.idle_watts(0) is None


def test_gpus_are_counted_from_opening(tmp_path: Path, nvml: FakeNvml) -> None:
    nvml.fails = None
    nvml.millijoules = [1_000_000, NVMLError_NotSupported("Not Supported"), 2_000_000]
    with EnergyMeter.open(tmp_path) as meter:
        assert meter.sources == ("nvml:0", "nvml:2")
        assert "nvml" not in meter.missing
        nvml.millijoules = [1_250_000, 0, 2_500_000]
        assert meter.read().joules == {"nvml:0": 250.0, "nvml:2": 500.0}
    assert nvml.opened == 0


@pytest.mark.parametrize(
    ("millijoules", "words"), [(NVMLError("GPU is lost"), "GPU is lost"), (5, "loaded anew")], ids=["lost", "reset"]
)
def test_a_gpu_that_is_lost_or_starts_anew_stops_the_count(
    millijoules: int | NVMLError, words: str, tmp_path: Path, nvml: FakeNvml
) -> None:
    nvml.fails, nvml.millijoules = None, [1_000_000]
    with EnergyMeter.open(tmp_path) as meter:
        nvml.millijoules = [millijoules]
        reading = meter.read()
    assert reading.reason is not None and words in reading.reason


def test_gpus_that_do_not_count_have_a_reason(tmp_path: Path, nvml: FakeNvml) -> None:
    nvml.fails, nvml.millijoules = None, [NVMLError_NotSupported("Not Supported")]
    with EnergyMeter.open(tmp_path) as meter:
        assert meter.sources == () and "Not Supported" in meter.missing["nvml"]
    assert nvml.opened == 0, "the driver is given back though nothing was found"


@pytest.mark.usefixtures("nvml")
def test_idle_power_is_measured_over_its_own_time(tmp_path: Path, ticking: Callable[[], float]) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        put(package, 14_000_000)

    with EnergyMeter.open(tmp_path, clock=ticking, sleep=sleep) as meter:
        assert meter.idle_watts(2.0) == 7.0
    assert slept == [2.0]


def test_net_energy_keeps_its_sign() -> None:
    start = energy.Reading(0.0, {"rapl:package-0": 0.0})
    end = energy.Reading(10.0, {"rapl:package-0": 50.0})
    found = energy_between(start, end, idle_watts=6.0)
    assert (found.joules_gross, found.joules_net) == (50.0, -10.0)


def test_an_entered_power_has_no_net_figure() -> None:
    found = entered(30.0, 2.5)
    assert (found.joules_gross, found.joules_net, found.sources) == (75.0, None, ("entered",))
    assert found.reason


def test_a_record_comes_back_from_json() -> None:
    record = Energy(3.5, None, 2.0, ("rapl:package-0", "nvml:0"), "idle power was not measured")
    assert Energy.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_this_machine_has_counters_or_reasons() -> None:
    with EnergyMeter.open() as meter:
        assert {source.partition(":")[0] for source in meter.sources} | set(meter.missing) == {"rapl", "nvml"}
        assert all(meter.missing.values())
