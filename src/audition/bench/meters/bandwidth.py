"""The memory bandwidth of the machine: what an engine that reads every weight for every token is held to."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audition.bench.host.limits import available_memory, cores_quota, usable_cores
from audition.bench.host.processor import l3_bytes

if TYPE_CHECKING:
    import numpy as np

METHOD = "read: numpy bitwise_or.reduce of uint64, one array per thread"
_MEGABYTE = 2**20
# Windows does not say how large the L3 is; common processors have less.
_L3_IF_UNKNOWN = 128 * _MEGABYTE
_CHUNK_BYTES = 8 * _MEGABYTE
_WINDOW_NS = 100_000_000
_WINDOWS = 4


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A measured read bandwidth of the main memory.

    Attributes:
        bytes_per_s: Bytes read per second by all threads together (10^9 of them are a GB/s); None with a `reason`.
        array_bytes: What was read over and over, of all threads together.
    """

    bytes_per_s: float | None
    method: str
    threads: int
    array_bytes: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Window:
    start_ns: int
    end_ns: int
    read_bytes: int


def measure_bandwidth(
    free_memory: Callable[[], int] = available_memory, cache_bytes: Callable[[], int | None] = l3_bytes
) -> Bandwidth:
    """Measure how fast all usable cores together read memory; takes about half a second, and the time to fill.

    Every thread fills an array of its own, so that its pages lie near it, and then reads it in a circle. The arrays
    together are four times the L3 cache (at least 256 MB; beyond 1 GB twice the cache), and at most a quarter of the
    free memory. Best of four windows of a tenth of a second, each of which counts the bytes of all threads from the
    first start to the last end, so threads that wait for each other never make the figure larger.

    Reading alone is what decoding does with weights. STREAM's copy and triad write too, and their figures differ.
    The kernel is numpy's integer OR because the loop needs no more than one load and one operation for 8 bytes, takes
    no shortcut on what it finds, and does not go through a BLAS with threads of its own.

    Args:
        free_memory: The bytes that may be taken; a quarter of them is used at most.
        cache_bytes: The bytes of all L3 caches, or None when not known.

    Returns:
        The bandwidth; `bytes_per_s` is None with a reason when memory is too short for arrays beyond the cache.

    Source: J. D. McCalpin, STREAM: Sustainable Memory Bandwidth in High Performance Computers,
    https://www.cs.virginia.edu/stream/ (arrays of at least four times the last-level cache; best of several passes).
    """
    cores = usable_cores() or 1
    # More threads than a container's quota would read in bursts that it cannot keep up.
    threads = max(1, min(cores, math.ceil(cores_quota() or cores)))
    cache = cache_bytes() or _L3_IF_UNKNOWN
    least = max(128 * _MEGABYTE, 2 * cache)
    # Filling takes longer than measuring, so beyond a gigabyte twice the cache has to do: read in a circle, what the
    # cache holds is gone before it is read again.
    size = min(2 * least, max(least, 1024 * _MEGABYTE), free_memory() // 4)
    if size < least:
        reason = f"memory is short: arrays beyond the caches need {4 * least // _MEGABYTE} MB free"
        return Bandwidth(None, METHOD, threads, 0, reason)
    barrier = threading.Barrier(threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="bandwidth") as pool:
        try:
            readers = [pool.submit(_read, size // threads, barrier) for _ in range(threads)]
            windows = [reader.result() for reader in readers]
        except (MemoryError, RuntimeError) as error:  # a broken barrier and a thread that cannot start are the latter
            barrier.abort()
            reason = f"the arrays or the threads were refused ({type(error).__name__})"
            return Bandwidth(None, METHOD, threads, 0, reason)
    return Bandwidth(max(map(_rate, zip(*windows, strict=True))), METHOD, threads, size // threads * threads)


def _read(size: int, barrier: threading.Barrier) -> list[_Window]:
    import numpy as np

    try:
        # Written, not only reserved: pages never written are all the same page of zeros, which the cache holds.
        words: np.ndarray[tuple[int], np.dtype[np.uint64]] = np.ones(size // 8, np.uint64)
    except MemoryError:
        barrier.abort()
        raise
    step = _CHUNK_BYTES // 8
    chunks = [words[start : start + step] for start in range(0, len(words), step)]
    windows: list[_Window] = []
    place = 0
    for _ in range(_WINDOWS):
        barrier.wait()
        start = end = time.perf_counter_ns()
        count = 0
        while end - start < _WINDOW_NS:
            np.bitwise_or.reduce(chunks[place])
            count += chunks[place].nbytes
            place = (place + 1) % len(chunks)
            end = time.perf_counter_ns()
        windows.append(_Window(start, end, count))
    return windows


def _rate(window: tuple[_Window, ...]) -> float:
    elapsed = max(part.end_ns for part in window) - min(part.start_ns for part in window)
    return sum(part.read_bytes for part in window) * 1e9 / elapsed
