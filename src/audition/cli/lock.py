"""`audition model lock`: pin names to exact files; and what is said where a lock is in force."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1)
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="The lock file.  [default: AUDITION_LOCK, else models.lock]")  # fmt: skip
@click.option("--check", is_flag=True, help="Write nothing; exit with 3 where what is here differs from the file.")
@click.option("--download", is_flag=True, help="Fetch what is not here first.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def lock(names: tuple[str, ...], path: Path | None, check: bool, download: bool, as_json: bool) -> None:
    """Pin models to their exact files in a models.lock; without NAMES, pin those in it again.

    Where a models.lock is in the working folder, its names stand for these bytes only. AUDITION_LOCK names another
    one, and AUDITION_LOCK= switches it off.
    """
    from audition import api
    from audition.cli import output
    from audition.store.lock import FILE, VARIABLE
    from audition.text import one_line

    path = path or Path(os.environ.get(VARIABLE) or FILE)
    if check:
        if names or download:
            raise click.UsageError("--check compares the whole file and writes nothing: leave the rest out")
        _check(path, as_json=as_json)
        return
    with output.download_progress() as progress:
        written = api.lock_models(names, path, download=download, progress=progress)
    pins = sorted(written.pins.items())
    if as_json:
        output.print_json({"file": str(written.path), "models": {name: pin.digest for name, pin in pins}})
        return
    for name, pin in pins:
        output.stdout().print(f"{one_line(name)} is pinned to {one_line(pin.id)}, sha256 {pin.digest}", soft_wrap=True)
    output.stderr().print(f"Written: {written.path}", soft_wrap=True)


def _check(path: Path, *, as_json: bool) -> None:
    from audition import api
    from audition.cli import output
    from audition.text import printable

    found = api.check_lock(path)
    if as_json:
        output.print_json(
            {
                "file": str(path.absolute()),
                "same": not found,
                "differences": [
                    {"name": one.name, "state": one.state, "message": one.message, "fix": one.fix} for one in found
                ],
            }
        )
    elif not found:
        output.stdout().print(f"All that {path} pins is here, and is the same.", soft_wrap=True)
    else:
        for one in found:
            output.stderr().print(f"differs: {printable(one.message)}", soft_wrap=True)
            output.stderr().print(f"  fix: {printable(one.fix)}", soft_wrap=True)
    if found:
        sys.exit(3)


def say_lock(names: Sequence[str]) -> None:
    """Say once that a lock is in force, and which of these names it says nothing of."""
    from audition.cli import output
    from audition.store.lock import lock_in_force, without_pin
    from audition.text import one_line

    lock = lock_in_force()
    if lock is None:
        return
    free = [name for name in without_pin(lock, names) if not name.lower().endswith(".json")]
    but = f"; not in it: {', '.join(one_line(name, 80) for name in free)}" if free else ""
    output.stderr().print(f"note: {lock.path} is in force{but}", soft_wrap=True)
