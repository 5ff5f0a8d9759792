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


class FakeNvml:
    """Goes into `sys.modules["pynvml"]`; `millijoules` holds each GPU's counter, or the error that reading it gives."""

    NVMLError = NVMLError
    NVMLError_LibraryNotFound = NVMLError_LibraryNotFound
    NVMLError_DriverNotLoaded = NVMLError_DriverNotLoaded
    NVMLError_NoPermission = NVMLError_NoPermission
    NVMLError_NotSupported = NVMLError_NotSupported

    def __init__(self, gpus: int = 1, fails: NVMLError | None = None) -> None:
        self.fails = fails
        self.millijoules: list[int | NVMLError] = [5_000_000] * gpus
        self.memory: int | NVMLError = 24 * 2**30
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
        return SimpleNamespace(total=self.memory)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        value = self.millijoules[handle]
        if isinstance(value, NVMLError):
            raise value
        return value
