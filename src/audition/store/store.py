"""The model store: manifests that say which blobs make up an installed variant, and how they got there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audition.errors import AuditionError, UsageError
from audition.jsonfile import read_json, write_json
from audition.models.gguf import read_gguf_header
from audition.models.header import ModelHeader
from audition.models.spec import Licence, LicenceClass, Variant
from audition.paths import store_dir
from audition.store.blobs import Blobs, Progress, StoredFile, disk_error, no_progress
from audition.store.sources import Sink, source_of

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Installed:
    """A variant whose files are all here and were verified.

    Attributes:
        id: The variant's id, `alias:quantization`.
        header: The facts its GGUF header states.
        installed_at: ISO 8601, UTC.
        folder: The folder of the blobs.
        manifest: The manifest's own path.
    """

    id: str
    source: str
    format: str
    quantization: str | None
    files: tuple[StoredFile, ...]
    header: ModelHeader
    licence: Licence
    installed_at: str
    folder: Path
    manifest: Path

    @property
    def weights_path(self) -> Path:
        """The file that an engine loads."""
        return Blobs(self.folder).path(self.files[0].sha256)

    @property
    def disk_bytes(self) -> int:
        """Unique bytes on the disk: a blob that two names share counts once."""
        return sum({file.sha256: file.size for file in self.files}.values())

    @property
    def digest(self) -> str:
        """The SHA-256 of the weights."""
        return self.files[0].sha256


class Store:
    """The store in one folder (by default the one in the data folder)."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or store_dir()
        self.blobs = Blobs(self.root / "blobs")

    def find(self, variant: Variant) -> Installed | None:
        """Return the installed variant, or None when it is absent, incomplete, or not what is asked for any more.

        The last is so when the source's file has changed, or the catalog promises other bytes than these.
        """
        manifest = self._manifest_path(variant)
        if not manifest.is_file():
            return None
        installed = self._read(manifest)
        fingerprint = source_of(variant).fingerprint(variant)
        if fingerprint is not None and fingerprint != self._raw(manifest).get("fingerprint"):
            return None
        promised = {file.sha256 for file in variant.files if file.sha256}
        if not promised <= {file.sha256 for file in installed.files}:
            return None
        if not self._complete(installed):
            return None
        # The same bytes may have been fetched under another name.
        return replace(installed, id=variant.id)

    def installed(self) -> list[Installed]:
        """Return every installed variant, by id."""
        found = [self._read(path) for path in sorted((self.root / "manifests").glob("*/*/*.json"))]
        return sorted((entry for entry in found if self._complete(entry)), key=lambda entry: entry.id)

    def ensure(self, variant: Variant, licence: Licence, progress: Progress = no_progress) -> Installed:
        """Return the installed variant, fetching and verifying its files when they are not here.

        A second process that wants the same variant waits for the first.

        Raises:
            AuditionError: The source cannot be reached, the bytes are not those promised, the disk is full, or the
                file is not a model that can be read.
        """
        installed = self.find(variant)
        if installed is not None:
            return installed
        source = source_of(variant)
        with self._locked(variant):
            installed = self.find(variant)
            if installed is not None:
                return installed
            headers: list[ModelHeader] = []

            def check(path: Path) -> None:
                headers.append(read_gguf_header(path))

            # Taken before the first byte is: an edit in the middle of the copy has to be noticed later.
            fingerprint = source.fingerprint(variant)
            sink = Sink(self.blobs, check, progress, staging=self.root / "staging" / _key(variant))
            with sink.staged():
                files = tuple(source.fetch(variant, sink))
            return self._publish(variant, files, headers[0], licence, fingerprint)

    def verify(self, installed: Installed, progress: Progress = no_progress) -> list[str]:
        """Hash an installed variant's files again; return one sentence per file that is not what it was."""
        problems = []
        for file in installed.files:
            if not self.blobs.path(file.sha256).is_file():
                problems.append(f"{file.name} is missing")
                continue
            actual = self.blobs.digest(file.sha256, file.name, progress)
            if actual != file.sha256:
                problems.append(f"{file.name} has changed on the disk: its SHA-256 is {actual}, not {file.sha256}")
        return problems

    def remove(self, installed: Installed) -> int:
        """Remove a variant and the blobs that no other variant uses; return the bytes freed."""
        others = [other for other in self.installed() if other.manifest != installed.manifest]
        kept = {file.sha256 for other in others for file in other.files}
        installed.manifest.unlink(missing_ok=True)
        freed = 0
        for file in installed.files:
            path = self.blobs.path(file.sha256)
            if file.sha256 not in kept and path.exists():
                path.unlink()
                freed += file.size
        return freed

    def leftovers(self) -> list[Path]:
        """Return what interrupted transfers left behind, and blobs that no manifest names."""
        known = {self.blobs.path(file.sha256) for entry in self.installed() for file in entry.files}
        loose = [path for path in self.blobs.root.glob("*") if path not in known]
        return sorted(loose + [path for path in (self.root / "staging").rglob("*") if path.is_file()])

    def _complete(self, installed: Installed) -> bool:
        """A file under its final name was verified when it got it; here only a missing or cut one is noticed."""
        for file in installed.files:
            path = self.blobs.path(file.sha256)
            if not path.is_file() or path.stat().st_size != file.size:
                return False
        return True

    def _publish(
        self,
        variant: Variant,
        files: tuple[StoredFile, ...],
        header: ModelHeader,
        licence: Licence,
        fingerprint: str | None,
    ) -> Installed:
        if licence.cls is LicenceClass.UNKNOWN and header.licence:
            licence = Licence.named(header.licence, source="gguf header")
        manifest = self._manifest_path(variant)
        record = {
            "schema": SCHEMA,
            "id": variant.id,
            "source": variant.source,
            "format": variant.format,
            "quantization": variant.quantization or header.quantization,
            "files": [asdict(file) for file in files],
            "header": header.to_json(),
            "licence": {"id": licence.id, "class": str(licence.cls), "source": licence.source},
            "fingerprint": fingerprint,
            "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(manifest, record)
        return self._read(manifest)

    def _raw(self, manifest: Path) -> dict[str, Any]:
        try:
            data = read_json(manifest)
        except UsageError as error:
            raise _damaged(manifest, error.message) from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise AuditionError(
                f"{manifest} was written by another version",
                fix=f"delete it and download the model again: rm '{manifest}'",
                code="bad_manifest",
            )
        return data

    def _read(self, manifest: Path) -> Installed:
        data = self._raw(manifest)
        try:
            licence = data["licence"]
            files = tuple(StoredFile(**file) for file in data["files"])
            if not files:
                raise ValueError("it names no files")
            for file in files:
                self.blobs.path(file.sha256)
            return Installed(
                id=data["id"],
                source=data["source"],
                format=data["format"],
                quantization=data["quantization"],
                files=files,
                header=ModelHeader.from_json(data["header"]),
                licence=Licence(licence["id"], LicenceClass(licence["class"]), licence["source"]),
                installed_at=data["installed_at"],
                folder=self.blobs.root,
                manifest=manifest,
            )
        except KeyError as error:
            raise _damaged(manifest, f"it has no {error}") from error
        except (TypeError, ValueError, AuditionError) as error:
            raise _damaged(manifest, str(error)) from error

    def _manifest_path(self, variant: Variant) -> Path:
        scheme = variant.source.partition(":")[0]
        name, revision = source_of(variant).address(variant)
        return self.root / "manifests" / _safe(scheme) / _safe(name) / f"{_safe(revision)}.json"

    @contextmanager
    def _locked(self, variant: Variant) -> Iterator[None]:
        """Hold the variant's lock; whatever the disk refuses meanwhile becomes an error for a person."""
        from filelock import FileLock

        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{_key(variant)}.lock"):
                yield
        except OSError as error:
            raise disk_error(error, self.root) from error


def _damaged(manifest: Path, why: str) -> AuditionError:
    return AuditionError(
        f"the manifest {manifest} is damaged ({why})",
        fix=f"delete it and download the model again: rm '{manifest}'",
        code="bad_manifest",
    )


def _key(variant: Variant) -> str:
    return _safe("-".join(source_of(variant).address(variant)))


def _safe(part: str) -> str:
    """Return `part` as one path component: nothing that came from a file or a person can climb out of the store."""
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", part).strip(".-")[:120] or "unnamed"
