"""`audition model`: list, look at, download, import, verify and remove models."""

from __future__ import annotations

import click

from audition.cli.discover import info, list_
from audition.cli.importing import import_
from audition.cli.keeping import rm, verify
from audition.cli.lock import lock


@click.group()
def model() -> None:
    """List, download, import, verify and remove models."""


model.add_command(list_)
model.add_command(info)
model.add_command(import_)
model.add_command(verify)
model.add_command(rm)
model.add_command(lock)


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
