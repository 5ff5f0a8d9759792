"""What else the machine did while something was measured: background load, steal, swap, clock, heat, pressure."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from audition.bench.host.counters import SystemCounters, read_counters
from audition.bench.host.processor import PROC, SYS, current_mhz
from audition.bench.host.surroundings import battery

if TYPE_CHECKING:
    import psutil

INTERVAL_S = 0.5
# Linux and the BSDs add an ended child's time to its parent's; elsewhere it has to be kept from when it was last seen.
_KEEPS_ENDED = sys.platform in ("win32", "darwin")
# Ticks are of 10 ms on each core: in less time than this, one or two of them would already look like a load.
_SHORTEST_S = 0.5
# The system counts in ticks, processes exactly: a difference of this much is still the same machine.
_SLACK, _SLACK_S = 0.1, 0.2
_TOO_SHORT = f"in less than {_SHORTEST_S:g} s the system's clock ticks are too coarse to tell"

OwnPids = Callable[[], Iterable[int] | None]


@dataclass(frozen=True, slots=True)
class Activity:
    """What the system did beside, during one block of time. What is None has its reason in `reasons`, by field.

    Attributes:
        seconds: Wall time.
        background_cores: CPU time of everything but the given processes and their trees, in cores (CPU seconds per
            second). On Linux this is the whole host, inside a container too: that is what one competes with.
        steal_share: The part of all cores' time that the hypervisor gave to others, 0 to 1.
        swap_in_bytes: Read back from swap, by any process.
        swap_out_bytes: Written to swap, by any process.
        frequency_mhz_mean: Clock of the fastest core, mean of samples half a second apart.
        frequency_mhz_min: The least of them. Waiting lets the clock fall too: only under load does it tell of heat.
        throttle_events: How often a core or a package was slowed for its heat.
        cpu_pressure: Part of the time in which a thread that was ready had no core, 0 to 1. The engine's own count, so
            more threads than cores show here.
        memory_pressure: Part of the time in which a thread waited for memory to be freed or read back, 0 to 1.
        on_battery: Whether it ran from the battery at the end.
    """

    seconds: float
    background_cores: float | None = None
    steal_share: float | None = None
    swap_in_bytes: int | None = None
    swap_out_bytes: int | None = None
    frequency_mhz_mean: float | None = None
    frequency_mhz_min: float | None = None
    throttle_events: int | None = None
    cpu_pressure: float | None = None
    memory_pressure: float | None = None
    on_battery: bool | None = None
    reasons: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the record, plain as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Activity:
        """Read a record; fields that this version does not know are left out."""
        return cls(**{name: value for name, value in data.items() if name in cls.__slots__})


class ActivityMeter:
    """Watches the system from entering to `stop`, by counters at both ends.

    In between a thread reads the clock twice a second where it can be read, and on Windows and macOS the CPU times of
    our processes: one that ends there takes its times with it, and what it used since the last reading counts as
    background. On Linux its parent inherits them, and nothing is lost.

    Args:
        own: The process ids that belong to the measurement with all their children, beside this process and its own:
            a server's, say. None when they cannot be known, and then the background cannot be told apart. Asked at
            both ends, and on Windows and macOS in between from the meter's thread.
    """

    def __init__(
        self,
        own: OwnPids = tuple,
        *,
        proc: Path = PROC,
        sys_root: Path = SYS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._proc, self._sys, self._clock = proc, sys_root, clock
        self._frequencies: list[float] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._activity: Activity | None = None
        self._ledger = _CpuLedger(own)
        self.sample()
        self._counters = read_counters(proc, sys_root)
        self._started = clock()
        if self._frequencies or _KEEPS_ENDED:
            self._thread = threading.Thread(target=self._watch, name="activity meter", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def sample(self) -> None:
        """Read what has no counter; the meter's thread does this twice a second."""
        if (frequency := current_mhz(self._sys)) is not None:
            self._frequencies.append(frequency)

    def stop(self) -> Activity:
        """Return what happened since the start; later calls return the same."""
        if self._activity is None:
            self._stopping.set()
            if self._thread is not None:
                self._thread.join()
            seconds = self._clock() - self._started
            counters = read_counters(self._proc, self._sys)
            self._ledger.update()
            self.sample()
            self._activity = self._summarise(seconds, counters)
        return self._activity

    def _watch(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            self.sample()
            if _KEEPS_ENDED:
                self._ledger.update()

    def _summarise(self, seconds: float, end: SystemCounters) -> Activity:
        start = self._counters
        background, background_reason = _background(start, end, self._ledger, seconds)
        steal, total = _difference(start.steal_s, end.steal_s), _difference(start.total_s, end.total_s)
        swap_in = _difference(start.swap_in_bytes, end.swap_in_bytes)
        swap_out = _difference(start.swap_out_bytes, end.swap_out_bytes)
        throttles = _difference(start.throttles, end.throttles)
        steal_share = round(steal / total, 4) if steal is not None and total and seconds >= _SHORTEST_S else None
        steal_reason = "not counted here" if seconds >= _SHORTEST_S else _TOO_SHORT
        clock = self._frequencies
        power_source = battery()[0]
        values: dict[str, tuple[float | bool | None, str | None]] = {
            "background_cores": (background, background_reason),
            "steal_share": (steal_share, steal_reason),
            "swap_in_bytes": (None if swap_in is None else int(swap_in), "not counted here"),
            "swap_out_bytes": (None if swap_out is None else int(swap_out), "not counted here"),
            "frequency_mhz_mean": (round(sum(clock) / len(clock), 1) if clock else None, "the clock is not shown here"),
            "frequency_mhz_min": (round(min(clock), 1) if clock else None, "the clock is not shown here"),
            "throttle_events": (None if throttles is None else int(throttles), "not counted here"),
            "cpu_pressure": (_share(start.cpu_pressure_s, end.cpu_pressure_s, seconds), "not counted here"),
            "memory_pressure": (_share(start.memory_pressure_s, end.memory_pressure_s, seconds), "not counted here"),
            "on_battery": (None if power_source is None else power_source == "battery", "no battery is shown"),
        }
        reasons = {name: reason for name, (value, reason) in values.items() if value is None and reason}
        known: dict[str, Any] = {name: value for name, (value, _) in values.items()}
        return Activity(round(seconds, 3), **known, reasons=reasons)


def background_now(seconds: float = 0.5, own: OwnPids = tuple) -> float | None:
    """Return the background load before a run starts, in cores; None where it cannot be told apart."""
    with ActivityMeter(own) as meter:
        time.sleep(seconds)
        return meter.stop().background_cores


class _CpuLedger:
    """The CPU seconds of this process's tree and of the trees it is given, since it was opened."""

    def __init__(self, own: OwnPids) -> None:
        self._own = own
        self._last: dict[psutil.Process, float] = {}
        self._roots: set[int] = set()
        self._opened: float | None = None
        self.reason: str | None = None
        self.update()
        self._base = sum(self._last.values())
        self._opened = time.time()

    @property
    def seconds(self) -> float:
        return sum(self._last.values()) - self._base

    def update(self) -> None:
        """Read the times of the trees; why they are not whole goes to `reason`."""
        import psutil

        named = self._own()
        if named is None:
            self.reason = "the processes of the engine are not known, so its load cannot be told from others'"
            return
        self._roots |= {os.getpid(), *named}
        seen = set(self._last)
        for pid in self._roots:
            try:
                root = psutil.Process(pid)
                seen |= {root, *root.children(recursive=True)}
            except psutil.Error:
                self.reason = f"process {pid} is gone or cannot be read"
        for process in seen:
            try:
                # A number given to another process since raises here, so its times are not taken for ours.
                if not process.is_running():
                    raise psutil.NoSuchProcess(process.pid)
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                if not _KEEPS_ENDED:
                    self._last.pop(process, None)
                continue
            except psutil.Error:
                self.reason = f"process {process.pid} cannot be read"
                continue
            if process not in self._last and self._opened is not None and process.create_time() < self._opened - 1:
                self.reason = f"process {process.pid} was there before and was named too late"
            self._last[process] = times.user + times.system + times.children_user + times.children_system


def _background(
    start: SystemCounters, end: SystemCounters, own: _CpuLedger, seconds: float
) -> tuple[float | None, str | None]:
    """Return the cores that others kept busy, or why they cannot be told apart."""
    busy = _difference(start.busy_s, end.busy_s)
    if own.reason is not None:
        return None, own.reason
    if seconds < _SHORTEST_S:
        return None, _TOO_SHORT
    if busy is None or seconds <= 0 or not _difference(start.total_s, end.total_s):
        return None, "the system does not count its CPU time"
    others = busy - own.seconds
    if others < -(_SLACK * own.seconds + _SLACK_S):
        return None, "our processes used more CPU time than the system counted, so its counter is not of this machine"
    return round(max(0.0, others) / seconds, 3), None


def _difference(start: float | None, end: float | None) -> float | None:
    """Return how far a counter went; None when it is not there or was set back."""
    return None if start is None or end is None or end < start else end - start


def _share(start: float | None, end: float | None, seconds: float) -> float | None:
    waited = _difference(start, end)
    # The two clocks are read one after the other, so a whole share may come out as slightly more.
    return None if waited is None or seconds <= 0 else round(min(1.0, waited / seconds), 4)
