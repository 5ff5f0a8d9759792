"""The parent's side of the mock server: start it, know where it listens, end it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Self, cast

from audition.errors import AuditionError
from audition.mock.script import Script

START_TIMEOUT_S = 10.0


class MockServer:
    """A mock server in a process of its own, on 127.0.0.1. Use it as a context manager.

    Args:
        script: What it does.
        log: Gets the truth, one line of JSON per chat request; lines are added to those that are there.

    Attributes:
        url: Of the API, such as `http://127.0.0.1:40123/v1`; known inside the context.
    """

    url: str

    def __init__(self, script: Script, log: Path | None = None) -> None:
        self._command = [sys.executable, "-P", "-m", "audition.mock", "--json", script.to_json()]
        if log is not None:
            self._command += ["--log", str(log)]

    def __enter__(self) -> Self:
        """Start the server and wait until it listens.

        Raises:
            AuditionError: It did not start.
        """
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
            try:
                self.url = self._first_line(errors)
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def close(self) -> None:
        """End the process and wait until it is gone."""
        process = self._process
        with contextlib.suppress(OSError):
            cast(IO[bytes], process.stdin).close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        cast(IO[bytes], process.stdout).close()

    def _first_line(self, errors: IO[bytes]) -> str:
        # A pipe cannot be read with a time limit everywhere; a killed process ends the wait.
        timer = threading.Timer(START_TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            line = cast(IO[bytes], self._process.stdout).readline()
        finally:
            timer.cancel()
        try:
            message = json.loads(line)
        except ValueError:
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip().splitlines()
            message = {"error": said[-1][:500] if said else f"it said nothing within {START_TIMEOUT_S:g} s"}
        if "url" not in message:
            raise AuditionError(f"the mock server did not start: {message['error']}", code="mock_not_started")
        return str(message["url"])
