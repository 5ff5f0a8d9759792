"""What a block measures: a model in an engine process of its own, or a server that somebody else runs."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audition.bench.machine import available_memory
from audition.bench.meters.gpu_memory import GpuMemoryMeter, GpuReading
from audition.bench.meters.memory import MemoryMeter
from audition.bench.plan import Plan, Target
from audition.bench.sample import Memory
from audition.engines.endpoint.local import is_loopback, server_process
from audition.engines.host import EngineProcess
from audition.engines.protocol import Session
from audition.engines.server import connect, load
from audition.errors import AuditionError
from audition.sizes import size

# A CUDA program that computes on the CPU still keeps some buffers on the GPU, and one on the GPU some weights off it.
_NONE_OF_IT, _MOST_OF_IT = 0.05, 0.5
# A server is timed in this very process: its memory is read seldom enough not to be in the way.
_SERVER_INTERVAL_S = 0.1
_MOST_NAMED = 3
_KEEPS = "a server keeps its model"


class Subject(ABC):
    """One target, from load to unload.

    Attributes:
        facts: What its load record will say.
        session: What is asked, once it is open.
    """

    session: Session

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self._start = time.perf_counter()

    @abstractmethod
    async def open(self) -> None:
        """Make it ready to be asked.

        Raises:
            AuditionError: It cannot be had.
        """

    @abstractmethod
    async def unload(self) -> None:
        """Note what it took, and have it give the model up."""

    async def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.facts["wall_s"] = round(time.perf_counter() - self._start, 3)

    def pids(self) -> list[int] | None:
        """Return the processes whose work is the target's and not the background's; None when they are not known."""
        return []


class EngineSubject(Subject):
    """A model in an engine process."""

    def __init__(self, target: Target, weights: Path | None, log: Path, free_memory: Callable[[], int]) -> None:
        super().__init__()
        self._target = target
        self._weights = weights
        self._log = log
        self._free_memory = free_memory
        self._engine: EngineProcess | None = None
        self._meter: MemoryMeter | None = None
        self._gpu_meter: GpuMemoryMeter | None = None

    async def open(self) -> None:
        """Start the process and load the model."""
        need_memory([self._target], self._free_memory())
        self._gpu_meter = gpu_meter = GpuMemoryMeter()
        self._engine = engine = EngineProcess(self._target.adapter or self._target.engine, self._log)
        self._meter = MemoryMeter(engine.pid)
        gpu_meter.watch(engine.pid)
        before = gpu_meter.now()
        self.facts |= {"spawn_ms": engine.spawn_ms, "import_ms": engine.import_ms, "baseline": self._meter.now()}
        # In a thread, so that Ctrl-C does not wait for a large model.
        self.facts["load_ms"] = await asyncio.to_thread(engine.load, self._weights, self._target.settings)
        self.facts["device"] = engine.device or device_by_memory(self._target, before, gpu_meter.now())
        self.session = engine

    async def unload(self) -> None:
        """Free the model, and see what stays."""
        if self._engine is not None and self._meter is not None:
            self.facts["peak"] = self._meter.peak
            await asyncio.to_thread(self._engine.unload)
            self.facts["after_unload"] = _if_alive(self._meter.now())

    async def close(self) -> None:
        """End the process."""
        if self._meter is not None:
            self.facts.setdefault("peak", _if_alive(self._meter.peak))
            self._meter.close()
        if self._gpu_meter is not None:
            self.facts["gpu_memory"] = self._gpu_meter.record()
            self._gpu_meter.close()
        if self._engine is not None:
            self._engine.close()
        await super().close()

    def pids(self) -> list[int] | None:
        """Return the engine's process."""
        return [] if self._engine is None else [self._engine.pid]


