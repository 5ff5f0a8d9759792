from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audition.bench.rundir import RunDir
from audition.errors import AuditionError
from audition.jsonfile import dumps
from audition.pick.constraints import Constraints
from audition.pick.decide import Pick, decide, read_pick, write_pick
from handmade import Made, Run, run, summary

GOOD, BAD, WORTHLESS = (1.0,) * 10, (1.0,) + (0.0,) * 9, (0.0,) * 10
MIXED = (1.0, 0.0) * 5
FAST, SLOW = (100.0,) * 10, (900.0,) * 10
LOOP = "all work and no play makes jack a dull boy. " * 10
FREE = Constraints()


def pick(*targets: Made, constraints: Constraints = FREE, checked: bool = True) -> Pick:
    return decide(summary(*targets, checked=checked), constraints)


def why_not(decision: Pick) -> dict[str, str]:
    return {loser.target: loser.reason for loser in decision.losers}


def sentence(decision: Pick, target: str) -> str:
    (found,) = (loser.sentence for loser in decision.losers if loser.target == target)
    return found


def test_the_better_answers_win_though_they_are_slower_and_take_more() -> None:
    good = Made("good", GOOD, SLOW, memory=900_000_000, disk=900_000_000)
    found = pick(Made("cheap", BAD, FAST), good)
    assert (found.outcome, found.target, found.tie_group) == ("picked", "good", ("good",))
    assert why_not(found) == {"cheap": "worse"}
    assert "its answers are measurably the best" in found.sentence
    assert sentence(found, "cheap") == (
        "its answers are worse: quality 0.10 against 1.00 of good, paired over 10 cases (p = 0.004)"
    )


def test_a_difference_that_may_be_chance_is_none_and_the_least_memory_wins() -> None:
    # Better in 5 of 10 cases and never worse: chance does that once in 16.
    found = pick(Made("large", GOOD, FAST, memory=400_000_000), Made("small", (1.0,) * 5 + (0.0,) * 5, SLOW))
    assert (found.target, found.tie_group) == ("small", ("large", "small"))
    assert why_not(found) == {"large": "costlier"}
    assert "among 2 whose answers are too close to call, it is the cheapest by memory" in found.sentence
    assert sentence(found, "large") == (
        "its answers are not shown to be better, and it takes more memory: 400 MB against 200 MB of small"
    )


def test_six_cases_better_and_none_worse_are_enough() -> None:
    six = (1.0,) * 7 + (0.0,) * 3
    assert pick(Made("a", six, memory=900_000_000), Made("b", BAD)).target == "a"


@pytest.mark.parametrize(("difference", "winner"), [(50_000_000, "fast"), (50_000_001, "small")])
def test_memory_within_50_mb_is_the_same_and_the_faster_one_wins(difference: int, winner: str) -> None:
    found = pick(Made("small", GOOD, SLOW), Made("fast", GOOD, FAST, memory=200_000_000 + difference))
    assert found.target == winner
    other = "small" if winner == "fast" else "fast"
    assert ("is slower: 900 ms against 100 ms of fast" in sentence(found, other)) == (winner == "fast")


def test_latency_is_compared_on_the_same_prompts() -> None:
    wide = tuple(100.0 * i for i in range(1, 11))
    slower = tuple(140.0 * i for i in range(1, 11))
    found = pick(Made("a", GOOD, wide, disk=200_000_000), Made("b", GOOD, slower, disk=199_000_000))
    assert found.target == "a"
    assert "is slower" in found.losers[0].sentence


def test_latency_within_its_interval_is_the_same_and_the_smaller_file_wins() -> None:
    wide = tuple(100.0 * i for i in range(1, 11))
    other = tuple(100.0 * i + (5 if i % 2 else -5) for i in range(1, 11))
    found = pick(Made("a", GOOD, wide, disk=200_000_000), Made("b", GOOD, other, disk=199_000_000))
    assert found.target == "b"
    assert sentence(found, "a").endswith("it takes more disk: 200 MB against 199 MB of b")


