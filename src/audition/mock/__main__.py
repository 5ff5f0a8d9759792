"""`python -m audition.mock`: the server as a child process; `process.MockServer` is its parent.

It says where it listens in one line of JSON on standard output, and ends when standard input closes: a parent that
was killed leaves no orphan.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import threading
from pathlib import Path

from audition.errors import AuditionError
from audition.mock.script import Script
from audition.mock.server import run


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m audition.mock", description=__doc__)
    parser.add_argument("--json", default="{}", help="the script")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="gets the truth, one line of JSON per chat request")
    arguments = parser.parse_args()
    # Ctrl-C reaches the whole group of processes; this one ends when its parent lets go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(Script.from_json(arguments.json), arguments.host, arguments.port, arguments.log, _ready)
    except AuditionError as error:
        _say({"error": error.message})
        raise SystemExit(error.exit_code) from error


def _ready(url: str, port: int) -> None:
    _end_with_standard_input()
    _say({"url": url, "port": port})


def _end_with_standard_input() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("no task to end")

    def watch() -> None:
        # Not `sys.stdin`: its lock, held here, would be in the way when the interpreter ends.
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(task.cancel)

    threading.Thread(target=watch, daemon=True).start()


def _say(message: dict[str, object]) -> None:
    # Standard output may be a pipe that nobody reads any more; the parent has gone then.
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
