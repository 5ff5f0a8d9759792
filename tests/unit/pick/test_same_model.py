"""One model in several targets of a run: who is best in what, by how much, and that other weights are named."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from audition.pick.same_model import SameModel, same_models
from audition.quality.scores import score_samples
from audition.report import markdown, same_model, terminal
from comparable import Before
from handmade import HOST, Run

ONE = {"id": "tiny:q4/first/cpu", "model": "tiny", "variant": "tiny:q4", "engine": "first"}
TWO = {"id": "tiny:q4/second/cpu", "model": "tiny", "variant": "tiny:q4", "engine": "second"}
OTHER_FILE = {**TWO, "quantization": "INT4", "format": "onnx-genai", "digest": "f" * 60}
HUGE = {"id": "huge:q4/first/cpu", "model": "huge", "variant": "huge:q4", "engine": "first"}


def made(*targets: dict[str, Any], slower: float = 2.0, temperature: float = 0.0, rounds: int = 3) -> Run:
    """Return a run in which every target but the first is so much slower, and takes 50 MB more."""
    settings = {"temperature": temperature}
    run = Before(n=10, rounds=rounds, targets=targets, settings=settings).run()
    first = targets[0]["id"]
    samples = [
        s
        if s.target == first or s.latency_ms is None
        else replace(
            s,
            latency_ms=s.latency_ms * slower,
            ttft_ms=(s.ttft_ms or 0) * slower,
            chunk_times_ms=tuple(t * slower for t in s.chunk_times_ms),
        )
        for s in run.samples
    ]
    loads = [
        load if load.target == first or load.peak is None else replace(load, peak=replace(load.peak, total=3 * 10**8))
        for load in run.loads
    ]
    return replace(run, samples=samples, loads=loads)


def groups(run: Run) -> list[SameModel]:
    scores = score_samples(run.plan, run.samples)
    return same_models(run.plan, run.samples, run.loads, scores, HOST, run.summary())


def test_a_model_that_has_one_target_is_no_group() -> None:
    assert groups(made(ONE, HUGE)) == []


def test_the_best_and_how_far_the_others_are() -> None:
    (group,) = groups(made(ONE, TWO, HUGE))
    assert (group.model, group.targets, group.engines) == ("tiny", (ONE["id"], TWO["id"]), True)
    by_metric = {standing.metric: standing for standing in group.standings}
    assert set(by_metric) == {"ttft", "decode_tps", "latency", "load_time", "peak_memory", "quality"}
    for metric in ("ttft", "latency", "decode_tps", "peak_memory"):
        assert by_metric[metric].best == ONE["id"]
    change = by_metric["latency"].others[TWO["id"]]
    assert change.low is not None
    assert change.high is not None
    assert 0.9 < change.low < 1 < change.high < 1.1, "twice as long is 100 % more"
    assert change.verdict == "worse"
    slower = by_metric["decode_tps"].others[TWO["id"]]
    assert slower.value == pytest.approx(-0.5, abs=0.01)
    assert by_metric["quality"].others[TWO["id"]].value == 0


def test_a_difference_that_is_not_shown_is_said_to_be_none() -> None:
    (group,) = groups(made(ONE, TWO, slower=1.0))
    said = next(line for line in same_model.lines(group) if line.startswith("Latency"))
    assert said.endswith("; no difference shown for second")


def test_of_equals_none_is_called_the_best() -> None:
    (group,) = groups(made(ONE, TWO))
    said = next(line for line in same_model.lines(group) if line.startswith("Quality"))
    assert "first, second are equal and best, 1.00" in said
    assert "scores best" not in said


def test_with_one_load_no_difference_is_shown() -> None:
    (group,) = groups(made(ONE, TWO, rounds=1))
    said = next(line for line in same_model.lines(group) if line.startswith("TTFT"))
    assert "no difference shown" in said


def test_other_files_are_named_and_never_passed_over() -> None:
    (group,) = groups(made(ONE, TWO))
    assert same_model.lines(group)[0] == "All run the same file, Q4_1 (gguf, d1ge57d1)"
    (group,) = groups(made(ONE, OTHER_FILE))
    said = same_model.lines(group)[0]
    assert said.startswith("Not the same files")
    assert said.endswith("Q4_1 (gguf, d1ge57d1) in first; INT4 (onnx-genai, ffffffff) in second")
    unknown = {**TWO, "digest": None}
    (group,) = groups(made(ONE, unknown))
    assert same_model.lines(group)[0].startswith("Not the same files"), "a server that shows no digest may run anything"


def test_two_variants_on_one_engine_are_no_two_engines() -> None:
    q8 = {"id": "tiny:q8/first/cpu", "model": "tiny", "variant": "tiny:q8", "engine": "first", "quantization": "Q8_0"}
    (group,) = groups(made(ONE, q8))
    assert same_model.title(group) == "tiny in different variants"
    assert "tiny:q8/first/cpu" in same_model.lines(group)[1], "the engine alone would not tell them apart"


def test_what_failed_is_left_out() -> None:
    run = made(ONE, TWO)
    failed = [
        s if s.target == ONE["id"] else replace(s, status="failed", error={"code": "x", "message": "x"})
        for s in run.samples
    ]
    assert groups(replace(run, samples=failed)) == []


def test_noise_is_no_winner_however_fast() -> None:
    run = made(ONE, TWO, {**TWO, "id": "tiny:q4/third/cpu", "engine": "third"}, slower=2.0)
    noise = [replace(s, text="and so on it goes. " * 12) if s.target == ONE["id"] else s for s in run.samples]
    (group,) = groups(replace(run, samples=noise))
    assert group.unusable == (ONE["id"],)
    assert all(ONE["id"] not in (standing.best, *standing.others) for standing in group.standings)
    assert same_model.lines(group)[-1] == "Left out, because their answers are unusable: first"


def test_the_summary_says_how_alike_answers_are_where_nothing_is_left_to_chance() -> None:
    summary = made(ONE, TWO, HUGE).summary()
    assert summary["agreement"] == [
        {
            "model": "tiny",
            "a": ONE["id"],
            "b": TWO["id"],
            "cases": 10,
            "identical": 10,
            "similarity": 1.0,
            "words_alike": 2.0,
        }
    ]
    assert made(ONE, TWO, temperature=0.2).summary()["agreement"] == []


def test_the_reports_show_it() -> None:
    run = made(ONE, OTHER_FILE)
    found, summary = groups(run), run.summary()
    text = markdown.render(run.plan, HOST, summary, run.samples, None, found)
    assert "## tiny in different engines" in text
    assert "- TTFT: first answers first" in text
    assert re.search(r"; second (2\.0\d|1\.9\d) times \\\[", text)
    assert "Not the same files" in text
    assert "1.00, 10/10" in text
    console = Console(record=True, width=160)
    terminal.show(console, summary, None, found)
    shown = " ".join(console.export_text().split())
    assert "tiny in different engines" in shown
    assert "│ second │ 1.00, 10/10 │" in shown


def test_a_taint_is_said_where_the_figure_is() -> None:
    run = made(ONE, TWO)
    fed = [replace(s, prompt_sha256=s.target) for s in run.samples]
    run = replace(run, samples=fed)
    for target in run.summary()["targets"][:2]:
        assert "prompts_differ" in target["metrics"]["ttft"]["tainted_by"]
        assert "prompts_differ" in target["quality"]["tainted_by"]
    (group,) = groups(run)
    said = {line.partition(":")[0]: line for line in same_model.lines(group)}
    assert said["TTFT"].endswith(" !")
    assert "!" not in said["Peak memory"]
