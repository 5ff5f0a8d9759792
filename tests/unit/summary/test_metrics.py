"""What holds for the metrics as a whole; each one's figures are tested in `test_metrics_*.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audition.bench.plan import Level, Settings
from audition.errors import UsageError
from audition.summary.metrics import METRICS, Estimate, Records, metric
from handmade import case, load, plan, sample, target

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


def table() -> str:
    """Return the table of the document, as the classes have it."""
    rows = [f"| `{each.tag}` | {each.header} | {each.unit} | {each.formula} | {each.statistic} |" for each in METRICS]
    return "\n".join(["| tag | header | unit | formula | figure |", "|---|---|---|---|---|", *rows]) + "\n"


def test_the_document_says_what_the_classes_say() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    written = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert written == table(), f"between the marks of {DOCUMENT.name} belongs:\n{table()}"


def test_every_metric_has_a_test_of_its_figure() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_metrics_*.py"))
    assert [each.tag for each in METRICS if f'"{each.tag}"' not in tests] == []


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match='no metric "latencyy"') as error:
        metric("latencyy")
    assert error.value.fix == 'did you mean "latency"?'
    with pytest.raises(UsageError) as error:
        metric("§")
    assert (error.value.fix or "").startswith("one of: ttft, ")


def test_a_tag_may_be_written_in_any_case() -> None:
    assert metric("Latency") is metric("LATENCY") is metric("latency")


def test_records_are_those_of_one_target_and_one_level() -> None:
    made = plan([target("a"), target("b")], [case("c1")])
    samples = [
        sample(),
        sample(level="c4", case="other level"),
        sample(target="b", case="other target"),
        sample(phase="first", case="first"),
        sample(phase="warmup", case="warm-up"),
        sample(phase="probe", case="probe"),
    ]
    loads = [load(), load(target="b"), load(block="p001", round=0)]
    found = Records.of(made, made.target("a"), Level.closed(1), samples, loads, {"machine": {}})
    assert [s.case for s in found.measured] == ["c1"]
    assert [s.case for s in found.first] == ["first"]
    assert [(x.target, x.block) for x in found.loads] == [("a", "b001")]
    assert (found.settings, found.host) == (made.settings, {"machine": {}})


def test_records_have_defaults() -> None:
    found = Records(target(), [], [], [])
    assert (found.level.id, found.settings, dict(found.host)) == ("c1", Settings(), {})


def test_an_estimate_is_plain_json_rounded_once() -> None:
    found = Estimate(
        "median", value=1 / 3, high=float("inf"), n=3, left_out={"nothing came": 2}, token_source=("chunks", "usage")
    ).to_json(3)
    assert (found["value"], found["high"], found["low"], found["n"]) == (0.333, "inf", None, 3)
    assert (found["left_out"], found["token_source"]) == ({"nothing came": 2}, ["chunks", "usage"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
