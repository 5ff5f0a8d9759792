"""Models on a hub, looked at without downloading them: what the hub says, and what their own files do."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from audition.api.discover import Filters, Row, filtered, make_row
from audition.api.this_machine import ThisMachine
from audition.errors import AuditionError
from audition.models.fit import Fit
from audition.models.folder import GGUF
from audition.models.header import ModelHeader
from audition.models.spec import ModelSpec, Variant
from audition.store.blobs import Progress, no_progress
from audition.store.hub.headers import header_of
from audition.store.hub.repository import Repository
from audition.store.hub.search import Found, search
from audition.store.hub.variants import variants_of
from audition.store.store import Store

FROM_HUB = "hub metadata"
_AT_ONCE = 8
# What a hub's tag says a model can do, in our words.
_CAPABILITIES = {"conversational": "chat", "function-calling": "tools", "tool-use": "tools", "reasoning": "reasoning"}


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository's model, and what its own files state.

    Attributes:
        header: What the first bytes of its weights state, or its configuration; None where that could not be read.
        problem: Why it could not.
    """

    repository: Repository
    spec: ModelSpec
    variant: Variant
    header: ModelHeader | None
    problem: str | None

    @property
    def header_from(self) -> str:
        """What to call the place of the header's facts."""
        return f"{'gguf header' if self.variant.format == GGUF else 'config.json'}, read from the hub"

    def rows(self, machine: ThisMachine, store: Store) -> tuple[Row, ...]:
        """Return a row for every variant of the repository in the format of this one."""
        return tuple(self._row(machine, store, each) for each in self.spec.variants)

    def _row(self, machine: ThisMachine, store: Store, variant: Variant) -> Row:
        # What decides the cache is the same for all of them; their sizes the hub tells.
        header = self.header
        if header is not None and variant.id != self.variant.id:
            header = replace(header, quantization=variant.quantization, tensor_bytes=0, token_bytes=None)
        row = make_row(machine, self.spec, variant, store.find(variant), header)
        return replace(row, architecture=row.architecture or self.repository.architecture)


def read_hub_model(repository: Repository, variant: Variant) -> HubModel:
    """Return a model of a repository with what its files state, read by a request or two; never an error for those.

    Args:
        repository: What the hub says of it.
        variant: One of its variants.
    """
    header, problem = None, None
    try:
        header = header_of(repository, variant)
    except AuditionError as error:
        problem = error.message
    siblings = tuple(each for each in variants_of(repository) if each.format == variant.format)
    spec = ModelSpec(
        alias=variant.model,
        licence=repository.licence,
        variants=siblings or (variant,),
        origin=repository.page,
        parameters=repository.parameters,
        context_length=repository.context_length,
        capabilities=tuple(dict.fromkeys(_CAPABILITIES[tag] for tag in repository.tags if tag in _CAPABILITIES)),
    )
    return HubModel(repository, spec, variant, header, problem)


@dataclass(frozen=True, slots=True)
class HubRow:
    """One repository that a search found, with the variant to take.

    Attributes:
        row: The variant: the one that is taken when none is named; where that does not fit, the largest that does.
        variants: How many of that format there are.
        problem: Why its own files could not be read, so that `fit` rests on less.
    """

    row: Row
    repository: Repository
    variants: int
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the row's keys, and what the hub says of the repository."""
        told = self.repository
        return {
            **self.row.to_json(),
            "repository": told.name,
            "commit": told.commit,
            "page": told.page,
            "downloads": told.downloads,
            "likes": told.likes,
            "last_modified": told.last_modified,
            "gated": told.gated,
            "variants": self.variants,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class HubSearch:
    """What a search found.

    Attributes:
        rows: In the hub's order.
        filtered_out: How many were found that the filters do not let through.
        unknown: How many of these only because nobody knows.
        unread: Repositories that could not be looked at, each with the reason.
    """

    rows: tuple[HubRow, ...]
    filtered_out: int
    unknown: int
    unread: tuple[tuple[str, str], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "models": [row.to_json() for row in self.rows],
            "filtered_out": self.filtered_out,
            "unknown": self.unknown,
            "unread": [{"repository": name, "problem": why} for name, why in self.unread],
        }


def search_hub(
    text: str,
    filters: Filters | None = None,
    *,
    limit: int = 20,
    sort: str | None = "downloads",
    machine: ThisMachine | None = None,
    store: Store | None = None,
    progress: Progress = no_progress,
) -> HubSearch:
    """Search a hub for models that could run here; of each the header is read, and nothing is downloaded.

    Args:
        text: What a repository's name holds.
        filters: What is looked for; without formats, GGUF.
        limit: The most repositories to look at.
        sort: `downloads`, `likes` or `modified`, the highest first; None is the hub's own order.
        machine: What they are to fit into; None takes this one.
        store: None takes the one in the data folder.
        progress: Told how many headers were read.

    Raises:
        AuditionError: The hub cannot be asked.
    """
    filters, machine, store = filters or Filters(), machine or ThisMachine(), store or Store()
    largest = None if filters.max_bytes is None else int(filters.max_bytes)
    found = search(text, formats=filters.formats or (GGUF,), limit=limit, max_size=largest, sort=sort)
    models = list(_read(found, progress))
    best = [_best(model, machine, store, filters) for model in models]
    rows = {id(each.row): each for each in best}
    kept = filtered((each.row for each in rows.values()), filters)
    unread = [(each.name, each.problem or "it holds several models, and none is the obvious one")
              for each in found if each.repository is None or each.variant is None]  # fmt: skip
    return HubSearch(tuple(rows[id(row)] for row in kept.rows), len(rows) - len(kept.rows), kept.unknown, tuple(unread))


def _read(found: Iterable[Found], progress: Progress) -> Iterable[HubModel]:
    """Yield what could be looked at, with its header, several at once, in the order found."""
    pairs = [(each.repository, each.variant) for each in found if each.repository and each.variant]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reading = [pool.submit(read_hub_model, *pair) for pair in pairs]
        try:
            for number, future in enumerate(reading):
                progress("headers", number, len(reading))
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _best(model: HubModel, machine: ThisMachine, store: Store, filters: Filters) -> HubRow:
    """Return the variant to take: the default one; where it does not fit, the largest that does."""
    rows = model.rows(machine, store)
    chosen = next((row for row in rows if row.id == model.variant.id), rows[0])
    if chosen.fit not in (Fit.YES, Fit.UNKNOWN):
        fitting = [row for row in rows if row.fit == Fit.YES and filters.let(row)]
        chosen = max(fitting, key=lambda row: row.memory_total or 0, default=chosen)
    return HubRow(chosen, model.repository, len(rows), model.problem)
