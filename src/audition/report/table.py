"""The main table, as rows of text that every format shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audition.bench.guards.degenerate import FAULTS, UnusableAnswers
from audition.report.figures import UNKNOWN, figure, marked, quality

Column = tuple[str, Callable[[dict[str, Any]], str]]


def _metric(tag: str, end: str = "value") -> Callable[[dict[str, Any]], str]:
    return lambda target: marked(target["metrics"][tag], end)


def findings(target: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the guards found, without what another finding of the same target already says in full."""
    codes = {finding["code"] for finding in target["findings"]}
    told = {guard.code for guard in FAULTS} if UnusableAnswers.code in codes else set()
    return [finding for finding in target["findings"] if finding["code"] not in told]


def _complete(target: dict[str, Any]) -> str:
    requests = target["requests"]
    if not requests["measured"]:
        return UNKNOWN
    return f"{requests['ok']}/{requests['measured']}"


COLUMNS: tuple[Column, ...] = (
    ("Quality", quality),
    ("TTFT", _metric("ttft")),
    ("Latency", _metric("latency")),
    ("p95", _metric("latency", "p95")),
    ("Decode tok/s", _metric("decode_tps")),
    ("Of bandwidth", _metric("bandwidth_use")),
    ("Load", _metric("load_time")),
    ("Peak memory", _metric("peak_memory")),
    ("Disk", lambda target: figure(target["metrics"]["disk"])),
    ("Complete", _complete),
    ("Licence", lambda target: f"{target['licence'] or 'not stated'} ({target['licence_class']})"),
)


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return one row per target: its id, then the columns."""
    return [[target["id"], *(cell(target) for _, cell in COLUMNS)] for target in summary["targets"]]


def why_no_p95(summary: dict[str, Any]) -> str | None:
    """Return the reason for the dashes in the p95 column: once when it is the same for all targets, else each one's."""
    reasons: dict[str, str | None] = {t["id"]: t["metrics"]["latency"]["p95_reason"] for t in summary["targets"]}
    known = {target: reason for target, reason in reasons.items() if reason}
    if len(known) == len(reasons) and len(set(known.values())) == 1:
        return next(iter(known.values()))
    return "; ".join(f"{target}: {reason}" for target, reason in known.items()) or None
