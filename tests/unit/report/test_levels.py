"""The table "Under load": what was offered, as planned and as it came."""

from __future__ import annotations

from typing import Any

from audition.report.levels import HEADERS, is_worth_showing, rows


def figures(**values: float | None) -> dict[str, Any]:
    tags = ("arrival_rate", "throughput", "request_rate", "ttft", "latency")
    return {
        tag: {"unit": "ms" if tag in ("ttft", "latency") else "requests/s", "value": values.get(tag), "p95": None}
        | {"tainted_by": []}
        for tag in tags
    }


def summary(level: dict[str, Any], **values: float | None) -> dict[str, Any]:
    given = {"id": "x", "concurrency": None, "rate": None, "duration_s": None, **level}
    requests = {"measured": 12, "ok": 12, "truncated": 0, "failed": 0, "timeout": 0}
    at = {"level": "x", "requests": requests, "metrics": figures(**values)}
    return {"levels": [given], "targets": [{"id": "a", "levels": [at]}]}


def test_the_open_loop_shows_the_rate_as_planned_and_as_it_came() -> None:
    made = summary({"rate": 2.0, "duration_s": 4.0}, arrival_rate=3.0, request_rate=2.9)
    (row,) = rows(made)
    cells = dict(zip(HEADERS, row, strict=True))
    assert cells["Load"] == "2 requests a second for 4 s (came: 3.0)"
    assert cells["Requests/s"] == "2.9"
    assert is_worth_showing(made)


def test_the_closed_loop_has_no_rate_to_come() -> None:
    (row,) = rows(summary({"concurrency": 4}))
    assert row[1] == "4 requests at a time"
