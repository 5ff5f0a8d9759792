"""One model: every fact with where it is from, then its variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from audition.models.fit import Memory
from audition.report.figures import size
from audition.report.models import engines_cell, fit_cell, memory_text, models_table, size_text, state_text
from audition.text import one_line

_MOST_FILES, _MOST_RUNS = 6, 5

_LABELS = {
    "id": "Model",
    "description": "Description",
    "family": "Family",
    "parameters": "Parameters",
    "architecture": "Architecture",
    "context_length": "Context length",
    "instruct": "Instruct",
    "chat_template": "Chat template",
    "capabilities": "Capabilities",
    "format": "Format",
    "quantization": "Quantization",
    "size": "Size",
    "licence": "Licence",
    "licence_class": "Licence class",
    "licence_link": "Licence text",
    "source": "Source",
    "downloaded": "Downloaded",
    "installed_at": "Downloaded at",
    "files": "Files",
    "path": "Path",
    "sha256": "SHA-256",
    "provenance": "Made from",
    "engines": "Engines",
    "memory": "Memory",
    "fit": "Fits",
}
_LEFT_OUT = {"licence_link", "installed_at", "path", "sha256", "provenance"}
_OF_HEADER = {"architecture", "chat_template", "parameters", "context_length", "quantization"}


def render_facts(facts: dict[str, Any], memory: Memory) -> RenderableType:
    """Return the facts as three columns, and the model's variants below.

    Args:
        facts: `ModelFacts.to_json()`.
        memory: What there is to fit into.
    """
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
                  expand=True)  # fmt: skip
    table.add_column("Fact", no_wrap=True)
    table.add_column("Value", overflow="fold", ratio=3)
    table.add_column("From", overflow="fold", ratio=2, style="dim")
    for label, value, source in _lines(facts, memory):
        table.add_row(label, value if isinstance(value, Text) else Text(value), Text(one_line(source)))
    parts: list[RenderableType] = [table]
    if len(facts["variants"]) > 1:
        parts += [Text(), Text("Variants", style="bold"), models_table(facts["variants"])]
    if facts["smaller"]:
        parts.append(Text(f"What would fit: {', '.join(map(one_line, facts['smaller']))}"))
    elif facts["fit"] == "no":
        parts.append(Text("No variant of it that is known here would fit.", style="dim"))
    parts += [Text(f"note: {one_line(note, 500)}", style="dim") for note in facts["notes"]]
    return Group(*parts)


def _lines(facts: dict[str, Any], memory: Memory) -> Iterator[tuple[str, str | Text, str]]:
    for key, label in _LABELS.items():
        if facts[key] is None and key in _LEFT_OUT:
            continue
        yield label, _value(key, facts, memory), facts["from"].get(key, _why_unknown(key, facts))
    if facts["hub"] is not None:
        yield from _hub_lines(facts["hub"])
    for check in facts["measured"][:_MOST_RUNS]:
        context = "" if check["context"] is None else f" at {check['context']:,} tokens"
        together = f", {check['parallel']} at once" if check["parallel"] > 1 else ""
        engine = one_line(check["engine"], 30)
        yield (
            "Measured peak",
            f"{size(check['bytes'])} in {engine}{context}{together}{_error(check)}",
            f"run {check['run']}",
        )


def _why_unknown(key: str, facts: dict[str, Any]) -> str:
    """Return why a fact is not known; nothing for a name, which is from the person who asks."""
    if key == "id":
        return ""
    if key in _OF_HEADER and not facts["downloaded"]:
        was_read = any("read from the hub" in source for source in facts["from"].values())
        return "only the whole file tells" if was_read else "its file has not been read"
    return "nobody says"


def _hub_lines(hub: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    told = {
        "Page": hub["page"],
        "Revision": hub["commit"],
        "Downloads": None if hub["downloads"] is None else f"{hub['downloads']:,} in 30 days",
        "Likes": None if hub["likes"] is None else f"{hub['likes']:,}",
        "Last change": hub["last_modified"],
        "Terms": "have to be accepted on its page first" if hub["gated"] else None,
        "Private": "yes" if hub["private"] else None,
        "Made from": ", ".join(hub["base_models"]) or None,
    }
    for label, value in told.items():
        if value is not None:
            yield label, one_line(value), "hub metadata"


def _error(check: dict[str, Any]) -> str:
    """Return how far off the estimate would have been."""
    if check["error"] is None:
        return ""
    percent = 100 * check["error"]
    if abs(percent) < 0.5:
        return "; the estimate is the same"
    return f"; the estimate is {abs(percent):.0f} % {'above' if percent > 0 else 'below'}"


def _value(key: str, facts: dict[str, Any], memory: Memory) -> str | Text:
    value = facts[key]
    if key == "fit":
        gpu = f"; on the GPU of {size(memory.gpu_total or 0)}: {facts['fit_gpu']}" if facts["fit_gpu"] else ""
        free = f", {size(memory.available)} of {size(memory.total)} are free{gpu}"
        return fit_cell(value).append(free, style="default")
    shown: dict[str, Callable[[dict[str, Any]], str | Text]] = {
        "size": size_text,
        "downloaded": state_text,
        "memory": memory_text,
        "engines": engines_cell,
    }
    if key == "id" and facts["name"] != value:
        return f"{one_line(facts['name'])} ({one_line(value)})"
    if key in shown:
        return shown[key](facts)
    if value is None or value in ([], ()):
        return Text("unknown", style="dim")
    return one_line(_plain(key, value), 400)


def _plain(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "parameters":
        return f"{value:,}"
    if key == "context_length":
        return f"{value:,} tokens"
    if key == "files":
        more = f", and {len(value) - _MOST_FILES} more" if len(value) > _MOST_FILES else ""
        return ", ".join(map(str, value[:_MOST_FILES])) + more
    if isinstance(value, dict):
        return ", ".join(f"{name} {fact}" for name, fact in value.items() if fact is not None)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
