"""The models that have a name here: the catalog, and what was brought into the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audition.models.catalog import Catalog, load_catalog
from audition.models.spec import ModelSpec
from audition.store.installed import Installed
from audition.store.store import Store


def known_models(store: Store, *extra: Path) -> Catalog:
    """Return the catalog with what is in the store as well: as further variants of its models, or as models.

    A catalog's own variant comes first, and wins where both have the same name. A file that was only named by its path
    has no name.

    Args:
        store: The store.
        extra: Further `models.json` files.

    Raises:
        UsageError: A catalog file is wrong.
    """
    models = dict(load_catalog(*extra))
    here = {installed.manifest for installed in store.installed()}
    for installed in store.recorded():
        # A linked model whose original changed keeps its name, so that it can be told what became of it.
        if installed.source.startswith("file:") or not (installed.manifest in here or installed.links):
            continue
        variant = installed.variant
        spec = models.get(variant.model)
        if spec is None:
            models[variant.model] = _spec(installed)
        elif variant.id not in {known.id for known in spec.variants}:
            models[variant.model] = replace(spec, variants=(*spec.variants, variant))
    return Catalog(models)


def _spec(installed: Installed) -> ModelSpec:
    variant, header = installed.variant, installed.header
    return ModelSpec(
        alias=variant.model,
        licence=installed.licence,
        variants=(variant,),
        origin="store",
        parameters=header.parameters,
        context_length=header.context_length,
    )
