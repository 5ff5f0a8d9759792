"""Targets under load: a row per target and load level, as rows of text that every format shows."""

from __future__ import annotations

from typing import Any

from audition.report.figures import UNKNOWN, figure, marked

HEADERS = ("Target", "Load", "Throughput tok/s", "Requests/s", "TTFT", "TTFT p95", "Latency", "Latency p95", "Failed")


def is_worth_showing(summary: dict[str, Any]) -> bool:
    """Return whether there is more to say than the main table does: another load than one request at a time."""
    return [level["id"] for level in summary["levels"]] != ["c1"] or any(
        level["duration_s"] is not None for level in summary["levels"]
    )


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return the rows: targets in their order, levels in the plan's."""
    names = {level["id"]: described(level) for level in summary["levels"]}
    return [
        [target["id"], names[at["level"]] + _as_it_came(at), *_cells(at)]
        for target in summary["targets"]
        for at in target["levels"]
    ]


def only_with(finding: dict[str, Any], summary: dict[str, Any]) -> str:
    """Return the load levels that a finding concerns, in brackets; nothing where it concerns all of them."""
    names = {level["id"]: described(level) for level in summary["levels"]}
    return f" (only with {' and '.join(names[id_] for id_ in finding['levels'])})" if finding["levels"] else ""


def described(level: dict[str, Any]) -> str:
    """Return a load level in words: `4 requests at a time`, `2.5 requests a second for 60 s`."""
    if level["rate"] is not None:
        much = f"{level['rate']:g} requests a second"
    else:
        much = "one request at a time" if level["concurrency"] == 1 else f"{level['concurrency']} requests at a time"
    return much if level["duration_s"] is None else f"{much} for {level['duration_s']:g} s"


def _as_it_came(at: dict[str, Any]) -> str:
    """Return how many requests a second there really were; nothing in the closed loop."""
    arrivals = at["metrics"]["arrival_rate"]
    return "" if arrivals["value"] is None else f" (came: {figure(arrivals)})"


def _cells(at: dict[str, Any]) -> list[str]:
    metrics, requests = at["metrics"], at["requests"]
    failed = requests["failed"] + requests["timeout"]
    return [
        marked(metrics["throughput"]),
        marked(metrics["request_rate"]),
        marked(metrics["ttft"]),
        marked(metrics["ttft"], "p95"),
        marked(metrics["latency"]),
        marked(metrics["latency"], "p95"),
        f"{failed}/{requests['measured']}" if requests["measured"] else UNKNOWN,
    ]
