"""The memory meter watches another process, and survives whatever becomes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from audition.bench.meters.memory import MemoryMeter
from audition.bench.sample import Memory
from plans import MEGABYTE

LONG = 60.0
"""Seconds; far more than any of this needs, on any machine."""
SIZE = 200 * MEGABYTE
NOISE = 40 * MEGABYTE

SERVANT = f"""
import mmap, os, subprocess, sys
size = {SIZE}
for line in sys.stdin:
    order, _, argument = line.strip().partition(" ")
    if order == "allocate":
        held = b"\\x01" * size
    elif order == "map":
        held = mmap.mmap(os.open(argument, os.O_RDONLY), 0, prot=mmap.PROT_READ)
        sum(held[place] for place in range(0, len(held), 4096))
    elif order == "free":
        del held
    elif order == "bear":
        held = subprocess.Popen([sys.executable, "-c", "held = b'\\\\x01' * %d; input()" % size], stdin=-1)
    print("done", flush=True)
"""


class Servant:
    """A process that takes and gives back memory when it is told to."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-c", SERVANT]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.order("nothing")

    def order(self, order: str) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        for process in psutil.Process(self.process.pid).children(recursive=True):
            process.kill()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def servant() -> Iterator[Servant]:
    servant = Servant()
    yield servant
    if servant.process.poll() is None:
        servant.end()


def now(meter: MemoryMeter) -> Memory:
    memory = meter.now()
    assert memory is not None
    return memory


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def near(value: int, expected: int) -> bool:
    return abs(value - expected) < NOISE


def test_memory_of_its_own_is_seen(servant: Servant) -> None:
    with MemoryMeter(servant.process.pid) as meter:
        before = now(meter)
        servant.order("allocate")
        after = now(meter)
    assert near(after.total - before.total, SIZE)
    if sys.platform == "linux":
        assert after.anonymous is not None and before.anonymous is not None
        assert after.file_backed is not None and before.file_backed is not None
        assert near(after.anonymous - before.anonymous, SIZE)
        assert near(after.file_backed - before.file_backed, 0)
        assert after.anonymous + after.file_backed == after.total


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell them apart")
def test_a_mapped_file_is_told_apart(servant: Servant, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(os.urandom(MEGABYTE) * (SIZE // MEGABYTE))
    with MemoryMeter(servant.process.pid) as meter:
        before = now(meter)
        servant.order(f"map {weights}")
        after = now(meter)
    assert after.anonymous is not None and before.anonymous is not None
    assert after.file_backed is not None and before.file_backed is not None
    assert near(after.file_backed - before.file_backed, SIZE)
    assert near(after.anonymous - before.anonymous, 0)


def test_the_peak_is_kept_after_the_memory_was_given_back(servant: Servant) -> None:
    with MemoryMeter(servant.process.pid) as meter:
        before = now(meter)
        servant.order("allocate")
        wait_until(lambda: meter.peak is not None and near(meter.peak.total - before.total, SIZE))
        servant.order("free")
        assert near(now(meter).total, before.total)
    assert meter.peak is not None
    assert near(meter.peak.total - before.total, SIZE)


def test_a_peak_is_seen_while_nobody_asks(servant: Servant) -> None:
    with MemoryMeter(servant.process.pid) as meter:
        wait_until(lambda: meter.peak is not None)
        first = meter.peak
        servant.order("allocate")
        assert first is not None
        wait_until(lambda: meter.peak is not None and meter.peak.total - first.total > SIZE - NOISE)


def test_memory_of_its_children_counts(servant: Servant) -> None:
    with MemoryMeter(servant.process.pid) as meter:
        before = now(meter)
        servant.order("bear")
        wait_until(lambda: now(meter).total - before.total > SIZE)


def test_a_process_that_is_gone_has_no_memory(servant: Servant) -> None:
    with MemoryMeter(servant.process.pid) as meter:
        seen = now(meter)
        servant.end()
        assert meter.now() is None
        assert meter.peak is not None and meter.peak.total >= seen.total, "what was seen stays"
    assert meter.now() is None


def test_a_process_that_was_never_there_has_none(servant: Servant) -> None:
    servant.end()
    with MemoryMeter(servant.process.pid) as meter:
        assert meter.now() is None
        assert meter.peak is None


@pytest.mark.skipif(sys.platform == "win32", reason="has no zombies")
def test_a_process_that_ended_and_was_not_waited_for_has_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    with MemoryMeter(process.pid) as meter:
        assert meter.now() is None
        assert meter.peak is None
    process.wait()


def test_watching_goes_on_however_the_process_ends(servant: Servant, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with MemoryMeter(servant.process.pid) as meter:
        servant.order("bear")
        wait_until(lambda: meter.peak is not None)
        servant.end()
        wait_until(lambda: meter.now() is None)
    assert failures == []


def test_closing_ends_the_watch(servant: Servant) -> None:
    threads = set(threading.enumerate())
    meter = MemoryMeter(servant.process.pid)
    assert set(threading.enumerate()) - threads
    meter.close()
    assert not set(threading.enumerate()) - threads
    meter.close()
