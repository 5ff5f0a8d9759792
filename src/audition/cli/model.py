"""`audition model`: list, find, look at, download, import, verify and remove models."""

from __future__ import annotations

import click

from audition.cli.discover import info, list_, search
from audition.cli.download import download
from audition.cli.importing import import_
from audition.cli.keeping import rm, verify
from audition.cli.lock import lock


class _Model(click.Group):
    """The verbs, which also answer to what other tools call them."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        aliases = {"ls": "list", "show": "info", "pull": "download", "remove": "rm"}
        return super().get_command(ctx, aliases.get(cmd_name, cmd_name))


@click.group(cls=_Model)
def model() -> None:
    """List, find, download, import, verify and remove models."""


for _verb in (list_, search, info, download, import_, verify, rm, lock):
    model.add_command(_verb)
