"""The same model in several targets, in sentences that every format shows."""

from __future__ import annotations

import math
from typing import Any

from audition.pick.changes import Change
from audition.pick.same_model import SameModel, Standing
from audition.pick.sentences import figure
from audition.report.figures import UNKNOWN


def title(group: SameModel) -> str:
    """Return the heading of a group."""
    return f"{group.model} in different {'engines' if group.engines else 'variants'}"


def lines(group: SameModel) -> list[str]:
    """Return what is to be said of a group: its files, then a sentence per metric, without full stops."""
    left_out = ", ".join(_short(group, id_) for id_ in group.unusable)
    return [
        _files(group),
        *(_standing(group, standing) for standing in group.standings),
        *([f"Left out, because their answers are unusable: {left_out}"] if left_out else []),
    ]


def matrix(group: SameModel, summary: dict[str, Any]) -> list[list[str]]:
    """Return how alike the answers are, a row per target after a header; nothing where chance decided the texts."""
    pairs = {frozenset((pair["a"], pair["b"])): pair for pair in summary["agreement"]}
    if not any(pair <= frozenset(group.targets) for pair in pairs):
        return []
    names = [_short(group, id_) for id_ in group.targets]
    rows = [[_alike(pairs.get(frozenset((a, b))), is_itself=a == b) for b in group.targets] for a in group.targets]
    return [["Answers alike", *names], *([name, *row] for name, row in zip(names, rows, strict=True))]


MATRIX_LEGEND = (
    "Answers alike: the share of text that two have in common (1.00 is all of it), and how many answers are the very "
    "same. Engines round differently, so less than 1 is no fault; on a small model those that work shared 0.30 to 0.75"
)


def _alike(pair: dict[str, Any] | None, *, is_itself: bool) -> str:
    if is_itself:
        return ""
    return UNKNOWN if pair is None else f"{pair['similarity']:.2f}, {pair['identical']}/{pair['cases']}"


def _files(group: SameModel) -> str:
    if len(group.files) == 1 and "digest unknown" not in next(iter(group.files)):
        return f"All run the same file, {next(iter(group.files))}"
    files = [f"{what} in {', '.join(_short(group, id_) for id_ in ids)}" for what, ids in group.files.items()]
    return f"Not the same files, so not the same weights: {'; '.join(files)}"


def _standing(group: SameModel, standing: Standing) -> str:
    """Say who is best, how many times as much those take that are shown to differ, and who is not shown to."""
    shown = {id_: change for id_, change in standing.others.items() if change.verdict in ("better", "worse")}
    equal = [id_ for id_, change in standing.others.items() if change.value == 0 and id_ not in shown]
    parts = [f"{_short(group, id_)} {_much(change)}" for id_, change in shown.items()]
    rest = {id_: change for id_, change in standing.others.items() if id_ not in {*shown, *equal}}
    alike = [f"{_short(group, id_)}{_mark(change)}" for id_, change in rest.items() if _is(change)]
    unknown = [_short(group, id_) for id_, change in rest.items() if not _is(change)]
    unknown += [_short(group, id_) for id_ in standing.unknown]
    parts += [f"no difference shown for {', '.join(alike)}"] if alike else []
    parts += [f"unknown for {', '.join(unknown)}"] if unknown else []
    best = f"{_short(group, standing.best)} {_BEST[standing.metric]}"
    if equal:
        others = ", ".join(f"{_short(group, id_)}{_mark(standing.others[id_])}" for id_ in equal)
        best = f"{_short(group, standing.best)}, {others} are equal and best"
    return "; ".join([f"{standing.header}: {best}, {figure(standing.value, standing.unit)}", *parts])


_BEST = {
    "ttft": "answers first",
    "latency": "is done first",
    "decode_tps": "writes fastest",
    "load_time": "loads fastest",
    "peak_memory": "takes least",
    "quality": "scores best",
}


def _short(group: SameModel, id_: str) -> str:
    """Return as much of a target's id as tells it from the others of its group: its engine, if that does."""
    for parts in (slice(1, 2), slice(1, None)):
        shorts = ["/".join(target.split("/")[parts]) for target in group.targets]
        short = shorts[group.targets.index(id_)]
        if short and shorts.count(short) == 1:
            return short
    return id_


def _is(change: Change) -> bool:
    return change.value is not None


def _much(change: Change) -> str:
    value = change.value or 0.0
    if change.points:
        return f"{value:+.2f}{_interval(change, '+.2f', 0.0)}{_mark(change)}"
    return f"{_times(1 + value)} times{_interval(change, '', 1.0)}{_mark(change)}"


def _mark(change: Change) -> str:
    return " !" if change.tainted_by else ""


def _interval(change: Change, spec: str, base: float) -> str:
    if change.low is None or change.high is None or change.basis == "exact":
        return ""
    ends = (base + change.low, base + change.high)
    return " [" + ", ".join(format(end, spec) if spec else _times(end) for end in ends) + "]"


def _times(ratio: float) -> str:
    return "infinitely many" if math.isinf(ratio) else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
