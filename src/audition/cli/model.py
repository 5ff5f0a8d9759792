"""`audition model`: list, look at, download, import, verify and remove models."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from audition.cli.importing import import_

if TYPE_CHECKING:
    from audition.models.spec import ModelSpec, Variant
    from audition.store.store import Installed, Store


_NOT_YET = "hf: this version cannot download from Hugging Face yet; name a .gguf file of your own instead."


@click.group()
def model() -> None:
    """List, download, import, verify and remove models."""


model.add_command(import_)


@model.command("list")
@click.option("--downloaded", is_flag=True, help="Only what is on this disk.")
@click.option("--source", type=click.Choice(["foundry"]), help="List Foundry Local's own catalog instead.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(downloaded: bool, source: str | None, as_json: bool) -> None:
    """List the catalog, and what of it is on this disk."""
    if source == "foundry":
        from audition.cli.foundry import list_foundry

        list_foundry(downloaded=downloaded, as_json=as_json)
        return
    from rich.table import Table
    from rich.text import Text

    from audition.cli import output
    from audition.report.figures import UNKNOWN, size
    from audition.store.known import known_models
    from audition.store.store import Store

    store = Store()
    entries = [
        (spec, variant, store.find(variant)) for spec in known_models(store).values() for variant in spec.variants
    ]
    known = {found.manifest for _, _, found in entries if found}
    rows = [_facts(spec, variant, found) for spec, variant, found in entries if found or not downloaded]
    rows += [_facts(None, None, found) for found in store.installed() if found.manifest not in known]
    if as_json:
        output.print_json(rows)
        return
    table = Table("Model", "Format", "Downloaded", "Size", "Parameters", "Licence", "From", header_style="bold")
    for row in rows:
        cells = (
            row["id"],
            row["format"],
            "yes" if row["downloaded"] else "no",
            size(row["size"]) if row["size"] else UNKNOWN,
            f"{row['parameters'] / 1e6:,.0f} M" if row["parameters"] else UNKNOWN,
            f"{row['licence'] or 'not stated'} ({row['licence_class']})",
            row["source"].partition(":")[0],
        )
        table.add_row(*(Text(cell) for cell in cells))
    console = output.stdout()
    console.print(table if rows else "Nothing is downloaded.")
    if any(row["source"].startswith("hf:") and not row["downloaded"] for row in rows):
        console.print(_NOT_YET)


@model.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def info(name: str, as_json: bool) -> None:
    """Show what is known of a model, and from where."""
    from audition import api
    from audition.cli import output
    from audition.store.store import Store
    from audition.text import one_line

    spec, variant = api.find_model(name)
    facts = _facts(spec, variant, Store().find(variant))
    if as_json:
        output.print_json(facts)
        return
    console = output.stdout()
    for key, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, dict):
            text = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None)
        console.print(
            f"{key.replace('_', ' '):<16}{'unknown' if text is None else one_line(str(text), 400)}",
            soft_wrap=True,
        )
    if facts["source"].startswith("hf:") and not facts["downloaded"]:
        console.print(_NOT_YET)


@model.command()
@click.argument("names", nargs=-1, required=True)
def download(names: tuple[str, ...]) -> None:
    """Download models and verify them; what is here already is left as it is."""
    from audition import api
    from audition.cli import output
    from audition.errors import UsageError
    from audition.models.spec import ANY
    from audition.report.figures import size
    from audition.store.store import Store

    found = [api.find_model(name) for name in names]
    store = Store()
    for spec, variant in found:
        if variant.format == ANY:
            raise UsageError(
                f"{variant.id} has no source: its engine reads weights of its own",
                fix="run it or measure it; there is nothing to download",
            )
        here = store.find(variant) is not None
        with output.download_progress() as progress:
            installed = api.install(spec, variant, store, progress)
        state = "is here already" if here else "downloaded and verified"
        output.stdout().print(
            f"{installed.id} {state}: {size(installed.disk_bytes)}, sha256 {installed.digest}", soft_wrap=True
        )


@model.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash downloaded models again (all of them, when none is named)."""
    from audition.cli import output

    store, entries = _installed(names)
    bad = False
    for entry in entries:
        with output.download_progress() as progress:
            problems = store.verify(entry, progress)
        for problem in problems:
            bad = True
            output.stderr().print(f"error: {entry.id}: {problem}", soft_wrap=True)
            imported = entry.source.startswith("import:")
            again = "; then import it again" if imported else f" && audition model download {entry.id}"
            output.stderr().print(f"  fix: audition model rm {entry.id}{again}")
        if not problems:
            output.stdout().print(f"{entry.id} is intact")
    if bad:
        sys.exit(1)


@model.command()
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove downloaded models from this disk."""
    from audition.cli import output
    from audition.report.figures import size

    store, entries = _installed(names)
    for entry in entries:
        output.stdout().print(f"{entry.id} removed, {size(store.remove(entry))} freed")


def _installed(names: tuple[str, ...]) -> tuple[Store, list[Installed]]:
    """Return the installed variants that these names stand for; all of them when there are no names."""
    from audition import api
    from audition.errors import UsageError, nearest
    from audition.store.store import Store

    store = Store()
    entries = store.installed()
    if not names:
        return store, entries
    chosen = []
    for name in names:
        hits = [
            entry
            for entry in entries
            if name.casefold() in (entry.id.casefold(), entry.id.casefold().partition(":")[0])
        ]
        if not hits:
            # The files may have been fetched under another name.
            with contextlib.suppress(UsageError):
                found = store.find(api.find_model(name)[1])
                hits = [found] if found else []
        if not hits:
            known = [entry.id for entry in entries]
            raise UsageError(
                f'"{name}" is not downloaded',
                fix=nearest(name, known) or "audition model list --downloaded",
                code="model_not_found",
            )
        chosen += hits
    return store, chosen


def _facts(spec: ModelSpec | None, variant: Variant | None, found: Installed | None) -> dict[str, Any]:
    """Return what is known, one fact a key; None is unknown."""
    header = found.header if found else None
    licence = found.licence if found else spec.licence if spec else None
    entry = found or variant
    if entry is None or licence is None:
        raise ValueError("a model is in the catalog, or on the disk")
    return {
        "id": entry.id,
        "description": spec.description if spec else None,
        "family": spec.family if spec else None,
        "capabilities": list(spec.capabilities) if spec else [],
        "instruct": spec.instruct if spec else None,
        "licence": licence.id,
        "licence_class": str(licence.cls),
        "licence_from": licence.source,
        "source": entry.source,
        "catalog": spec.origin if spec else None,
        "format": entry.format,
        "quantization": entry.quantization,
        "size": found.disk_bytes if found else variant.size if variant else None,
        "parameters": (header.parameters if header else None) or (spec.parameters if spec else None),
        "context_length": (header.context_length if header else None) or (spec.context_length if spec else None),
        "architecture": header.architecture if header else None,
        "chat_template": header.has_chat_template if header else None,
        "downloaded": found is not None,
        "files": [file.name for file in (found.files if found else variant.files if variant else ())],
        "sha256": found.digest if found else None,
        "path": str(found.weights_path) if found else None,
        "installed_at": found.installed_at if found else None,
        "provenance": found.provenance if found else None,
    }
