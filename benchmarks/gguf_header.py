"""CPU time and peak memory of the GGUF header reader.

    python benchmarks/gguf_header.py [MODEL.gguf ...]

Runs the hostile files of `tests/ggufs.py`, then the files given. For these it also prints how many times as
long the `gguf` package takes, if it is installed. Ends with exit code 1 when a hostile file is above a bound.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from audition.models.gguf import GgufError, read_gguf_header

MAX_SECONDS = 0.1
MAX_BYTES = 64 * 2**20
REPEATS = 5


def cpu_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the least CPU time of several runs: the one that other work disturbed the least."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def outcome(path: Path) -> str:
    try:
        header = read_gguf_header(path)
    except GgufError as error:
        return error.message.replace(str(path), "it")
    return f"read: {header.architecture}, {header.quantization}, {header.parameters or 0:,} parameters"


def measure(name: str, path: Path) -> bool:
    """Print one line, and return whether the file is within both bounds."""

    def work() -> str:
        return outcome(path)

    said, seconds, peak = work(), cpu_seconds(work), peak_bytes(work)
    print(f"{seconds * 1e3:8.2f} ms {peak / 2**20:7.2f} MB  {name}: {said[:90]}")
    return seconds <= MAX_SECONDS and peak <= MAX_BYTES


def compare(path: Path) -> None:
    """Print how long the `gguf` package takes for the same file."""
    try:
        package_reader = importlib.import_module("gguf").GGUFReader
    except ModuleNotFoundError:
        print("            (`pip install gguf` to compare with it)")
        return
    theirs = cpu_seconds(lambda: package_reader(path), repeats=1)
    ours = cpu_seconds(lambda: read_gguf_header(path))
    print(f"{theirs * 1e3:8.2f} ms             the gguf package: {theirs / ours:.0f} times as long")


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    hostile_files = importlib.import_module("ggufs").hostile_files
    print("hostile files: CPU time, peak memory")
    with tempfile.TemporaryDirectory() as folder:
        within = [measure(name, path) for name, path in hostile_files(Path(folder))]
    print(f"{sum(within)} of {len(within)} within {MAX_SECONDS * 1e3:.0f} ms and {MAX_BYTES // 2**20} MB")

    for path in map(Path, arguments):
        measure(path.name, path)
        compare(path)
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