def test_two_percent_of_latency_are_the_same_however_narrow_the_interval() -> None:
    found = pick(Made("a", GOOD, (100.0,), disk=2), Made("b", GOOD, (101.9,), disk=1))
    assert found.target == "b"
    assert pick(Made("a", GOOD, (100.0,), disk=2), Made("b", GOOD, (102.1,), disk=1)).target == "a"


def test_each_loser_is_told_the_cost_that_it_lost_by() -> None:
    # c answers fastest of all, but memory comes first: it must not read that c is slower.
    found = pick(
        Made("a", GOOD, SLOW, memory=200_000_000),
        Made("b", GOOD, (500.0,), memory=220_000_000),
        Made("c", GOOD, FAST, memory=500_000_000),
    )
    assert found.target == "b"
    assert sentence(found, "a").endswith("it is slower: 900 ms against 500 ms of b")
    assert sentence(found, "c").endswith("it takes more memory: 500 MB against 200 MB of a")
    assert "it is the cheapest by memory, then latency" in found.sentence


def test_identical_targets_are_too_close_to_call() -> None:
    found = pick(Made("a", MIXED), Made("b", MIXED), Made("c", MIXED, memory=900_000_000))
    assert (found.outcome, found.target) == ("too_close_to_call", None)
    assert "a and b do not differ measurably in quality, memory, latency or disk" in found.sentence
    assert why_not(found) == {"c": "costlier"}


def test_a_target_whose_answers_are_unusable_loses_whatever_else_it_has() -> None:
    noise = Made("noise", GOOD, FAST, memory=1_000_000, disk=1, text=LOOP + "yes sure")
    found = pick(noise, Made("b", MIXED, SLOW, memory=900_000_000))
    assert (found.target, why_not(found)) == ("b", {"noise": "unusable_answers"})
    assert "it is the only one that can be used" in found.sentence
    alone = pick(noise)
    assert (alone.outcome, alone.target) == ("nothing_feasible", None)
    # Not even constraints that it keeps, or almost keeps, bring it back.
    assert pick(noise, constraints=Constraints(max_latency_ms=1.0)).outcome == "nothing_feasible"
    assert pick(noise, constraints=Constraints(max_latency_ms=1e9)).outcome == "nothing_feasible"


def test_answers_that_are_all_wrong_are_not_picked_however_cheap_they_are() -> None:
    found = pick(Made("cheap", WORTHLESS, FAST, memory=1), Made("b", (0.5,) * 2 + (0.0,) * 8, SLOW))
    assert (found.target, why_not(found)) == ("b", {"cheap": "quality 0"})
    assert sentence(found, "cheap") == (
        "none of its answers to 10 judged cases scores above 0; if the model is right, mend the checks"
    )
    alone = pick(Made("a", WORTHLESS), constraints=Constraints(max_latency_ms=1e9))
    assert (alone.outcome, alone.target) == ("nothing_feasible", None)
    assert alone.sentence == "Nothing is feasible: no target can be used."


def test_answers_that_are_all_cut_are_no_fault_of_the_checks() -> None:
    found = sentence(pick(Made("a", ("cut",) * 10), Made("b", GOOD)), "a")
    assert found.endswith("scores above 0; all were cut at the token limit (--max-tokens)")


@pytest.mark.parametrize(("cases", "picked"), [(1, "a"), (2, "a"), (3, None)])
def test_few_wrong_answers_may_be_the_fault_of_the_checks(cases: int, picked: str | None) -> None:
    found = pick(Made("a", (0.0,) * cases))
    assert found.target == picked
    said = f"rules it out, but none of its answers to {cases} judged case{'s' * (cases > 1)} scores above 0 (quality 0"
    assert (said in found.sentence) == (picked is not None)


def test_right_answers_are_not_called_worthless() -> None:
    assert "but none" not in pick(Made("a", (1.0,))).sentence
    assert "over 1 case," in pick(Made("a", (1.0,))).sentence
    assert "but none" not in pick(Made("a"), checked=False).sentence


def test_a_missing_chat_template_is_named_as_the_cause_of_noise() -> None:
    found = pick(Made("noise", text=LOOP, has_chat_template=False), Made("b"))
    assert "unusable" in sentence(found, "noise")
    assert "no chat template" in sentence(found, "noise")


