"""GPUs are listed without what identifies them, and every way of not reading them has its reason."""

from __future__ import annotations

import importlib
import sys

import pytest

from audition.bench.host.gpu import largest_free, list_gpus
from fake_nvml import (
    FakeNvml,
    NVMLError,
    NVMLError_DriverNotLoaded,
    NVMLError_LibraryNotFound,
    NVMLError_NoPermission,
    NVMLError_NotSupported,
)


def test_gpus_are_described_and_the_driver_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(gpus=2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus, reason = list_gpus()
    assert reason is None
    assert gpus is not None and len(gpus) == 2
    assert gpus[1] == {
        "name": "NVIDIA Fake 1\N{REPLACEMENT CHARACTER}[31m",
        "memory_total_bytes": 24 * 2**30,
        "driver": "570.01",
    }
    assert nvml.opened == 0


def test_memory_that_is_not_told_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    nvml.memory = NVMLError("Not Supported")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus, _ = list_gpus()
    assert gpus is not None and gpus[0]["memory_total_bytes"] is None and gpus[0]["driver"] == "570.01"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NVMLError_LibraryNotFound("x"), "not on this machine"),
        (NVMLError_DriverNotLoaded("x"), "not loaded"),
        (NVMLError_NoPermission("x"), "refuses this user"),
        (NVMLError("GPU is lost"), "GPU is lost"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_reason(
    error: NVMLError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fails=error))
    gpus, reason = list_gpus()
    assert gpus is None
    assert reason is not None and words in reason


def test_without_the_library_the_reason_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it raises ImportError
    gpus, reason = list_gpus()
    assert gpus is None
    assert reason is not None and "audition[gpu]" in reason


def test_the_real_library_has_the_names_that_we_use() -> None:
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        pytest.skip("nvidia-ml-py is not installed")
    missing = [name for name in dir(FakeNvml) if name.lower().startswith("nvml") and not hasattr(pynvml, name)]
    assert missing == []
    gpus, reason = list_gpus()
    assert (gpus is None) == (reason is not None)


def test_the_gpu_with_the_most_free_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(gpus=3)
    fake.used = [20 * 2**30, 2 * 2**30, 4 * 2**30]
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert largest_free() == (24 * 2**30, 22 * 2**30)
    assert fake.opened == 0


def test_a_gpu_that_does_not_tell_its_memory_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(gpus=1)
    fake.memory = NVMLError_NotSupported()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert largest_free() == (None, None)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(gpus=0))
    assert largest_free() == (None, None)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fails=NVMLError_LibraryNotFound()))
    assert largest_free() == (None, None)
