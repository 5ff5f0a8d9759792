"""Does `--explain` say where a figure comes from, and does it agree with the summary?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from audition.bench.plan import Block, Level, Plan, Settings
from audition.bench.sample import Load, Sample
from audition.cli.report import report
from audition.errors import AuditionError, UsageError
from audition.quality.scores import score_samples
from audition.report.explain import explain, lines
from audition.report.figures import QUALITY_FORMULA
from audition.summary.metrics import METRICS, Records, metric
from audition.summary.summarize import summarize
from handmade import HOST, Run, case, load, sample, target

CASES = 5


def made(rounds: int = 2, levels: tuple[Level, ...] = (Level.closed(1),), **odd: Any) -> Run:
    """Return a run of two targets; `odd` changes the first request of each load of target `a`."""
    cases = tuple(case(f"c{i}") for i in range(CASES))
    targets = (target("a"), target("b"))
    blocks = tuple(
        Block(f"b{r:03d}{t.id}", r, t.id, tuple(c.id for c in cases)) for r in range(1, rounds + 1) for t in targets
    )
    settings = Settings(rounds=rounds, probes=False)
    plan = Plan("traced", "2026-01-01T00:00:00+00:00", targets, cases, settings, blocks, levels)
    samples: list[Sample] = []
    loads: list[Load] = []
    for block in blocks:
        where: dict[str, Any] = {"target": block.target, "block": block.id, "round": block.round}
        samples.append(sample(**where, case="c0", phase="first"))
        loads.append(load(**where))
        for level in levels:
            for i, each in enumerate(cases):
                timed = {"sent_ns": (1 + i) * 10**9, "elapsed_ms": 250.0 + i, "latency_ms": 250.0 + i}
                changes = odd if (i, block.target) == (0, "a") else {}
                samples.append(sample(**{**where, **timed, "case": each.id, "level": level.id, **changes}))
    return Run(plan, samples, loads)


def explained(run: Run, tag: str) -> dict[str, Any]:
    return explain(run.plan, run.samples, run.loads, HOST, tag)


def text(run: Run, tag: str) -> str:
    return "\n".join(lines(explained(run, tag)))


@pytest.mark.parametrize("tag", [each.tag for each in METRICS])
def test_it_agrees_with_the_summary(tag: str) -> None:
    run = made(status="failed", error={"code": "http_500", "message": "no"}, latency_ms=None)
    summary = summarize(run.plan, run.samples, run.loads, [], host=HOST)
    for target_, traced in zip(summary["targets"], explained(run, tag)["targets"], strict=True):
        of_summary, (level,) = target_["metrics"][tag], traced["levels"]
        agreeing = {name: level["estimate"].get(name) for name in of_summary if name != "tainted_by"}
        assert agreeing == {
            name: value for name, value in json.loads(json.dumps(of_summary)).items() if name in agreeing
        }
        assert [finding["code"] for finding in traced["findings"]] == of_summary["tainted_by"]


@pytest.mark.parametrize("tag", [each.tag for each in METRICS])
def test_it_is_plain_json_and_every_line_can_be_printed(tag: str) -> None:
    run = made(levels=(Level.closed(1), Level.closed(4), Level.open(2.5)))
    found = explained(run, tag)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert all(line.isprintable() for line in lines(found))
    about = metric(tag)
    assert found["metric"]["formula"] == about.formula
    assert [level["level"] for level in found["targets"][0]["levels"]] == (
        ["c1", "c4", "r2.5"] if about.by_level else [None]
    )


def test_it_names_the_samples_used_and_those_left_out() -> None:
    run = made(completion_tokens=None, token_source=None)
    (level,) = explained(run, "decode_tps")["targets"][0]["levels"]
    assert level["used"]["n"] == 2 * (CASES - 1)
    assert level["used"]["ids"][:2] == ["b001a/c1/0", "b001a/c2/0"]
    assert level["left_out"] == [
        {"reason": "nobody counted its tokens", "n": 2, "ids": ["b001a/c0/0", "b002a/c0/0"], "not_shown": 0}
    ]
    said = text(run, "decode_tps")
    assert "Decode (decode_tps, tokens/s)" in said
    assert "(n - 1) / (last text - first text)" in said
    assert "left out, nobody counted its tokens: 2 (b001a/c0/0, b002a/c0/0)" in said
    assert "tokens counted by: engine" in said
    assert "no p5: n = 8 is too small: at least 51 more requests are needed" in said


def test_each_level_stands_for_itself() -> None:
    run = made(levels=(Level.closed(1), Level.closed(4)))
    samples = [replace(s, latency_ms=1000.0) if s.level == "c4" else s for s in run.samples]
    found = explained(Run(run.plan, samples, run.loads), "latency")
    one, four = found["targets"][0]["levels"]
    assert (one["estimate"]["value"], four["estimate"]["value"]) == (252.0, 1000.0)
    said = "\n".join(lines(found))
    assert "a, c1 (1 request at a time)" in said
    assert "b, c4 (4 requests at a time)" in said


def test_a_long_list_is_cut_and_counted() -> None:
    run = made(rounds=9)
    (level,) = explained(run, "latency")["targets"][0]["levels"]
    assert (level["used"]["n"], len(level["used"]["ids"]), level["used"]["not_shown"]) == (45, 20, 25)
    assert "and 25 more)" in text(run, "latency")
    assert "used: 45 (" in text(run, "latency")


def test_the_figure_comes_with_its_interval_and_what_it_is_about() -> None:
    run = made(rounds=3)
    (level,) = explained(run, "latency")["targets"][0]["levels"]
    estimate = level["estimate"]
    said = text(run, "latency")
    if estimate["low"] is None:
        assert f"no interval ({estimate['interval_reason']})" in said
    else:
        assert f"({estimate['scope']})" in said
    (level,) = explained(made(rounds=20), "latency")["targets"][0]["levels"]
    assert level["estimate"]["p95_high"] is not None
    assert "p95 254 ms, 95 % interval [" in text(made(rounds=20), "latency")


def test_failures_and_findings_are_shown() -> None:
    run = made(status="failed", error={"code": "http_500", "message": "no"})
    assert "used: 10 (" in text(run, "latency")
    assert ", 2 of them failed" in text(run, "latency")
    assert "left out, the request failed (http_500): 2 (" in text(run, "decode_tps")
    cut = made(status="truncated", finish_reason="length")
    (finding,) = [f for f in explained(cut, "latency")["targets"][0]["findings"] if f["code"] == "truncated_answers"]
    assert f"  ! truncated_answers: {finding['sentence']}" in lines(explained(cut, "latency"))
    assert not any(f["code"] == "truncated_answers" for f in explained(cut, "ttft")["targets"][0]["findings"])


def test_an_unknown_figure_says_why() -> None:
    said = text(made(), "energy_per_token")
    assert "Energy per token: unknown: this run has no energy readings" in said
    assert "used: none" in said


def test_hostile_names_are_only_text() -> None:
    name = "c0\x1b[2J\u202e" + "x" * 500
    run = made(case=name, token_source="\x1b[31mred")
    run = replace(run, plan=replace(run.plan, cases=(*run.plan.cases, case(name))))
    for tag in ("latency", "decode_tps"):
        found = explained(run, tag)
        assert all(line.isprintable() for line in lines(found))
        assert all(len(id_) < 100 for level in found["targets"][0]["levels"] for id_ in level["used"]["ids"])


def test_samples_of_another_plan_are_refused() -> None:
    with pytest.raises(AuditionError, match='the plan has no case "c99"'):
        explained(made(case="c99"), "latency")


def test_a_load_is_named_with_its_attempt() -> None:
    (level,) = explained(made(), "load_time")["targets"][0]["levels"]
    assert level["used"]["ids"] == ["b001a#1", "b002a#1"]


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        explained(made(), "decode_tsp")
    assert "decode_tps" in (error.value.fix or "")


def test_what_is_explained_is_what_the_metric_read() -> None:
    run = made(completion_tokens=None)
    records = Records.of(run.plan, run.plan.targets[0], run.plan.levels[0], run.samples, run.loads, HOST)
    for each in METRICS:
        (level,) = explained(run, each.tag)["targets"][0]["levels"]
        found = each.estimate(records)
        assert level["used"]["n"] == (0 if each.tag == "disk" else found.n)
        assert {part["reason"]: part["n"] for part in level["left_out"]} == found.left_out


def test_the_command_prints_it_and_writes_nothing(tmp_path: Path) -> None:
    path = made().write(tmp_path / "run")
    before = sorted(path.iterdir())
    shown = CliRunner().invoke(report, [str(path), "--explain", "ttft"], catch_exceptions=False)
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, "TTFT (ttft, ms): Time to first token.")
    printed = CliRunner().invoke(report, [str(path), "--explain", "ttft", "--json"], catch_exceptions=False)
    assert json.loads(printed.stdout)["metric"]["tag"] == "ttft"
    assert sorted(path.iterdir()) == before


def test_the_command_refuses_an_unknown_metric(tmp_path: Path) -> None:
    path = made().write(tmp_path / "run")
    with pytest.raises(UsageError, match='there is no metric "tftt"'):
        CliRunner().invoke(report, [str(path), "--explain", "tftt"], catch_exceptions=False)


def test_a_share_has_its_unit_once() -> None:
    said = text(made(), "failure_rate")
    assert "Failures: rate 0 %, 95 % interval [0 %, 28 %] (these prompts, asked again)" in said
    assert "% %" not in said


def test_a_metric_may_be_named_in_any_case(tmp_path: Path) -> None:
    assert text(made(), "Latency") == text(made(), "latency")
    assert text(made(), "Quality") == text(made(), "quality")
    path = made().write(tmp_path / "run")
    shown = CliRunner().invoke(report, [str(path), "--explain", "QUALITY"], catch_exceptions=False)
    assert shown.stdout.startswith("Quality (quality, 0 to 1): ")


def test_the_latency_comes_with_what_until_looks_at() -> None:
    run = made(rounds=3, levels=(Level.closed(1), Level.closed(4)))
    samples = [replace(s, latency_ms=(s.latency_ms or 0) + s.round) for s in run.samples]
    run = Run(run.plan, samples, run.loads)
    summary = summarize(run.plan, run.samples, run.loads, [], host=HOST)
    one, four = explained(run, "latency")["targets"][0]["levels"]
    assert one["latency_here"] == summary["targets"][0]["latency_here"]
    assert "latency_here" not in four
    assert text(run, "latency").count("typical latency on these prompts, 95 % interval for new loads: 254 ms [") == 2
    assert "typical latency" not in text(run, "ttft")


def test_gaps_are_counted_beside_the_requests_that_they_came_in() -> None:
    run = made()
    slower = {f"c{i}": tuple((10.0 + i) * k for k in range(11)) for i in range(CASES)}
    said = text(Run(run.plan, [replace(s, chunk_times_ms=slower[s.case]) for s in run.samples], run.loads), "itl")
    assert "ITL: median of gaps 12 ms; no interval (an interval needs about 6 prompts; this figure has 5)" in said
    assert "used: 10 (" in said
    assert ", 100 gaps in all" in said
    assert "no p99: 100 gaps of 10 requests are too few: at least 199 more gaps are needed" in said
    assert "gaps in all" not in text(made(), "latency")


def judged() -> Run:
    """Return a run in which "b" gets half of its checks, one prompt weighs twice and one has no check."""
    run = made(status="truncated", finish_reason="length")
    expected = [
        replace(case, expect=() if case.id == "c4" else ("yes", "sure"), weight=2.0 if case.id == "c1" else 1.0)
        for case in run.plan.cases
    ]
    samples = [replace(s, text="yes") if s.target == "b" else s for s in run.samples]
    return Run(replace(run.plan, cases=tuple(expected)), samples, run.loads)


def test_quality_is_traced_to_the_checks_of_each_prompt() -> None:
    run = judged()
    scores = score_samples(run.plan, run.samples)
    summary = summarize(run.plan, run.samples, run.loads, scores, host=HOST)
    a, b = explained(run, "quality")["targets"]
    for traced, of_summary in zip((a, b), summary["targets"], strict=True):
        quality = {name: value for name, value in of_summary["quality"].items() if name != "tainted_by"}
        assert {name: traced["quality"]["estimate"][name] for name in quality} == quality
        assert [finding["code"] for finding in traced["findings"]] == of_summary["quality"]["tainted_by"]
        assert [case["score"] for case in traced["quality"]["cases"]] == [
            entry["score"] for entry in of_summary["by_case"].values()
        ]
    assert a["quality"]["cases"][0] == {
        "case": "c0",
        "score": 0.0,
        "weight": 1.0,
        "answers": 2,
        "scored": 2,
        "failures": {"truncated": 2},
        "checks": [
            {"check": "contains", "weight": 1.0, "gate": False, "score": 0.0, "passed": 0, "scored": 2, "answers": 2}
        ]
        * 2,
    }
    assert [check["passed"] for check in b["quality"]["cases"][1]["checks"]] == [2, 0]
    said = lines(explained(run, "quality"))
    assert f"  = {QUALITY_FORMULA}" in said
    assert "  Quality: mean 0.80, 95 % interval [0.34, 0.97] (new prompts of this kind)" in said
    assert "  used: 4 of 5 prompts, 8 answers" in said
    assert (
        "  c0: 0.00 (contains 0 of 2 answers passed; contains 0 of 2 answers passed; "
        "the token limit cut the answer: 2)" in said
    )
    assert "  c1: 0.50, weight 2 (contains 2 of 2 answers passed; contains 0 of 2 answers passed)" in said
    assert "  c4: left out, no check" in said
    assert any(line.startswith("  ! truncated_answers: ") for line in said)
    assert json.loads(json.dumps(explained(run, "quality"), allow_nan=False)) == explained(run, "quality")


def test_quality_that_nothing_judged_says_why() -> None:
    said = text(made(), "quality")
    assert "Quality: unknown: no case has a check" in said
    assert "used: 0 of 5 prompts, 0 answers" in said
    nothing = made()
    assert "c0: left out, nothing was measured" in "\n".join(lines(explain(nothing.plan, [], [], HOST, "quality")))


def test_a_long_suite_is_cut_and_hostile_names_are_only_text() -> None:
    run = judged()
    more = [case(f"\x1b[2J\u202e{i}", expect=("yes",)) for i in range(30)]
    run = replace(run, plan=replace(run.plan, cases=(*run.plan.cases, *more)))
    said = lines(explained(run, "quality"))
    assert all(line.isprintable() for line in said)
    assert said.count("  and 15 prompts more") == 2
