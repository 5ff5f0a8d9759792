"""What changed between two runs, with changes planted that must be found, and noise that must not."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.bench.plan import Level
from audition.bench.rundir import RunDir
from audition.errors import AuditionError
from audition.jsonfile import dumps
from audition.pick.changes import Change, quality_change
from audition.pick.compare import Compared, Comparison, compare
from audition.pick.sentences import signed_interval, unknown_sentences
from audition.quality.scores import SampleScore
from audition.report.comparison import markdown
from audition.stats.paired import bounded_difference
from comparable import Before, written
from handmade import ANSWERS

BEFORE = Before()
AFTER = replace(BEFORE, seed=2)
TIMES = ("ttft", "ttfa", "latency", "time_to_answer", "tpot", "first_request")
RATES = ("decode_tps", "e2e_tps", "throughput")


def compared(tmp_path: Path, before: Before, after: Before, **options: object) -> Comparison:
    return compare(before.write(tmp_path / "a"), after.write(tmp_path / "b"), **options)  # type: ignore[arg-type]


def only(comparison: Comparison) -> Compared:
    (target,) = comparison.targets
    return target


def change(comparison: Comparison, metric: str, level: str | None = None) -> Change:
    (found,) = (c for c in only(comparison).changes if (c.metric, c.level) == (metric, level))
    return found


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {c.metric: c.verdict for c in only(comparison).changes}


def test_runs_that_differ_by_noise_alone_show_no_difference(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, AFTER)
    assert set(verdicts(found).values()) == {"no difference shown", "unknown"}
    latency = change(found, "latency")
    assert latency.low is not None and latency.high is not None and latency.low < 0 < latency.high
    assert latency.sentence.startswith("Latency: no difference shown (+0.")
    assert latency.sentence.endswith("over 12 prompts paired.")


def test_a_run_against_itself_is_the_same(tmp_path: Path) -> None:
    run = BEFORE.write(tmp_path / "a")
    found = compare(run, run)
    assert found.notes == ("A and B are the same run",)
    latency = change(found, "latency")
    assert (latency.value, latency.low, latency.high) == (0.0, 0.0, 0.0)
    assert latency.sentence == (
        f"Latency: no difference shown (+0.0 % [+0.0 %, +0.0 %]; {latency.a:.0f} ms in both), over 12 prompts paired."
    )
    assert change(found, "disk").sentence == "Disk: the same (100 MB)."
    assert not {"better", "worse"} & set(verdicts(found).values())


def test_a_slowdown_of_a_tenth_is_shown_and_known_well(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, factor=1.1))
    for tag in ("latency", "ttft", "tpot"):
        slower = change(found, tag)
        assert slower.low is not None and slower.high is not None
        assert slower.low < 0.1 < slower.high and slower.high - slower.low < 0.03
    assert {tag: verdicts(found)[tag] for tag in (*TIMES, *RATES)} == dict.fromkeys((*TIMES, *RATES), "worse")
    assert {verdicts(found)[tag] for tag in ("quality", "failures", "peak_memory", "disk", "load_time")} == {
        "no difference shown"
    }
    assert re.match(r"Latency: (9\.\d|10) % slower \[9\.\d %, 1\d %\] \(", change(found, "latency").sentence)
    assert re.match(r"Decode: [89]\.\d % lower \[", change(found, "decode_tps").sentence)


def test_a_speedup_is_shown_as_one(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, factor=0.8))
    assert {verdicts(found)[tag] for tag in (*TIMES, *RATES)} == {"better"}
    assert change(found, "latency").sentence.startswith("Latency: 20 % faster [")
    assert change(found, "throughput").sentence.startswith("Throughput: 2")
    assert " % higher [" in change(found, "throughput").sentence


def test_pairing_finds_what_the_medians_of_unlike_prompts_hide(tmp_path: Path) -> None:
    # Prompts differ fivefold; 3 % would drown in that without pairing.
    found = change(compared(tmp_path, BEFORE, replace(AFTER, factor=1.03)), "latency")
    assert found.verdict == "worse"
    assert found.value == pytest.approx(0.03, abs=0.01)


def test_a_drop_in_quality_is_shown_and_nothing_else(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, marks=dict.fromkeys(range(6), 0.0)))
    quality = change(found, "quality")
    assert (quality.a, quality.b, quality.value, quality.verdict) == (1.0, 0.5, -0.5, "worse")
    assert quality.sentence.startswith("Quality: 0.50 worse [0.") and "(1.00 -> 0.50)" in quality.sentence
    assert [metric for metric, verdict in verdicts(found).items() if verdict == "worse"] == ["quality"]


def test_a_drop_in_one_case_of_twelve_is_not_shown(tmp_path: Path) -> None:
    quality = change(compared(tmp_path, BEFORE, replace(AFTER, marks={0: 0.0})), "quality")
    assert quality.verdict == "no difference shown"
    assert quality.low is not None and quality.high is not None and quality.low < 0 < quality.high


def test_every_case_falling_alike_is_a_drop_of_unknown_size(tmp_path: Path) -> None:
    quality = change(compared(tmp_path, BEFORE, replace(AFTER, marks=dict.fromkeys(range(12), 0.5))), "quality")
    assert (quality.value, quality.verdict) == (-0.5, "worse")
    assert quality.low is not None and quality.high is not None and quality.low < -0.6 and -0.3 < quality.high < 0


def test_few_cases_without_a_change_bound_little(tmp_path: Path) -> None:
    before = replace(BEFORE, n=3)
    found = compared(tmp_path, before, replace(before, seed=2))
    for metric, said in (
        ("quality", "[-0.79, +0.79]; 1.00 in both"),
        ("failures", "[-78.5 points, +78.5 points]; 0 %"),
    ):
        same = change(found, metric)
        assert (same.value, same.verdict, same.n) == (0.0, "no difference shown", (3, 3))
        assert same.low is not None and same.low < -0.5 and same.high == -same.low
        assert said in same.sentence and "the same" not in same.sentence


def test_repeats_of_a_case_are_averaged_before_they_are_compared(tmp_path: Path) -> None:
    run = replace(AFTER, rounds=2).run()
    # In the first round case 0 is right, in the second it is wrong: half a case fell.
    changed = [replace(s, text=ANSWERS[0.0]) if s.case == "c1" and s.round == 2 else s for s in run.samples]
    before = replace(BEFORE, rounds=2)
    after = written(replace(run, samples=changed), tmp_path / "b", before.facts())
    quality = change(compare(before.write(tmp_path / "a"), after), "quality")
    expected = bounded_difference([-0.5] + [0.0] * 11)
    assert (quality.value, quality.low, quality.high) == (expected.value, expected.low, expected.high)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "after",
    [
        {},
        {"factor": 1.02, "noise": 0.03},
        {"factor": 1.0001, "noise": 0.0001},
        {"marks": dict.fromkeys(range(4), 0.5)},
        {"failing": range(5)},
        {"rounds": 1, "factor": 2.0, "memory": 400_000_000},
        {"memory": 200_050_000},
    ],
)
def test_verdict_and_interval_do_not_contradict_each_other(tmp_path: Path, after: dict[str, Any], seed: int) -> None:
    found = compared(
        tmp_path,
        replace(BEFORE, rounds=after.get("rounds", 3)),
        replace(AFTER, **{"seed": seed, **after}, noise_floor_ms=5.0),
    )
    for each in only(found).changes:
        if each.value is not None:
            apart = each.low is not None and each.high is not None and not each.low <= 0 <= each.high
            assert apart is (each.verdict != "no difference shown"), each


def test_a_score_that_is_a_last_digit_above_1_is_1() -> None:
    def score(value: float) -> SampleScore:
        return SampleScore("t", "c1", "b", value, True, None, ())

    found = quality_change([score(0.0)], [score(math.nextafter(1.0, 2.0))], {"c1": 1.0})
    assert found.value == 1.0


def test_where_nothing_is_answered_quality_is_unknown(tmp_path: Path) -> None:
    every = replace(AFTER, failing=range(12))
    found = compared(tmp_path, BEFORE, every)
    assert change(found, "quality").sentence == "Quality: unknown in B: no request was answered."
    found = compared(tmp_path / "both", every, every)
    assert change(found, "quality").sentence == "Quality: unknown in both: no request was answered."
    # All that is known is that all fail as before.
    assert "100 % in both" in change(found, "failures").sentence


def test_loads_that_are_all_alike_have_no_interval(tmp_path: Path) -> None:
    one = replace(BEFORE, memory=0)
    found = change(compared(tmp_path, one, one), "peak_memory")
    assert (found.value, found.reason) == (None, "because A took nothing")
    exact = replace(BEFORE, noise=0.0)
    found = change(compared(tmp_path / "exact", exact, exact), "load_time")
    assert (found.low, found.verdict) == (None, "no difference shown")
    assert "no interval: the loads are all alike" in found.sentence


def test_what_is_unknown_is_said_once_for_each_reason() -> None:
    def unknown(header: str, reason: str) -> Change:
        return Change("x", header, "ms", "lower", "cases", reason=reason)

    long = f"in A: {'so and so ' * 20}; in B: every request failed"
    said = unknown_sentences(
        [
            *(unknown(name, "in both: a server does not show its files") for name in ("Load", "Disk")),
            Change("y", "Known", "ms", "lower", "cases", value=0.0),
            unknown("Memory", "in both: nobody read it"),
            unknown("Energy", long),
            unknown("Throughput", "because the runs asked other prompts besides"),
        ]
    )
    assert said[0] == "Unknown in both: Load, Disk (a server does not show its files); Memory (nobody read it)."
    assert said[1].startswith("Unknown in A: Energy (so and so ") and said[1].endswith(" and…).") and len(said[1]) < 130
    assert said[2:] == [
        "Unknown in B: Energy (every request failed).",
        "Unknown: Throughput (because the runs asked other prompts besides).",
    ]


def test_an_interval_too_narrow_for_its_digits_gets_more() -> None:
    narrow = Change("x", "X", "ms", "lower", "cases", value=0.3102, low=0.3098, high=0.3113)
    assert signed_interval(narrow) == "[+31.0 %, +31.1 %]"
    assert signed_interval(replace(narrow, low=-0.0003, high=0.0004)) == "[-0.03 %, +0.04 %]"
    assert signed_interval(replace(narrow, low=0.2, high=0.2)) == "[+20 %, +20 %]"


def test_requests_that_fail_count_as_infinitely_slow(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, failing=range(1, 11)))
    latency, failures = change(found, "latency"), change(found, "failures")
    assert (latency.value, latency.verdict) == (math.inf, "worse")
    assert "infinitely slower" in latency.sentence
    assert (failures.a, failures.b, failures.verdict) == (0.0, pytest.approx(10 / 12), "worse")
    assert failures.low is not None and 0 < failures.low < 10 / 12
    assert "83.3 points more" in failures.sentence


def test_where_everything_fails_the_rest_is_unknown_with_the_reason(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, failing=range(12)))
    latency = change(found, "latency")
    assert (latency.value, latency.verdict) == (None, "unknown")
    assert latency.sentence.startswith("Latency: unknown in B: every request failed")
    assert verdicts(found)["failures"] == "worse"


def test_two_failures_more_are_not_shown_to_be_more(tmp_path: Path) -> None:
    failures = change(compared(tmp_path, BEFORE, replace(AFTER, failing=[3])), "failures")
    assert failures.verdict == "no difference shown"
    assert failures.low is not None and failures.high is not None and failures.low < 0 < failures.high


def test_memory_is_compared_over_loads(tmp_path: Path) -> None:
    memory = change(compared(tmp_path, BEFORE, replace(AFTER, memory=260_000_000)), "peak_memory")
    assert (memory.verdict, memory.n) == ("worse", (3, 3))
    assert memory.value == pytest.approx(0.3)
    # Welch's interval: 2 standard errors of 0.2 % steps on each side, 4 degrees of freedom.
    error = 0.002 * math.sqrt((1 + 1.3**2) / 3) / 1.004
    assert memory.low is not None and memory.high is not None
    assert (memory.high - memory.low) / 2 == pytest.approx(2.85 * error, rel=0.05)
    assert memory.sentence.startswith("Peak memory: 30 % more [")


def test_one_load_gives_no_interval_and_shows_no_difference(tmp_path: Path) -> None:
    one = replace(BEFORE, rounds=1)
    found = compared(tmp_path, one, replace(one, seed=2, memory=260_000_000, factor=1.5))
    memory, latency = change(found, "peak_memory"), change(found, "latency")
    assert (memory.low, memory.high, memory.verdict) == (None, None, "no difference shown")
    assert "no interval: 1 and 1 load do not tell" in memory.sentence
    # An interval would be about this load: another one could be slower by as much.
    assert (latency.low, latency.high, latency.verdict) == (None, None, "no difference shown")
    assert "no interval: one load" in latency.sentence


def test_a_time_below_the_clients_noise_means_nothing(tmp_path: Path) -> None:
    slower = replace(AFTER, factor=1.1)
    loud = compared(tmp_path, replace(BEFORE, noise_floor_ms=40.0), replace(slower, noise_floor_ms=0.1))
    ttft = change(loud, "ttft")
    assert ttft.verdict == "too small"
    assert "too small to mean anything here" in ttft.sentence and "noise is 40 ms" in ttft.sentence
    # 57 ms of latency are more than 40, and the decode rate is no time of the client's.
    assert {change(loud, "latency").verdict, change(loud, "decode_tps").verdict} == {"worse"}
    quiet = compared(tmp_path / "quiet", BEFORE, replace(slower, noise_floor_ms=0.1))
    assert change(quiet, "ttft").verdict == "worse"


@pytest.mark.parametrize("floor", [None, [], {"ttft_ms": 3}, {"ttft_ms": {"p50": "much"}}, {"ttft_ms": {"p50": -1}}])
def test_a_noise_floor_that_says_nothing_is_none(tmp_path: Path, floor: object) -> None:
    a, b = BEFORE.write(tmp_path / "a"), replace(AFTER, factor=1.1).write(tmp_path / "b")
    host = json.loads((tmp_path / "a" / "host.json").read_text())
    (tmp_path / "a" / "host.json").write_text(json.dumps(host | {"noise_floor": floor}))
    found = change(compare(a, b), "ttft")
    assert (found.verdict, found.noise) == ("worse", None)


def test_a_guards_finding_is_said_with_the_figure_it_taints(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, targets=({"has_chat_template": False},)))
    quality = change(found, "quality")
    assert "missing_chat_template in B" in quality.tainted_by
    assert quality.sentence.endswith("tainted by missing_chat_template in B.")
    assert any(line.startswith("missing_chat_template in B: the model file") for line in only(found).findings)
    assert change(found, "disk").tainted_by == ()
    every = replace(AFTER, failing=range(12), targets=({"has_chat_template": False},))
    unknown = change(compared(tmp_path / "unknown", BEFORE, every), "quality")
    assert (unknown.value, unknown.tainted_by) == (None, ())


def test_levels_are_compared_each_for_itself(tmp_path: Path) -> None:
    levels = (Level.closed(1), Level.closed(2))
    before = replace(BEFORE, levels=levels)
    found = compared(tmp_path, before, replace(before, seed=2, by_level={"c2": 1.2}))
    assert change(found, "latency", "c1").verdict == "no difference shown"
    assert change(found, "latency", "c2").verdict == "worse"
    assert change(found, "latency", "c2").sentence.startswith("Latency at c2: ")
    assert change(found, "peak_memory").level is None


def test_several_targets_are_compared_each_with_its_own(tmp_path: Path) -> None:
    before = replace(BEFORE, targets=({"id": "x"}, {"id": "y"}))
    found = compared(tmp_path, before, replace(before, seed=2))
    assert [(target.a, target.b) for target in found.targets] == [("x", "x"), ("y", "y")]


def test_json_is_plain_and_says_infinite(tmp_path: Path) -> None:
    found = compared(tmp_path, BEFORE, replace(AFTER, failing=range(1, 11)))
    data = json.loads(dumps(found.to_json()))
    latency = next(entry for entry in data["targets"][0]["changes"] if entry["metric"] == "latency")
    assert (latency["value"], latency["high"], latency["verdict"]) == ("inf", "inf", "worse")
    assert latency["sentence"] == change(found, "latency").sentence
    assert data["schema"] == 1


def test_the_order_of_lines_in_a_file_changes_nothing(tmp_path: Path) -> None:
    a, b = BEFORE.write(tmp_path / "a"), replace(AFTER, factor=1.02).write(tmp_path / "b")
    before = compare(a, b).to_json()
    lines = (tmp_path / "b" / "samples.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b" / "samples.jsonl").write_text("".join(reversed(lines)))
    assert compare(a, b).to_json() == before


def test_a_torn_last_line_leaves_a_run_incomplete(tmp_path: Path) -> None:
    a, b = BEFORE.write(tmp_path / "a"), AFTER.write(tmp_path / "b")
    path = tmp_path / "b" / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AuditionError, match=r"incomplete \(1 of 3 blocks of B are not done\)"):
        compare(a, b)
    assert change(compare(a, b, allow=["incomplete"]), "latency").verdict == "no difference shown"


@pytest.mark.parametrize("damage", ["not json\n", '{"schema": 2}\n'])
def test_a_damaged_line_is_refused_with_its_place(tmp_path: Path, damage: str) -> None:
    a, b = BEFORE.write(tmp_path / "a"), AFTER.write(tmp_path / "b")
    path = tmp_path / "b" / "samples.jsonl"
    path.write_text(damage + path.read_text())
    with pytest.raises(AuditionError, match="line 1, is damaged") as caught:
        compare(a, b)
    assert caught.value.exit_code == 1


def test_a_sample_twice_or_of_no_plan_is_refused(tmp_path: Path) -> None:
    a, b = BEFORE.write(tmp_path / "a"), AFTER.write(tmp_path / "b")
    path = tmp_path / "b" / "samples.jsonl"
    text = path.read_text()
    path.write_text(text + text.splitlines(keepends=True)[-1])
    with pytest.raises(AuditionError, match="holds samples twice"):
        compare(a, b)
    path.write_text(text.replace('"case": "c3"', '"case": "c99"'))
    with pytest.raises(AuditionError, match="not in its plan"):
        compare(a, b)


def test_markdown_holds_the_figures_and_no_markup_of_others(tmp_path: Path) -> None:
    evil = {"id": "<b>x</b>|\x1b[2J"}
    found = compared(tmp_path, replace(BEFORE, targets=(evil,)), replace(AFTER, factor=1.1, targets=(evil,)))
    text = markdown(found, None)
    assert re.search(r"^\| Latency \| 5\d\d ms \| 6\d\d ms \| .* \| worse \|$", text, re.MULTILINE)
    assert text.count("Latency") == 2 and text.count("- Latency: ") == 1
    # What is not shown to differ stands in the table alone, and what is unknown in one line.
    assert "- Quality" not in text and text.count("Energy per token") == 1 and "| Energy" not in text
    assert "\x1b" not in text
    assert "<b>" not in text.replace("`<b>x</b>|", "")


def test_quality_is_weighted_as_the_mean_score_is(tmp_path: Path) -> None:
    def weighted(made: Before, path: Path) -> RunDir:
        run = made.run()
        cases = tuple(replace(case, weight=10.0 if case.id == "c1" else 1.0) for case in run.plan.cases)
        return written(replace(run, plan=replace(run.plan, cases=cases)), path, made.facts())

    quality = change(
        compare(weighted(BEFORE, tmp_path / "a"), weighted(replace(AFTER, marks={0: 0.0}), tmp_path / "b")), "quality"
    )
    assert (quality.a, quality.b) == (pytest.approx(1.0), pytest.approx(11 / 21))
    assert quality.value == pytest.approx(-10 / 21)
    assert quality.low is not None and quality.high is not None and quality.low < -10 / 21 < quality.high


def test_runs_of_two_engines_that_were_fed_other_prompts_say_so(tmp_path: Path) -> None:
    def side(engine: str, sha256: str, model: str = "tiny") -> RunDir:
        before = Before(n=6, targets=({"id": f"{model}/{engine}", "model": model, "engine": "fake"},))
        made = before.run()
        fed = [replace(sample, prompt_sha256=sha256) for sample in made.samples]
        return written(replace(made, samples=fed), tmp_path / engine, before.facts())

    (target,) = compare(side("one", "a"), side("two", "b")).targets
    assert [finding.partition(":")[0] for finding in target.findings] == ["prompts_differ in A", "prompts_differ in B"]
    assert "than tiny/two in B in 6 of 6 cases" in target.findings[0]
    tainted = {change.metric for change in target.changes if change.tainted_by}
    assert {"ttft", "quality"} <= tainted
    assert "decode_tps" not in tainted
    (target,) = compare(side("three", "a"), side("four", "a")).targets
    assert target.findings == ()
    (target,) = compare(side("five", "a"), side("six", "b", "another")).targets
    assert target.findings == (), "another model has another template"
