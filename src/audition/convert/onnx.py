"""The parent's side of a conversion to ONNX for ONNX Runtime GenAI."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, cast

from audition.engines.environment import child_environment
from audition.errors import AuditionError
from audition.models.folder import GGUF, open_folder
from audition.models.header import ModelHeader
from audition.models.spec import Licence
from audition.store.blobs import Progress, disk_error, need_space
from audition.text import one_line

PRECISIONS = ("int4", "int8", "fp16", "fp32")

# Module, and the package that it comes from.
_NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "gguf": "gguf",
    "onnx": "onnx",
    "onnx_ir": "onnx-ir",
    "onnxruntime_genai": "onnxruntime-genai",
}
# Bytes on the disk for each parameter: embedding tables stay unpacked, and the result is copied into the store.
_BYTES = {"int4": 4.0, "int8": 5.0, "fp16": 5.0, "fp32": 9.0}
_UNPACKED_BYTES = 4.0
_COMMAND = (sys.executable, "-P", "-m", "audition.convert.worker")
_OFFLINE = {
    **{"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"},
    **{"ORT_TELEMETRY_DISABLED": "1", "TOKENIZERS_PARALLELISM": "false"},
}


def need_tools() -> None:
    """Check that everything a conversion needs is installed, without importing any of it.

    Raises:
        AuditionError: Something is missing.
    """
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise AuditionError(
            f"a conversion needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            fix="pip install 'audition[convert]'",
            code="extra_missing",
        )


def tools() -> dict[str, str]:
    """Return the versions of the packages that convert."""
    found = {}
    for package in _NEEDED.values():
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@dataclass(frozen=True, slots=True)
class Original:
    """What a conversion starts from.

    Attributes:
        id: The model's name, or the path that was given.
        source: Where its files came from.
        path: The `.gguf` file, or the Hugging Face folder.
        header: What its files state.
        digest: Their SHA-256, as the store computes it.
    """

    id: str
    source: str
    format: str
    quantization: str | None
    path: Path
    header: ModelHeader
    licence: Licence
    digest: str

    def to_json(self) -> dict[str, str | None]:
        """Return what a manifest says of it."""
        return {
            "id": self.id,
            "source": self.source,
            "format": self.format,
            "quantization": self.quantization,
            "sha256": self.digest,
        }


def convert(original: Original, precision: str, work: Path, log: Path, progress: Progress) -> Path:
    """Convert a model; return the ONNX folder, which lies in `work`.

    Args:
        original: What to convert.
        precision: One of `PRECISIONS`.
        work: An empty folder, in the store's staging.
        log: Where the tools' output goes.
        progress: Told of each step, and of the bytes written in it.

    Raises:
        AuditionError: The disk is too full, or the tools failed; the log says more.
    """
    header, is_gguf = original.header, original.format == GGUF
    unpacked = _UNPACKED_BYTES if is_gguf else 0.0
    need_space(work, int((header.parameters or header.tensor_bytes or 0) * (_BYTES[precision] + unpacked)))
    (work / "source").mkdir()
    name = "model.gguf" if is_gguf else None
    # Only the files that belong to the model: what else lies in a person's folder is not for the tools to see.
    files = [] if is_gguf else open_folder(original.path, original.format).files
    for source, target in [(original.path, name)] if name else [(original.path / file, file) for file in files]:
        _bring(source, work / "source" / target)
    order = {"gguf": name, "precision": precision, "work": str(work)}
    label = f"converting to ONNX {precision}"
    with _worker(work, log) as process:
        said: queue.SimpleQueue[dict[str, str] | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(cast(BinaryIO, process.stdout), said), daemon=True).start()
        with contextlib.suppress(BrokenPipeError):
            stdin = cast(BinaryIO, process.stdin)
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        outcome: dict[str, str] = {}
        step = "starting"
        while True:
            progress(f"{label}: {step}", _written(work), None)
            try:
                message = said.get(timeout=0.5)
            except queue.Empty:
                continue
            if message is None:
                break
            step = message.get("step", step)
            outcome = message
        code = process.wait()
    if code != 0 or "done" not in outcome:
        raise _failure(code, outcome.get("error"), step, log)
    return work / "onnx"


def _bring(source: Path, target: Path) -> None:
    """Give a file a place in the folder of a conversion, without copying it where that can be helped."""
    real = Path(os.path.realpath(source))
    try:
        target.hardlink_to(real)
    except OSError:
        try:
            target.symlink_to(real)
        except OSError:
            shutil.copyfile(real, target)


@contextmanager
def _worker(work: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process that converts; when the block is left, however, it has ended."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("wb")
    except OSError as error:
        raise disk_error(error, log.parent) from error
    # Whatever they keep for later goes with the folder; the home folder stays as it is.
    homes = {"HF_HOME": str(work / "hf"), "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    with stream:
        process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env={**child_environment(), **_OFFLINE, **homes},
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _read(stream: BinaryIO, said: queue.SimpleQueue[dict[str, str] | None]) -> None:
    try:
        for line in stream:
            message = json.loads(line)
            said.put({str(key): str(value) for key, value in message.items()})
    except (OSError, ValueError):
        pass
    finally:
        said.put(None)


def _written(work: Path) -> int:
    """Return the bytes in the folder, but for what was linked into it."""
    total = 0
    for folder, names, files in os.walk(work):
        if Path(folder) == work and "source" in names:
            names.remove("source")
        for file in files:
            with contextlib.suppress(OSError):
                total += (Path(folder) / file).stat().st_size
    return total


def _failure(code: int, reason: str | None, step: str, log: Path) -> AuditionError:
    if code < 0:
        return AuditionError(
            f"the conversion was killed while {step} (signal {-code}); the memory may not have sufficed",
            fix="free some memory, or convert a smaller model",
            code="conversion_failed",
        )
    if reason is not None and "No space left" in reason:
        return AuditionError("the disk filled up during the conversion", fix="free some space", code="disk_full")
    why = one_line(reason, 300) if reason else f"exit code {code}"
    return AuditionError(
        f"the conversion failed while {step}: {why}", fix=f"the log says more: {log}", code="conversion_failed"
    )
