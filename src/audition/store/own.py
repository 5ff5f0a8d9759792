"""Weights that only a person's own engine reads: looked at where they are, and not copied."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from audition.errors import UsageError
from audition.models.header import KvFacts, ModelHeader
from audition.models.spec import OWN, Licence, Variant
from audition.store.blobs import Progress, StoredFile, no_progress, read_chunks
from audition.store.installed import Installed
from audition.text import one_line

_MOST_FILES = 10_000

_NOTHING_KNOWN = ModelHeader(
    version=None,
    architecture=None,
    name=None,
    licence=None,
    parameters=None,
    quantization=None,
    context_length=None,
    has_chat_template=False,
    chat_template_sha256=None,
    kv=KvFacts(),
    bos_token_id=None,
    eos_token_id=None,
    vocab_size=None,
    tensor_bytes=0,
    data_offset=None,
)


def own_weights(variant: Variant, licence: Licence, progress: Progress = no_progress) -> Installed:
    """Return what is known of weights that stay where they are: their bytes, by hashing them all, and nothing else.

    Raises:
        UsageError: They are not there or cannot be read.
    """
    place = variant.source.removeprefix(f"{OWN}:")
    path = Path(place)
    files: tuple[StoredFile, ...] = ()
    if place:
        try:
            files = tuple(_hashed(path, progress))
        except (OSError, ValueError) as error:  # ValueError when no disk can hold such a name
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(
                f"the weights of {variant.model} cannot be read: {one_line(place)}: {why}",
                fix='give the path of a file or folder as "weights"',
                code="model_not_found",
            ) from error
    return Installed(
        id=variant.id,
        source=variant.source,
        format=variant.format,
        quantization=variant.quantization,
        files=files,
        header=_NOTHING_KNOWN,
        licence=licence,
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=path,
        manifest=path,
    )


def _hashed(path: Path, progress: Progress) -> Iterator[StoredFile]:
    for number, file in enumerate(_files(path)):
        if number == _MOST_FILES:
            raise UsageError(
                f"{path} holds more than {_MOST_FILES:,} files", fix="name the folder of the weights alone"
            )
        digest, done, size = hashlib.sha256(), 0, file.stat().st_size
        for chunk in read_chunks(file):
            digest.update(chunk)
            done += len(chunk)
            progress(file.name, done, size)
        name = file.name if file == path else file.relative_to(path).as_posix()
        yield StoredFile(name, done, digest.hexdigest())


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or every file below a folder; links to folders are not followed."""
    if not path.is_dir():
        _need_regular(path)
        yield path
        return

    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders.sort()
        for name in sorted(names):
            _need_regular(file := Path(folder, name))
            yield file


def _need_regular(path: Path) -> None:
    """Refuse a device or a pipe, which may never end, and a link that leads nowhere or in a circle.

    Raises:
        OSError: That is what it is.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        why = "a link in a circle" if error.errno == errno.ELOOP else error.strerror
        raise OSError(error.errno, f"{one_line(path.name)}: {why}") from error
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, f"{one_line(path.name)} is not a regular file")
