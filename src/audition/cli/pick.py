"""`audition pick`: choose from a run, under constraints."""

from __future__ import annotations

import sys

import click

from audition.models.spec import LicenceClass

GATE_NOT_MET = 3


@click.command()
@click.argument("run", default="latest")
@click.option("--max-latency", metavar="TIME", help="Of the median answer: 800ms, 2s.")
@click.option("--max-memory", metavar="SIZE", help="At the peak: 512MB, 2GB.")
@click.option("--max-disk", metavar="SIZE", help="Of the model's files: 512MB, 2GB.")
@click.option("--licence", "licences", multiple=True, type=click.Choice([str(c) for c in LicenceClass]),
              help="A licence class that is allowed; may be given more than once.")  # fmt: skip
@click.option("--min-quality", type=click.FloatRange(0, 1), help="Of the mean score, 0 to 1.")
@click.option("--json", "as_json", is_flag=True, help="Print the pick as JSON.")
def pick(
    run: str,
    max_latency: str | None,
    max_memory: str | None,
    max_disk: str | None,
    licences: tuple[str, ...],
    min_quality: float | None,
    as_json: bool,
) -> None:
    """Choose from a run, under your constraints, with the reasons.

    RUN is a run directory, the name of a run in the data folder, or `latest` (the default). The decision is written
    to pick.json and into the report. Exit code 0: a pick; 3: too close to call, nothing feasible, or measure more.
    """
    from audition import api
    from audition.bench.rundir import RunDir
    from audition.cli import output
    from audition.pick.constraints import Constraints
    from audition.report import terminal
    from audition.summary.units import parse_duration, parse_size

    constraints = Constraints(
        max_latency_ms=None if max_latency is None else parse_duration(max_latency),
        max_memory_bytes=None if max_memory is None else parse_size(max_memory),
        max_disk_bytes=None if max_disk is None else parse_size(max_disk),
        licences=licences,
        min_quality=min_quality,
    )
    decision = api.conclude(RunDir.open(run), constraints).pick
    if as_json:
        output.print_json(decision.to_json())
    else:
        console = output.stdout()
        for line in terminal.render_pick(decision):
            console.print(line)
    sys.exit(0 if decision.target else GATE_NOT_MET)
