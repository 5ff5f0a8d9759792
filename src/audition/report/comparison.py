"""A comparison of two runs: in the terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections import Counter

from rich.console import RenderableType
from rich.text import Text

from audition.pick.changes import Change
from audition.pick.compare import Compared, Comparison
from audition.pick.gates import GateResult, Judgement
from audition.pick.sentences import figure, signed, signed_interval, unknown_sentences
from audition.report.figures import UNKNOWN
from audition.report.markup import cell, code, grid
from audition.summary.units import counted
from audition.text import one_line, printable

_STYLES = {"better": "green", "worse": "bold red", "too small": "dim"}
_GATE_STYLES = {"met": "green", "not met": "bold red", "undecided": "yellow"}


def render(comparison: Comparison, judgement: Judgement | None) -> list[RenderableType]:
    """Return the comparison as lines for a terminal."""
    lines: list[RenderableType] = [Text(one_line(_title(comparison), 400), style="bold")]
    lines += [Text(f"  {item.name}: {printable(item.sentence)}", style="yellow") for item in comparison.differences]
    for target in comparison.targets:
        lines += [Text(), Text(one_line(target.title), style="bold")]
        lines += [Text(f"  {printable(item.sentence)}") for item in target.differences]
        lines += [_sentence(change) for change in target.changes if change.value is not None]
        lines += [Text(f"  {printable(text)}", style="dim") for text in unknown_sentences(target.changes)]
        lines += [Text(f"  note: {printable(finding)}.", style="dim") for finding in target.findings]
    lines += [Text(f"note: {printable(note)}.", style="dim") for note in comparison.notes]
    if judgement is not None:
        several = len(comparison.targets) > 1
        gates = [_gate(result, named=several) for result in judgement.results]
        lines += [Text(), *gates, Text(_outcome(judgement), style="bold")]
    return lines


def markdown(comparison: Comparison, judgement: Judgement | None) -> str:
    """Return the comparison as Markdown."""
    parts = ["# Comparison of two runs", cell(_title(comparison))]
    if judgement is not None:
        body = [[result.gate, result.status, result.target, result.sentence] for result in judgement.results]
        parts.append(f"**{cell(_outcome(judgement))}**")
        parts.append("\n".join(grid(["Gate", "", "Target", "Change"], body)))
    if comparison.differences:
        parts.append("\n".join(f"- Allowed: {item.name} ({cell(item.sentence)})." for item in comparison.differences))
    parts += [_target(target) for target in comparison.targets]
    if comparison.notes:
        parts.append("\n".join(f"- Note: {cell(note)}." for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def _title(comparison: Comparison) -> str:
    return f"{comparison.a} -> {comparison.b}: {counted(comparison.cases, 'case')} compared, intervals at 95 %"


def _sentence(change: Change) -> Text:
    return Text(f"  {printable(change.sentence)}", style=_STYLES.get(change.verdict, ""))


def _gate(result: GateResult, *, named: bool) -> Text:
    mark = (result.status, _GATE_STYLES[result.status])
    target = f"{one_line(result.target)}: " if named else ""
    return Text.assemble(mark, f"  {result.gate}  {target}{printable(result.sentence)}")


def _outcome(judgement: Judgement) -> str:
    counts = Counter(result.status for result in judgement.results)
    said = [f"{counts[status]} {status}" for status in ("not met", "met", "undecided") if counts[status]]
    strict = "--strict fails it" if counts["undecided"] == 1 else "--strict fails them"
    doubt = f" (more cases or rounds decide; {strict})" if counts["undecided"] else ""
    headline = "Gates failed" if not judgement.met else "No gate failed" if doubt else "All gates are met"
    return f"{headline}: {', '.join(said)}{doubt}."


def _target(target: Compared) -> str:
    lines = [f"## {code(target.title)}", ""]
    lines += [f"- {cell(item.sentence)}" for item in target.differences]
    lines += [""] if target.differences else []
    known = [change for change in target.changes if change.value is not None]
    if known:
        lines += grid(["Metric", "A", "B", "Change", "95 % interval", ""], [_row(change) for change in known])
    tainted = {name for change in known for name in change.tainted_by}
    shown = [change.sentence for change in known if change.verdict in ("better", "worse")]
    # What a mark in the table means; what taints no figure of it is said in the terminal and in --json.
    marks = [f"{finding}." for finding in target.findings if finding.partition(": ")[0] in tainted]
    notes = [f"- {cell(text)}" for text in (*shown, *unknown_sentences(target.changes), *marks)]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _row(change: Change) -> list[str]:
    mark = " !" if change.tainted_by else ""
    return [
        change.title + mark,
        figure(change.a, change.unit),
        figure(change.b, change.unit),
        "" if change.value is None else signed(change, change.value),
        signed_interval(change) or UNKNOWN,
        change.verdict,
    ]
