"""The result in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from audition.pick.decide import Pick
from audition.report.table import COLUMNS, rows, why_no_p95
from audition.text import printable


def show(console: Console, summary: dict[str, Any], pick: Pick | None) -> None:
    """Print table, guards and pick."""
    console.print(render(summary, pick))


def render(summary: dict[str, Any], pick: Pick | None) -> RenderableType:
    """Return table, guards and pick as one renderable."""
    parts: list[RenderableType] = [_table(summary, pick)]
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
    for loser in pick.losers:
        lines.append(Text.assemble(("  not ", "dim"), (loser.target, "bold"), f": {printable(loser.sentence)}."))
    lines += [Text(f"  note: {note}.", style="dim") for note in pick.notes]
    return lines


def _table(summary: dict[str, Any], pick: Pick | None) -> Table:
    settings = summary["settings"]
    mode = "deterministic" if settings["deterministic"] else f"temperature {settings['temperature']}"
    table = Table(
        title=f"{printable(summary['name'])}: {summary['cases']} cases, {settings['rounds']} rounds, {mode}",
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )
    table.add_column("Target", overflow="fold", min_width=16)
    for header, _ in COLUMNS:
        numeric = header != "Licence"
        table.add_column(header, justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows(summary):
        style = "green" if pick is not None and row[0] == pick.target else None
        table.add_row(*(Text(cell) for cell in row), style=style)
    return table


def _notes(summary: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if not summary["complete"]:
        lines.append(Text("This run is not complete.", style="yellow"))
    for target in summary["targets"]:
        findings = target["findings"]
        if findings or target["errors"]:
            lines.append(Text(target["id"], style="bold"))
        for finding in findings:
            style = "red" if finding["disqualifies"] else "yellow"
            lines.append(Text.assemble((f"  ! {finding['code']}: ", style), finding["sentence"]))
        for error in target["errors"]:
            text = f"{error['code']} ({error['requests']} requests): "
            lines.append(Text.assemble((f"  {text}", "red"), printable(error["message"])))
    if any(target["findings"] for target in summary["targets"]):
        lines.append(Text("! marks the figures that a guard's finding taints.", style="dim"))
    reason = why_no_p95(summary)
    if reason:
        lines.append(Text(f"No p95: {reason}.", style="dim"))
    return lines
