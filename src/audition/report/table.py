"""The main table, as rows of text that every format shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audition.report.figures import figure, marked, quality

Column = tuple[str, Callable[[dict[str, Any]], str]]


def _metric(tag: str, end: str = "value") -> Callable[[dict[str, Any]], str]:
    return lambda target: marked(target["metrics"][tag], end)


def _answered(target: dict[str, Any]) -> str:
    requests = target["requests"]
    return f"{requests['ok'] + requests['truncated']}/{requests['measured']}"


COLUMNS: tuple[Column, ...] = (
    ("Quality", quality),
    ("TTFT", _metric("ttft")),
    ("Latency", _metric("latency")),
    ("p95", _metric("latency", "p95")),
    ("Decode tok/s", _metric("decode_tps")),
    ("Load", _metric("load_time")),
    ("Peak memory", _metric("peak_memory")),
    ("Disk", lambda target: figure(target["metrics"]["disk"])),
    ("Answered", _answered),
    ("Licence", lambda target: f"{target['licence'] or 'not stated'} ({target['licence_class']})"),
)


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return one row per target: its id, then the columns."""
    return [[target["id"], *(cell(target) for _, cell in COLUMNS)] for target in summary["targets"]]


def why_no_p95(summary: dict[str, Any]) -> str | None:
    """Return the reason for the dashes in the p95 column, once for all targets."""
    reasons = [target["metrics"]["latency"]["p95_reason"] for target in summary["targets"]]
    return next((reason for reason in reasons if reason), None)
