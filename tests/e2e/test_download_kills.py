"""Downloads whose process is killed with -9, or that two processes want at once; real processes, a real server.

A driver process has everything imported and forks a child for each download, so that a hundred of them take seconds.
Half of the children are killed after a random time, half of them kill themselves just before a random operation on a
file, a folder or a socket, every kind of operation as often as the others: that reaches moments that last microseconds,
such as those around the rename.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from audition.models.spec import Variant, VariantFile
from audition.store.store import Store
from audition.store.transfer.interrupted import interrupted
from audition.store.transfer.partial import read_journal
from audition.store.transfer.settings import Settings
from downloads import blobs_are_what_they_say, sha256
from file_server import FileServer
from ggufs import write_gguf

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork are POSIX's")

TESTS = Path(__file__).parents[1]
KILLS = 50  # with one connection, and again with several
SIZE = 4_000_000
WIDE = Settings(piece=512 * 1024, connections=3, widen_s=0.0, save_s=0.02, socket_s=5)
NARROW = replace(WIDE, connections=1)

DRIVER = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from audition.models.spec import Variant, VariantFile
from audition.store.store import Store
from audition.store.transfer import download, settings
from downloads import sha256
from fake_source import NO_LICENCE
import filelock, urllib.request

KINDS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.scandir",
         "socket.connect", "socket.getaddrinfo", "shutil.rmtree", "fcntl.flock")

for line in iter(sys.stdin.readline, ""):
    task = json.loads(line)
    child = os.fork()
    if child == 0:
        settings.SETTINGS = settings.Settings(**task["settings"])
        file = VariantFile("model.gguf", task["size"], task["sha256"])
        variant = Variant("tiny", "gguf", "Q4_0", task["url"], (file,))
        seen = {}
        def fuse(event, arguments):
            if event in KINDS:
                seen[event] = seen.get(event, 0) + 1
                if [event, seen[event]] == task["fuse"]:
                    os.write(1, (event + "\\n").encode())
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(fuse)
        code = 1
        try:
            told = lambda *what: print(json.dumps(what), flush=True) if task["verbose"] else None
            installed = Store().ensure(variant, NO_LICENCE, told)
            print("installed", installed.digest, json.dumps(seen), flush=True)
            code = 0
        finally:
            os._exit(code)
    print("pid", child, flush=True)
    sys.stdin.readline()  # until then nobody else can have its number
    print("ended", os.waitpid(child, 0)[1], flush=True)
"""


class Driver:
    """A process that downloads on request, in children of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", DRIVER, str(TESTS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def begin(
        self,
        url: str,
        size: int,
        digest: str,
        settings: Settings,
        *,
        fuse: tuple[str, int] | None = None,
        verbose: bool = False,
    ) -> int:
        """Start a download, which kills itself before the nth operation of a kind; return its process id."""
        task = {"url": url, "size": size, "sha256": digest, "settings": asdict(settings), "fuse": fuse}
        self._write(json.dumps({**task, "verbose": verbose}))
        self.said: list[str] = []
        return int(self.line("pid").split()[1])

    def line(self, word: str) -> str:
        """Return its next line that begins with a word; the others are kept in `said`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line
            self.said.append(line.strip())
        raise AssertionError(f"the driver ended: {self.said}")

    def status(self) -> int:
        """Wait for the child, and return its status as `waitpid` tells it."""
        self._write("wait for it")
        return int(self.line("ended").split()[1])

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def drivers() -> Iterator[Any]:
    started: list[Driver] = []

    def start() -> Driver:
        started.append(Driver())
        return started[-1]

    yield start
    for driver in started:
        driver.close()


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    """A valid model of some size: what follows its tensors is nobody's business."""
    small = write_gguf(tmp_path / "model.gguf").read_bytes()
    return small + random.Random(1).randbytes(SIZE - len(small))


def variant(server: FileServer, model: bytes) -> Variant:
    file = VariantFile("model.gguf", len(model), sha256(model))
    return Variant("tiny", "gguf", "Q4_0", f"{server.url}/model.gguf", (file,))


def nothing_is_claimed_that_is_not_so(store: Store, model: bytes) -> int:
    """Look at everything in the store; return how many bytes of a partial file are claimed."""
    names = blobs_are_what_they_say(store.root)
    assert names in ([], [f"sha256-{sha256(model)}"])
    for installed in store.installed():
        assert installed.digest == sha256(model)
    claimed = 0
    for entry in interrupted(store.partials):
        record = read_journal(entry.journal)
        assert record is not None
        with entry.path.open("rb") as stream:
            for start, end in record["arrived"]:
                stream.seek(start)
                assert stream.read(end - start) == model[start:end]
        claimed += entry.arrived
    return claimed


