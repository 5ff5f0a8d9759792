"""Memory that a process tree holds on NVIDIA's GPUs, sampled from outside it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from audition.bench.host.gpu import NvmlUnavailable, open_nvml
from audition.text import one_line

INTERVAL_S = 0.1
WHOLE_DEVICE = "whole device"


@dataclass(frozen=True, slots=True)
class GpuReading:
    """GPU memory at one moment, in bytes, summed over the GPUs.

    Attributes:
        process: What the process tree holds; None where the driver does not tell: under Windows' own memory manager
            (WDDM), in a container with process ids of its own, and when it holds nothing.
        device: What the GPUs' used memory grew by since the meter was opened, by anybody's doing; None when not read.
    """

    process: int | None
    device: int | None


class GpuMemoryMeter:
    """Watches the GPU memory of a process and its children until it is closed.

    Open it before the process starts, so that what the process takes while it starts is in the growth of the devices.
    A tenth of a second between samples: a shorter peak can be missed. Without a GPU there is no thread.
    """

    def __init__(self) -> None:
        self._root: int | None = None
        self._is_own: dict[int, bool] = {}
        self._peak = GpuReading(None, None)
        self._reason: str | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._nvml: Any = None
        self._gpus: list[Any] = []
        try:
            self._nvml = open_nvml()
        except NvmlUnavailable as error:
            self._reason = str(error)
            return
        self._gpus = self._find_gpus()
        self._before = self._used()

    def watch(self, pid: int) -> None:
        """Begin to sample a process and its children."""
        self._root = pid
        if self._gpus:
            self._thread = threading.Thread(target=self._watch, name="GPU memory meter", daemon=True)
            self._thread.start()

    def now(self) -> GpuReading | None:
        """Return what is held now, or None without a GPU that can be asked."""
        if not self._gpus:
            return None
        with self._lock:
            reading = GpuReading(self._held(), self._growth())
            self._peak = GpuReading(
                _larger(self._peak.process, reading.process), _larger(self._peak.device, reading.device)
            )
            return reading

    def record(self) -> dict[str, Any]:
        """Return `peak_bytes` (None with a `reason`) and the `method`: `process`, or `whole device` with a reason.

        By the whole device, what other programs took meanwhile is in the figure.
        """
        if self._peak.process is not None:
            return {"peak_bytes": self._peak.process, "method": "process", "reason": None}
        if self._peak.device is not None:
            reason = "the driver names no memory of this process"
            return {"peak_bytes": self._peak.device, "method": WHOLE_DEVICE, "reason": reason}
        return {"peak_bytes": None, "method": None, "reason": self._reason or "GPU memory was not read"}

    def close(self) -> None:
        """Stop watching, and give the driver's library back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._gpus = []
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.now()

    def _find_gpus(self) -> list[Any]:
        gpus = []
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                gpus.append(self._nvml.nvmlDeviceGetHandleByIndex(index))
        except self._nvml.NVMLError as error:
            # Of some GPUs the sum would be too small.
            self._failed(error)
            return []
        if not gpus:
            self._reason = "there is no NVIDIA GPU"
        return gpus

    def _held(self) -> int | None:
        held: int | None = None
        for gpu in self._gpus:
            try:
                # By their version: the plain names raise what is no NVMLError where the driver is older.
                listed = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu)
            except self._nvml.NVMLError as error:
                self._failed(error)
                return None
            with suppress(self._nvml.NVMLError):  # GPUs that compute alone need not have this list
                listed = [*listed, *self._nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(gpu)]
            own: dict[int, int] = {}
            for process in listed:
                if not self._owns(process.pid):
                    continue
                if process.usedGpuMemory is None:
                    return None
                # A process that computes and draws is in both lists, with all that it holds.
                own[process.pid] = max(own.get(process.pid, 0), process.usedGpuMemory)
            if own:
                held = (held or 0) + sum(own.values())
        return held

    def _owns(self, pid: int) -> bool:
        import psutil

        if pid == self._root:
            return True
        if pid not in self._is_own:
            try:
                self._is_own[pid] = any(parent.pid == self._root for parent in psutil.Process(pid).parents())
            except psutil.Error:
                self._is_own[pid] = False
        return self._is_own[pid]

    def _growth(self) -> int | None:
        used = self._used()
        if used is None or self._before is None:
            return None
        return sum(max(0, now - before) for now, before in zip(used, self._before, strict=True))

    def _used(self) -> list[int] | None:
        try:
            return [int(self._nvml.nvmlDeviceGetMemoryInfo(gpu).used) for gpu in self._gpus]
        except self._nvml.NVMLError as error:
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        self._reason = f"NVML: {one_line(str(error), 100)}"


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
