"""`audition model`: list, look at, download, import, verify and remove models."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from audition.cli.discover import info, list_, search
from audition.cli.download import download
from audition.cli.importing import import_

if TYPE_CHECKING:
    from audition.store.store import Installed, Store


class _Model(click.Group):
    """The verbs, which also answer to what other tools call them."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        aliases = {"ls": "list", "show": "info", "pull": "download", "remove": "rm"}
        return super().get_command(ctx, aliases.get(cmd_name, cmd_name))


@click.group(cls=_Model)
def model() -> None:
    """List, find, download, import, verify and remove models."""


for _verb in (list_, search, info, download, import_):
    model.add_command(_verb)


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
