"""`model import`: a file or folder of one's own becomes a variant in the store, converted first when that is asked."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from audition.convert import onnx
from audition.convert.onnx import Original
from audition.errors import AuditionError, UsageError
from audition.models.catalog import alias_of, check_alias
from audition.models.folder import GGUF, ONNX, SAFETENSORS, format_of, open_folder
from audition.models.folder_check import check_folder, refuse_bad
from audition.models.folder_header import read_header
from audition.models.gguf_split import split_names
from audition.models.header import ModelHeader
from audition.models.spec import Licence, LicenceClass, Variant, VariantFile
from audition.store import elsewhere
from audition.store.blobs import Progress, StoredFile, disk_error, no_progress, read_chunks
from audition.store.folders import folder_digest
from audition.store.installed import Installed
from audition.store.known import known_models
from audition.store.store import Store, taken

CONVERTIBLE = (GGUF, SAFETENSORS)


def import_path(
    store: Store,
    path: Path,
    *,
    name: str | None = None,
    licence: Licence,
    progress: Progress = no_progress,
) -> Installed:
    """Take a `.gguf` file or a model's folder into the store as it is.

    Args:
        store: The store.
        path: The file or folder.
        name: What it shall be called, `alias` or `alias:variant`; None takes the file's or folder's own name.
        licence: Its terms; where unknown, what its own files say.
        progress: Told of the copying.

    Raises:
        UsageError: The name is taken, or cannot be one.
        AuditionError: It is no model that could be loaded.
    """
    format_, header = _look_at(path)
    alias, chosen = _named(name, alias_of(path))
    variant = _variant(store, alias, chosen, format_, header.quantization)
    provenance = {"imported_from": str(path.absolute())}
    return store.add(variant, path, licence, progress, provenance=provenance)


def link_original(
    store: Store,
    original: elsewhere.Original,
    *,
    name: str | None = None,
    licence: Licence,
    progress: Progress = no_progress,
) -> Installed:
    """Make a `.gguf` file or a model's folder a variant where it lies: it is hashed and checked, and not copied.

    Args:
        store: The store.
        original: The file or folder, and what another tool says of it.
        name: What it shall be called; None takes the original's own name.
        licence: Its terms; where unknown, what the tool or its own files say.
        progress: Told of the hashing.

    Raises:
        UsageError: The name is taken, or the disk allows no links.
        AuditionError: It is no model that could be loaded, or not what the tool promised.
    """
    path = original.path
    if original.file_name is None:
        format_, header = _look_at(path)
    else:  # its own name does not tell what it is
        format_, header = GGUF, read_header(path, GGUF)
    alias, chosen = _named(name, original.alias)
    tool = original.provenance.get("tool")
    variant = _variant(store, alias, chosen, format_, header.quantization, tool)
    if original.file_name is not None:
        variant = replace(variant, files=(VariantFile(original.file_name),))
    if licence.cls is LicenceClass.UNKNOWN and licence.id is None and original.licence and not header.licence:
        licence = original.licence
    return store.add(
        variant,
        path,
        licence,
        progress,
        provenance=dict(original.provenance),
        link=True,
        promised=original.promised,
    )


def import_onnx(
    store: Store,
    original: Original,
    precision: str,
    *,
    name: str | None = None,
    log: Path,
    progress: Progress = no_progress,
) -> Installed:
    """Convert a model to ONNX for ONNX Runtime GenAI; it becomes another variant of the same model.

    Args:
        store: The store.
        original: A GGUF file, or a Hugging Face folder.
        precision: One of `onnx.PRECISIONS`.
        name: What it shall be called; None takes the original's name, and the precision for the variant.
        log: Where the tools' output goes.
        progress: Told of each step.

    Raises:
        UsageError: The name is taken, or it is no format that can be converted.
        AuditionError: Something that it needs is not installed, or the conversion failed.
    """
    _refuse_unconvertible(original.id, original.format, original.path)
    alias, chosen = _named(name, original.id.partition(":")[0])
    variant = Variant(alias, ONNX, precision.upper(), f"import:{alias}:{chosen or precision}", name=chosen)
    if (before := _converted(store, variant, original)) is not None:
        return before
    _refuse_taken(store, variant)
    onnx.need_tools()
    provenance = {"converted_from": original.to_json(), "precision": precision, "tools": onnx.tools()}
    with _workplace(store, variant) as work:
        if (meanwhile := _converted(store, variant, original)) is not None:
            return meanwhile
        folder = onnx.convert(original, precision, work, log, progress)
        fatal = [problem for problem in check_folder(folder, ONNX) if problem.fatal]
        if fatal:
            raise AuditionError(
                f"the conversion gave a model that cannot be used: {fatal[0].message}",
                fix=f"the log says more: {log}",
                code="conversion_failed",
            )
        parameters = original.header.parameters
        return store.add(variant, folder, original.licence, progress, provenance=provenance, parameters=parameters)


def original_at(path: Path, licence: Licence, progress: Progress = no_progress) -> Original:
    """Return a `.gguf` file or a folder of this machine as what a conversion starts from.

    Raises:
        UsageError: It is in no format that can be converted.
        AuditionError: It is no model that could be loaded.
    """
    format_, header = _look_at(path)
    _refuse_unconvertible(alias_of(path), format_, path)  # before gigabytes are hashed
    licence = licence.beside(header.stated_licence)
    if format_ == GGUF:
        digest = _sha256(path, progress)
    else:
        folder = open_folder(path, format_)
        stored = [StoredFile(name, 0, _sha256(path / name, progress)) for name in folder.files]
        digest = folder_digest(stored)
    source = f"file:{path.absolute()}"
    return Original(alias_of(path), source, format_, header.quantization, path, header, licence, digest)


def original_of(installed: Installed) -> Original:
    """Return an installed model as what a conversion starts from."""
    return Original(
        installed.id,
        installed.source,
        installed.format,
        installed.quantization,
        installed.weights_path,
        installed.header,
        installed.licence,
        installed.digest,
    )


def _converted(store: Store, variant: Variant, original: Original) -> Installed | None:
    """Return the variant, if it is in the store already.

    Raises:
        UsageError: Something else is in the store under this name.
    """
    before = store.find(variant)
    if before is None:
        return None
    made_from = (before.provenance or {}).get("converted_from", {})
    if isinstance(made_from, dict) and made_from.get("sha256") == original.digest:
        return before
    raise taken(before.id)


def _refuse_unconvertible(name: str, format_: str, path: Path) -> None:
    if format_ not in CONVERTIBLE:
        raise UsageError(
            f"{name} is in the format {format_}, which cannot be converted",
            fix="use it as it is" if format_ == ONNX else "convert from a .gguf file or a Hugging Face folder",
        )
    files = len(split_names(path.name)) if format_ == GGUF else 1
    if files > 1:
        raise UsageError(
            f"{name} is in {files} files, and only a model in one file can be converted",
            fix="join them first, with llama.cpp's llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf",
        )


def _sha256(path: Path, progress: Progress) -> str:
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    for chunk in read_chunks(path):
        digest.update(chunk)
        done += len(chunk)
        progress(path.name, done, size)
    return digest.hexdigest()


def _look_at(path: Path) -> tuple[str, ModelHeader]:
    """Return the format of a model's file or folder, and what it states."""
    refuse_bad(path)
    format_ = format_of(path) or GGUF
    return format_, read_header(path, format_)


