"""`audition cache`: what is kept on this disk, and where."""

from __future__ import annotations

import click


@click.group()
def cache() -> None:
    """Show what is kept on this disk, and where."""


@cache.command()
def location() -> None:
    """Print the one folder that holds everything the program keeps."""
    from audition.paths import home

    click.echo(home())


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_(as_json: bool) -> None:
    """List the downloaded files, their sizes and the models they belong to."""
    from rich.table import Table
    from rich.text import Text

    from audition.cli import output
    from audition.report.figures import size
    from audition.store.store import Store
    from audition.text import one_line

    store = Store()
    files = [
        {
            "model": entry.id,
            "name": file.name,
            "size": file.size,
            "sha256": file.sha256,
            "installed_at": entry.installed_at,
        }
        for entry in store.installed()
        for file in entry.files
    ]
    leftovers = [{"path": str(path), "size": path.stat().st_size} for path in store.leftovers()]
    total = sum({file["sha256"]: int(str(file["size"])) for file in files}.values())
    if as_json:
        output.print_json({"folder": str(store.root), "files": files, "leftovers": leftovers, "total_bytes": total})
        return
    console = output.stdout()
    table = Table("Model", "File", "Size", "SHA-256", header_style="bold")
    for file in files:
        cells = (
            file["model"],
            one_line(str(file["name"])),
            size(int(str(file["size"]))),
            str(file["sha256"])[:12],
        )
        table.add_row(*(Text(str(cell)) for cell in cells))
    console.print(table if files else "Nothing is downloaded.")
    for leftover in leftovers:
        console.print(
            f"left over from an interrupted download: {leftover['path']} ({size(int(str(leftover['size'])))})"
        )
    console.print(f"{size(total)} in {store.root}", soft_wrap=True)
