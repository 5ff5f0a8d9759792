"""How models are kept here: linked in place, and pinned to exact files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audition.api.models import find_model
from audition.errors import UsageError
from audition.models.catalog import alias_of
from audition.models.gguf_split import whole_name
from audition.models.spec import ANY, Licence
from audition.paths import expanded
from audition.store import elsewhere
from audition.store.blobs import Progress, no_progress
from audition.store.installed import Installed
from audition.store.lock import Difference, ModelsLock, differences, pin, read_lock, write_lock
from audition.store.store import Store


def link_model(
    what: str, *, name: str | None = None, licence: str | None = None, progress: Progress = no_progress
) -> Installed:
    """Make a model that lies on this machine known by a name without copying it.

    It is hashed and checked; then the store has a hard link to each of its files, or a symbolic one to a `.gguf` file
    where the disk allows no hard link. The original is not touched.

    Args:
        what: The path of a `.gguf` file or of a model's folder, or what another tool has: `ollama:NAME[:TAG]`,
            `lmstudio:PUBLISHER/REPO[/FILE]`, `hf:OWNER/REPO[:QUANT]` of the Hugging Face cache.
        name: What it shall be called, `alias` or `alias:variant`; None keeps the name it has.
        licence: An identifier; None takes what its files or the tool say.
        progress: Told of the hashing.

    Raises:
        UsageError: There is nothing of that name, the new name is taken, or it cannot be linked.
        AuditionError: It is no model that could be loaded, or not what the tool says it is.
    """
    from audition.convert import importing

    if not what.strip():
        raise UsageError("an empty name is no model", fix="give the path of a .gguf file or a model's folder")
    if elsewhere.is_elsewhere(what):
        original = elsewhere.locate(what)
    else:
        path = expanded(what).absolute()
        if not path.exists():
            raise UsageError(
                f"there is no file {what}",
                fix="give the path of a .gguf file or a model's folder, or ollama:NAME, lmstudio:NAME, hf:OWNER/REPO",
                code="model_not_found",
            )
        alias = alias_of(path if path.is_dir() else path.with_name(whole_name(path.name)))
        original = elsewhere.Original(path, alias, {"linked_from": str(path)})
    terms = Licence.named(licence, source="import")
    return importing.link_original(Store(), original, name=name, licence=terms, progress=progress)


def lock_models(
    names: Sequence[str], path: Path, *, download: bool = False, progress: Progress = no_progress
) -> ModelsLock:
    """Write a `models.lock` that pins names to the files that are here now.

    Args:
        names: The names; the others in the file stay as they are. None at all pins every name in the file again.
        path: The file.
        download: Fetch what is not here; else it is an error.
        progress: Told of downloads.

    Raises:
        UsageError: A name is unknown, there is nothing to pin, or a model is not here.
    """
    before = dict(read_lock(path).pins) if path.is_file() else {}
    if not names and not before:
        raise UsageError(f"no model is named, and there is no {path} to renew", fix="audition model lock smollm2-135m")
    store = Store()
    for name in names or list(before):
        spec, variant = find_model(name, locked=False)
        if variant.format == ANY:
            raise UsageError(
                f"{name} cannot be pinned: its engine reads weights of its own, which are not in the store",
                fix="leave it out",
            )
        installed = store.find(variant)
        if installed is None and not download:
            raise UsageError(
                f"{name} is not here, so there is nothing to pin",
                fix=f"audition model download {name}, or add --download",
                code="model_not_found",
            )
        if installed is None:
            installed = store.ensure(variant, spec.licence, progress)
        before[name] = pin(installed)
    write_lock(path, before)
    return ModelsLock(path.absolute(), before)


def check_lock(path: Path) -> list[Difference]:
    """Return how what is here differs from a `models.lock`; nothing when all of it is here, byte by byte.

    Raises:
        UsageError: The file is missing or damaged.
    """
    return differences(read_lock(path), Store())