def test_a_target_that_failed_loses_with_its_error() -> None:
    found = pick(Made("broken", load_fails=True, memory=1), Made("b", BAD[:6]))
    assert (found.target, why_not(found)) == ("b", {"broken": "failed"})
    assert sentence(found, "broken").startswith("it failed every request: ")
    assert "the file is cut off" in sentence(found, "broken")


def test_the_words_of_an_error_are_bounded_to_one_line() -> None:
    data = summary(Made("broken", load_fails=True), Made("b"))
    data["targets"][0]["errors"] = [{"code": "x", "message": "wo\x1b[2Jrse\n" * 100_000, "requests": 1}]
    found = sentence(decide(data, FREE), "broken")
    assert len(found) < 300
    assert found.isprintable()


def test_a_target_that_was_not_measured_loses() -> None:
    made = run(Made("a"), Made("b"))
    half = Run(made.plan, [s for s in made.samples if s.target == "a"], [x for x in made.loads if x.target == "a"])
    found = decide(half.summary(), FREE)
    assert (found.target, why_not(found)) == ("a", {"b": "failed"})
    assert sentence(found, "b") == "it was not measured: no request was made"
    assert any("not complete" in note for note in found.notes)


def test_a_constraint_excludes_the_best() -> None:
    found = pick(Made("a", GOOD, memory=900_000_000), Made("b", BAD), constraints=Constraints(max_memory_bytes=5e8))
    assert (found.target, why_not(found)) == ("b", {"a": "breaks a constraint"})
    assert "peak memory 900 MB, limit 500 MB" in sentence(found, "a")
    assert found.constraints.max_memory_bytes == 5e8


def test_an_unknown_licence_is_no_permission() -> None:
    unknown = Made("a", GOOD, licence=None, licence_class="unknown")
    found = pick(unknown, Made("b", BAD), constraints=Constraints(licences=("permissive",)))
    assert (found.target, why_not(found)) == ("b", {"a": "breaks a constraint"})
    assert pick(unknown, constraints=Constraints(licences=("permissive",))).outcome == "nothing_feasible"


def test_when_nothing_is_feasible_the_nearest_miss_is_named() -> None:
    made = [Made("a", memory=400_000_000), Made("b", memory=330_000_000), Made("c", load_fails=True)]
    found = pick(*made, constraints=Constraints(max_memory_bytes=3e8))
    assert (found.outcome, found.target, found.tie_group) == ("nothing_feasible", None, ())
    assert found.sentence == "Nothing is feasible. The nearest miss is b: peak memory 330 MB, limit 300 MB."
    assert why_not(found) == {"a": "breaks a constraint", "b": "breaks a constraint", "c": "failed"}


def test_misses_of_several_constraints_add_up() -> None:
    made = [Made("a", memory=400_000_000, disk=200_000_000), Made("b", memory=450_000_000, disk=1)]
    found = pick(*made, constraints=Constraints(max_memory_bytes=3e8, max_disk_bytes=1e8))
    assert "nearest miss is b: peak memory 450 MB, limit 300 MB." in found.sentence


def test_when_every_target_failed_nothing_is_feasible() -> None:
    found = pick(Made("a", load_fails=True), Made("b", load_fails=True))
    assert (found.outcome, found.sentence) == ("nothing_feasible", "Nothing is feasible: no target can be used.")


def test_what_the_run_does_not_show_asks_for_more() -> None:
    wide = Made("a", latencies=(500.0, 600.0, 700.0, 800.0, 900.0, 1000.0))
    found = pick(wide, Made("b", memory=900_000_000), constraints=Constraints(max_latency_ms=800, max_memory_bytes=5e8))
    assert (found.outcome, found.target) == ("measure_more", None)
    assert "a may keep to the constraints" in found.sentence
    assert why_not(found) == {"a": "not proven to keep a constraint", "b": "breaks a constraint"}


