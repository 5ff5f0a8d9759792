"""`models.lock`: names pinned to exact files, so that everybody who has the file runs the same bytes.

The one in the working folder is in force, or the one that AUDITION_LOCK names; `AUDITION_LOCK=` switches it off. A lock
never brings in a model from anywhere else: it only narrows down what the catalog or a name already stands for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from audition.errors import AuditionError, UsageError
from audition.jsonfile import read_json, validate, write_json
from audition.models.folder import GGUF
from audition.models.spec import Variant, VariantFile
from audition.store.blobs import StoredFile, disk_error
from audition.store.folders import folder_digest
from audition.store.installed import Installed
from audition.store.store import Store
from audition.text import printable

FILE = "models.lock"
VARIABLE = "AUDITION_LOCK"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Pin:
    """What one name is pinned to.

    Attributes:
        id: The variant.
        source: Where it comes from; of a file of one's own only its name.
        revision: Which revision of that, where it has such; else None.
        files: Each with its size in bytes and its SHA-256.
    """

    id: str
    source: str
    revision: str | None
    format: str
    quantization: str | None
    files: tuple[StoredFile, ...]

    @property
    def digest(self) -> str:
        """The SHA-256 of the weights, as an installed variant has it."""
        return self.files[0].sha256 if len(self.files) == 1 and self.format == GGUF else folder_digest(self.files)

    def is_same(self, installed: Installed) -> bool:
        """Return whether an installed variant is these bytes."""
        if self.format == installed.format == GGUF:
            return {file.sha256 for file in self.files} == {file.sha256 for file in installed.files}
        return self.format == installed.format and set(self.files) == set(installed.files)


@dataclass(frozen=True, slots=True)
class ModelsLock:
    """A lock file: pins by the name that a person types."""

    path: Path
    pins: Mapping[str, Pin]

    def wanted(self, name: str) -> str:
        """Return what to look for in the place of a name: an alias may mean another variant by now, a branch too."""
        pin = self.pins.get(name)
        if pin is None:
            return name
        if name.startswith("hf:"):
            return f"{_base(name)}@{pin.revision}" if pin.revision else name
        return name if any(mark in name for mark in ":/\\") else pin.id

    def pin_of(self, variant: Variant, name: str | None = None) -> Pin | None:
        """Return the pin of a name, or else of a variant; None when there is none."""
        if name is not None and name in self.pins:
            return self.pins[name]
        return next((pin for pin in self.pins.values() if pin.id == variant.id), None)


@dataclass(frozen=True, slots=True)
class Difference:
    """A pinned name whose files here are others, or none: `state` is `absent` or `differs`."""

    name: str
    state: str
    message: str
    fix: str


def lock_in_force() -> ModelsLock | None:
    """Return the lock that names have to go by now; None when there is none.

    Raises:
        UsageError: It is damaged, or AUDITION_LOCK names a file that is not there.
    """
    told = os.environ.get(VARIABLE)
    if told == "":
        return None
    path = Path(told or FILE)
    if told is None and not path.is_file():
        return None
    if not path.is_file():
        raise UsageError(f"{VARIABLE} names {printable(told or FILE)}, which is no file", fix=f"unset {VARIABLE}")
    return read_lock(path)


def read_lock(path: Path) -> ModelsLock:
    """Read a lock file.

    Raises:
        UsageError: It is missing or damaged; the sentence says where.
    """
    from audition.store.lock_format import LockFile

    data = read_json(path)
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise UsageError(f"{path} is not a models.lock of this version", fix=f"audition model lock NAME --file {path}")
    models = validate(LockFile, data, str(path)).models
    pins = {
        name: Pin(
            entry.id,
            entry.source,
            entry.revision,
            entry.format,
            entry.quantization,
            tuple(StoredFile(file.name, file.size, file.sha256) for file in entry.files),
        )
        for name, entry in models.items()
    }
    return ModelsLock(path.absolute(), pins)


def write_lock(path: Path, pins: Mapping[str, Pin]) -> None:
    """Write a lock file; the same pins give the same bytes.

    Raises:
        AuditionError: The disk refuses it.
    """
    models: dict[str, Any] = {}
    for name, pin in pins.items():
        models[name] = asdict(pin) | {"files": [asdict(file) for file in sorted(pin.files, key=lambda file: file.name)]}
    try:
        write_json(path, {"schema": SCHEMA, "models": models})
    except OSError as error:
        raise disk_error(error, path.absolute().parent) from error


def pin(installed: Installed) -> Pin:
    """Return the pin of what is installed."""
    return Pin(
        installed.id,
        _told(installed.source),
        installed.revision,
        installed.format,
        installed.quantization,
        tuple(sorted(installed.files, key=lambda file: file.name)),
    )


def pinned(variant: Variant, lock: ModelsLock, name: str | None = None) -> Variant:
    """Return the variant with the revision and the digests that a lock has for it; as it is where it has none.

    Args:
        variant: What a name stands for.
        lock: The lock in force.
        name: What was typed; None when only the variant is known.

    Raises:
        AuditionError: `lock_conflict`: the name stands for something else than was pinned.
    """
    found = lock.pin_of(variant, name)
    if found is None:
        return variant
    shown = name or variant.id
    if (found.format, _same(found.source)) != (variant.format, _same(_told(variant.source))):
        raise AuditionError(
            f"{lock.path} pins {shown} to {found.format} from {printable(found.source)}, "
            f"and it is {variant.format} from {printable(_told(variant.source))} now",
            fix=f"pin what it is now: audition model lock {shown}; or go without the lock: {VARIABLE}=",
            code="lock_conflict",
        )
    parts = {file.name: file.parts for file in variant.files}
    files = tuple(VariantFile(file.name, file.size, file.sha256, parts.get(file.name, ())) for file in found.files)
    source = variant.source
    if found.revision and source.startswith("hf:"):
        source = f"{_base(source)}@{found.revision}"
    return replace(variant, source=source, files=files)


def explained(error: AuditionError, variant: Variant, store: Store) -> AuditionError:
    """Return an error of getting a pinned variant with what the lock has to do with it; others as they are."""
    lock = lock_in_force()
    found = lock.pin_of(variant) if lock is not None else None
    if lock is None or found is None:
        return error
    other = next((entry for entry in store.recorded() if entry.id == found.id and not found.is_same(entry)), None)
    if other is not None:
        difference = _differs(found.id, found, other)
        return AuditionError(f"{lock.path}: {difference.message}", fix=difference.fix, code="lock_conflict")
    if error.code == "digest_mismatch":
        return AuditionError(
            f"{lock.path} pins {found.id} to the SHA-256 {found.digest}: {error.message}",
            fix=f"have those files again, or pin what there is now: {VARIABLE}= audition model lock {found.id}",
            code="lock_conflict",
        )
    return error


def differences(lock: ModelsLock, store: Store) -> list[Difference]:
    """Return what differs here from a lock, by name; nothing is hashed again (`audition model verify` does that)."""
    here = store.installed()
    found = []
    for name, one in sorted(lock.pins.items()):
        if any(one.is_same(entry) for entry in here):
            continue
        other = next((entry for entry in here if entry.id == one.id), None)
        if other is not None:
            found.append(_differs(name, one, other))
        else:
            what = f"{name} is pinned to {one.id} with the SHA-256 {one.digest}, which is not here"
            found.append(Difference(name, "absent", what, _how_to_get(name, one)))
    return found


def without_pin(lock: ModelsLock, names: Sequence[str]) -> list[str]:
    """Return those of the names that a lock says nothing of."""
    ids = {one.id for one in lock.pins.values()}
    return [name for name in names if name not in lock.pins and name not in ids]


def _differs(name: str, one: Pin, other: Installed) -> Difference:
    return Difference(
        name,
        "differs",
        f"{name} is pinned to the SHA-256 {one.digest}, and the one here is {other.digest}",
        f"have the pinned one: audition model rm {other.id}; {_how_to_get(name, one)}; "
        f"or pin what is here: audition model lock {name}",
    )


def _how_to_get(name: str, one: Pin) -> str:
    if not one.source.startswith(("import:", "file:")):
        return f"audition model download {name}"
    return f"audition model import PATH --name {one.id}, with the file of that SHA-256"


def _told(source: str) -> str:
    """Return a source as a lock has it: where a file lies on this machine is nobody else's business."""
    scheme, _, path = source.partition(":")
    if scheme != "file":
        return source
    return f"file:{(PureWindowsPath(path) if os.name == 'nt' else PurePosixPath(path)).name}"


def _same(source: str) -> str:
    """Return a source as it is compared: a hub does not mind the case of a repository's name."""
    return _base(source).casefold() if source.startswith("hf:") else source


def _base(source: str) -> str:
    """Return a source without the revision."""
    return source.partition("@")[0] if source.startswith("hf:") else source
