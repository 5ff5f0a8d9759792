"""Everything that is known of one model, and where each fact is from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audition.api.discover import Row, make_row
from audition.api.measured import MeasuredPeak, measured_peaks
from audition.api.models import find_model
from audition.api.this_machine import ThisMachine
from audition.models.fit import Fit
from audition.models.folder import GGUF, open_folder
from audition.models.folder_header import read_header
from audition.models.header import ModelHeader
from audition.models.spec import ANY, ModelSpec, Variant
from audition.store.store import Installed, Store

_ORIGINS = {"built-in": "catalog", "store": "store"}


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
        notes: What a person should know, a sentence each.
    """

    row: Row
    sources: dict[str, str]
    measured: tuple[Checked, ...]
    variants: tuple[Row, ...]
    smaller: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: the row's keys, `from`, `measured`, `variants`, `smaller` and `notes`."""
        measured = [
            {**{name: getattr(check.peak, name) for name in MeasuredPeak.__slots__},
             "estimate": check.estimate, "error": None if check.error is None else round(check.error, 4)}
            for check in self.measured
        ]  # fmt: skip
        return {
            **self.row.to_json(),
            "from": self.sources,
            "measured": measured,
            "variants": [row.to_json() for row in self.variants],
            "smaller": list(self.smaller),
            "notes": list(self.notes),
        }


def model_facts(name: str, machine: ThisMachine | None = None, store: Store | None = None) -> ModelFacts:
    """Return everything that is known of the model that a name stands for. Nothing is downloaded.

    Args:
        name: As everywhere: an alias, `alias:variant`, a path, `foundry:name`.
        machine: What it is to fit into; None takes this one.
        store: None takes the one in the data folder.

    Raises:
        UsageError: Nothing has that name.
        AuditionError: Its file cannot be read.
    """
    store, machine = store or Store(), machine or ThisMachine()
    spec, variant = find_model(name)
    installed = store.find(variant)
    header, size, header_from = _looked_into(variant, installed)
    row = make_row(machine, spec, variant, installed, header, size)
    rows = tuple(
        row if each.id == variant.id else make_row(machine, spec, each, store.find(each)) for each in spec.variants
    )
    return ModelFacts(
        row=row,
        sources=_sources(row, spec, variant, header, header_from),
        measured=_measured(machine, spec, variant, installed),
        variants=rows,
        smaller=_smaller(row, rows),
    )


def _looked_into(variant: Variant, installed: Installed | None) -> tuple[ModelHeader | None, int | None, str]:
    """Return what a variant's own files state, their bytes, and what to call that."""
    called = "gguf header" if variant.format == GGUF else "the model's own files"
    if installed is not None:
        return installed.header, installed.disk_bytes, called
    path = Path(variant.source.removeprefix("file:"))
    if not variant.source.startswith("file:") or not path.exists():
        return None, None, called
    size = path.stat().st_size if variant.format == GGUF else open_folder(path, variant.format).size
    return read_header(path, variant.format), size, called


def _sources(
    row: Row, spec: ModelSpec, variant: Variant, header: ModelHeader | None, header_from: str
) -> dict[str, str]:
    """Return where each fact of a row is from; the same order of trust as `make_row`."""
    entry = _ORIGINS.get(spec.origin, spec.origin)
    stated = {
        "quantization": header.quantization,
        "parameters": header.parameters,
        "context_length": header.context_length,
        "architecture": header.architecture,
        "chat_template": header.has_chat_template,
    } if header else {}  # fmt: skip
    own = {key: header_from for key, value in stated.items() if value is not None and value == getattr(row, key)}
    stored = "store"
    here = dict.fromkeys(("downloaded", "files", "sha256", "path", "installed_at", "provenance"), stored)
    size = "estimated: parameters x bits of the quantization" if row.size_estimated else entry
    if row.downloaded or (header is not None and row.size is not None):
        size = "this disk"
    known = {
        **dict.fromkeys(("description", "family", "capabilities", "instruct", "source", "catalog", "format"), entry),
        **dict.fromkeys(("quantization", "parameters", "context_length", "files"), entry),
        **(here if row.downloaded else {"downloaded": stored}),
        **own,
        **dict.fromkeys(("licence", "licence_class"), row.licence_from),
        "size": size,
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
    return (
        f"estimated from {row.memory['basis']}: weights {size(row.memory['weights'])} + {cache} + "
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
    """Return the variants that fit where this one does not, the largest first: it loses least."""
    if row.fit not in (Fit.NO, Fit.TIGHT):
        return ()
    able = [each for each in rows if each.fit == Fit.YES and each.id != row.id]
    return tuple(each.id for each in sorted(able, key=lambda each: -(each.size or 0)))
