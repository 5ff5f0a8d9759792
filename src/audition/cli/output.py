"""Where words go: results to standard output, talk to standard error, JSON when it is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from audition.jsonfile import dumps
from audition.sizes import size

if TYPE_CHECKING:
    from rich.console import Console

    from audition.bench.plan import Block, Plan
    from audition.bench.rundir import RunDir
    from audition.bench.sample import Load, Sample
    from audition.bench.schedule import Added
    from audition.store.blobs import Progress

_PLAIN_INTERVAL_S = 5.0


def stdout(*, wide: bool = False) -> Console:
    """Return the console for results. Text of models never becomes markup.

    Args:
        wide: Whether lines in a pipe may be as long as they like, for tables that a program cuts to size.
    """
    from rich.console import Console

    # A pipe has no width of its own; a table must not be squeezed into 80 columns for it.
    width = None if sys.stdout.isatty() else 10_000 if wide else 160
    return Console(markup=False, highlight=False, emoji=False, width=width)


def stderr() -> Console:
    """Return the console for talk."""
    from rich.console import Console

    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def print_json(data: Any) -> None:
    """Print canonical JSON to standard output, in ASCII: what a model wrote must not reach a terminal raw."""
    sys.stdout.write(dumps(data, ascii_only=True) + "\n")


def say_problems(problems: list[str]) -> None:
    """Say what is wrong with a suite's own checks; a long list is cut, the first few show the pattern."""
    console = stderr()
    for problem in problems[:5]:
        console.print(f"note: {problem}", soft_wrap=True)
    if len(problems) > 5:
        console.print(f"note: and {len(problems) - 5} more like these")


def say_servers(host: dict[str, Any]) -> None:
    """Say who the servers of a run are, and which of their models a name was taken for."""
    from audition.report.machine import server_line
    from audition.text import one_line

    console = stderr()
    for id_, about in host.get("servers", {}).items():
        console.print(f"{one_line(id_)}: {one_line(server_line(about), 500)}", soft_wrap=True)


@contextmanager
def download_progress() -> Iterator[Progress]:
    """Show downloads: a bar on a terminal, a plain line every few seconds elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield _PlainProgress(console)
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


@contextmanager
def working(what: str) -> Iterator[Progress]:
    """Show on a terminal that something is under way, and how much of it is done; say nothing elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield lambda part, done, total: None
        return
    with console.status(what) as status:
        yield lambda part, done, total: status.update(f"{what}: {part}, {done} of {total}")


class _PlainProgress:
    """Lines for a log file: the first of each thing, then one every five seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what in self._said_at and now - self._said_at[what] <= _PLAIN_INTERVAL_S:
            return
        amount = f": {size(done)}" + (f" of {size(total)}" if total else "") if done or total else ""
        if self._said.get(what) != amount:  # what has not moved is not said again
            self._console.print(f"{what}{amount}", soft_wrap=True)
        self._said_at[what], self._said[what] = now, amount


def _ended(answers: list[bool]) -> str:
    """Return how a block went whose target could be asked to the end."""
    failed = answers.count(False)
    if not failed:
        return "done"
    return "no answer" if failed == len(answers) else f"{failed} of {len(answers)} failed"


class RunProgress:
    """Tells of a run, a line per block; on a terminal the line also counts the requests."""

    def __init__(self) -> None:
        self._console = stderr()
        self._status: Any = None
        self._heads: dict[str, str] = {}
        self._done = 0
        self._requests = 0
        self._answers: dict[str, list[bool]] = {}
        self._plan: Plan | None = None

    @property
    def _is_timed(self) -> bool:
        """Whether nobody can say how many requests it will be."""
        return self._plan is None or any(level.duration_s is not None for level in self._plan.levels)

    def started(self, run: RunDir) -> None:
        """Say where the run is, before anything can go wrong."""
        self._plan = run.plan
        self._console.print(f"Run directory: {run.path}", soft_wrap=True)

    def resumed(self, done: int, total: int, torn: list[str]) -> None:
        """Say what is there already."""
        of = "" if self._is_timed else f" of {total}"
        self._console.print(f"Going on: {done}{of} requests are recorded.")
        for name in torn:
            self._console.print(f"The last line of {name} was half written and has been dropped.")

    def block_started(self, block: Block, number: int, total: int) -> None:
        """Name the target."""
        from audition.bench.requests import count_of

        what = "asking whether it is honest" if block.is_probe else f"round {block.round}"
        if not self._heads:
            self._done = self._requests = 0
        self._heads[block.id] = f"[{number}/{total}] {what}: {block.target}"
        self._requests = 0 if self._is_timed or self._plan is None else self._requests + count_of(self._plan, block)
        if self._console.is_terminal and self._status is None:
            self._status = self._console.status(f"{self._heads[block.id]}: loading")
            self._status.start()

    def sample_added(self, sample: Sample) -> None:
        """Count."""
        self._done += 1
        self._answers.setdefault(sample.block, []).append(sample.error is None)
        if self._status is not None:
            of = f" of {self._requests}" if self._requests else ""
            self._status.update(f"{self._heads[sample.block]}: request {self._done}{of}")

    def block_ended(self, load: Load) -> None:
        """Say how the block went."""
        head = self._heads.pop(load.block)
        if not self._heads:
            self.stop()
        if load.error is not None:
            from audition.text import one_line

            self._console.print(f"{head}: failed: {one_line(load.error['message'])}", soft_wrap=True)
        else:
            loaded = "" if load.load_ms is None else f", loaded in {load.load_ms:,.0f} ms"
            self._console.print(f"{head}: {_ended(self._answers.pop(load.block, []))}{loaded}", soft_wrap=True)

    def added(self, added: Added) -> None:
        """Say why there is another round, or no more."""
        from audition.summary.units import counted
        from audition.text import printable

        what = f"Another round of {counted(len(added.blocks), 'target')}" if added.blocks else "No more rounds"
        self._console.print(f"{what}: {printable(added.reason)}.", soft_wrap=True)

    def stop(self) -> None:
        """Take the live line away, also when the run is interrupted."""
        if self._status is not None:
            self._status.stop()
            self._status = None
