"""What models there are: in the catalog and on this disk, each with what it takes and whether it fits here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from audition.api.this_machine import ThisMachine
from audition.errors import nearest
from audition.models.fit import Fit, bits_per_weight
from audition.models.folder import GGUF
from audition.models.header import ModelHeader
from audition.models.spec import Licence, LicenceClass, ModelSpec, Variant
from audition.store.foundry.catalog import PREFIX
from audition.store.installed import Installed
from audition.store.known import known_models
from audition.store.store import Store
from audition.store.transfer.interrupted import Interrupted, interrupted

DOWNLOADED, LINKED, PARTIAL, ABSENT = "yes", "linked", "partial", "no"
FOUNDRY = "Foundry Local catalog"
_NAMED = ("built-in", "models.json", "store")
"""Where entries come from whose names can be typed as they are."""


@dataclass(frozen=True, slots=True)
class Row:
    """One variant and what is known of it; None is what nobody says. `docs/models.md` lists the keys.

    Attributes:
        id: Its name in the catalog and the store, `alias:variant`.
        name: What to type.
        catalog: Where its entry stands; None where it has none.
        size: Bytes of its files.
        size_estimated: Whether `size` is only parameters times the bits of the quantization.
        state: `yes`, `no`, `linked` (in the place of another tool) or `partial`.
        licence_link: Where its terms can be read.
        licence_note: What another place says of them that does not agree.
        arrived: Of a partial download, from 0 to 1; None where the whole is not known.
        engines: Engines here that load its format.
        engines_missing: Those that are not installed.
        fit: `yes`, `tight`, `no` or `unknown`.
        fit_gpu: The same of the GPU's memory; None where there is no GPU, or it does not tell.
        memory: Bytes that it would take, by what they are for, at `memory_context` tokens in `memory_engine`.
    """

    id: str
    name: str
    description: str | None
    family: str | None
    capabilities: tuple[str, ...]
    instruct: bool | None
    licence: str | None
    licence_class: str
    licence_from: str
    licence_link: str | None
    licence_note: str | None
    source: str
    catalog: str | None
    format: str
    quantization: str | None
    size: int | None
    size_estimated: bool
    parameters: int | None
    context_length: int | None
    architecture: str | None
    chat_template: bool | None
    downloaded: bool
    state: str
    arrived: float | None
    engines: tuple[str, ...]
    engines_missing: tuple[str, ...]
    fit: str
    fit_gpu: str | None
    memory: dict[str, Any] | None
    memory_context: int
    memory_engine: str | None
    files: tuple[str, ...]
    sha256: str | None
    path: str | None
    installed_at: str | None
    provenance: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        return asdict(self)

    @property
    def memory_total(self) -> int | None:
        """Bytes of memory in all; at least, where `memory` says that a part is not known."""
        return None if self.memory is None else int(self.memory["total"])


def make_row(
    machine: ThisMachine,
    spec: ModelSpec | None,
    variant: Variant,
    installed: Installed | None = None,
    header: ModelHeader | None = None,
    size: int | None = None,
) -> Row:
    """Return what is known of a variant: its own files first, then its entry, then what can be estimated.

    Args:
        machine: What it is to fit into.
        spec: Its model's entry; None where it has none.
        variant: The variant.
        installed: Its files, where they are here.
        header: What its files state, where somebody looked into them without installing them.
        size: Bytes of those files.
    """
    if installed is not None:
        header, size = installed.header, installed.disk_bytes if installed.files else None
    size = variant.size if size is None else size
    guess = None if size is not None else _size_from_parameters(spec, variant, header)
    estimate = machine.estimate(spec, variant, header, size)
    licence = spec.licence if spec else Licence.named(None, source="nobody")
    # The same bytes may have been fetched from somewhere else, under terms that are not this source's.
    if installed is not None and (spec is None or _same_source(installed.source, variant.source)):
        licence = installed.licence
    if header is not None:
        licence = licence.beside(header.stated_licence)
    files = tuple(file.name for file in (installed.files if installed else variant.files))
    in_parts = variant.format == GGUF and len(files) > 1
    engines, missing = machine.engines(variant.format, spec.engine if spec else None, in_parts=in_parts)
    need = estimate.need
    return Row(
        id=variant.id,
        name=_name(spec, variant),
        description=spec.description if spec else None,
        family=spec.family if spec else None,
        capabilities=spec.capabilities if spec else (),
        instruct=spec.instruct if spec else None,
        licence=licence.id,
        licence_class=str(licence.cls),
        licence_from=licence.source,
        licence_link=licence.link,
        licence_note=licence.note,
        source=variant.source,
        catalog=spec.origin if spec else None,
        format=variant.format,
        quantization=(installed.quantization if installed else variant.quantization)
        or (header.quantization if header else None),
        size=guess if size is None else size,
        size_estimated=guess is not None,
        parameters=(header.parameters if header else None) or (spec.parameters if spec else None),
        context_length=(header.context_length if header else None) or (spec.context_length if spec else None),
        architecture=_architecture(spec, header),
        chat_template=header.has_chat_template if header else None,
        downloaded=installed is not None,
        state=ABSENT if installed is None else LINKED if installed.links else DOWNLOADED,
        arrived=None,
        engines=engines,
        engines_missing=missing,
        fit=str(estimate.fit),
        fit_gpu=None if estimate.fit_gpu is None else str(estimate.fit_gpu),
        memory=None if need is None else {**asdict(need), "total": need.total, "is_lower_bound": need.is_lower_bound},
        memory_context=estimate.context,
        memory_engine=estimate.engine,
        files=files,
        sha256=installed.digest if installed and installed.files else None,
        path=str(installed.weights_path) if installed else None,
        installed_at=installed.installed_at if installed else None,
        provenance=installed.provenance if installed else None,
    )


def _architecture(spec: ModelSpec | None, header: ModelHeader | None) -> str | None:
    stated = header.architecture if header else None
    return stated or (spec.shape.architecture if spec and spec.shape else None)


def _same_source(one: str, other: str) -> bool:
    """Return whether two variants come from one place, whichever of a repository's revisions they are."""
    if one.startswith("hf:") and other.startswith("hf:"):
        return one.casefold().partition("@")[0] == other.casefold().partition("@")[0]
    return one == other


