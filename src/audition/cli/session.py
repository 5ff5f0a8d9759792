"""A measuring session as a person sees it: downloads, progress, table, pick, and where everything lies."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audition import api
from audition.bench.plan import Level
from audition.cli import output
from audition.cli.lock import say_lock
from audition.models.spec import LicenceClass
from audition.quality.score import self_test

if TYPE_CHECKING:
    from audition.bench.plan import Settings
    from audition.bench.rundir import RunDir
    from audition.quality.cases import Suite


def start(
    models: Sequence[str],
    suite: Suite,
    settings: Settings,
    *,
    engines: Sequence[str] = (),
    servers: Sequence[dict[str, Any]] = (),
    levels: Sequence[Level] | None = None,
    out: Path | None = None,
    context: int | None = None,
    as_json: bool = False,
) -> RunDir:
    """Download what is missing, measure, and show the result."""
    progress = output.RunProgress()
    output.say_problems(self_test(suite))
    say_lock(models)
    started: list[RunDir] = []

    def on_start(run: RunDir) -> None:
        started.append(run)
        progress.started(run)

    try:
        with output.download_progress() as downloads:
            run = api.prepare(
                models,
                suite,
                engines=engines,
                settings=settings,
                servers=servers,
                levels=levels or (Level.closed(1),),
                out=out,
                context=context,
                progress=downloads,
            )
        output.say_servers(run.host)
        on_start(run)
        api.resume(run, progress)
    except KeyboardInterrupt:
        progress.stop()
        if started:
            _interrupted(started[0])
        raise
    _show(run, as_json=as_json)
    return run


def go_on(run: RunDir, *, as_json: bool = False) -> None:
    """Finish an interrupted run, and show the result."""
    progress = output.RunProgress()
    progress.started(run)
    try:
        api.resume(run, progress)
    except KeyboardInterrupt:
        progress.stop()
        _interrupted(run)
        raise
    _show(run, as_json=as_json)


def _interrupted(run: RunDir) -> None:
    """Leave a run that can be read, and say how it goes on."""
    if run.samples():
        api.conclude(run)
    output.stderr().print(f"Interrupted. Go on with: audition bench --resume '{run.path}'", soft_wrap=True)


def _show(run: RunDir, *, as_json: bool) -> None:
    conclusion = api.conclude(run)
    if as_json:
        output.print_json(conclusion.summary)
    else:
        from audition.report import terminal

        terminal.show(output.stdout(), conclusion.summary, conclusion.pick, conclusion.same_models)
    talk = output.stderr()
    talk.print(f"Report: {conclusion.reports[0]}", soft_wrap=True)
    if all(target["status"] in ("failed", "not measured") for target in conclusion.summary["targets"]):
        talk.print("error: no target answered a single request; the table says why")
        sys.exit(1)
    # A server's licence is unknown, and what is unknown is not permitted.
    known = all(target["licence_class"] != LicenceClass.UNKNOWN for target in conclusion.summary["targets"])
    licence = " --licence permissive" if known else ""
    talk.print(f"Choose under constraints: audition pick '{run.path}' --max-latency 2s{licence}", soft_wrap=True)
