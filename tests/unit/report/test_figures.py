from __future__ import annotations

import math
from typing import Any

import pytest

from audition.report.figures import UNKNOWN, figure, interval, marked, quality, typical_latency
from audition.report.table import COLUMNS, rows, why_no_p95
from audition.summary.units import counted, duration, size
from handmade import Made, Run, run, summary


def entry(value: Any, unit: str = "ms", **fields: Any) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "p95": None, "unit": unit, "tainted_by": [], **fields}


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.0, "0 ms"),
        (0.04, "0.04 ms"),
        (0.42, "0.42 ms"),
        (0.999, "1 ms"),
        (1.4, "1 ms"),
        (87.4, "87 ms"),
        (999.4, "999 ms"),
        (999.7, "1.00 s"),
        (1000, "1.00 s"),
        (3421, "3.42 s"),
        (7_200_000, "7,200.00 s"),
        (math.inf, "infinite"),
    ],
)
def test_durations(ms: float, text: str) -> None:
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 MB"),
        (2, "2 bytes"),
        (23_456, "0.023 MB"),
        (420_000, "0.42 MB"),
        (98_362_432, "98 MB"),
        (999_400_000, "999 MB"),
        (999_700_000, "1.00 GB"),
        (4_370_000_000, "4.37 GB"),
        (999_996_000_000, "1.00 TB"),
        (1e15, "1,000.00 TB"),
    ],
)
def test_sizes(n_bytes: float, text: str) -> None:
    assert size(n_bytes) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (85.797, "tokens/s", "85.8"),
        (0.04, "tokens/s", "0.04"),
        (1234.5, "tokens/s", "1,234.5"),
        (21.0, "tokens", "21"),
        (0.0, "tokens", "0"),
        (250.0, "ms", "250 ms"),
        ("inf", "ms", "infinite"),
        (260_251_648, "bytes", "260 MB"),
    ],
)
def test_figures_in_their_units(value: Any, unit: str, text: str) -> None:
    assert figure(entry(value, unit)) == text


@pytest.mark.parametrize("unit", ["ms", "bytes", "tokens", "tokens/s"])
def test_an_unknown_figure_is_a_dash_and_never_0(unit: str) -> None:
    assert figure(entry(None, unit)) == figure(entry(1.0, unit), "p95") == UNKNOWN == "\N{EN DASH}"


def test_a_tainted_figure_is_marked_and_an_unknown_one_is_not() -> None:
    assert marked(entry(5.0, tainted_by=["x"])) == "5 ms !"
    assert marked(entry(None, tainted_by=["x"])) == UNKNOWN
    assert marked(entry(5.0)) == "5 ms"


def test_intervals() -> None:
    assert interval(entry(90.0, low=80.0, high="inf")) == "[80 ms, infinite]"
    assert interval(entry(90.0, low=80.0)) == interval(entry(90.0, high=80.0)) == ""


def test_quality_of_nothing_judged_is_a_dash() -> None:
    (scored,), (unscored,) = summary(Made("a", (0.0,) * 3))["targets"], summary(Made("a"), checked=False)["targets"]
    assert (quality(scored), quality(unscored)) == ("0.00", UNKNOWN)
    (tainted,) = summary(Made("a", ("cut", 1.0)))["targets"]
    assert quality(tainted) == "0.50 !"


def test_counts() -> None:
    assert [counted(n, "round") for n in (0, 1, 2)] == ["0 rounds", "1 round", "2 rounds"]


def test_a_target_without_numbers_has_no_zeros_in_the_table() -> None:
    made = run(Made("a"), Made("b"))
    only_a = [s for s in made.samples if s.target == "a"], [x for x in made.loads if x.target == "a"]
    row = dict(zip(["id", *(header for header, _ in COLUMNS)], rows(Run(made.plan, *only_a).summary())[1], strict=True))
    assert row.pop("id") == "b"
    # Known without measuring: what the files take, and their licence.
    assert (row.pop("Disk"), row.pop("Licence")) == ("100 MB", "MIT (permissive)")
    assert set(row.values()) == {UNKNOWN}


def test_a_failed_target_shows_that_nothing_was_answered() -> None:
    ((_, *cells),) = rows(summary(Made("a", load_fails=True)))
    row = dict(zip([header for header, _ in COLUMNS], cells, strict=True))
    assert row["Complete"] == "0/6"
    unknown = ("Quality", "TTFT", "Latency", "p95", "Decode tok/s", "Load", "Peak memory")
    assert {row[name] for name in unknown} == {UNKNOWN}


def test_neither_a_cut_nor_a_failed_answer_is_complete() -> None:
    ((_, *cells),) = rows(summary(Made("a", (1.0, "cut", None, 1.0))))
    assert dict(zip([header for header, _ in COLUMNS], cells, strict=True))["Complete"] == "2/4"


def test_the_reason_for_a_missing_p95_is_said_once() -> None:
    few, enough = Made("few", (1.0,) * 6), Made("enough", (1.0,) * 6)
    assert why_no_p95(summary(few, enough)) == "n = 6 is too small: at least 53 more requests are needed"
    assert why_no_p95(summary(few, enough, rounds=10)) is None


def test_different_reasons_name_their_targets() -> None:
    data = summary(Made("a"), Made("b"), rounds=10)
    data["targets"][1]["metrics"]["latency"]["p95_reason"] = "n = 9 is too small"
    assert why_no_p95(data) == "b: n = 9 is too small"


def test_the_typical_latency_has_its_interval_where_there_is_one() -> None:
    entry = {"value_ms": 119.2, "low_ms": 115.0, "high_ms": 124.4}
    assert typical_latency(entry) == "119 ms [115 ms, 124 ms]"
    assert typical_latency({**entry, "low_ms": None, "high_ms": None}) == "119 ms"
    assert typical_latency({"value_ms": "inf", "low_ms": None, "high_ms": None}) == "infinite"
    assert typical_latency(None) == UNKNOWN
