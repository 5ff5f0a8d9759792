"""`audition report`: show a run again, from its files, or trace one of its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from audition.bench.rundir import RunDir


@click.command()
@click.argument("run", default="latest")
@click.option(
    "--explain", metavar="METRIC", help="Trace one metric, or quality: its formula, the samples used, those left out."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary, or what is explained, as JSON.")
def report(run: str, explain: str | None, as_json: bool) -> None:
    """Show a run, and write its report files again.

    RUN is a run directory, the name of a run in the data folder, or `latest` (the default). Scores and summary are
    made again from the recorded answers; no model is asked.
    """
    from audition.bench.rundir import RunDir

    directory = RunDir.open(run)
    if explain is not None:
        _explain(directory, explain, as_json)
        return

    from audition import api
    from audition.cli import output
    from audition.pick.decide import read_pick
    from audition.report import terminal

    earlier = read_pick(directory)
    conclusion = api.conclude(directory, earlier.constraints if earlier else None)
    if as_json:
        output.print_json(conclusion.summary)
        return
    terminal.show(output.stdout(), conclusion.summary, conclusion.pick, conclusion.same_models)
    for path in conclusion.reports:
        output.stderr().print(f"Written: {path}", soft_wrap=True)


def _explain(directory: RunDir, tag: str, as_json: bool) -> None:
    """Print what a metric's figures rest on; nothing is written."""
    from audition.cli import output
    from audition.report.explain import explain, lines

    explained = explain(directory.plan, directory.samples(), directory.loads(), directory.host, tag)
    if as_json:
        output.print_json(explained)
        return
    console = output.stdout()
    for line in lines(explained):
        console.print(line, soft_wrap=True)
