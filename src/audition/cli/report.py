"""`audition report`: show a run again, from its files."""

from __future__ import annotations

import click


@click.command()
@click.argument("run", default="latest")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def report(run: str, as_json: bool) -> None:
    """Show a run, and write its report files again.

    RUN is a run directory, the name of a run in the data folder, or `latest` (the default). Scores and summary are
    made again from the recorded answers; no model is asked.
    """
    from audition import api
    from audition.bench.rundir import RunDir
    from audition.cli import output
    from audition.pick.decide import read_pick
    from audition.report import terminal

    directory = RunDir.open(run)
    earlier = read_pick(directory)
    conclusion = api.conclude(directory, earlier.constraints if earlier else None)
    if as_json:
        output.print_json(conclusion.summary)
        return
    terminal.show(output.stdout(), conclusion.summary, conclusion.pick)
    for path in conclusion.reports:
        output.stderr().print(f"Written: {path}", soft_wrap=True)
