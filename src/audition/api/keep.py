"""Models that are kept here without a copy: linked in place."""

from __future__ import annotations

from audition.errors import UsageError
from audition.models.catalog import alias_of
from audition.models.spec import Licence
from audition.paths import expanded
from audition.store import elsewhere
from audition.store.blobs import Progress, no_progress
from audition.store.store import Installed, Store


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
        original = elsewhere.Original(path, alias_of(path), {"linked_from": str(path)})
    terms = Licence.named(licence, source="import")
    return importing.link_original(Store(), original, name=name, licence=terms, progress=progress)
