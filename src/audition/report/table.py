"""The main table, as rows of text that every format shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audition.bench.guards.degenerate import FAULTS, UnusableAnswers
from audition.bench.guards.failures import FailingRequests
from audition.report.figures import UNKNOWN, figure, marked, quality
from audition.text import one_line

Column = tuple[str, Callable[[dict[str, Any]], str]]


def _metric(tag: str, end: str = "value") -> Callable[[dict[str, Any]], str]:
    return lambda target: marked(target["metrics"][tag], end)


def findings(target: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the guards found, without what another finding or the errors of the same target say in full."""
    codes = {finding["code"] for finding in target["findings"]}
    told = {guard.code for guard in FAULTS} if UnusableAnswers.code in codes else set()
    told |= {f["code"] for f in target["findings"] if f["code"] == FailingRequests.code and not f["disqualifies"]}
    return [finding for finding in target["findings"] if finding["code"] not in told]


def not_known(target: dict[str, Any]) -> str:
    """Return which guards could not find out, with the error codes that came instead; empty where all could."""
    by_reason: dict[str, list[str]] = {}
    for guard in target["not_known"]:
        by_reason.setdefault(guard["reason"], []).append(guard["code"])
    return "; ".join(f"{', '.join(codes)} ({one_line(reason)})" for reason, codes in by_reason.items())


_PHASES = {"load": "loads", "probe": "probes", "first": "first requests", "warmup": "warm-ups", "measured": "measured"}


def when_failed(error: dict[str, Any]) -> str:
    """Return how often an error came: `3 of 13 probes, 1 of 2 warm-ups, 0 of 6 measured`."""
    return ", ".join(f"{at['failed']} of {at['of']} {_PHASES[at['phase']]}" for at in error["phases"])


def _complete(target: dict[str, Any]) -> str:
    requests = target["levels"][0]["requests"]
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
