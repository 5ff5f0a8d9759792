"""What a download would fetch: sizes, terms and whether it fits, before anything is fetched."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.api.discover import Row
from audition.api.facts import model_facts
from audition.api.models import find_model
from audition.api.this_machine import ThisMachine
from audition.errors import UsageError
from audition.models.fit import Fit
from audition.models.spec import ANY, ModelSpec, Variant
from audition.models.web_name import is_web_name
from audition.store.blobs import need_space
from audition.store.store import Store
from audition.store.transfer.interrupted import interrupted
from audition.summary.units import size
from audition.text import one_line


@dataclass(frozen=True, slots=True)
class Download:
    """One model to download.

    Attributes:
        row: What is known of it, where it comes from asked.
        arrived: Bytes that an interrupted download has left here.
        warnings: What a person should know first, a sentence each.
    """

    spec: ModelSpec
    variant: Variant
    row: Row
    arrived: int
    warnings: tuple[str, ...]

    @property
    def is_here(self) -> bool:
        """Whether there is nothing to fetch."""
        return self.row.downloaded


@dataclass(frozen=True, slots=True)
class Downloads:
    """What a download would fetch.

    Attributes:
        folder: The store.
        free: Bytes that are free on its disk.
    """

    downloads: tuple[Download, ...]
    folder: Path
    free: int

    @property
    def count(self) -> int:
        """How many are not here."""
        return sum(not each.is_here for each in self.downloads)

    @property
    def bytes(self) -> int:
        """What is to be fetched, as far as sizes are known."""
        absent = [each for each in self.downloads if not each.is_here and not each.row.size_estimated]
        return sum(max(0, (each.row.size or 0) - each.arrived) for each in absent)

    @property
    def of_unknown_size(self) -> int:
        """How many have a size that only their source knows."""
        absent = [each.row for each in self.downloads if not each.is_here]
        return sum(row.size is None or row.size_estimated for row in absent)

    def check_space(self) -> None:
        """Refuse what the disk cannot hold, rather than after the first model.

        Raises:
            AuditionError: `disk_full`.
        """
        need_space(self.folder, self.bytes)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "models": [{**each.row.to_json(), "warnings": list(each.warnings)} for each in self.downloads],
            "bytes": self.bytes,
            "of_unknown_size": self.of_unknown_size,
            "folder": str(self.folder),
            "free": self.free,
        }


def plan_downloads(names: Sequence[str], sha256: str | None = None, store: Store | None = None) -> Downloads:
    """Return what the download of these models would fetch. Their sources are asked; nothing is fetched.

    Args:
        names: As `find_model` takes them.
        sha256: Of the file that the one name, an address, stands for.
        store: None takes the one in the data folder.

    Raises:
        UsageError: A name is unknown, or stands for nothing that could be downloaded.
        AuditionError: A hub that one comes from cannot be asked.
    """
    store, machine = store or Store(), ThisMachine()
    if sha256 is not None:
        names = [_with_digest(names, sha256)]
    downloads = []
    begun = interrupted(store.partials)
    for name in names:
        spec, variant = find_model(name)
        if variant.format == ANY:
            raise UsageError(
                f"{variant.id} has no source: its engine reads weights of its own",
                fix="run it or measure it; there is nothing to download",
            )
        facts = model_facts(name, machine, store, ask=True)
        warnings = () if facts.row.downloaded else (*_warnings(facts.row, facts.smaller, machine), *facts.notes)
        arrived = sum(part.arrived for part in begun if part.source.casefold() == variant.source.casefold())
        downloads.append(Download(spec, variant, facts.row, arrived, warnings))
    existing = next(path for path in (store.root, *store.root.parents) if path.exists())
    return Downloads(tuple(downloads), store.root, shutil.disk_usage(existing).free)


def _with_digest(names: Sequence[str], sha256: str) -> str:
    if len(names) != 1 or not is_web_name(names[0]):
        raise UsageError("--sha256 is of one file on the web", fix="audition model download https://... --sha256 HEX")
    return f"{names[0].partition('#')[0]}#sha256={sha256}"


def _warnings(row: Row, smaller: tuple[str, ...], machine: ThisMachine) -> tuple[str, ...]:
    memory = machine.memory
    told = (
        f"it takes about {size(row.memory_total or 0)}, and {size(memory.available)} of {size(memory.total)} are free"
    )
    if row.fit == Fit.NO:
        instead = f"; what would fit: {', '.join(smaller[:3])}" if smaller else ""
        return (f"{one_line(row.id)} does not fit this machine's memory: {told}{instead}",)
    if row.fit == Fit.TIGHT:
        return (f"{one_line(row.id)} fits this machine's memory only just: {told}",)
    return ()
