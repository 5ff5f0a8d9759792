"""Names go by the `models.lock` that is in force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Protocol

from audition.models.catalog import Catalog
from audition.models.spec import ModelSpec, Variant
from audition.store.lock import lock_in_force, pinned

Found = tuple[ModelSpec, Variant]


class FindModel(Protocol):
    """Returns the entry and the variant that a name stands for."""

    def __call__(self, name: str, catalog: Catalog | None = None, *, locked: bool = True) -> Found:
        """Find it; `locked=False` leaves the lock out."""
        ...


def goes_by_lock(find: Callable[[str, Catalog | None], Found]) -> FindModel:
    """Make what finds a model by name find what the lock pins it to; a name that is not in it stays as it is."""

    @wraps(find)
    def found(name: str, catalog: Catalog | None = None, *, locked: bool = True) -> Found:
        lock = lock_in_force() if locked else None
        if lock is None:
            return find(name, catalog)
        spec, variant = find(lock.wanted(name), catalog)
        wanted = pinned(variant, lock, name)
        # A pinned alias is this variant alone, whatever others an engine could run.
        variants = (wanted,) if name in lock.pins else tuple(pinned(each, lock) for each in spec.variants)
        return replace(spec, variants=variants), wanted

    return found
