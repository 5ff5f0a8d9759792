from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.bench.plan import Level
from audition.bench.rundir import RunDir
from audition.errors import AuditionError
from audition.jsonfile import dumps
from audition.quality.scores import score_samples
from audition.summary.summarize import read_summary, summarize, write_summary
from audition.summary.units import number
from handmade import Made, Run, case, load, plan, run, sample, summary, target

SOME = (1.0, 0.5, 0.0, None, "cut", 1.0)


def only(data: dict[str, Any]) -> dict[str, Any]:
    (found,) = data["targets"]
    return found  # type: ignore[no-any-return]


def one_target(cases: list, samples: list, loads: list | None = None) -> dict[str, Any]:  # type: ignore[type-arg]
    made = plan([target("a")], cases)
    return only(Run(made, samples, [load()] if loads is None else loads).summary())


def test_the_same_samples_in_another_order_give_the_same_bytes() -> None:
    made = run(Made("a", SOME, (123.456, 77.7, 0.1, 0.2, 0.3)), Made("b", SOME, memory=999_999_999), rounds=3)
    # Errors with one code and several sentences, scores that do not add up exactly.
    samples = [
        replace(s, error={"code": "x", "message": f"number {i}"}) if s.status == "failed" else s
        for i, s in enumerate(made.samples)
    ]
    expected = dumps(Run(made.plan, samples, made.loads).summary())
    for seed in range(5):
        rng = random.Random(seed)
        shuffled = rng.sample(samples, len(samples))
        loads = rng.sample(made.loads, len(made.loads))
        scores = score_samples(made.plan, samples)
        assert dumps(summarize(made.plan, shuffled, loads, rng.sample(scores, len(scores)))) == expected


def test_the_same_run_read_back_from_its_files_gives_the_same_bytes(tmp_path: Path) -> None:
    made = run(Made("a", SOME), Made("b", load_fails=True), rounds=2)
    directory = RunDir(made.write(tmp_path))
    again = Run(directory.plan, directory.samples(), directory.loads())
    assert dumps(again.summary()) == dumps(made.summary())


def test_a_summary_survives_its_file(tmp_path: Path) -> None:
    made = run(Made("a", SOME), Made("b", load_fails=True))
    directory = RunDir(made.write(tmp_path))
    write_summary(directory, made.summary())
    assert dumps(read_summary(directory)) == dumps(made.summary())
    write_summary(directory, read_summary(directory))
    assert (tmp_path / "summary.json").read_text() == dumps(made.summary()) + "\n"


def test_infinity_is_written_as_a_word() -> None:
    found = only(summary(Made("a", (1.0, None, None, None))))["metrics"]["latency"]
    assert (found["value"], found["n"], found["failed"]) == ("inf", 4, 3)
    assert number("inf") == math.inf
    assert number(1.5) == 1.5


def test_figures_are_rounded_once_and_keep_their_unit() -> None:
    found = only(summary(Made("a", latencies=(100 / 3,))))["metrics"]["latency"]
    assert (found["value"], found["unit"]) == (33.333, "ms")


def test_a_cut_answer_scores_0_and_counts_as_answered() -> None:
    found = only(summary(Made("a", (1.0, 1.0, "cut", "cut"))))
    assert found["quality"]["score"] == 0.5
    assert found["requests"] == {"measured": 4, "ok": 2, "truncated": 2, "failed": 0, "timeout": 0}
    assert found["status"] == "ok"
    assert found["by_case"]["c3"]["score"] == 0.0
    assert found["by_case"]["c3"]["truncated"] == 1


def test_a_failed_answer_scores_0() -> None:
    found = only(summary(Made("a", (1.0, 1.0, 1.0, None))))
    assert (found["quality"]["score"], found["status"]) == (0.75, "partly failed")
    assert found["by_case"]["c4"] == {
        "n": 1,
        "failed": 1,
        "truncated": 0,
        "latency_median_ms": None,
        "latency_by_load": {"b001": "inf"},
        "latency_min_ms": None,
        "latency_max_ms": None,
        "score": 0.0,
        "weight": 1.0,
    }


def test_unscored_is_not_zero() -> None:
    found = one_target([case("c1", expect=("yes",)), case("c2")], [sample(), sample(case="c2", text="")])
    assert (found["by_case"]["c2"]["score"], found["by_case"]["c1"]["score"]) == (None, 1.0)
    assert (found["quality"]["score"], found["quality"]["cases"], found["quality"]["unscored_samples"]) == (1.0, 1, 1)


def test_without_any_check_quality_is_unknown_and_says_why() -> None:
    found = only(summary(Made("a"), checked=False))["quality"]
    assert (found["score"], found["low"], found["pass_rate"], found["cases"]) == (None, None, None, 0)
    assert found["reason"] == "no case has a check"


def test_checks_without_a_verdict_are_another_reason() -> None:
    found = one_target([case("c1", expect=({"rubric": "clarity"},))], [sample()])["quality"]
    assert (found["score"], found["reason"]) == (None, "no check reached a verdict")


