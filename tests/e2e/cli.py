"""Running the real command line in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.mock.process import MockServer
from audition.mock.script import Script

COMMAND = (sys.executable, "-m", "audition")
QUICK: dict[str, Any] = {"ttft_ms": 8.0, "itl_ms": 1.0, "tokens": 16}


def audition(*args: str | Path, stdin: str = "", timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `audition ARGS` in this test's environment."""
    command = [*COMMAND, *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)


def start(*args: str | Path) -> subprocess.Popen[str]:
    """Start `audition ARGS` and return at once."""
    command = [*COMMAND, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a `.jsonl` file."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 60) -> None:
    """Poll until a started run has got that far; it must not end before."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not get there in time"
        time.sleep(0.005)


def read_summary(out: Path) -> dict[str, Any]:
    """Return `summary.json`, which must hold numbers that every reader of JSON knows: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"summary.json holds {constant}")

    content = json.loads((out / "summary.json").read_text(), parse_constant=refuse)
    assert isinstance(content, dict)
    return content


def prompts_file(folder: Path, count: int) -> Path:
    """Write a `prompts.json` of short prompts that all differ."""
    path = folder / "prompts.json"
    cases = [{"id": f"case-{n}", "prompt": f"tell me about house number {n} beside the river"} for n in range(count)]
    path.write_text(json.dumps({"cases": cases}))
    return path


def endpoints(*urls: str) -> list[str]:
    """Return the options that name these servers."""
    return [part for url in urls for part in ("--endpoint", url)]


def target_of(server: MockServer) -> str:
    """Return the id of the target that a mock server is."""
    return f"mock@{server.url.split('/')[2]}/endpoint"


@dataclass(frozen=True)
class Bench:
    """One run of the command line."""

    out: Path
    result: subprocess.CompletedProcess[str]
    seconds: float
    servers: dict[str, MockServer]
    logs: Path

    def truth(self, name: str) -> list[dict[str, Any]]:
        """Return a server's own log, in the order in which requests came."""
        return sorted(records(self.logs / f"{name}.jsonl"), key=lambda entry: entry["request"])

    def target(self, name: str) -> dict[str, Any]:
        """Return the summary of a server's target."""
        wanted = target_of(self.servers[name])
        return next(target for target in read_summary(self.out)["targets"] if target["id"] == wanted)

    def sent(self, name: str) -> list[dict[str, Any]]:
        """Return the samples of requests that a server got, in the order in which they were sent."""
        mine = [s for s in records(self.out / "samples.jsonl") if s["target"] == target_of(self.servers[name])]
        return sorted((s for s in mine if s["sent_ns"] is not None), key=lambda sample: sample["sent_ns"])


@contextmanager
def served(folder: Path, scripts: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, MockServer]]:
    """Run one mock server for each script; what is not said is quick."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                MockServer(
                    Script(**{**QUICK, **script, "lies": frozenset(script.get("lies", ()))}), folder / f"{name}.jsonl"
                )
            )
            for name, script in scripts.items()
        }


def bench(folder: Path, scripts: Mapping[str, dict[str, Any]], *options: str | float, cases: int = 3) -> Bench:
    """Measure mock servers, and give them the time to log their last request."""
    with served(folder, scripts) as servers:
        started = time.monotonic()
        out = folder / "out"
        urls = endpoints(*(server.url for server in servers.values()))
        prompts = prompts_file(folder, cases)
        result = audition("bench", *urls, "--prompts", prompts, "--out", out, *map(str, options), timeout=200)
        seconds = time.monotonic() - started
    assert "Traceback" not in result.stderr
    assert "unexpected fault" not in result.stderr, result.stderr
    return Bench(out, result, seconds, servers, folder)
