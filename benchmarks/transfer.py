"""Speed of a verified download, beside `curl`, which verifies nothing and forces nothing to the disk.

    python benchmarks/transfer.py [--size MB] [--rounds N] [--folder FOLDER]

Serves a file on loopback from a process of its own, and fetches it to the same disk in turns: with `curl`; with `curl`
and then `fsync` and `sha256sum`'s work done one after another, which is what our result is worth; with `requests` (if
it is installed) and `hashlib`, as one writes it in five lines; and with the store's own download. Ends with exit code 1
when ours has less than 0.6 of the speed of plain `curl`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from audition.models.spec import Variant, VariantFile
from audition.store.blobs import Blobs, no_progress, read_chunks
from audition.store.sources import Sink
from audition.store.transfer.web import Location

GOAL = 0.6
CHUNK = 1024 * 1024


def serve(path: Path) -> None:
    """Serve one file for ever, by `sendfile`; print the port first."""
    size = path.stat().st_size
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection, path, size), daemon=True).start()


def answer(connection: socket.socket, path: Path, size: int) -> None:
    with connection, path.open("rb") as stream:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(65536)
        start, end, status = 0, size, "200 OK"
        for line in head.decode("latin-1").split("\r\n"):
            if line.lower().startswith("range: bytes="):
                first, _, last = line.partition("=")[2].partition("-")
                start, end, status = int(first), int(last) + 1 if last else size, "206 Partial Content"
        lines = [f"HTTP/1.1 {status}", 'ETag: "1"', f"Content-Length: {end - start}", "Connection: close"]
        if status.startswith("206"):
            lines.append(f"Content-Range: bytes {start}-{end - 1}/{size}")
        try:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            connection.sendfile(stream, start, end - start)
        except OSError:
            pass  # it had enough


def digest(path: Path) -> str:
    found = hashlib.sha256()
    for chunk in read_chunks(path):
        found.update(chunk)
    return found.hexdigest()


class Peers:
    def __init__(self, url: str, size: int, sha256: str, folder: Path) -> None:
        self.url, self.size, self.sha256, self.folder = url, size, sha256, folder
        self.target = folder / "target"

    def curl(self) -> None:
        subprocess.run(["curl", "-sS", "-o", str(self.target), self.url], check=True)

    def curl_then_verify(self) -> None:
        self.curl()
        assert digest(self.target) == self.sha256
        with self.target.open("r+b") as stream:
            os.fsync(stream.fileno())

    def requests(self) -> None:
        requests = importlib.import_module("requests")
        found = hashlib.sha256()
        with requests.get(self.url, stream=True, timeout=30) as response, self.target.open("wb") as out:
            for chunk in response.iter_content(CHUNK):
                found.update(chunk)
                out.write(chunk)
        assert found.hexdigest() == self.sha256

    def ours(self) -> None:
        store = self.folder / "store"
        variant = Variant("big", "gguf", None, self.url)
        sink = Sink(
            Blobs(store / "blobs"), lambda path: None, no_progress, store / "staging", store / "partials", variant
        )
        sink.download(VariantFile("big.gguf", self.size, self.sha256), Location(self.url))

    def clean(self) -> None:
        self.target.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "store", ignore_errors=True)
        os.sync()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2000, help="megabytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to download to (default: the temporary folder)")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        served, found = folder / "served", hashlib.sha256()
        with served.open("wb") as stream:
            for _ in range(options.size):
                chunk = os.urandom(10**6)
                found.update(chunk)
                stream.write(chunk)
        command = [sys.executable, __file__, "--serve", str(served)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/big.gguf"
            try:
                return compare(Peers(url, served.stat().st_size, found.hexdigest(), folder), options.rounds)
            finally:
                server.kill()


def compare(peers: Peers, rounds: int) -> int:
    ways: dict[str, Callable[[], None]] = {"curl": peers.curl, "curl, then fsync and sha256": peers.curl_then_verify}
    if importlib.util.find_spec("requests"):
        ways["requests and hashlib"] = peers.requests
    ways["audition"] = peers.ours
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, fetch in ways.items():
            peers.clean()
            start = time.perf_counter()
            fetch()
            rates[way].append(peers.size / (time.perf_counter() - start) / 1e6)
    middle = {way: statistics.median(measured) for way, measured in rates.items()}
    for way, measured in rates.items():
        each = " ".join(f"{rate:,.0f}" for rate in measured)
        print(f"{middle[way]:8,.0f} MB/s  {middle[way] / middle['curl']:5.2f} of curl  {way}  ({each})")
    return 0 if middle["audition"] >= GOAL * middle["curl"] else 1


if __name__ == "__main__":
    sys.exit(main())
