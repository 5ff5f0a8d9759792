"""Running the real command line in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audition.mock.process import MockServer

COMMAND = (sys.executable, "-m", "audition")


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


def by_server(out: Path, servers: Mapping[str, MockServer]) -> dict[str, dict[str, Any]]:
    """Return the summary of each server's target by the name that the test gave the server."""
    targets = {target["id"]: target for target in read_summary(out)["targets"]}
    return {name: targets[target_of(server)] for name, server in servers.items()}


def target_of(server: MockServer) -> str:
    """Return the id of the target that a mock server is."""
    return f"mock@{server.url.split('/')[2]}/endpoint"
