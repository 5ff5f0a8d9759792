"""Everything that is known of one model, and where each fact is from."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audition.api.discover import Row, make_row
from audition.api.hub_models import FROM_HUB, HubModel, read_hub_model
from audition.api.measured import MeasuredPeak, measured_peaks
from audition.api.models import find_model
from audition.api.this_machine import ThisMachine
from audition.errors import AuditionError
from audition.models.fit import Fit
from audition.models.folder import GGUF, open_folder
from audition.models.folder_header import read_header
from audition.models.gguf import gguf_parts, read_gguf_facts
from audition.models.header import ModelHeader
from audition.models.hub_name import is_hub_name, parse_hub_name
from audition.models.spec import ANY, ModelSpec, Variant
from audition.models.web_name import is_web_name
from audition.store.hub.lookup import look_up
from audition.store.hub.repository import Repository
from audition.store.hub.variants import choose
from audition.store.installed import Installed
from audition.store.store import Store
from audition.store.transfer.remote_file import RemoteFile
from audition.store.transfer.web import Location

_ORIGINS = {"built-in": "catalog"}
_BASES = {"catalog": "the catalog's facts"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A memory peak that a run measured, and what would have been estimated for that engine and context.

    Attributes:
        estimate: Bytes; None where too little is known for one.
        error: `estimate / measured - 1`.
    """

    peak: MeasuredPeak
    estimate: int | None
    error: float | None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of one variant.

    Attributes:
        row: The facts.
        sources: Where each is from, by the row's keys; what nobody says is not in it.
        measured: What past runs measured of these weights, the newest first.
        variants: All variants of the model, this one among them.
        smaller: Where this one does not fit: the names of those that do, the best first.
        repository: What a hub says, where one was asked.
        notes: What a person should know, a sentence each.
    """

    row: Row
    sources: dict[str, str]
    measured: tuple[Checked, ...]
    variants: tuple[Row, ...]
    smaller: tuple[str, ...]
    repository: Repository | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the row's keys, `hub`, `from`, `measured`, `variants`, `smaller` and `notes`."""
        measured = [
            {**{name: getattr(check.peak, name) for name in MeasuredPeak.__slots__},
             "estimate": check.estimate, "error": None if check.error is None else round(check.error, 4)}
            for check in self.measured
        ]  # fmt: skip
        hub = self.repository
        told = ("name", "commit", "page", "downloads", "likes", "last_modified", "gated", "private", "base_models")
        return {
            **self.row.to_json(),
            "hub": None if hub is None else {key: getattr(hub, key) for key in told},
            "from": self.sources,
            "measured": measured,
            "variants": [row.to_json() for row in self.variants],
            "smaller": list(self.smaller),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class _Look:
    """What a name stands for, after a look at its files, wherever they are."""

    spec: ModelSpec
    variant: Variant
    header: ModelHeader | None
    header_from: str
    size: int | None = None
    hub: HubModel | None = None
    notes: tuple[str, ...] = ()


def model_facts(
    name: str, machine: ThisMachine | None = None, store: Store | None = None, *, ask: bool = False
) -> ModelFacts:
    """Return everything that is known of the model that a name stands for. Nothing is downloaded.

    A hub is asked about a model that comes from there and is not on this disk; no other name needs a network, but
    `foundry:` ones.

    Args:
        name: As everywhere: an alias, `alias:variant`, a path, `hf:owner/repo:QUANT`, an address, `foundry:name`.
        machine: What it is to fit into; None takes this one.
        store: None takes the one in the data folder.
        ask: Whether a hub that cannot be asked is an error, also where the catalog says something.

    Raises:
        UsageError: Nothing has that name.
        AuditionError: Its file cannot be read, or the hub that it names cannot be asked.
    """
    store, machine = store or Store(), machine or ThisMachine()
    spec, variant = find_model(name)
    installed = store.find(variant)
    look = _look(spec, variant, installed, ask=ask or is_hub_name(name))
    row = make_row(machine, look.spec, look.variant, installed, look.header, look.size)
    if look.hub is not None:
        row = replace(row, architecture=row.architecture or look.hub.repository.architecture)
    rows = tuple(
        row if each.id == variant.id else make_row(machine, spec, each, store.find(each)) for each in spec.variants
    )
    if look.hub is not None:
        rows = _with_hub(row, rows, look.hub.rows(machine, store))
    return ModelFacts(
        row=row,
        sources=_sources(row, look),
        measured=_measured(machine, spec, variant, installed),
        variants=rows,
        smaller=_smaller(row, rows),
        repository=None if look.hub is None else look.hub.repository,
        notes=(*look.notes, *([f"the licence: {row.licence_note}"] if row.licence_note else [])),
    )


def _look(spec: ModelSpec, variant: Variant, installed: Installed | None, *, ask: bool) -> _Look:
    called = "gguf header" if variant.format == GGUF else "the model's own files"
    if installed is not None:
        return _Look(spec, variant, installed.header, called, installed.disk_bytes)
    if is_hub_name(variant.source):
        try:
            return _on_hub(spec, variant)
        except AuditionError as error:
            if ask:
                raise
            return _Look(spec, variant, None, called, notes=(f"the hub could not be asked: {error.message}",))
    if is_web_name(variant.source):
        return _on_web(spec, variant)
    path = Path(variant.source.removeprefix("file:"))
    if not variant.source.startswith("file:") or not path.exists():
        return _Look(spec, variant, None, called)
    if variant.format == GGUF:
        size = sum(part.stat().st_size for part in gguf_parts(path))
    else:
        size = open_folder(path, variant.format).size
    return _Look(spec, variant, read_header(path, variant.format), called, size)


def _on_hub(spec: ModelSpec, variant: Variant) -> _Look:
    """Look at a hub's model: what its entry says stands before what the hub says."""
    asked = parse_hub_name(variant.source)
    repository = look_up(asked.repository, asked.revision)
    hub = read_hub_model(repository, choose(repository, asked.variant))
    told = hub.variant
    own = replace(variant, format=told.format, quantization=told.quantization or variant.quantization,
                  files=told.files, source=told.source)  # fmt: skip
    both = replace(
        spec,
        licence=spec.licence.beside(repository.licence),
        parameters=spec.parameters or repository.parameters,
        context_length=spec.context_length or repository.context_length,
        capabilities=spec.capabilities or hub.spec.capabilities,
    )
    notes = () if hub.problem is None else (f"its files could not be read on the hub: {hub.problem}",)
    return _Look(both, own, hub.header, hub.header_from, hub=hub, notes=notes)


def _on_web(spec: ModelSpec, variant: Variant) -> _Look:
    """Look at the first bytes of the file at an address."""
    called = "gguf header, read from the web"
    try:
        with RemoteFile(Location(variant.source)) as remote, io.BufferedReader(remote) as stream:
            size = stream.seek(0, io.SEEK_END)
            name = variant.files[0].name if variant.files else variant.id
            header = read_gguf_facts(stream, size, name, leading=True)
    except AuditionError as error:
        return _Look(spec, variant, None, called, notes=(f"its file could not be read: {error.message}",))
    files = tuple(replace(file, size=size) for file in variant.files)
    return _Look(spec, replace(variant, files=files), header, called)


def _with_hub(row: Row, rows: tuple[Row, ...], on_hub: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return a model's variants with those of its repository, the smallest first; each once."""
    better = {each.source.casefold(): each for each in on_hub} | {row.source.casefold(): row}
    own = [each if each.downloaded else better.pop(each.source.casefold(), each) for each in rows]
    others = [each for source, each in better.items() if source not in {one.source.casefold() for one in own}]
    return tuple(sorted((*own, *others), key=lambda each: (each.size is None, each.size or 0)))


def _sources(row: Row, look: _Look) -> dict[str, str]:
    """Return where each fact of a row is from; the same order of trust as `make_row`."""
    entry = _ORIGINS.get(look.spec.origin, look.spec.origin)
    if entry.startswith("http"):
        entry = FROM_HUB if is_hub_name(look.variant.source) else "its address"
    header, told = look.header, look.hub.repository if look.hub else None
    stated = {
        "quantization": header.quantization,
        "parameters": header.parameters,
        "context_length": header.context_length,
        "architecture": header.architecture,
        "chat_template": header.has_chat_template,
    } if header else {}  # fmt: skip
    own = {key: look.header_from for key, value in stated.items() if value is not None and value == getattr(row, key)}
    on_hub = {
        "parameters": told.parameters,
        "context_length": told.context_length,
        "architecture": told.architecture,
        "files": row.files,
        "size": row.size,
        "quantization": look.variant.quantization,
        "format": look.variant.format,
    } if told else {}  # fmt: skip
    hub = {key: FROM_HUB for key, value in on_hub.items() if value is not None and value == getattr(row, key)}
    kept = ("downloaded", "files", "path", "installed_at", "provenance") if row.downloaded else ("downloaded",)
    size = "estimated: parameters x bits of the quantization" if row.size_estimated else entry
    if look.size is not None:
        size = "this disk"
    elif is_web_name(look.variant.source) and look.header is not None:
        size = "the server"
    known = {
        **dict.fromkeys(("description", "family", "capabilities", "instruct", "source", "catalog", "format"), entry),
        **dict.fromkeys(("quantization", "parameters", "context_length", "architecture", "files"), entry),
        "size": size,
        **hub,
        **dict.fromkeys(kept, "store"),
        "sha256": "hashed as it was stored",
        **own,
        **dict.fromkeys(("licence", "licence_class", "licence_link"), row.licence_from),
        **dict.fromkeys(("engines", "engines_missing"), "installed packages"),
        "memory": estimate_text(row) or "",
        "fit": "estimated memory, and what is free" if row.memory else "neither its size nor its parameters are known",
    }
    return {key: source for key, source in known.items() if getattr(row, key) not in (None, (), "")}


def estimate_text(row: Row) -> str | None:
    """Return how the memory of a row was estimated: `estimated: weights 98 MB + ...`; None where it was not."""
    from audition.summary.units import size

    if row.memory is None:
        return None
    kv = row.memory["kv_cache"]
    cache = "an unknown KV cache" if kv is None else f"KV cache {size(kv)} at {row.memory_context:,} tokens"
    engine = f", in {row.memory_engine}" if row.memory_engine else ""
    basis = _BASES.get(row.memory["basis"], row.memory["basis"])
    return (
        f"estimated from {basis}: weights {size(row.memory['weights'])} + {cache} + "
        f"{size(row.memory['working'])} working{engine}"
    )


def _measured(
    machine: ThisMachine, spec: ModelSpec, variant: Variant, installed: Installed | None
) -> tuple[Checked, ...]:
    if installed is None or not installed.files or variant.format == ANY:
        return ()
    found = []
    for peak in measured_peaks(installed.digest):
        at = machine.at(context=peak.context, parallel=peak.parallel)
        need = at.estimate(replace(spec, engine=None), variant, installed.header, installed.disk_bytes,
                           engine=peak.engine).need  # fmt: skip
        total = None if need is None or need.is_lower_bound else need.total
        found.append(Checked(peak, total, None if total is None else total / peak.bytes - 1))
    return tuple(found)


def _smaller(row: Row, rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Return the variants that fit where this one does not, what takes most first: it loses least."""
    if row.fit not in (Fit.NO, Fit.TIGHT):
        return ()
    able = [each for each in rows if each.fit == Fit.YES and each.id != row.id]
    return tuple(each.name for each in sorted(able, key=lambda each: -(each.memory_total or 0)))
