"""Models as a table: what is here, what each takes, and whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from audition.models.fit import Memory
from audition.report.figures import UNKNOWN, size
from audition.report.narrow import Column, NarrowTable
from audition.text import one_line

_FIT_STYLES = {"yes": "green", "tight": "yellow", "no": "red"}


def fit_cell(fit: str) -> Text:
    """Return `yes`, `tight` or `no` in its colour, or `?`."""
    return Text(fit, style=_FIT_STYLES[fit]) if fit in _FIT_STYLES else Text("?", style="dim")


def memory_text(row: dict[str, Any]) -> str:
    """Return the estimated memory: `~0.31 GB`, or `>98 MB` where a part of it is not known."""
    memory = row["memory"]
    if memory is None:
        return UNKNOWN
    return f">{size(memory['total'])}" if memory["is_lower_bound"] else f"~{size(memory['total'])}"


def size_text(row: dict[str, Any]) -> str:
    """Return the size of the files; `~` marks one that is only estimated."""
    return UNKNOWN if row["size"] is None else f"{'~' if row['size_estimated'] else ''}{size(row['size'])}"


def state_text(row: dict[str, Any]) -> str:
    """Return `yes`, `no`, `linked`, or how much of a download has arrived."""
    return f"{100 * row['arrived']:.0f} %" if row["arrived"] is not None else str(row["state"])


def licence_text(row: dict[str, Any]) -> str:
    """Return the licence with its class."""
    return f"{one_line(row['licence'] or 'not stated', 40)} ({row['licence_class']})"


def engines_cell(row: dict[str, Any]) -> Text:
    """Return the engines that load the format; those that are not installed are in brackets, and dim."""
    cell = Text(one_line(", ".join(row["engines"]), 80))
    if row["engines_missing"]:
        cell.append(f"{' ' if row['engines'] else ''}({', '.join(row['engines_missing'])})", style="dim")
    return cell if cell.plain else Text(UNKNOWN)


def _name_cell(row: dict[str, Any]) -> Text:
    """Return the name to type; what is on this disk stands out."""
    return Text(one_line(row["name"]), style="bold" if row["downloaded"] else "")


def models_table(rows: Sequence[dict[str, Any]], extra: Sequence[Column] = ()) -> NarrowTable:
    """Return the table of models; `extra` columns come before the licence's class."""
    return NarrowTable(
        [
            Column("Model", [_name_cell(row) for row in rows]),
            Column("Here", [state_text(row) for row in rows]),
            Column("Fits", [fit_cell(row["fit"]) for row in rows]),
            Column("Memory", [memory_text(row) for row in rows], right=True),
            Column("Size", [size_text(row) for row in rows], right=True),
            Column("Fits GPU", [fit_cell(row["fit_gpu"]) if row["fit_gpu"] else "" for row in rows], rank=2),
            *extra,
            Column("Licence class", [row["licence_class"] for row in rows], rank=1),
            Column("Licence", [one_line(row["licence"] or UNKNOWN, 40) for row in rows], rank=2),
            Column("Engines", [engines_cell(row) for row in rows], rank=3),
            Column("Format", [row["format"] for row in rows], rank=4),
            Column("Quantization", [row["quantization"] or UNKNOWN for row in rows], rank=5),
            Column("Capabilities", [", ".join(row["capabilities"]) for row in rows], rank=6),
        ]
    )


def search_table(rows: Sequence[dict[str, Any]]) -> NarrowTable:
    """Return the table of what a search found on a hub."""
    return models_table(
        rows,
        (
            Column("Downloads", [_short(row["downloads"]) for row in rows], rank=3, right=True),
            Column("Likes", [_short(row["likes"]) for row in rows], rank=5, right=True),
            Column("Changed", [(row["last_modified"] or UNKNOWN)[:10] for row in rows], rank=5),
            Column("Terms", ["to accept" if row["gated"] else "" for row in rows], rank=2),
            Column("Variants", [str(row["variants"]) for row in rows], rank=6, right=True),
        ),
    )


def elsewhere_table(rows: Sequence[dict[str, Any]]) -> NarrowTable:
    """Return the table of what other tools have."""
    return NarrowTable(
        [
            Column("Model", [_name_cell(row) for row in rows]),
            Column("Linked", ["yes" if row["state"] == "linked" else "no" for row in rows]),
            Column("Fits", [fit_cell(row["fit"]) for row in rows]),
            Column("Memory", [memory_text(row) for row in rows], right=True),
            Column("Size", [size_text(row) for row in rows], right=True),
            Column("Quantization", [row["quantization"] or UNKNOWN for row in rows], rank=1),
            Column("Format", [row["format"] for row in rows], rank=2),
            Column("Path", [one_line(row["path"]) for row in rows], rank=3),
        ]
    )


def _short(number: int | None) -> str:
    """Return a count as `812`, `12.3 k` or `1.4 M`."""
    if number is None:
        return UNKNOWN
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return str(number)


def legend(rows: Sequence[dict[str, Any]], memory: Memory) -> str:
    """Return what the figures of the table are of, and what there is to fit into."""
    contexts = {row["memory_context"] for row in rows}
    tokens = f"{max(contexts):,} tokens" if len(contexts) == 1 else f"at most {max(contexts):,} tokens"
    gpu = "" if memory.gpu_total is None else f", {size(memory.gpu_total)} on the GPU"
    cache = ""
    if any(row["memory"] and row["memory"]["is_lower_bound"] for row in rows):
        cache = " > is without the KV cache: neither a header nor the catalog tells its size."
    free = f"{size(memory.available)} of {size(memory.total)} are free here{gpu}."
    return f"Memory is estimated for {tokens}; {free}{cache} How, and from what: audition model info NAME"
