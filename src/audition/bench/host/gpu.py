"""NVIDIA GPUs, through NVML; no serial number or UUID is read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from audition.text import one_line


class NvmlUnavailable(Exception):
    """NVIDIA's management library cannot be asked; the text is the reason."""


def open_nvml() -> Any:
    """Return the `pynvml` module, initialised; the caller owes it one `nvmlShutdown`.

    Raises:
        NvmlUnavailable: The Python library or the driver is absent, or the driver refuses.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        reason = 'the library nvidia-ml-py is not installed (python -m pip install "audition[gpu]")'
        raise NvmlUnavailable(reason) from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NvmlUnavailable(_reason(nvml, error)) from error
    return nvml


@contextmanager
def nvml_session() -> Iterator[Any]:
    """Open NVML for one block.

    Raises:
        NvmlUnavailable: As `open_nvml`.
    """
    nvml = open_nvml()
    try:
        yield nvml
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def list_gpus() -> tuple[list[dict[str, Any]] | None, str | None]:
    """Return the NVIDIA GPUs, or None and why they cannot be read.

    Returns:
        For each GPU `name`, `memory_total_bytes` (None where it is not told) and `driver`. An empty list is the
        driver's word that there are none; GPUs of other makers are not looked for.
    """
    try:
        with nvml_session() as nvml:
            try:
                driver = one_line(nvml.nvmlSystemGetDriverVersion(), 40)
                return [_describe(nvml, index, driver) for index in range(nvml.nvmlDeviceGetCount())], None
            except nvml.NVMLError as error:
                return None, _reason(nvml, error)
    except NvmlUnavailable as error:
        return None, str(error)


def largest_free() -> tuple[int | None, int | None]:
    """Return the bytes of the NVIDIA GPU with the most free memory, all and free; None without one that tells."""
    try:
        with nvml_session() as nvml:
            try:
                handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            except nvml.NVMLError:
                return None, None
            found = []
            for handle in handles:
                with suppress(nvml.NVMLError):  # as in `_describe`
                    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                    found.append((int(memory.total), max(0, int(memory.total) - int(memory.used))))
            return max(found, key=lambda pair: pair[1], default=(None, None))
    except NvmlUnavailable:
        return None, None


def _describe(nvml: Any, index: int, driver: str) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory: int | None = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:  # not told for GPUs that share the system's memory, and under some partitions
        memory = None
    return {"name": one_line(nvml.nvmlDeviceGetName(handle), 100), "memory_total_bytes": memory, "driver": driver}


def _reason(nvml: Any, error: Exception) -> str:
    if isinstance(error, (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded)):
        return "NVIDIA's driver is not on this machine, or not loaded (only NVIDIA GPUs are looked for)"
    if isinstance(error, nvml.NVMLError_NoPermission):
        return "NVIDIA's driver refuses this user (are /dev/nvidia* readable and writable?)"
    return f"NVML: {one_line(str(error), 100)}"