def test_one_that_is_proven_wins_over_one_that_is_not() -> None:
    wide = Made("a", (1.0,) * 6, (500.0, 600.0, 700.0, 800.0, 900.0, 1000.0))
    found = pick(wide, Made("b", BAD[:6], (700.0,)), constraints=Constraints(max_latency_ms=800))
    assert (found.target, why_not(found)) == ("b", {"a": "not proven to keep a constraint"})


@pytest.mark.parametrize("known", ["peak_memory", "latency"])
def test_not_knowing_a_cost_is_no_reason_to_win(known: str) -> None:
    data = summary(Made("a", GOOD, FAST, disk=1), Made("b", GOOD, SLOW))
    data["targets"][0]["metrics"]["peak_memory"]["value"] = None
    if known == "latency":
        data["targets"][0]["metrics"]["latency"]["value"] = None
        data["targets"][1]["metrics"]["peak_memory"]["value"] = None
    found = decide(data, FREE)
    assert found.target == "b"
    assert sentence(found, "a").endswith("is not known well enough to compare it with b")


def test_a_cost_that_nobody_knows_decides_nothing() -> None:
    found = pick(Made("a", GOOD, FAST, memory=None), Made("b", GOOD, SLOW, memory=None))
    assert (found.target, "cheapest by latency" in found.sentence) == ("a", True)
    # Four requests have no interval either.
    found = pick(Made("a", (1.0,) * 4, memory=None, disk=2), Made("b", (1.0,) * 4, memory=None, disk=1))
    assert (found.target, "cheapest by disk" in found.sentence) == ("b", True)


def test_without_quality_for_all_the_cheapest_wins_and_a_note_says_so() -> None:
    found = pick(Made("a", memory=900_000_000), Made("b"), checked=False)
    assert (found.target, found.tie_group) == ("b", ("a", "b"))
    assert "among 2 whose answers were not judged" in found.sentence
    assert "too close" not in found.sentence
    assert sentence(found, "a") == "it takes more memory: 900 MB against 200 MB of b"
    once = "each target was measured in one load, whose luck may look like a difference between targets"
    assert found.notes == (once, "quality was not measured: no case has a check")
    found = pick(Made("a"), Made("b"), checked=False)
    assert "do not differ measurably in memory, latency or disk" in found.sentence


def test_where_some_have_a_quality_one_without_cannot_win() -> None:
    data = summary(Made("a", MIXED, memory=900_000_000), Made("b", GOOD))
    for entry in data["targets"][1]["by_case"].values():
        entry["score"] = None
    data["targets"][1]["quality"] |= {"score": None, "reason": "no check reached a verdict"}
    found = decide(data, FREE)
    assert (found.target, why_not(found)) == ("a", {"b": "quality unknown"})
    assert sentence(found, "b") == "its quality is unknown: no check reached a verdict"
    assert "it is the only one whose answers were judged" in found.sentence


def test_the_weights_of_cases_count_in_the_comparison_as_in_the_mean() -> None:
    # b is worse in six light cases and better in one that weighs as much as all of them.
    data = summary(Made("a", (1.0,) * 6 + (0.0,), memory=900_000_000), Made("b", (0.0,) * 6 + (1.0,)))
    assert decide(data, FREE).target == "b"  # 6 to 1: p = 0.125
    for target in data["targets"]:
        target["by_case"]["c7"]["weight"] = 0.001
    assert decide(data, FREE).target == "a"


def test_the_only_target_is_picked_with_what_speaks_against_it() -> None:
    found = pick(Made("a", (1.0,) * 7 + (None, None, "cut")))
    assert (found.target, found.losers) == ("a", ())
    assert "it is the only target" in found.sentence
    assert "2 of 10 requests to a failed" in found.notes
    (finding,) = [note for note in found.notes if "guards" in note]
    assert finding == "a: the guards found truncated_answers (see Guards and errors in the report)"
    assert sum("failed" in note for note in found.notes) == 1, "failing_requests is that same fact"


@pytest.mark.parametrize(("cases", "noted"), [(1, "1 judged case "), (29, "29 judged cases "), (30, None)])
def test_few_cases_are_noted(cases: int, noted: str | None) -> None:
    notes = " ".join(pick(Made("a", (1.0,) * cases)).notes)
    assert notes.startswith(f"{noted}can show only large differences") if noted else notes == ""


