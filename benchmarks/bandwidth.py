"""The product's memory bandwidth beside other ways to read and copy memory with all usable cores.

    python benchmarks/bandwidth.py [--megabytes 1024] [--passes 5]

Prints GB/s (10^9 bytes per second, the best of the passes) and the ratio to the product's figure. A copy counts twice:
what it reads and what it writes. `memmove` of the C library may write past the caches, so it can be above the others.
For a second opinion in C, compile STREAM (https://www.cs.virginia.edu/stream/) with `-O3 -march=native -fopenmp`.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from audition.bench.machine import usable_cores
from audition.bench.meters.bandwidth import measure_bandwidth

Array = np.ndarray[Any, np.dtype[np.uint64]]

READS: dict[str, Callable[[Array], object]] = {
    "read  bitwise_or.reduce uint64": np.bitwise_or.reduce,
    "read  add.reduce uint64": np.add.reduce,
    "read  max float32": lambda words: np.max(words.view(np.float32)),
    "read  sum float64": lambda words: np.sum(words.view(np.float64)),
}
COPIES: dict[str, Callable[[Array, Array], object]] = {
    "copy  numpy.copyto": np.copyto,
    "copy  C memmove": lambda to, source: ctypes.memmove(to.ctypes.data, source.ctypes.data, source.nbytes),
}


def least_seconds(pool: ThreadPoolExecutor, passes: int, call: Callable[..., object], *arrays: list[Array]) -> float:
    """Return the least wall time of one call on each thread's arrays."""
    seconds = []
    for _ in range(passes):
        start = time.perf_counter()
        list(pool.map(call, *arrays))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024, help="of all arrays that are read together")
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    product = measure_bandwidth()
    if product.bytes_per_s is None:
        raise SystemExit(product.reason)
    workers = usable_cores() or 1
    words = options.megabytes * 2**20 // 8 // workers
    sources: list[Array] = [np.ones(words, np.uint64) for _ in range(workers)]
    targets: list[Array] = [np.ones(words, np.uint64) for _ in range(workers)]
    total = workers * words * 8
    figures = {"audition measure_bandwidth": product.bytes_per_s}
    with ThreadPoolExecutor(workers) as pool:
        for name, read in READS.items():
            figures[name] = total / least_seconds(pool, options.passes, read, sources)
        for name, copy in COPIES.items():
            figures[name] = 2 * total / least_seconds(pool, options.passes, copy, targets, sources)
    print(f"{product.threads} threads, {product.array_bytes / 1e6:.0f} MB for the product, {total / 1e6:.0f} MB beside")
    for name, value in figures.items():
        print(f"{name:34} {value / 1e9:8.2f} GB/s   {value / product.bytes_per_s:5.2f} x")


if __name__ == "__main__":
    main()
