"""Several who want the same model at the same time: one fetches it, the others wait."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from audition.store.store import Store
from fake_source import NO_LICENCE, fake_variant

TESTS = Path(__file__).parents[2]


@pytest.fixture
def asked(monkeypatch):
    """Count who has asked for the lock, whether or not they have it."""
    counted = threading.Semaphore(0)

    class CountingLock(filelock.FileLock):
        def acquire(self, *arguments, **keywords):
            counted.release()
            return super().acquire(*arguments, **keywords)

    monkeypatch.setattr(filelock, "FileLock", CountingLock)
    return counted


def test_two_threads_fetch_it_once(fake, model, asked):
    both_asked = []

    def content():
        both_asked.append(asked.acquire(timeout=30) and asked.acquire(timeout=30))
        yield model.read_bytes()

    fake.contents = (content,)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Store().ensure(fake_variant(), NO_LICENCE))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert both_asked == [True]
    assert fake.fetches == 1
    assert found[0] == found[1]


PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
import filelock
from audition.store import sources
from audition.store.store import Store
from fake_source import NO_LICENCE, FakeSource, fake_variant

class SayingLock(filelock.FileLock):
    def acquire(self, *arguments, **keywords):
        print("asks", flush=True)
        return super().acquire(*arguments, **keywords)

def content():
    print("fetches", flush=True)
    sys.stdin.readline()
    yield open(sys.argv[2], "rb").read()

filelock.FileLock = SayingLock
sources._SOURCES = (FakeSource(content),)
print("has", Store().ensure(fake_variant(), NO_LICENCE).digest, flush=True)
"""


def test_two_processes_fetch_it_once(store, model, fake):
    command = [sys.executable, "-c", PROCESS, str(TESTS), str(model)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [process.stdout.readline() for process in processes] == ["asks\n"] * 2
        # The one that has the lock waits for a line of ours; until it gets it, neither can end.
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.stdout.read().split() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    assert sorted(outputs) == [["fetches", "has", sha256], ["has", sha256]]
    assert len(store.installed()) == 1


def test_another_model_need_not_wait(fake, model):
    """While one is fetched, another can be: otherwise the thread inside would never come back."""

    def content():
        if fake.fetches == 1:
            other = threading.Thread(target=Store().ensure, args=(fake_variant("other"), NO_LICENCE))
            other.start()
            other.join(60)
            assert not other.is_alive()
        yield model.read_bytes()

    fake.contents = (content,)
    Store().ensure(fake_variant(), NO_LICENCE)
    assert [entry.id for entry in Store().installed()] == ["other:q4_0", "tiny:q4_0"]