def test_repeats_of_a_case_are_averaged_before_cases_are() -> None:
    # c1: 1, 1, 0, 0 and c2: 1. Over samples that would be 0.6; over cases it is 0.75.
    cases = [case("c1", expect=("yes",)), case("c2", expect=("yes",))]
    texts = ["yes", "yes", "no", "no"]
    samples = [sample(text=text, block=f"b{i}") for i, text in enumerate(texts)] + [sample(case="c2", text="yes")]
    found = one_target(cases, samples)["quality"]
    assert (found["score"], found["cases"], found["pass_rate"]) == (0.75, 2, 0.6)


def test_the_interval_counts_cases_and_not_repeats() -> None:
    once, often = (only(summary(Made("a", (1.0, 0.0) * 5), rounds=n))["quality"] for n in (1, 4))
    assert (once["low"], once["high"]) == (often["low"], often["high"]) == (0.2366, 0.7634)


def test_weights_count() -> None:
    cases = [case("c1", expect=("yes",), weight=3.0), case("c2", expect=("yes",))]
    found = one_target(cases, [sample(text="yes"), sample(case="c2", text="no")])
    assert found["quality"]["score"] == 0.75
    assert found["by_case"]["c1"]["weight"] == 3.0


def test_huge_weights_do_not_overflow() -> None:
    cases = [case("c1", expect=("yes",), weight=1e308), case("c2", expect=("yes",), weight=1e308)]
    found = one_target(cases, [sample(text="yes"), sample(case="c2", text="no")])
    assert found["quality"]["score"] == 0.5


def test_numbers_of_each_case() -> None:
    samples = [sample(latency_ms=ms, block=f"b{i}", text="yes") for i, ms in enumerate((300.0, 100.0, 250.0))]
    found = one_target([case("c1", expect=("yes", "sure", "really"))], samples)["by_case"]["c1"]
    assert (found["n"], found["latency_median_ms"], found["latency_min_ms"], found["latency_max_ms"]) == (
        3,
        250.0,
        100.0,
        300.0,
    )
    # Exact enough for a paired test to see ties among thirds.
    assert found["score"] == 0.333333333


def test_first_and_warmup_requests_are_in_no_figure() -> None:
    odd = [sample(phase="first", latency_ms=9e9, text="no"), sample(phase="warmup", latency_ms=9e9, text="no")]
    cases = [case("c1", expect=("yes",))]
    with_them, without = one_target(cases, [*odd, sample()]), one_target(cases, [sample()])
    assert with_them["metrics"].pop("first_request") != without["metrics"].pop("first_request")
    assert with_them == without


def test_a_target_without_a_single_sample() -> None:
    made = run(Made("a"), Made("b"))
    data = Run(made.plan, [s for s in made.samples if s.target == "a"], [x for x in made.loads if x.target == "a"])
    found = data.summary()["targets"][1]
    assert (found["id"], found["status"], found["findings"], found["errors"]) == ("b", "not measured", [], [])
    assert found["quality"]["reason"] == "nothing was measured"
    assert {tag for tag, entry in found["metrics"].items() if entry["value"] is not None} == {"disk"}
    assert all(entry["reason"] for tag, entry in found["metrics"].items() if tag != "disk")
    assert all(entry["n"] == 0 and entry["score"] is None for entry in found["by_case"].values())


def test_a_target_that_cannot_be_loaded_failed() -> None:
    found = only(summary(Made("a", load_fails=True), rounds=2))
    assert (found["status"], found["metrics"]["latency"]["reason"]) == ("failed", "every request failed")
    assert found["metrics"]["peak_memory"]["value"] is None
    quality = found["quality"]
    assert (quality["score"], quality["cases"], quality["reason"]) == (None, 0, "no request was answered")
    assert all(entry["score"] is None and entry["failed"] for entry in found["by_case"].values())


def test_who_answers_nothing_has_no_quality_and_who_answers_one_has() -> None:
    cases = [case("c1", expect=("yes",)), case("c2", expect=("yes",)), case("c3")]
    failed = [sample("failed"), sample("timeout", case="c2"), sample("failed", case="c3")]
    found = one_target(cases, failed)["quality"]
    assert (found["score"], found["pass_rate"], found["reason"]) == (None, None, "no request was answered")
    answered = one_target(cases, [*failed[:2], sample(case="c3")])["quality"]
    assert (answered["score"], answered["pass_rate"], answered["cases"]) == (0.0, 0.0, 2)


def test_each_kind_of_error_comes_once_with_its_plainest_sentence() -> None:
    died = {"code": "engine_died", "message": "it died (signal 9)"}
    prefaces = [f"not asked (number {i}): it died (signal 9)" for i in range(20)]
    samples = [
        *(sample("failed", block=f"b{i}", error={**died, "message": text}) for i, text in enumerate(prefaces)),
        sample("failed", error=died),
        sample("timeout", error={"code": "timeout", "message": "too slow"}),
        sample(),
    ]
    found = one_target([case("c1")], samples, [load("failed", error=died)])
    assert found["errors"] == [
        {
            "code": "engine_died",
            "message": "it died (signal 9)",
            "requests": 21,
            "phases": [{"phase": "load", "failed": 1, "of": 1}, {"phase": "measured", "failed": 21, "of": 23}],
        },
        {
            "code": "timeout",
            "message": "too slow",
            "requests": 1,
            "phases": [{"phase": "measured", "failed": 1, "of": 23}],
        },
    ]
    assert found["requests"] == {"measured": 23, "ok": 1, "truncated": 0, "failed": 21, "timeout": 1}


