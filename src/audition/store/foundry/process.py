"""The parent's side of the process that asks Foundry Local's catalog."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Self

from audition.errors import AuditionError
from audition.paths import home
from audition.store.blobs import disk_error
from audition.text import one_line

CATALOG = "https://api.catalog.azureml.ms/asset-gallery/v1.0/models"

_MAX_LINE = 16 * 2**20
# What the SDK and ONNX Runtime say besides the reason: the place in their source (a file, a line, and a function with
# or without its whole signature), and that it failed, once for every layer that it went through.
_AROUND = re.compile(
    r"[\w./]{1,300}\.(?:cc|cpp|h):\d+ (?:[^()\n]*?\(.*?\)(?: const)?(?:::<lambda\(\)>)? |\w+ )"
    r"|\[ONNXRuntimeError\] : \d+ : \w+ : |Exception during initialization: |Load model from \S+ failed: ?"
    r"|failed to (?:load|create preprocessor for) model [^\s:]+(?::\d+)?: "
)
_ENVIRONMENT = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "PROGRAMDATA"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV"),
    }
)


def catalog_url() -> str:
    """Return the catalog's address: the public one, or an organisation's own."""
    return os.environ.get("AUDITION_FOUNDRY_CATALOG") or CATALOG


def foundry_dir() -> Path:
    """Return the folder where the SDK keeps its things when it works for us: never Foundry Local's own folders."""
    return home() / "foundry"


def explained(message: str) -> str:
    """Return the reason in what the SDK says of a failure."""
    return one_line(_AROUND.sub("", message[:4000]), 300).rstrip(". ")


def _need_writable(folder: Path) -> None:
    """Check what the SDK would only fail at in words of its own."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise disk_error(error, folder) from error


class SdkProcess:
    """A process with the SDK and one request for it. Use it as a context manager: leaving ends the process."""

    def __init__(self, operation: str, catalog: str | None, **fields: Any) -> None:
        """Start the process and send the request.

        Args:
            operation: `list` or `download`.
            catalog: The catalog's address; None makes no connection.
            fields: What else the operation needs.

        Raises:
            AuditionError: The SDK is not installed, or its folder cannot be written.
        """
        if find_spec("foundry_local_sdk") is None:
            raise AuditionError(
                "the catalog of Foundry Local is read with its SDK, which is not installed here",
                fix=f"{Path(sys.executable).name} -m pip install 'audition[foundry]'",
                code="engine_unavailable",
            )
        _need_writable(foundry_dir())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        environment = {name: value for name, value in os.environ.items() if name.upper() in _ENVIRONMENT}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "audition.store.foundry.sdk"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**environment, "PYTHONUTF8": "1"},
        )
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("both are pipes")
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(stdout,), daemon=True).start()
        request = {"op": operation, "folder": str(foundry_dir()), "catalog": catalog, **fields}
        with contextlib.suppress(OSError):  # it ended already: its log says why
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next answer, or None when there are no more.

        Raises:
            TimeoutError: None came in time.
        """
        try:
            return self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"no answer within {timeout_s:.0f} s") from None

    def log(self) -> str:
        """Return the end of what the SDK has logged."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 20_000))
        return self._log.read().decode("utf-8", errors="replace")

    def last_words(self) -> str:
        """Return the last line of the log."""
        lines = [line for line in self.log().splitlines() if line.strip()]
        return explained(lines[-1]) if lines else "it ended without a word"

    def _read(self, stream: IO[bytes]) -> None:
        try:
            while line := stream.readline(_MAX_LINE):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    self._answers.put(answer)
        except (OSError, ValueError):
            pass
        finally:
            self._answers.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._log.close()
