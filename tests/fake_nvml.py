"""A stand-in for the module `pynvml`, with as many GPUs as a test wants and the failures of the real one."""

from __future__ import annotations

from types import SimpleNamespace


class NVMLError(Exception):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class NVMLError_DriverNotLoaded(NVMLError):
    pass


class NVMLError_NoPermission(NVMLError):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


Listed = list[tuple[int, int | None]] | NVMLError


class FakeNvml:
    """Goes into `sys.modules["pynvml"]`. Where it holds an error, that is what reading gives.

    Attributes:
        millijoules: Each GPU's counter.
        used: Each GPU's used memory, bytes.
        compute: The processes on each GPU: pid and bytes, None where the driver does not tell.
        graphics: Those that draw on it.
    """

    NVMLError = NVMLError
    NVMLError_LibraryNotFound = NVMLError_LibraryNotFound
    NVMLError_DriverNotLoaded = NVMLError_DriverNotLoaded
    NVMLError_NoPermission = NVMLError_NoPermission
    NVMLError_NotSupported = NVMLError_NotSupported

    def __init__(self, gpus: int = 1, fails: NVMLError | None = None) -> None:
        self.fails = fails
        self.millijoules: list[int | NVMLError] = [5_000_000] * gpus
        self.memory: int | NVMLError = 24 * 2**30
        self.used: list[int | NVMLError] = [2**30] * gpus
        self.compute: list[Listed] = [[] for _ in range(gpus)]
        self.graphics: list[Listed] = [[] for _ in range(gpus)]
        self.opened = 0

    def nvmlInit(self) -> None:
        if self.fails:
            raise self.fails
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.01"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.millijoules)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"NVIDIA Fake {handle}\x1b[31m"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        if isinstance(self.memory, NVMLError):
            raise self.memory
        return SimpleNamespace(total=self.memory, used=_value(self.used[handle]))

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: int) -> list[SimpleNamespace]:
        return _processes(self.compute[handle])

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: int) -> list[SimpleNamespace]:
        return _processes(self.graphics[handle])

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return _value(self.millijoules[handle])


def _value(value: int | NVMLError) -> int:
    if isinstance(value, NVMLError):
        raise value
    return value


def _processes(listed: Listed) -> list[SimpleNamespace]:
    if isinstance(listed, NVMLError):
        raise listed
    return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in listed]