@pytest.mark.slow
@pytest.mark.parametrize("settings", [NARROW, WIDE], ids=["one connection", "several"])
def test_killed_at_a_hundred_moments(settings: Settings, drivers: Any, model: bytes) -> None:
    chance = random.Random(7)
    driver, digest = drivers(), sha256(model)
    store = Store()
    killed: Counter[str] = Counter()
    went_back = longest = 0
    with FileServer({"/model.gguf": model}) as server:
        server.rate = 24_000_000 // settings.connections
        url = f"{server.url}/model.gguf"
        driver.begin(url, SIZE, digest, settings)
        operations = json.loads(driver.line("installed").split(maxsplit=2)[2])
        driver.status()
        store.remove(store.installed()[0])
        rounds, before = 1, 0
        for kill in itertools.count():
            if killed.total() >= KILLS:
                break
            assert kill < 10 * KILLS
            sent = server.sent
            kind = sorted(operations)[kill // 2 % len(operations)]
            fuse = (kind, chance.randint(1, operations[kind])) if kill % 2 else None
            pid = driver.begin(url, SIZE, digest, settings, fuse=fuse)
            if not fuse:
                time.sleep(chance.uniform(0, 0.2))
                os.kill(pid, signal.SIGKILL)
            status = driver.status()
            if status == signal.SIGKILL:
                killed[driver.said[-1] if fuse else "time"] += 1
            else:
                assert status == 0, driver.said
            claimed = nothing_is_claimed_that_is_not_so(store, model)
            if store.blobs.holds(digest, SIZE):
                if status == 0:
                    store.remove(store.installed()[0])
                    rounds, claimed = rounds + 1, 0
            else:
                # What was noted stays; what was sent and is not noted is what a kill costs.
                assert claimed >= before
                longest = max(longest, server.sent - sent - (claimed - before))
                went_back += server.sent - sent - (claimed - before)
            before = claimed
        driver.begin(url, SIZE, digest, settings)
        assert driver.status() == 0
        assert store.installed()[0].weights_path.read_bytes() == model
        nothing_is_claimed_that_is_not_so(store, model)
        assert interrupted(store.partials) == []
    print(f"{dict(killed)}, {rounds} downloads, lost {went_back / KILLS / 1e3:,.0f} kB a kill, at most {longest:,} B")
    assert rounds > 3
    assert went_back < KILLS * SIZE / 8
    assert killed["os.rename"] > 0
    assert killed["socket.connect"] > 0


def test_two_processes_at_once_transfer_it_once(drivers: Any, model: bytes) -> None:
    with FileServer({"/model.gguf": model}) as server:
        server.rate = 4_000_000
        one, two = drivers(), drivers()
        task = (f"{server.url}/model.gguf", SIZE, sha256(model), NARROW)
        for driver in (one, two):
            driver.begin(*task, verbose=True)
        assert [driver.status() for driver in (one, two)] == [0, 0]
        assert len(server.requests) == 1
        assert server.sent == SIZE
    assert {driver.said[-1].split()[1] for driver in (one, two)} == {sha256(model)}
    waited = [driver.said for driver in (one, two) if "another process" in " ".join(driver.said)]
    assert len(waited) == 1
    told = [json.loads(line) for line in waited[0] if line.startswith("[")]
    assert 0 < max(done for _, done, _ in told) <= SIZE
    assert told[-1][2] == SIZE


def test_when_the_first_dies_the_second_goes_on(drivers: Any, model: bytes) -> None:
    store = Store()
    with FileServer({"/model.gguf": model}) as server:
        server.rate = 4_000_000
        one, two = drivers(), drivers()
        task = (f"{server.url}/model.gguf", SIZE, sha256(model), NARROW)
        pid = one.begin(*task)
        deadline = time.monotonic() + 30
        while sum(entry.arrived for entry in interrupted(store.partials)) < SIZE // 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        two.begin(*task)
        os.kill(pid, signal.SIGKILL)
        assert (one.status(), two.status()) == (signal.SIGKILL, 0)
        assert [request.range is None for request in server.requests] == [True, False]
        assert server.sent < SIZE + SIZE // 4
    assert store.installed()[0].digest == sha256(model)