def _size_from_parameters(spec: ModelSpec | None, variant: Variant, header: ModelHeader | None) -> int | None:
    count = (header.parameters if header else None) or (spec.parameters if spec else None)
    bits = bits_per_weight(variant.quantization)
    return None if count is None or bits is None else round(count * bits / 8)


def _name(spec: ModelSpec | None, variant: Variant) -> str:
    """Return what to type for a variant: its id where that is known, else where it is."""
    origin = spec.origin if spec else "store"
    if origin == FOUNDRY:
        return f"{PREFIX}{variant.id}"
    if variant.source.startswith("file:") and (spec is None or origin not in _NAMED):
        return variant.source.removeprefix("file:")
    return variant.id if origin in _NAMED else variant.source


def list_models(machine: ThisMachine | None = None, store: Store | None = None) -> list[Row]:
    """Return the variants of the catalog and of the store; those on this disk first, then by name.

    Downloads that were interrupted count as on this disk. Nothing is asked over the network, and no engine is started.

    Args:
        machine: What they are to fit into; None takes this one.
        store: None takes the one in the data folder.

    Raises:
        UsageError: A catalog file is wrong.
    """
    store = store or Store()
    machine = machine or ThisMachine()
    rows, shown = [], set()
    for spec in known_models(store).values():
        for variant in spec.variants:
            installed = store.find(variant)
            if installed is not None:
                shown.add(installed.manifest)
            rows.append(make_row(machine, spec, variant, installed))
    rows += [
        make_row(machine, None, installed.variant, installed)
        for installed in store.installed()
        if installed.manifest not in shown
    ]
    rows = _with_partials(rows, store, machine)
    return sorted(rows, key=lambda row: (row.state == ABSENT, not row.downloaded, row.id))


def _with_partials(rows: list[Row], store: Store, machine: ThisMachine) -> list[Row]:
    """Return the rows with how much of interrupted downloads is here; one of no known model gets a row of its own."""
    partials: dict[str, list[Interrupted]] = {}
    for each in interrupted(store.partials):
        partials.setdefault(each.source.casefold(), []).append(each)
    out = []
    for row in rows:
        parts = [] if row.downloaded else partials.pop(row.source.casefold(), [])
        out.append(_partial(row, parts) if parts else row)
    here = {row.source.casefold() for row in rows if row.downloaded}
    for source, parts in partials.items():
        if source not in here:
            model, _, name = parts[0].model.partition(":")
            format_ = GGUF if parts[0].name.lower().endswith(".gguf") else "unknown"
            variant = Variant(model, format_, None, parts[0].source, name=name or None)
            row = make_row(machine, None, variant)
            out.append(_partial(replace(row, name=parts[0].source), parts))
    return out


