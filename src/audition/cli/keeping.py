"""`audition model verify` and `rm`: what is on this disk, hashed again or removed."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from audition.errors import AuditionError
    from audition.store.installed import Installed
    from audition.store.store import Store


@click.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash downloaded and linked models again (all of them, when none is named)."""
    from audition.cli import output
    from audition.store.store import Store

    store = Store()
    bad = False
    for error in store.damaged() if not names else []:
        bad = True
        _say_error(error)
    for entry in _recorded(store, names):
        broken = store.broken_link(entry)
        if broken is not None:
            bad = True
            _say_error(broken)
            continue
        with output.download_progress() as progress:
            problems = store.verify(entry, progress)
        for problem in problems:
            bad = True
            output.stderr().print(f"error: {entry.id}: {problem}", soft_wrap=True)
            imported = entry.source.startswith("import:")
            again = "; then import it again" if imported else f" && audition model download {entry.id}"
            output.stderr().print(f"  fix: audition model rm {entry.id}{again}")
        if not problems:
            output.stdout().print(f"{entry.id} is intact{', where it is linked to' if entry.links else ''}")
    if bad:
        sys.exit(1)


@click.command()
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove downloaded models from this disk; of linked ones only the link goes."""
    from audition.cli import output
    from audition.report.figures import size
    from audition.store.store import Store
    from audition.text import printable

    store = Store()
    for entry in _recorded(store, names, to_remove=True):
        links = list(entry.links.values())
        freed = store.remove(entry)
        said = f"{size(freed)} freed"
        if links and not freed:
            where = printable(links[0].path) if len(links) == 1 else f"{len(links)} files"
            stays = ", which stays as it is" if Path(links[0].path).exists() else ""
            said = f"nothing freed: it was a link to {where}{stays}"
        output.stdout().print(f"{entry.id} removed, {said}", soft_wrap=True)


def _say_error(error: AuditionError) -> None:
    from audition.cli import output

    output.stderr().print(f"error: {error.message}", soft_wrap=True)
    if error.fix:
        output.stderr().print(f"  fix: {error.fix}", soft_wrap=True)


def _recorded(store: Store, names: tuple[str, ...], *, to_remove: bool = False) -> list[Installed]:
    """Return the variants that these names stand for, whether their files are whole or not; all without names."""
    from audition import api
    from audition.errors import UsageError, nearest

    entries = store.recorded()
    if not names:
        return entries
    chosen: list[Installed] = []
    for name in names:
        hits = [
            entry
            for entry in entries
            if name.casefold() in (entry.id.casefold(), entry.id.casefold().partition(":")[0])
        ]
        if not hits:
            # The files may have been fetched under another name.
            found = None
            with contextlib.suppress(UsageError):
                variant = api.find_model(name)[1]
                found = store.find(variant)
            if found is not None and to_remove and found.manifest != store.manifests.path(variant):
                # Whoever fetched them under that name may still want them.
                other = store.manifests.read(found.manifest).id
                raise UsageError(
                    f'"{name}" is not downloaded itself: its file is here as {other}',
                    fix=f"to remove that one: audition model rm {other}",
                    code="model_not_found",
                )
            hits = [found] if found else []
        if not hits:
            known = [entry.id for entry in entries]
            raise UsageError(
                f'"{name}" is not downloaded',
                fix=nearest(name, known) or "audition model list --downloaded",
                code="model_not_found",
            )
        chosen += [hit for hit in hits if hit not in chosen]
    return chosen
