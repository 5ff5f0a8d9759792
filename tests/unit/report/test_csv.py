from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from audition.report.table_csv import render
from audition.summary.metrics import METRICS
from handmade import Made, summary

ESCAPE = "\x1b[2J"


def table(data: dict[str, Any]) -> list[dict[str, str]]:
    lines = list(csv.reader(io.StringIO(render(data), newline=""), strict=True))
    assert {len(line) for line in lines} == {len(lines[0])}
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_one_row_per_target_with_its_figures() -> None:
    first, second = table(summary(Made("a", memory=300_000_000), Made("b", (1.0, 0.0, 1.0) * 2)))
    assert (first["id"], first["quality_score"], first["requests_measured"]) == ("a", "1.0", "6")
    assert (first["latency_value_ms"], first["latency_n"], first["latency_p95_ms"]) == ("1000.0", "6", "")
    assert (first["decode_tps_value_tokens_per_s"], first["peak_memory_value_bytes"]) == ("20.0", "300000000")
    assert (second["quality_score"], second["quality_cases"], second["status"]) == ("0.6667", "6", "ok")


def test_every_metric_has_its_columns_and_a_count_has_no_unit() -> None:
    (row,) = table(summary(Made("a")))
    for metric in METRICS:
        unit = metric.unit.replace("/", "_per_").replace("%", "percent")
        assert {f"{metric.tag}_{end}_{unit}" for end in ("value", "low", "high", "p95")} <= set(row)
        assert f"{metric.tag}_n" in row


def test_an_unknown_figure_is_an_empty_cell_and_never_0() -> None:
    (row,) = table(summary(Made("a", load_fails=True), rounds=2))
    assert (row["status"], row["requests_failed"], row["requests_ok"]) == ("failed", "12", "0")
    # What fails is known: how often, and what the files take.
    known = {"disk_value_bytes", *(f"failure_rate_{end}_percent" for end in ("value", "low", "high"))}
    figures = {name for metric in METRICS for name in row if name.startswith(f"{metric.tag}_") and name[-2:] != "_n"}
    assert {name for name in figures if row[name]} == known
    (row,) = table(summary(Made("a"), checked=False))
    assert (row["quality_score"], row["quality_low"], row["quality_cases"]) == ("", "", "0")


def test_an_infinite_latency_is_a_word() -> None:
    (row,) = table(summary(Made("a", (1.0, None, None, None))))
    assert row["latency_value_ms"] == "inf"


def test_findings_are_listed() -> None:
    (row,) = table(summary(Made("a", ("cut",) * 6, has_chat_template=False)))
    assert row["findings"] == "missing_chat_template truncated_answers"


STARTS = ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "\N{FULLWIDTH EQUALS SIGN}", f"{ESCAPE}="]


@pytest.mark.parametrize("start", STARTS)
def test_no_cell_is_a_formula(start: str) -> None:
    text = f'{start}cmd|"/c calc",1\r\nsecond,line'
    (row,) = table(summary(Made("a", licence=text)))
    assert row["licence"].lstrip()[0] not in "=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}"
    assert row["licence"].isprintable()
    assert "calc" in row["licence"]
    assert row["id"] == "a"


def test_hostile_ids_neither_break_the_table_nor_reach_a_terminal() -> None:
    hostile = f'=1+1","x"\n{ESCAPE}\u202egnp.exe'
    first, second = table(summary(Made(hostile), Made("b")))
    assert first["id"].startswith("'=1+1")
    assert first["id"].isprintable()
    assert second["id"] == "b"


def test_the_same_summary_gives_the_same_bytes() -> None:
    assert render(summary(Made("a"), Made("b"))) == render(summary(Made("a"), Made("b")))
    assert "\r" not in render(summary(Made("a")))