class ServerSubject(Subject):
    """A server: it is there already. Where it runs on this machine, its memory is read, with all that it holds."""

    def __init__(self, target: Target, plan: Plan) -> None:
        super().__init__()
        widest = max((level.concurrency or 1 for level in plan.levels), default=1)
        self._target = target
        self._connections = widest
        self._url = str(target.settings["url"])
        self._server = connect(target.settings, stream=plan.settings.stream, connections=widest)
        self._process: int | str | None = None
        self._meter: MemoryMeter | None = None
        self._gpu_meter: GpuMemoryMeter | None = None

    async def open(self) -> None:
        """Have the model loaded where the server can be told to, and open the connections, before any timer runs."""
        self.session = self._server
        await self._server.open(1)
        process = self._find_process()
        if isinstance(process, int):
            self._meter = MemoryMeter(process, _SERVER_INTERVAL_S)
            self._gpu_meter = GpuMemoryMeter()
            self._gpu_meter.watch(process)
            self.facts["baseline"] = baseline = _if_alive(self._meter.now())
            self.facts["memory_reason"] = _KEEPS if baseline else "the server's process cannot be looked at"
        else:
            self.facts["memory_reason"] = process
            self.facts["gpu_memory"] = {"peak_bytes": None, "method": None, "reason": process}
        if (load_ms := await load(self._server, self._target.settings)) is not None:
            self.facts["load_ms"] = load_ms
        await self._server.open(self._connections)

    async def unload(self) -> None:
        """Nothing is ours to unload."""

    async def close(self) -> None:
        """Close the connections, and read its memory for the last time."""
        await self._server.close()
        if self._meter is not None:
            # A model may have come in a new process: it is in the peak, however short the block was.
            self._meter.now(whole=True)
            self._meter.close()
            self.facts["peak"] = _if_alive(self._meter.peak)
        if self._gpu_meter is not None:
            self._gpu_meter.now()
            self._gpu_meter.close()
            record = self._gpu_meter.record()
            # What the devices' use grew by says nothing where the model was there before.
            unknown = {"peak_bytes": None, "method": None, "reason": record["reason"]}
            self.facts["gpu_memory"] = record if record["method"] == "process" else unknown
        await super().close()

    def pids(self) -> list[int] | None:
        """Return the process that listens at the address, when it is this machine's; None when it cannot be seen."""
        if not is_loopback(urlsplit(self._url).hostname or ""):
            return []
        process = self._find_process()
        return [process] if isinstance(process, int) else None

    def _find_process(self) -> int | str:
        if self._process is None:
            self._process = server_process(self._url)
        return self._process


def make_subject(
    plan: Plan,
    target: Target,
    log: Path,
    locate: Callable[[Target], Path | None],
    free_memory: Callable[[], int] = available_memory,
) -> Subject:
    """Return the subject for a target, not yet open."""
    if target.is_server:
        return ServerSubject(target, plan)
    return EngineSubject(target, locate(target), log, free_memory)


def device_by_memory(target: Target, before: GpuReading | None, after: GpuReading | None) -> str | None:
    """Return where a model was loaded to, by the NVIDIA GPU memory that its process took; None when that is not shown.

    Args:
        target: Meant for `cuda`; on others NVML says nothing of the device that was asked for.
        before: The engine's libraries are loaded, which takes memory of its own.
        after: The model is loaded.

    Returns:
        `cpu` when neither the process nor the whole device took 5 % of the weights' bytes; the target's device when the
        process took half of them or more.
    """
    if not target.device.casefold().startswith("cuda") or not target.disk_bytes:
        return None
    if before is None or after is None or after.process is None:
        return None
    taken = (after.process - (before.process or 0)) / target.disk_bytes
    if taken >= _MOST_OF_IT:
        return target.device
    if before.device is None or after.device is None:
        return None
    # Two witnesses for an accusation: in a container the process that is named may be another's with the same number.
    is_elsewhere = taken < _NONE_OF_IT and (after.device - before.device) / target.disk_bytes < _NONE_OF_IT
    return "cpu" if is_elsewhere else None


def need_memory(targets: Iterable[Target], free: int) -> None:
    """Refuse loads that cannot fit side by side, rather than freeze the machine.

    Raises:
        AuditionError: `insufficient_memory`, with the estimate and what is free.
    """
    targets = list(targets)
    needed = sum(target.memory_estimate_bytes or 0 for target in targets)
    if needed > free:
        from audition.bench.targets import smaller_variants

        fitting = smaller_variants(targets[0], free) if len(targets) == 1 else []
        would = f" ({', '.join(fitting[:_MOST_NAMED])} would fit)" if fitting else ""
        names = " and ".join(target.variant for target in targets)
        verb = "needs" if len(targets) == 1 else "together need"
        raise AuditionError(
            f"{names} {verb} about {size(needed)} of memory, and {size(free)} are free",
            fix=f"close other programs, or choose a smaller variant{would} or a smaller --context",
            code="insufficient_memory",
        )


def _if_alive(memory: Memory | None) -> Memory | None:
    return memory if memory is not None and memory.total > 0 else None
