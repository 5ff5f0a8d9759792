"""A comparison of two runs: in the terminal, and as Markdown for a pull request."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from audition.pick.changes import Change
from audition.pick.compare import Compared, Comparison
from audition.pick.gates import GateResult, Judgement
from audition.pick.sentences import figure, signed, signed_interval
from audition.report.figures import UNKNOWN
from audition.report.markup import cell, code, grid
from audition.summary.units import counted
from audition.text import one_line, printable

_STYLES = {"better": "green", "worse": "bold red", "too small": "dim", "unknown": "dim"}
_GATE_STYLES = {"met": "green", "not met": "bold red", "undecided": "yellow"}


def render(comparison: Comparison, judgement: Judgement | None) -> list[RenderableType]:
    """Return the comparison as lines for a terminal."""
    lines: list[RenderableType] = [Text(one_line(_title(comparison), 400), style="bold")]
    lines += [Text(f"  {item.name}: {printable(item.sentence)}", style="yellow") for item in comparison.differences]
    for target in comparison.targets:
        lines += [Text(), Text(one_line(target.title), style="bold")]
        lines += [Text(f"  {printable(item.sentence)}") for item in target.differences]
        lines += [_sentence(change) for change in target.changes]
        lines += [Text(f"  note: {printable(finding)}.", style="dim") for finding in target.findings]
    lines += [Text(f"note: {printable(note)}.", style="dim") for note in comparison.notes]
    if judgement is not None:
        lines += [Text(), *map(_gate, judgement.results), Text(_outcome(judgement), style="bold")]
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


def _gate(result: GateResult) -> Text:
    mark = (result.status, _GATE_STYLES[result.status])
    return Text.assemble(mark, f"  {result.gate}  {one_line(result.target)}: {printable(result.sentence)}")


def _outcome(judgement: Judgement) -> str:
    failing = sum(result.status == "not met" for result in judgement.results)
    undecided = sum(result.status == "undecided" for result in judgement.results)
    said = [f"{failing} not met"] if failing else []
    if undecided:
        said.append(f"{undecided} undecided, which {'fails (--strict)' if judgement.strict else 'passes'}")
    detail = f" ({', '.join(said)})" if said else ""
    return f"{'Gates met' if judgement.met else 'Gates not met'}: {len(judgement.results)} judged{detail}."


def _target(target: Compared) -> str:
    lines = [f"## {code(target.title)}", ""]
    lines += [f"- {cell(item.sentence)}" for item in target.differences]
    lines += [""] if target.differences else []
    lines += grid(["Metric", "A", "B", "Change", "95 % interval", ""], [_row(change) for change in target.changes])
    unknown = [f"- {cell(change.sentence)}" for change in target.changes if change.low is None or change.tainted_by]
    notes = [*unknown, *(f"- {cell(finding)}." for finding in target.findings)]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _row(change: Change) -> list[str]:
    mark = " !" if change.tainted_by else ""
    return [
        change.title + mark,
        UNKNOWN if change.a is None else figure(change.a, change.unit),
        UNKNOWN if change.b is None else figure(change.b, change.unit),
        UNKNOWN if change.value is None else signed(change, change.value),
        signed_interval(change) or UNKNOWN,
        change.verdict,
    ]
