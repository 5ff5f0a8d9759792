"""The result in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from audition.pick.decide import Pick
from audition.pick.same_model import SameModel
from audition.report import levels, same_model
from audition.report.figures import typical_latency
from audition.report.table import COLUMNS, findings, not_known, rows, when_failed, why_no_p95
from audition.summary.units import counted
from audition.text import one_line, printable

_ANY_WIDTH = 10_000


def show(console: Console, summary: dict[str, Any], pick: Pick | None, groups: Sequence[SameModel] = ()) -> None:
    """Print table, guards and pick, and how the targets of one model compare."""
    console.print(render(summary, pick, groups))


def render(summary: dict[str, Any], pick: Pick | None, groups: Sequence[SameModel] = ()) -> RenderableType:
    """Return table, guards and pick as one renderable, and how the targets of one model compare."""
    parts: list[RenderableType] = [_Results(summary, pick)]
    if levels.is_worth_showing(summary):
        parts += [Text(), _under_load(summary)]
    if summary["settings"]["until_ci"] is not None:
        parts += [Text(), *_typical(summary)]
    for group in groups:
        parts += [Text(), *_same_model(group, summary)]
    notes = _notes(summary)
    if notes:
        parts += [Text(), *notes]
    if pick is not None:
        parts += [Text(), *render_pick(pick)]
    return Group(*parts)


def render_pick(pick: Pick) -> list[RenderableType]:
    """Return the decision: a sentence, a line per loser, and what to know."""
    style = "bold green" if pick.target else "bold yellow"
    lines: list[RenderableType] = [Text(printable(pick.sentence), style=style)]
    demands = pick.constraints.demands()
    if demands:
        lines.append(Text(f"  demanded: {', '.join(demands)}.", style="dim"))
    for loser in pick.losers:
        name = (one_line(loser.target), "bold")
        lines.append(Text.assemble(("  not ", "dim"), name, f": {printable(loser.sentence)}."))
    lines += [Text(f"  note: {printable(note)}.", style="dim") for note in pick.notes]
    return lines


def _typical(summary: dict[str, Any]) -> list[Text]:
    """Return the figure that `--until` makes precise, a line per target."""
    known = [(one_line(target["id"]), typical_latency(target["latency_here"])) for target in summary["targets"]]
    return [
        Text("Typical latency on these prompts, 95 % interval for new loads", style="bold"),
        *(Text(f"  {name}: {latency}") for name, latency in known),
    ]


def _under_load(summary: dict[str, Any]) -> Table:
    table = Table(title="Under load", title_style="bold", title_justify="left", header_style="bold")
    for header in levels.HEADERS:
        table.add_column(header, justify="left" if header in ("Target", "Load") else "right", overflow="fold")
    for row in levels.rows(summary):
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table


def _same_model(group: SameModel, summary: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(one_line(same_model.title(group)), style="bold")]
    lines += [Text(f"  {one_line(line, 1000)}.") for line in same_model.lines(group)]
    if body := same_model.matrix(group, summary):
        table = Table(header_style="bold")
        for number, header in enumerate(body[0]):
            table.add_column(one_line(header), justify="right" if number else "left", overflow="fold")
        for row in body[1:]:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        lines += [table, Text(f"  {same_model.MATRIX_LEGEND}.", style="dim")]
    return lines


class _Results:
    """The main table; on its side and a few targets at a time where the terminal is too narrow for all columns.

    A squeezed table cuts figures short, and a figure cut short is a wrong figure.
    """

    def __init__(self, summary: dict[str, Any], pick: Pick | None) -> None:
        settings = summary["settings"]
        mode = "deterministic" if settings["deterministic"] else f"temperature {settings['temperature']}"
        cases, rounds = counted(summary["cases"], "case"), counted(summary["rounds"], "round")
        self._title = Text(f"{one_line(summary['name'])}: {cases}, {rounds}, {mode}", style="bold")
        self._rows = [[one_line(cell) for cell in row] for row in rows(summary)]
        self._picked = one_line(pick.target) if pick is not None and pick.target else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def fits(table: Table) -> bool:
            free = options.update(max_width=_ANY_WIDTH)
            return console.measure(table, options=free).maximum <= options.max_width

        yield self._title
        table = self._upright()
        if fits(table):
            yield table
            return
        left = self._rows
        while left:
            n = max((n for n in range(1, len(left) + 1) if fits(self._sideways(left[:n]))), default=1)
            yield self._sideways(left[:n])
            left = left[n:]

    def _upright(self) -> Table:
        table = Table(header_style="bold")
        table.add_column("Target")
        for header, _ in COLUMNS:
            table.add_column(header, justify="left" if header == "Licence" else "right")
        for row in self._rows:
            table.add_row(*map(Text, row), style=self._style(row))
        return table

    def _sideways(self, targets: list[list[str]]) -> Table:
        table = Table(header_style="bold")
        table.add_column("Target")
        for row in targets:
            # The engine and the device on a line of their own.
            table.add_column(Text(row[0].replace("/", "\n/", 1)), style=self._style(row), overflow="fold")
        for index, (header, _) in enumerate(COLUMNS, start=1):
            table.add_row(header, *(Text(row[index]) for row in targets))
        return table

    def _style(self, row: list[str]) -> str | None:
        return "green" if row[0] == self._picked else None


def _notes(summary: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if not summary["complete"]:
        lines.append(Text("This run is not complete.", style="yellow"))
    if summary["stopped"]:
        lines.append(Text(f"No more rounds: {printable(summary['stopped'])}.", style="dim"))
    for target in summary["targets"]:
        found, unknown = findings(target), not_known(target)
        if found or unknown or target["errors"]:
            lines.append(Text(one_line(target["id"]), style="bold"))
        for finding in found:
            style = "red" if finding["disqualifies"] else "yellow"
            only = levels.only_with(finding, summary)
            lines.append(Text.assemble((f"  ! {finding['code']}: ", style), printable(finding["sentence"]), only))
        if unknown:
            lines.append(Text.assemble(("  ? not known, because the questions failed: ", "yellow"), unknown))
        for error in target["errors"]:
            text = f"{one_line(error['code'])} ({when_failed(error)}): "
            lines.append(Text.assemble((f"  {text}", "red"), one_line(error["message"])))
    if any(finding["taints"] for target in summary["targets"] for finding in target["findings"]):
        lines.append(Text("! marks the figures that a guard's finding taints.", style="dim"))
    if any(at["ok"] < at["measured"] for at in (target["levels"][0]["requests"] for target in summary["targets"])):
        lines.append(Text("Complete: answered to the end; cut and failed answers are not.", style="dim"))
    reason = why_no_p95(summary)
    if reason:
        lines.append(Text(f"No p95 ({printable(reason)}).", style="dim"))
    return lines
