"""Running the real command line in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