def test_a_run_is_complete_when_every_block_has_ended() -> None:
    made = run(Made("a"), rounds=2)
    assert made.summary()["complete"] is True
    # The last block's samples are there, but it never came to its end.
    assert Run(made.plan, made.samples, made.loads[:1]).summary()["complete"] is False
    assert Run(made.plan, [], []).summary()["complete"] is False


def test_a_finding_marks_the_figures_it_taints() -> None:
    found = only(summary(Made("a", (1.0, 1.0, 1.0, "cut"))))
    assert found["metrics"]["latency"]["tainted_by"] == ["truncated_answers"]
    assert found["metrics"]["ttft"]["tainted_by"] == []
    assert found["quality"]["tainted_by"] == ["truncated_answers"]
    assert [finding["code"] for finding in found["findings"]] == ["truncated_answers"]


def test_the_summary_says_what_it_is_of() -> None:
    data = summary(Made("a"), rounds=2)
    assert (data["schema"], data["name"], data["cases"]) == (2, "hand made", 6)
    assert data["settings"]["rounds"] == 2
    assert data["levels"] == [{"id": "c1", "concurrency": 1, "rate": None, "duration_s": None}]
    assert "type 7" in data["quantile_method"]


@pytest.mark.parametrize("made", [Made("a", SOME), Made("a", load_fails=True), Made("a", (None,) * 3)])
def test_it_is_plain_json_without_nan(made: Made) -> None:
    json.dumps(summary(made), allow_nan=False)


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 99, "targets": []}', '{"schema": 1}'])
def test_a_summary_of_another_version_is_a_clear_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(AuditionError, match="damaged, or another version wrote it") as error:
        read_summary(RunDir(tmp_path))
    assert "audition report" in (error.value.fix or "")


def probe(case_: str, status: str = "ok", **fields: Any) -> Any:
    error = {"error": {"code": "http_500", "message": "no"}} if status == "failed" else {}
    return sample(status, phase="probe", round=0, block="p001", case=case_, **error, **fields)


def test_failures_are_counted_where_they_came() -> None:
    samples = [
        *(probe(f"seed_ignored/{n}", "failed" if n < 3 else "ok") for n in range(13)),
        sample("failed", phase="warmup", error={"code": "http_500", "message": "no"}),
        *(sample(phase="warmup", block="b002") for _ in range(1)),
        sample(),
    ]
    found = one_target([case("c1")], samples)
    (error,) = found["errors"]
    assert error["requests"] == 1, "without the guards' questions"
    assert [(at["phase"], at["failed"], at["of"]) for at in error["phases"]] == [
        ("probe", 3, 13),
        ("warmup", 1, 2),
        ("measured", 0, 1),
    ]
    assert found["status"] == "ok"
    probes = [record for record in samples if record.phase == "probe"]
    assert one_target([case("c1")], probes, [])["status"] == "not measured"


def test_what_the_guards_could_not_know_is_in_the_summary() -> None:
    samples = [probe("max_tokens_ignored/eight", "failed"), sample()]
    assert one_target([case("c1")], samples)["not_known"] == [{"code": "max_tokens_ignored", "reason": "http_500"}]
    assert one_target([case("c1")], [*samples, probe("max_tokens_ignored/eight", repeat=1)])["not_known"] == []
    assert only(summary(Made("a")))["not_known"] == []


def test_a_finding_marks_the_figures_of_its_level_and_what_belongs_to_all() -> None:
    made = plan([target("a")], [case("c1")])
    made = replace(made, levels=(Level.closed(1), Level.closed(4)))
    samples = [sample(repeat=n) for n in range(3)] + [sample("truncated", level="c4", repeat=n) for n in range(3)]
    found = only(Run(made, samples, [load()]).summary())
    first, fourth = (at["metrics"]["latency"]["tainted_by"] for at in found["levels"])
    assert (first, fourth) == ([], ["truncated_answers"])
    assert found["metrics"]["latency"]["tainted_by"] == [], "the main table is about the first level"
    assert [finding["levels"] for finding in found["findings"]] == [("c4",)]
    busy = {"seconds": 60.0, "background_cores": 7.0}
    disturbed = only(Run(made, samples, [load(activity=busy)]).summary())
    for at in disturbed["levels"]:
        for tag in ("ttft", "request_rate", "throughput", "load_time"):
            assert "background_load" in at["metrics"][tag]["tainted_by"], (at["level"], tag)


def test_loads_for_questions_are_no_measured_loads() -> None:
    made = plan([target("a")], [case("c1")], rounds=2)
    asked = replace(made, blocks=(replace(made.blocks[0], id="p001", round=0, cases=()), *made.blocks))
    assert Run(asked, [sample()], [load()]).summary()["blocks"] == {"measured": 2, "probes": 1}
