"""`python -m audition.testing package.module:Class`: check an adapter from a terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from audition.errors import AuditionError
from audition.testing.conformance import PROMPT, check_adapter


@click.command()
@click.argument("adapter", metavar="PACKAGE.MODULE:CLASS")
@click.option("--weights", type=click.Path(path_type=Path), help="The file or folder that it loads.")
@click.option("--prompt", default=PROMPT, help="What it is asked.")
@click.option("--context", type=click.IntRange(64), default=2048, show_default=True, help="Tokens of context.")
@click.option("--timeout", type=click.FloatRange(1, 86_400), default=120.0, show_default=True,
              help="Seconds that an answer may take; a load may take longer.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def main(adapter: str, weights: Path | None, prompt: str, context: int, timeout: float, as_json: bool) -> None:
    """Check an adapter, and say what to mend.

    It is imported and run in a process of its own, as when it is measured. The exit code is 0
    without faults, 1 with one, 2 where there is no such engine, module or file.
    """
    load_timeout_s = max(300.0, timeout)
    try:
        result = check_adapter(
            adapter, weights, prompt=prompt, context=context, load_timeout_s=load_timeout_s, answer_timeout_s=timeout
        )
    except AuditionError as error:
        click.echo(f"error: {error.message}" + (f"\n  fix: {error.fix}" if error.fix else ""), err=True)
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        click.echo(str(result))
        if not result.ok and result.log:
            click.echo(f"The end of its log:\n{result.log}", err=True)
    sys.exit(0 if result.ok else 1)


if __name__ == "__main__":
    main(prog_name="python -m audition.testing")
