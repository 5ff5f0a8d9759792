"""`audition cache`: what is kept on this disk, and where."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from audition.store.prune import Removable
    from audition.store.usage import Kept


@click.group()
def cache() -> None:
    """Show what is kept on this disk, and where; remove leftovers."""


@cache.command()
def location() -> None:
    """Print the one folder that holds everything the program keeps."""
    from audition.paths import home

    click.echo(home())


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List what each model takes on the disk, downloads that can go on, and what is left over."""
    from audition.cli import output
    from audition.report.figures import size
    from audition.store.store import Store
    from audition.store.transfer.interrupted import interrupted
    from audition.store.usage import usage

    store = Store()
    used = usage(store)
    partials = [
        {
            "model": entry.model,
            "source": entry.source,
            "file": entry.name,
            "size": entry.size,
            "arrived": entry.arrived,
            "go_on": f"audition model download {entry.source if entry.source.startswith('hf:') else entry.model}",
        }
        for entry in interrupted(store.partials)
    ]
    leftovers = [_leftover(path) for path in store.leftovers()]
    damaged = [{"message": error.message, "fix": error.fix} for error in store.damaged()]
    if as_json:
        output.print_json(
            {
                "folder": str(store.root),
                "models": [_model(kept) for kept in used.kept],
                "files": [file for kept in used.kept for file in _files(kept)],
                "partials": partials,
                "leftovers": leftovers,
                "damaged": damaged,
                "total_bytes": used.own_bytes,
                "linked_bytes": used.linked_bytes,
            }
        )
        return
    console = output.stdout()
    _show_models(console, used.kept)
    for part in partials:
        _show_partial(console, part)
    for leftover in leftovers:
        console.print(f"left over: {leftover['path']} ({size(leftover['size'])})", soft_wrap=True)
    if leftovers:
        console.print("`audition cache prune` removes what is left over.")
    linked = f", and {size(used.linked_bytes)} linked elsewhere" if used.linked_bytes else ""
    console.print(f"{size(used.own_bytes)} in {store.root}{linked}", soft_wrap=True)
    talk = output.stderr()
    for problem in [*damaged, *({"message": kept.problem, "fix": kept.fix} for kept in used.kept if kept.problem)]:
        talk.print(f"warning: {problem['message']}", soft_wrap=True)
        talk.print(f"  fix: {problem['fix']}", soft_wrap=True)


@cache.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--partials", is_flag=True, help="Remove downloads too that could go on where they stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def prune(dry_run: bool, partials: bool, as_json: bool) -> None:
    """Remove what interrupted downloads and imports left over, and files that belong to no model.

    Models stay (`audition model rm` removes them), and so does everything that another process is working on.
    """
    from audition.cli import output
    from audition.report.figures import size
    from audition.store import prune as pruning
    from audition.store.store import Store

    store = Store()
    items = pruning.removable(store, partials=partials)
    gone, left = (items, []) if dry_run else pruning.prune(store, items)
    freed = sum(item.size for item in gone)
    if as_json:
        data = {"dry_run": dry_run, "removed": _items(gone), "in_use": _items(left), "freed_bytes": freed}
        output.print_json(data)
        return
    console = output.stdout()
    done = "would be removed" if dry_run else "removed"
    for item in gone:
        console.print(f"{done}: {item.path} ({size(item.size)}): {_shown(item)}", soft_wrap=True)
    for item in left:
        console.print(f"left alone, another process is at work: {item.path}", soft_wrap=True)
    console.print(
        f"{size(freed)} {'would be freed' if dry_run else 'freed'}" if gone else "There is nothing to remove."
    )


def _show_models(console: Console, kept: tuple[Kept, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from audition.report.figures import size
    from audition.text import one_line

    table = Table("Model", "Format", "Files", "Size", "SHA-256", "Kept as", header_style="bold")
    for one in kept:
        entry = one.entry
        cells = (
            entry.id,
            entry.format,
            one_line(entry.files[0].name, 60) if len(entry.files) == 1 else str(len(entry.files)),
            size(entry.disk_bytes),
            entry.digest[:12],
            one_line(_kept_as(one), 300),
        )
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    console.print(table if kept else "Nothing is downloaded.")


def _kept_as(kept: Kept) -> str:
    """Return whether a model is a copy or a link, and what it shares with others."""
    from audition.store.usage import is_last_name

    parts = []
    if kept.problem:
        parts.append("cannot be used")
    links = list(kept.links.values())
    if links:
        where = links[0].path if len(links) == 1 else f"{links[0].path} and {len(links) - 1} more"
        removed = " (removed there)" if all(is_last_name(link) for link in links) else ""
        parts.append(f"{links[0].kind} link to {where}{removed}")
    if kept.same_as:
        parts.append(f"same bytes as {', '.join(kept.same_as)}")
    elif kept.shared_with:
        parts.append(f"shares files with {', '.join(kept.shared_with)}")
    return "; ".join(parts) or "copy"


def _show_partial(console: Console, part: dict[str, Any]) -> None:
    from audition.report.figures import size
    from audition.text import one_line

    of = f" of {size(part['size'])}" if part["size"] else ""
    share = f" ({part['arrived'] / part['size']:.0%})" if part["size"] else ""
    console.print(
        f"partial: {one_line(part['model'])}, {one_line(part['file'])}: {size(part['arrived'])}{of}{share} is here; "
        f"go on with: {one_line(part['go_on'])}",
        soft_wrap=True,
    )


def _model(kept: Kept) -> dict[str, Any]:
    entry = kept.entry
    return {
        "model": entry.id,
        "source": entry.source,
        "format": entry.format,
        "quantization": entry.quantization,
        "size": entry.disk_bytes,
        "sha256": entry.digest,
        "installed_at": entry.installed_at,
        "linked_to": [{"file": name, "path": link.path, "kind": link.kind} for name, link in kept.links.items()],
        "shared_with": list(kept.shared_with),
        "same_as": list(kept.same_as),
        "problem": kept.problem,
        "fix": kept.fix,
    }


def _files(kept: Kept) -> list[dict[str, Any]]:
    links = kept.links
    return [
        {
            "model": kept.entry.id,
            "name": file.name,
            "size": file.size,
            "sha256": file.sha256,
            "installed_at": kept.entry.installed_at,
            "linked_to": links[file.name].path if file.name in links else None,
        }
        for file in kept.entry.files
    ]


def _leftover(path: Path) -> dict[str, Any]:
    size = 0
    with suppress(OSError):  # it may have been put into its place meanwhile
        size = path.lstat().st_size
    return {"path": str(path), "size": size}


def _items(items: list[Removable]) -> list[dict[str, Any]]:
    return [
        {"path": str(item.path), "size": item.size, "what": _shown(item), "partial": item.partial} for item in items
    ]


def _shown(item: Removable) -> str:
    from audition.text import one_line

    return one_line(item.what)
