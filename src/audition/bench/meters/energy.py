"""Energy, from counters of the hardware: the processor's (RAPL) and the NVIDIA GPUs' (NVML).

Counters and not sampled power: nvidia-smi's power figure covers as little as a quarter of the time on an A100 or H100,
so that adding samples up can be far off (Z. Yang et al., Part-time Power Measurements, arXiv:2312.02741).

What a counter covers: `package` is the processor with its caches and, where it is built in, graphics; `dram` the memory
on servers that count it; `nvml` one GPU's whole board. No fan, disk, screen or power supply is in any of them, so the
sum is less than what the socket in the wall gives. Whatever else runs on the same hardware is in it.

Source: https://docs.kernel.org/power/powercap/powercap.html; nvmlDeviceGetTotalEnergyConsumption in NVIDIA's NVML
reference (millijoules since the driver was loaded, Volta and later).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from audition.bench.host.gpu import NvmlUnavailable, open_nvml

POWERCAP = Path("/sys/class/powercap")
# RAPL registers wrap after 65 to 262 kJ: ten minutes at the draw of a large server processor.
_READ_AT_LEAST_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the counters have counted since the meter was opened.

    Attributes:
        at_s: The meter's clock.
        joules: By source.
        reason: Why the figures are not whole: a counter stopped answering. None when they are.
    """

    at_s: float
    joules: dict[str, float]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy of one block of time; figures that are None have a `reason`.

    Attributes:
        joules_gross: All that the counters counted.
        joules_net: Gross less idle watts times seconds. It keeps its sign: below zero, the block drew no more than the
            noise of the idle power. None without an idle measurement.
        sources: The counters that were added, such as `rapl:package-0`, `nvml:0`; `entered` for a person's figure.
    """

    joules_gross: float | None
    joules_net: float | None
    seconds: float
    sources: tuple[str, ...]
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record, plain as JSON."""
        return {**asdict(self), "sources": list(self.sources)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Energy:
        """Read a record; fields that this version does not know are left out."""
        fields = {name: value for name, value in data.items() if name in cls.__slots__}
        return cls(**{**fields, "sources": tuple(fields["sources"])})


def entered(watts: float, seconds: float) -> Energy:
    """Return the energy of a power that a person has measured or looked up; there is no net figure."""
    reason = "idle power is not known for an entered power"
    return Energy(round(watts * seconds, 6), None, round(seconds, 6), ("entered",), reason)


def energy_between(start: Reading, end: Reading, idle_watts: float | None) -> Energy:
    """Return the energy from one reading of a meter to a later one of the same meter.

    Args:
        start: Taken before the block.
        end: Taken after it.
        idle_watts: From `EnergyMeter.idle_watts`; None leaves the net figure None.
    """
    seconds = end.at_s - start.at_s
    sources = tuple(end.joules)
    if end.reason is not None or not sources:
        return Energy(None, None, round(seconds, 6), sources, end.reason or "there is no energy counter")
    gross = sum(end.joules[source] - start.joules[source] for source in sources)
    if gross == 0:
        return Energy(None, None, round(seconds, 6), sources, "the counters stand still")
    net = None if idle_watts is None else round(gross - idle_watts * seconds, 6)
    reason = "idle power was not measured" if net is None else None
    return Energy(round(gross, 6), net, round(seconds, 6), sources, reason)


class _Counter(Protocol):
    source: str

    def joules(self) -> float:
        """Return the joules since opening.

        Raises:
            OSError: It cannot be read any more.
        """
        ...


class EnergyMeter:
    """The energy counters of this machine, all that may be read.

    While there is a RAPL counter a thread reads it every 30 s, so that no wrap is missed however far apart `read` is
    called. Use as a context manager, or call `close`.

    Attributes:
        sources: The counters found.
        missing: Why a kind of counter (`rapl`, `nvml`) cannot be read, and what to do about it.
    """

    def __init__(
        self,
        counters: list[_Counter],
        missing: dict[str, str],
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
        shutdown: Callable[[], None] | None = None,
    ) -> None:
        self.sources = tuple(counter.source for counter in counters)
        self.missing = missing
        self._counters = counters
        self._clock, self._sleep, self._shutdown = clock, sleep, shutdown
        self._reason: str | None = None
        self._joules: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if any(isinstance(counter, _RaplCounter) for counter in counters):
            self._thread = threading.Thread(target=self._watch, name="energy meter", daemon=True)
            self._thread.start()

    @classmethod
    def open(
        cls,
        powercap: Path = POWERCAP,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> EnergyMeter:
        """Find the counters; without any the meter is still good, and its readings are empty."""
        missing: dict[str, str] = {}
        counters: list[_Counter] = []
        try:
            counters += _rapl_counters(powercap)
        except OSError as error:
            missing["rapl"] = str(error)
        shutdown = None
        try:
            nvml = open_nvml()
        except NvmlUnavailable as error:
            missing["nvml"] = str(error)
        else:
            shutdown = _shutdown(nvml)
            try:
                counters += _nvml_counters(nvml)
            except OSError as error:
                missing["nvml"] = str(error)
        return cls(counters, missing, clock=clock, sleep=sleep, shutdown=shutdown)

    def read(self) -> Reading:
        """Return the joules of every counter since the meter was opened.

        A counter that fails once is not trusted again: every later reading carries the reason.
        """
        with self._lock:
            for counter in self._counters:
                try:
                    self._joules[counter.source] = counter.joules()
                except OSError as error:
                    self._reason = self._reason or f"{counter.source} stopped: {error}"
                    self._joules.setdefault(counter.source, 0.0)
            return Reading(self._clock(), dict(self._joules), self._reason)

    def idle_watts(self, seconds: float = 2.0) -> float | None:
        """Measure the power while nothing of ours runs, in watts; None without counters that move.

        It blocks for `seconds`. The caller sees to it that the machine is idle: no model loaded that answers.
        """
        if not self._counters:
            return None
        start = self.read()
        self._sleep(seconds)
        energy = energy_between(start, self.read(), None)
        return None if energy.joules_gross is None else energy.joules_gross / energy.seconds

    def close(self) -> None:
        """Stop reading, and give the driver's library back."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._shutdown is not None:
            self._shutdown()
            self._shutdown = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._stopping.wait(_READ_AT_LEAST_EVERY_S):
            self.read()


class _RaplCounter:
    """One power zone of the kernel's `intel-rapl` control type, which AMD's processors have too."""

    def __init__(self, zone: Path, source: str) -> None:
        self.source = source
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
        self._last = self._read()
        self._total = 0

    def joules(self) -> float:
        value = self._read()
        # The register goes from its range back to 0.
        self._total += value - self._last if value >= self._last else self._range - self._last + value
        self._last = value
        return self._total / 1e6

    def _read(self) -> int:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except ValueError:
            raise OSError(f"{self._file} does not hold a number") from None


def _rapl_counters(powercap: Path) -> list[_Counter]:
    """Open the packages and their memory.

    Of the sub-zones only `dram` is added: `core` and `uncore` are inside the package. `psys` is the whole platform and
    contains the packages. The control type `intel-rapl-mmio` shows the same packages again.

    Raises:
        OSError: There is no zone, or it may not be read; the text says which and what to do.
    """
    counters: list[_Counter] = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        package = zone.with_name(":".join(zone.name.split(":")[:2]))
        name = (zone / "name").read_text(encoding="ascii").strip()
        if zone == package and name.startswith("package"):
            source = f"rapl:{name}"
        elif zone != package and name == "dram":
            source = f"rapl:{(package / 'name').read_text(encoding='ascii').strip()}/dram"
        else:
            continue
        try:
            counters.append(_RaplCounter(zone, source))
        except PermissionError as error:
            fix = f"sudo chmod a+r {powercap}/intel-rapl:*/energy_uj, until the next start of the machine"
            raise OSError(f"{zone / 'energy_uj'} may be read by root only ({fix})") from error
        except ValueError as error:
            raise OSError(f"{zone} does not hold numbers") from error
    if not counters:
        raise OSError(f"{powercap}/intel-rapl:* is not there (not Linux, a virtual machine, or no RAPL driver)")
    return counters


class _NvmlCounter:
    def __init__(self, nvml: Any, index: int) -> None:
        self.source = f"nvml:{index}"
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self._start: int = nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)

    def joules(self) -> float:
        try:
            millijoules: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            raise OSError(str(error)) from error
        if millijoules < self._start:
            raise OSError("the driver was loaded anew")
        return (millijoules - self._start) / 1000


def _nvml_counters(nvml: Any) -> list[_Counter]:
    """Open every GPU that counts.

    Raises:
        OSError: None of them does, or there is none.
    """
    counters: list[_Counter] = []
    reason = "there is no NVIDIA GPU"
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                counters.append(_NvmlCounter(nvml, index))
            except nvml.NVMLError as error:  # older than Volta, or a partition without the right
                reason = f"GPU {index} does not count its energy: {error}"
    except nvml.NVMLError as error:
        reason = f"NVML: {error}"
    if not counters:
        raise OSError(reason)
    return counters


def _shutdown(nvml: Any) -> Callable[[], None]:
    def shutdown() -> None:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()

    return shutdown
