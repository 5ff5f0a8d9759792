"""What `hf:owner/repo[:VARIANT][@revision]` stands for: what is on this disk of it, else what the hub has."""

from __future__ import annotations

from dataclasses import replace

from audition.errors import UsageError
from audition.models.catalog import Catalog, alias_of_name
from audition.models.hub_name import HubName, is_hub_name, parse_hub_name
from audition.models.spec import ModelSpec
from audition.store.hub.lookup import look_up
from audition.store.hub.variants import choose, default_of, means, variants_of
from audition.store.installed import Installed
from audition.store.store import Store


def hub_spec(text: str, store: Store, catalog: Catalog) -> ModelSpec:
    """Return the entry that a hub's name stands for; its first variant is the one that is meant.

    Without a variant in the name that is the one on this disk, else the repository's default. The hub is not asked for
    what is here.

    Args:
        text: The name.
        store: The store.
        catalog: The models that have a name here, so that the new one gets another.

    Raises:
        UsageError: The hub has no such model, or the name is none.
        AuditionError: The hub cannot be asked.
    """
    name = parse_hub_name(text)
    # The same files may have come under two names; then either will do.
    here = list({entry.digest: entry for entry in store.installed() if _is_of(entry, name)}.values())
    found = [entry for entry in here if name.variant is None or means(entry.variant, name.variant)]
    installed = default_of([entry.variant for entry in found])
    if installed is not None:
        entry = next(entry for entry in found if entry.variant == installed)
        others = tuple(each.variant for each in here if each.variant.model == installed.model and each is not entry)
        return ModelSpec(
            alias=installed.model,
            licence=entry.licence,
            variants=(installed, *others),
            origin="store",
            parameters=entry.header.parameters,
            context_length=entry.header.context_length,
        )
    repository = look_up(name.repository, name.revision)
    chosen = choose(repository, name.variant)
    others = tuple(variant for variant in variants_of(repository) if variant != chosen)
    alias = _alias(name, catalog)
    return ModelSpec(
        alias=alias,
        licence=repository.licence,
        variants=tuple(replace(variant, model=alias) for variant in (chosen, *others)),
        origin=repository.page,
        parameters=repository.parameters,
        context_length=repository.context_length,
    )


def _same_repository(source: str, name: HubName) -> HubName | None:
    """Return what a source says, where it is the same repository; else None."""
    if not is_hub_name(source):
        return None
    try:
        its = parse_hub_name(source)
    except UsageError:  # a manifest that somebody wrote by hand
        return None
    return its if its.repository.casefold() == name.repository.casefold() else None


def _is_of(entry: Installed, name: HubName) -> bool:
    """Return whether an installed variant came from this repository, at the revision that is asked for."""
    its = _same_repository(entry.source, name)
    # A commit may have come as what a branch was then.
    return its is not None and (its.revision == name.revision or name.revision == entry.revision is not None)


def _alias(name: HubName, catalog: Catalog) -> str:
    """Return the repository's name, after its owner's where another model is called so."""
    owner, _, repository = name.repository.partition("/")
    alias = alias_of_name(repository)
    known = catalog.get(alias)
    if known is None or all(_same_repository(each.source, name) for each in known.variants):
        return alias
    return alias_of_name(f"{owner}-{repository}")
