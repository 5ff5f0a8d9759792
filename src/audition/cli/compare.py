"""`audition compare`: what changed between two runs, and a gate for continuous integration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

GATE_NOT_MET = 3
_ALLOWABLE = "prompts, settings, levels, machine, incomplete, model, audition"


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@click.option("--fail-on", metavar="GATES", help="What must not change: 'latency>5%,quality<-0.05,failures>5%'.")
@click.option("--strict", is_flag=True, help="A gate that the run cannot decide fails, too.")
@click.option("--allow", multiple=True, metavar="WHAT", help=f"What the runs may differ in: {_ALLOWABLE}.")
@click.option("--target", "targets", multiple=True, metavar="ID_A=ID_B",
              help="Compare this target of A with that one of B; may be given more than once.")  # fmt: skip
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Also write a Markdown file.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(
    run_a: str,
    run_b: str,
    fail_on: str | None,
    strict: bool,
    allow: tuple[str, ...],
    targets: tuple[str, ...],
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Compare two runs, as a gate for CI too.

    RUN_A is before, RUN_B is after: run directories, names of runs in the data folder, or `latest`. Unlike runs are
    refused; what may differ is allowed by name. Exit code 0: compared, gates met; 3: a gate is not met.
    """
    from audition.bench.rundir import RunDir
    from audition.cli import output
    from audition.pick.compare import compare as compare_runs
    from audition.pick.gates import judge_gates, parse_gates
    from audition.report import comparison as report

    if strict and fail_on is None:
        raise click.UsageError("--strict goes with --fail-on")
    gates = None if fail_on is None else parse_gates(fail_on)
    found = compare_runs(RunDir.open(run_a), RunDir.open(run_b), allow=allow, targets=_pairs(targets))
    judgement = None if gates is None else judge_gates(found, gates, strict=strict)
    if markdown is not None:
        _write(markdown, report.markdown(found, judgement))
    if as_json:
        output.print_json({**found.to_json(), "gates": None if judgement is None else judgement.to_json()})
    else:
        console = output.stdout()
        for line in report.render(found, judgement):
            console.print(line, soft_wrap=True)
    if judgement is not None and not judgement.met:
        sys.exit(GATE_NOT_MET)


def _pairs(targets: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for text in targets:
        a, equals, b = text.partition("=")
        if not (a and equals and b):
            raise click.UsageError(f'"{text}" names no two targets: --target ID_A=ID_B')
        pairs.append((a, b))
    return pairs


def _write(path: Path, text: str) -> None:
    from audition.cli import output
    from audition.errors import AuditionError
    from audition.jsonfile import write_text

    try:
        write_text(path, text)
    except OSError as error:
        raise AuditionError(f"cannot write {path}: {error.strerror or error}", fix="name another file") from error
    output.stderr().print(f"Written: {path}", soft_wrap=True)