def test_cases_without_a_check_are_not_counted_as_judged() -> None:
    data = summary(Made("a", (1.0,) * 40))
    data["targets"][0]["quality"]["cases"] = 3
    assert any("3 judged cases" in note for note in decide(data, FREE).notes)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_the_targets_decides_nothing(order: tuple[int, ...]) -> None:
    made = [Made("a", MIXED), Made("b", MIXED[::-1], (990.0,)), Made("c", (0.0,) * 9 + (1.0,), memory=100_000_000)]
    found = pick(*(made[i] for i in order))
    expected = pick(*made)
    assert (found.target, set(found.losers)) == (expected.target, set(expected.losers))
    assert [loser.target for loser in found.losers] == [made[i].id for i in order if made[i].id != found.target]


def test_losers_stand_in_the_order_of_the_targets() -> None:
    found = pick(
        *(Made("costly", GOOD, memory=900_000_000), Made("broken", GOOD, load_fails=True)),
        *(Made("a", GOOD), Made("worse", BAD)),
    )
    assert list(why_not(found).items()) == [("costly", "costlier"), ("broken", "failed"), ("worse", "worse")]


def test_of_two_equally_good_the_same_one_is_compared_with_whatever_the_order() -> None:
    # c is shown to be worse than a (6 cases to 0), but not than b (9 to 3), and a and b score the same.
    made = [
        Made("a", (1.0,) * 9 + (0.0,) * 3, memory=500_000_000),
        Made("b", (0.0,) * 3 + (1.0,) * 9, memory=600_000_000),
        Made("c", (1.0,) * 3 + (0.0,) * 9),
    ]
    assert pick(*made).target == pick(made[1], made[0], made[2]).target


def test_one_that_is_better_where_both_were_judged_is_not_called_worse() -> None:
    # The means may rest on different cases, where some checks reached no verdict.
    data = summary(Made("a", BAD, memory=900_000_000), Made("b", GOOD))
    data["targets"][0]["quality"]["score"] = 1.0
    data["targets"][1]["quality"]["score"] = 0.9
    found = decide(data, FREE)
    assert (found.target, found.tie_group) == ("b", ("a", "b"))


def test_a_summary_from_its_file_gives_the_same_pick() -> None:
    # Keys come back sorted, so c10 stands before c2; 20 discordant cases are tested by random patterns.
    marks = (0.5, 0.0) * 10
    data = summary(Made("a", marks, memory=900_000_000), Made("b", (0.0, 0.5, 0.0, 1.0) * 5))
    assert decide(json.loads(dumps(data)), FREE) == decide(data, FREE)


def test_a_pick_survives_its_file(tmp_path: Path) -> None:
    directory = RunDir(tmp_path)
    assert read_pick(directory) is None
    for constraints in (FREE, Constraints(1e3, 1e9, 1e9, ("permissive", "unknown"), 0.5)):
        decision = pick(Made("a"), Made("b", load_fails=True), constraints=constraints)
        write_pick(directory, decision)
        assert read_pick(directory) == decision
        assert json.loads((tmp_path / "pick.json").read_text())["target"] == decision.target


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 1}', '{"schema": 1, "constraints": {"licences": 5}}'])
def test_a_damaged_pick_is_a_clear_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "pick.json").write_text(content)
    with pytest.raises(AuditionError, match=r"pick\.json is damaged"):
        read_pick(RunDir(tmp_path))


def test_it_does_not_touch_the_summary() -> None:
    data: dict[str, Any] = summary(Made("a"), Made("b", load_fails=True))
    before = dumps(data)
    decide(data, Constraints(max_latency_ms=5.0))
    assert dumps(data) == before


def test_a_target_that_failed_more_often_than_not_is_not_picked() -> None:
    found = pick(Made("a", (1.0, None, None, None, 1.0, None)))
    assert (found.target, found.outcome) == (None, "nothing_feasible")
    assert "4 of 6 requests to it failed" in sentence(found, "a")