def _named(name: str | None, default: str) -> tuple[str, str | None]:
    """Return the alias, and the variant's name where a person chose one."""
    alias, _, chosen = (name or default).partition(":")
    return check_alias(alias), check_alias(chosen).lower() if chosen else None


def _variant(
    store: Store, alias: str, chosen: str | None, format_: str, quantization: str | None, tool: str | None = None
) -> Variant:
    """Return what the import will be; where another format has that quantization already, both are in its name.

    Of another tool's model the tool is in it where the catalog has one of that name.
    """
    usual = (quantization or format_).lower()
    names = [chosen] if chosen else [usual, f"{usual}-{format_}"]
    if tool and not chosen:
        names.append(f"{usual}-{tool}")
    variants = [
        Variant(alias, format_, quantization, f"import:{alias}:{each}", name=None if each == usual else each)
        for each in names
    ]
    known = {other.id: other for spec in known_models(store).values() for other in spec.variants}
    formats = {name: other.format for name, other in known.items()}
    variant = next((each for each in variants if formats.get(each.id, format_) == format_), variants[-1])
    if tool and variant.id in known and known[variant.id].source != variant.source:
        variant = variants[-1]
    _refuse_taken(store, variant)
    return variant


def _refuse_taken(store: Store, variant: Variant) -> None:
    """Refuse a name that means something else: the catalog's own variants win, so this one could not be named."""
    for spec in known_models(store).values():
        if any(other.id == variant.id and other.source != variant.source for other in spec.variants):
            raise taken(variant.id)


@contextmanager
def _workplace(store: Store, variant: Variant) -> Iterator[Path]:
    """Provide an empty folder in the store's staging, and clear it afterwards.

    Whoever converts to the same variant waits meanwhile. What a killed conversion left there is cleared first.
    """
    from filelock import FileLock

    name = "convert-" + variant.id.replace(":", "-")
    place, locks = store.root / "staging" / name, store.root / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{name}.lock"):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True, exist_ok=True)
            try:
                # A new name each time: the tools of a killed conversion may take a moment to notice.
                yield Path(tempfile.mkdtemp(dir=place))
            finally:
                shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, store.root) from error