def _partial(row: Row, parts: list[Interrupted]) -> Row:
    """Return a row with how much of it has arrived; a fraction where the whole is one file of known size."""
    size = parts[0].size if len(parts) == 1 else None
    whole = row.size if row.size is not None and not row.size_estimated else size
    arrived = sum(part.arrived for part in parts)
    if row.size is None:
        row = replace(row, size=whole, size_estimated=False)
    return replace(row, state=PARTIAL, arrived=None if not whole else min(1.0, arrived / whole))


@dataclass(frozen=True, slots=True)
class Filters:
    """What a person looks for; None and the empty tuple let everything through.

    Attributes:
        capabilities: All of them.
        licences: Any of them, each a class or an identifier.
        fits: `yes`, or `tight` for that as well.
        max_bytes: Of the files. What has no known size is left out, and so with `fits`.
    """

    family: str | None = None
    capabilities: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    fits: str | None = None
    max_bytes: float | None = None
    formats: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    downloaded: bool = False

    def let(self, row: Row) -> bool:
        """Return whether a row is what is looked for."""
        return not self.reasons_against(row)

    def reasons_against(self, row: Row) -> list[str]:
        """Return the options that a row does not meet; one that it cannot meet because it is unknown ends in `?`."""
        engines = {*row.engines, *row.engines_missing}
        meets: dict[str, bool | None] = {
            "--family": self._among([self.family] if self.family else [], {row.family} if row.family else set()),
            "--capability": self._has(row),
            "--licence": self._among(self.licences, self._terms(row)),
            "--format": not self.formats or row.format in self.formats,
            "--engine": not self.engines or bool(engines & set(self.engines)),
            "--downloaded": not self.downloaded or row.downloaded,
            "--fits": self._fits(row),
            "--max-size": self.max_bytes is None or (None if row.size is None else row.size <= self.max_bytes),
        }
        return [f"{option}?" if met is None else option for option, met in meets.items() if not met]

    @staticmethod
    def _among(wanted: Sequence[str], known: set[str]) -> bool | None:
        """Return whether any is; None where nothing is known."""
        if not wanted:
            return True
        return bool(_folded(wanted) & _folded(known)) if known else None

    def _has(self, row: Row) -> bool | None:
        if not self.capabilities:
            return True
        return _folded(self.capabilities) <= _folded(row.capabilities) if row.capabilities else None

    def _terms(self, row: Row) -> set[str]:
        """Return the words for a row's terms; none where they are not known and that is not what is asked for."""
        words = {row.licence_class, row.licence or LicenceClass.UNKNOWN}
        asked_for = LicenceClass.UNKNOWN in _folded(self.licences)
        return set() if words == {LicenceClass.UNKNOWN} and not asked_for else words

    def _fits(self, row: Row) -> bool | None:
        if self.fits is None:
            return True
        if row.fit == Fit.UNKNOWN:
            return None
        return row.fit in {"yes": (Fit.YES,), "tight": (Fit.YES, Fit.TIGHT)}[self.fits]


def _folded(words: Iterable[str]) -> set[str]:
    return {word.casefold() for word in words}


@dataclass(frozen=True, slots=True)
class Filtered:
    """What filters leave of a list.

    Attributes:
        unknown: How many are left out only because it is unknown whether they meet a filter.
        hint: Why nothing is left, where a word that was given is nowhere in the list.
    """

    rows: tuple[Row, ...]
    unknown: int
    hint: str | None


def filtered(rows: Iterable[Row], filters: Filters) -> Filtered:
    """Return the rows that are looked for, in their order."""
    against = [(row, filters.reasons_against(row)) for row in rows]
    kept = tuple(row for row, reasons in against if not reasons)
    unknown = sum(bool(reasons) and all(reason.endswith("?") for reason in reasons) for _, reasons in against)
    return Filtered(kept, unknown, None if kept else _hint([row for row, _ in against], filters))


def _hint(rows: list[Row], filters: Filters) -> str | None:
    """Return what may have been meant by a word that no row has."""
    asked = [
        ("family", [filters.family] if filters.family else [], {row.family for row in rows if row.family}),
        ("capability", filters.capabilities, {each for row in rows for each in row.capabilities}),
        ("licence", filters.licences, {*map(str, LicenceClass), *(row.licence for row in rows if row.licence)}),
        ("engine", filters.engines, {each for row in rows for each in (*row.engines, *row.engines_missing)}),
    ]
    for what, words, known in asked:
        for word in words:
            if word.casefold() not in {each.casefold() for each in known}:
                near = nearest(word, sorted(known)) or f"there is {', '.join(sorted(known)[:12])}"
                return f'nothing here has the {what} "{word}"; {near}'
    return None
