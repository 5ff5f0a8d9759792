"""Manifests: which blobs make up an installed variant, and how they got there; a JSON file for each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audition.errors import AuditionError, UsageError
from audition.jsonfile import read_json, write_json
from audition.models.folder import GGUF, ONNX, OPENVINO, SAFETENSORS
from audition.models.header import ModelHeader
from audition.models.spec import Licence, Variant
from audition.store.blobs import Blobs, StoredFile
from audition.store.folders import check_names
from audition.store.installed import Installed
from audition.store.sources import source_of
from audition.text import one_line

SCHEMA = 1
_FORMATS = (GGUF, ONNX, OPENVINO, SAFETENSORS)
_TEXTS = ("id", "source", "format", "installed_at")
_MAY_BE_NULL = {"quantization": str, "revision": str, "provenance": dict, "fingerprint": str}


def key_of(variant: Variant) -> str:
    """Return what a variant's locks, staging and partial files are called."""
    return _safe("-".join(source_of(variant).address(variant)))


class Manifests:
    """The folder of manifests, by source, name and revision."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self._blobs = blobs

    def path(self, variant: Variant) -> Path:
        """Return where a variant's manifest lies, or would lie."""
        scheme = variant.source.partition(":")[0]
        name, revision = source_of(variant).address(variant)
        return self.root / _safe(scheme) / _safe(name) / f"{_safe(revision)}.json"

    def all(self) -> list[Installed]:
        """Return what all manifests are about, whether the files are still here or not.

        Raises:
            AuditionError: One of them is damaged.
        """
        return [self.read(path) for path in self._paths()]

    def readable(self) -> list[Installed]:
        """Return what those are about that can be read, by id."""
        entries = []
        for path in self._paths():
            with suppress(AuditionError):
                entries.append(self.read(path))
        return sorted(entries, key=lambda entry: entry.id)

    def damaged(self) -> list[AuditionError]:
        """Return one error for each that cannot be read."""
        errors = []
        for path in self._paths():
            try:
                self.read(path)
            except AuditionError as error:
                errors.append(error)
        return errors

    def read(self, path: Path) -> Installed:
        """Return what one manifest is about.

        Raises:
            AuditionError: It is damaged.
        """
        data = _record(path)
        try:
            for key in _TEXTS:
                _expect(key, data[key], str)
            for key, kind in _MAY_BE_NULL.items():
                _expect(key, data.get(key), kind, type(None))
            files = tuple(StoredFile(**file) for file in data["files"])
            if not files:
                raise ValueError("it names no files")
            for file in files:
                _expect("name", file.name, str)
                _expect("sha256", file.sha256, str)
                _expect("size", file.size, int)
                self._blobs.path(file.sha256)
            if data["format"] != GGUF or len(files) > 1:
                check_names(files)
            if data["format"] not in _FORMATS:
                raise ValueError(f"there is no format {one_line(data['format'], 40)}")
            installed = Installed(
                id=data["id"],
                source=data["source"],
                format=data["format"],
                quantization=data["quantization"],
                files=files,
                header=ModelHeader.from_json(data["header"]),
                licence=Licence.from_json(data["licence"]),
                installed_at=data["installed_at"],
                folder=self._blobs.root,
                manifest=path,
                provenance=data.get("provenance"),
                revision=data.get("revision"),
            )
            source_of(installed.variant)
        except KeyError as error:
            raise _damaged(path, f"it has no {error}") from error
        except (AttributeError, TypeError, ValueError, AuditionError) as error:
            raise _damaged(path, str(error)) from error
        return installed

    def fingerprint(self, path: Path) -> str | None:
        """Return what the source's content was told by when it was fetched."""
        found: str | None = _record(path).get("fingerprint")
        return found

    def write(
        self,
        variant: Variant,
        files: Iterable[StoredFile],
        header: ModelHeader,
        licence: Licence,
        *,
        fingerprint: str | None = None,
        provenance: dict[str, Any] | None = None,
        revision: str | None = None,
    ) -> Installed:
        """Write a variant's manifest: with it, the variant is installed."""
        path = self.path(variant)
        record = {
            "schema": SCHEMA,
            "id": variant.id,
            "source": variant.source,
            "revision": revision,
            "format": variant.format,
            "quantization": variant.quantization or header.quantization,
            "files": [asdict(file) for file in files],
            "header": header.to_json(),
            "licence": licence.to_json(),
            "fingerprint": fingerprint,
            "provenance": provenance,
            "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(path, record)
        return self.read(path)

    def _paths(self) -> list[Path]:
        return sorted(self.root.glob("*/*/*.json"))


def _expect(key: str, value: object, *kinds: type) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{key} cannot be {one_line(repr(value), 40)}")


def _record(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
    except UsageError as error:
        raise _damaged(path, error.message) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise AuditionError(
            f"{path} was written by another version",
            fix=f"delete it and download the model again: rm '{path}'",
            code="bad_manifest",
        )
    return data


def _damaged(path: Path, why: str) -> AuditionError:
    return AuditionError(
        f"the manifest {path} is damaged ({why})",
        fix=f"delete it and download the model again: rm '{path}'",
        code="bad_manifest",
    )


def _safe(part: str) -> str:
    """Return `part` as one path component: nothing that came from a file or a person can climb out of the store."""
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", part).strip(".-")[:120] or "unnamed"
