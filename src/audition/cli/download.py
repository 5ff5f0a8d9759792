"""`audition model download`: fetch models and verify them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from audition.api.downloads import Download


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--sha256", metavar="HEX", help="Of the file that an https: address names.")
@click.option("--dry-run", is_flag=True, help="Say what would be downloaded, and download nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print it as JSON.")
def download(names: tuple[str, ...], sha256: str | None, dry_run: bool, as_json: bool) -> None:
    """Download models and verify them.

    What is here already is left as it is. NAME is an alias, `alias:variant`, hf:owner/repo[:QUANT][@revision],
    https://host/model.gguf, or foundry:name. A download that was interrupted goes on where it stopped when the same
    command is given again.
    """
    from audition import api
    from audition.api.downloads import plan_downloads
    from audition.cli import output
    from audition.report.figures import size
    from audition.store.store import Store

    if as_json and not dry_run:
        raise click.UsageError("--json is of a dry run: add --dry-run")
    store = Store()
    with output.working("Looking at what there is"):
        plan = plan_downloads(names, sha256, store)
    if as_json:
        output.print_json(plan.to_json())
        return
    console = output.stdout() if dry_run else output.stderr()
    for each in plan.downloads:
        if not each.is_here or dry_run:
            console.print(_line(each), soft_wrap=True)
        for warning in each.warnings:
            output.stderr().print(f"warning: {warning}", soft_wrap=True)
    if plan.count > 1 or dry_run:
        sizes = [size(plan.bytes)] if plan.bytes else []
        sizes += [f"{plan.of_unknown_size} of unknown size"] if plan.of_unknown_size else []
        free = f"; {size(plan.free)} are free in {store.root}" if sizes else ""
        console.print(f"To download: {' and '.join(sizes) or 'nothing'}{free}", soft_wrap=True)
    if dry_run:
        return
    plan.check_space()
    for each in plan.downloads:
        with output.download_progress() as progress:
            installed = api.install(each.spec, each.variant, store, progress)
        state = "is here already" if each.is_here else "downloaded and verified"
        output.stdout().print(
            f"{installed.id} {state}: {size(installed.disk_bytes)}, sha256 {installed.digest}", soft_wrap=True
        )


def _line(download: Download) -> str:
    """Return what a person should know of a download before it starts."""
    from audition.report.models import licence_text, memory_text, size_text
    from audition.text import one_line

    row = download.row.to_json()
    if download.is_here:
        return f"{one_line(row['id'])} is here already: {size_text(row)}"
    length = "of unknown size" if row["size"] is None else size_text(row)
    fits = {"yes": "fits", "tight": "fits tightly", "no": "does not fit"}.get(row["fit"], "unknown whether it fits")
    memory = f"memory {memory_text(row)}, {fits}" if row["memory"] else "unknown how much memory it takes"
    return f"{one_line(row['id'])}: {length} from {one_line(row['source'])}, licence {licence_text(row)}, {memory}"
