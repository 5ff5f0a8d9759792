"""The measured memory bandwidth: plausible, repeatable, and None where memory is short."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from audition.bench.meters import bandwidth
from audition.bench.meters.bandwidth import measure_bandwidth

MEGABYTE = 2**20


def small() -> bandwidth.Bandwidth:
    return measure_bandwidth(free_memory=lambda: 1024 * MEGABYTE, cache_bytes=lambda: 16 * MEGABYTE)


def test_it_is_plausible() -> None:
    measured = [small() for _ in range(3)]
    rates = sorted(found.bytes_per_s or 0.0 for found in measured)
    assert all(1e9 < rate < 3e12 for rate in rates), "1 GB/s is less, and 3 TB/s more, than any main memory has"
    assert measured[0].array_bytes == pytest.approx(256 * MEGABYTE, rel=0.01)
    assert measured[0].reason is None
    assert json.loads(json.dumps(asdict(measured[0]))) == asdict(measured[0])


def test_it_is_not_above_what_copying_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread: reading can be faster than the reads of a copy, but not many times."""
    monkeypatch.setattr(bandwidth, "usable_cores", lambda: 1)
    found = small()
    assert found.threads == 1 and found.bytes_per_s is not None
    source, target = (np.ones(128 * MEGABYTE // 8) for _ in range(2))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    copied = source.nbytes / min(seconds)
    assert copied * 0.5 < found.bytes_per_s < copied * 5


@pytest.mark.parametrize(
    ("free", "cache", "expected"),
    [
        (100_000, 16, 256),
        (100_000, 100, 400),
        (100_000, 480, 1024),
        (100_000, 1152, 2304),
        (100_000, None, 512),
        (800, 32, 200),
    ],
    ids=[
        "at least 256 MB",
        "four times the cache",
        "a gigabyte does",
        "twice a huge cache",
        "an unknown cache",
        "a quarter of the memory",
    ],
)
def test_the_size_of_the_arrays(free: int, cache: int | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def read(size: int, _: threading.Barrier) -> list[bandwidth._Window]:
        sizes.append(size)
        return [bandwidth._Window(0, 10, 10)]

    monkeypatch.setattr(bandwidth, "_read", read)
    measure_bandwidth(lambda: free * MEGABYTE, lambda: None if cache is None else cache * MEGABYTE)
    assert sum(sizes) == pytest.approx(expected * MEGABYTE, rel=0.01)


@pytest.mark.parametrize(("free", "cache"), [(400, 16), (1000, 128), (0, None)])
def test_too_little_memory_is_a_reason_and_no_figure(free: int, cache: int | None) -> None:
    found = measure_bandwidth(lambda: free * MEGABYTE, lambda: None if cache is None else cache * MEGABYTE)
    assert found.bytes_per_s is None
    assert found.reason is not None and "MB free" in found.reason


def test_memory_that_is_refused_is_a_reason_and_no_thread_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second thread is refused while the first waits for it."""
    ones = np.ones

    def refuse(count: int, kind: type[np.uint64]) -> object:
        if threading.current_thread().name.endswith("_1"):
            raise MemoryError
        return ones(count, kind)

    monkeypatch.setattr(bandwidth, "usable_cores", lambda: 2)
    monkeypatch.setattr(np, "ones", refuse)
    found = small()
    assert found.bytes_per_s is None
    assert found.reason is not None and "refused" in found.reason


@pytest.mark.parametrize(("cores", "quota", "threads"), [(8, None, 8), (8, 1.5, 2), (2, 16.0, 2), (None, None, 1)])
def test_the_threads_are_what_this_process_may_use(
    cores: int | None, quota: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandwidth, "usable_cores", lambda: cores)
    monkeypatch.setattr(bandwidth, "cores_quota", lambda: quota)
    monkeypatch.setattr(bandwidth, "_read", lambda size, barrier: [bandwidth._Window(0, 10, size)])
    assert small().threads == threads


def test_the_rate_counts_from_the_first_start_to_the_last_end() -> None:
    windows = (bandwidth._Window(0, 90, 100), bandwidth._Window(10, 200, 300))
    assert bandwidth._rate(windows) == 400 * 1e9 / 200


def test_all_of_the_array_is_read_before_any_of_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the cache would be measured."""
    read: list[int] = []
    monkeypatch.setattr(bandwidth, "_WINDOW_NS", 1_000_000)
    monkeypatch.setattr(np, "bitwise_or", SimpleNamespace(reduce=lambda chunk: read.append(chunk.ctypes.data)))
    windows = bandwidth._read(64 * MEGABYTE, threading.Barrier(1))
    assert len(set(read)) == 8, "pieces of 8 MB"
    assert all(len(set(read[start : start + 8])) == 8 for start in range(len(read) - 7))
    assert sum(window.read_bytes for window in windows) == len(read) * 8 * MEGABYTE
