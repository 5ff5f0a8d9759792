"""`benchmark_report.csv`: one row per target, one column per figure, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Any

from audition.summary.metrics import METRICS, Metric
from audition.text import one_line

FILE_NAME = "benchmark_report.csv"
_ABOUT = ("id", "model", "variant", "engine", "device", "licence", "licence_class", "status")
_FORMULA = ("=", "+", "-", "@", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}")


def render(summary: dict[str, Any]) -> str:
    """Return the table; an empty cell is an unknown figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    ends = ("value", "low", "high", "p95", "n")
    header = [_column(metric, end) for metric in METRICS for end in ends]
    quality = ["quality_score", "quality_low", "quality_high", "quality_cases"]
    counts = [f"requests_{name}" for name in ("measured", "ok", "truncated", "failed", "timeout")]
    writer.writerow([*_ABOUT, *quality, *counts, *header, "findings"])
    for target in summary["targets"]:
        writer.writerow(
            [
                *(_text(target[name]) for name in _ABOUT),
                *(target["quality"][name.removeprefix("quality_")] for name in quality),
                *(target["requests"][name.removeprefix("requests_")] for name in counts),
                *(_figure(metric, target["metrics"][metric.tag][end]) for metric in METRICS for end in ends),
                _text(" ".join(finding["code"] for finding in target["findings"])),
            ]
        )
    return stream.getvalue()


def _column(metric: Metric, end: str) -> str:
    """Return a column's name: a figure carries its unit, a count has none."""
    if end == "n":
        return f"{metric.tag}_n"
    return f"{metric.tag}_{end}_{metric.unit.replace('/', '_per_').replace('%', 'percent')}"


def _figure(metric: Metric, value: Any) -> Any:
    return int(value) if metric.unit == "bytes" and isinstance(value, float) else value


def _text(value: str | None) -> str:
    """Return one line of printable text that a spreadsheet does not take for a formula."""
    text = one_line(value or "", 1000)
    return f"'{text}" if text.startswith(_FORMULA) else text
