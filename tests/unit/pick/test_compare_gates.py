"""Gates of a comparison: read, decided, undecided, and impossible to judge."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from audition.bench.plan import Level
from audition.errors import UsageError
from audition.pick.changes import Change
from audition.pick.compare import Compared, Comparison, compare
from audition.pick.gates import Gate, Judgement, gate_metrics, judge_gates, parse_gates
from comparable import Before

BEFORE = Before()
AFTER = replace(BEFORE, seed=2)


def made(low: float | None, high: float | None, metric: str = "latency", **facts: object) -> Comparison:
    """Return a comparison with one change whose interval is given."""
    value = None if low is None or high is None else (low + high) / 2
    change = Change(metric, metric, "ms", "lower", "cases", a=1000.0, b=1000.0, value=value, low=low, high=high)
    change = replace(change, **{"verdict": "worse", **facts})  # type: ignore[arg-type]
    return Comparison("a", "b", 12, (), (Compared("t", "t", (), (change,), ()),), ())


def status(comparison: Comparison, text: str) -> str:
    (result,) = judge_gates(comparison, parse_gates(text)).results
    return result.status


@pytest.mark.parametrize(
    ("gate", "low", "high", "expected"),
    [
        ("latency>5%", 0.06, 0.09, "not met"),
        ("latency>5%", 0.04, 0.09, "undecided"),
        ("latency>5%", 0.01, 0.05, "met"),
        ("latency>5%", -0.09, -0.04, "met"),
        ("latency<-5%", -0.09, -0.06, "not met"),
        ("latency<-5%", -0.09, -0.04, "undecided"),
        ("latency<-5%", -0.05, 0.2, "met"),
        ("latency<0", -0.09, -0.01, "not met"),
        ("latency<0", -0.09, 0.01, "undecided"),
        ("latency>0", 0.0, 0.0, "met"),
        # Of a second, 50 ms are 5 %.
        ("latency>50ms", 0.06, 0.09, "not met"),
        ("latency>50ms", 0.04, 0.09, "undecided"),
        ("latency>0.05s", 0.01, 0.05, "met"),
    ],
)
def test_the_near_end_of_the_interval_decides(gate: str, low: float, high: float, expected: str) -> None:
    assert status(made(low, high), gate) == expected
    strict = judge_gates(made(low, high), parse_gates(gate), strict=True)
    assert strict.met is (expected == "met")
    assert judge_gates(made(low, high), parse_gates(gate)).met is (expected != "not met")


def test_what_is_unknown_is_not_met() -> None:
    found = judge_gates(made(None, None, reason="in B: every request failed"), parse_gates("latency>5%"))
    assert (found.met, found.results[0].status) == (False, "not met")
    assert "cannot be judged" in found.results[0].sentence and "in B: every request failed" in found.results[0].sentence


def test_a_figure_without_an_interval_decides_nothing() -> None:
    comparison = made(0.5, 0.6)
    (target,) = comparison.targets
    bare = replace(target.changes[0], low=None, high=None, reason="1 and 1 load")
    assert status(replace(comparison, targets=(replace(target, changes=(bare,)),)), "latency>5%") == "undecided"


def test_a_change_too_small_to_mean_anything_fails_nothing() -> None:
    assert status(made(0.06, 0.09, verdict="too small"), "latency>5%") == "undecided"


def test_one_load_decides_nothing_however_fast_or_slow_it_was(tmp_path: Path) -> None:
    before = replace(BEFORE, rounds=1)
    for factor in (0.5, 2.0):
        path = tmp_path / str(factor)
        found = judged(path, replace(before, seed=2, factor=factor), "latency>5%", before=before)
        assert [result.status for result in found.results] == ["undecided"]


@pytest.mark.parametrize(
    ("gate", "metric", "unit", "a", "said", "numbers"),
    [
        ("latency>50ms", "latency", "ms", 1000.0, "+75 ms [+60 ms, +90 ms], limit +50 ms", (75.0, 60.0, 90.0, 50.0)),
        ("latency>0.05s", "latency", "ms", 1000.0, "+75 ms [+60 ms, +90 ms], limit +0.05 s", (75.0, 60.0, 90.0, 50.0)),
        ("disk>5MB", "disk", "bytes", 1e8, "+8 MB [+6 MB, +9 MB], limit +5 MB", (7.5e6, 6e6, 9e6, 5e6)),
        (
            *("throughput>+1 tokens/s", "throughput", "tokens/s", 20.0),
            *("+1.5 tokens/s [+1.2 tokens/s, +1.8 tokens/s], limit +1 tokens/s", (1.5, 1.2, 1.8, 1.0)),
        ),
        (
            "latency>5%",
            "latency",
            "relative",
            1000.0,
            "+7.5 % [+6.0 %, +9.0 %], limit +5.0 %",
            (0.075, 0.06, 0.09, 0.05),
        ),
    ],
)
def test_a_gate_is_said_in_its_own_unit(
    gate: str, metric: str, unit: str, a: float, said: str, numbers: tuple[float, ...]
) -> None:
    comparison = made(0.06, 0.09, metric, a=a, unit="ms" if unit == "relative" else unit)
    judgement = judge_gates(comparison, parse_gates(gate))
    assert judgement.results[0].sentence == f"{metric}: {said}"
    (plain,) = judgement.to_json()["results"]
    assert plain["unit"] == unit
    assert tuple(plain[name] for name in ("value", "low", "high", "limit")) == pytest.approx(numbers)


def test_an_infinite_change_is_plain_in_json() -> None:
    found = judge_gates(made(math.inf, math.inf), parse_gates("latency>50ms"))
    assert found.results[0].status == "not met"
    assert found.to_json()["results"][0]["value"] == "inf"
    assert found.results[0].sentence == "latency: infinite [no bound, no bound], limit +50 ms"


def test_a_limit_of_nothing_is_never_proven_by_likeness(tmp_path: Path) -> None:
    found = judged(
        tmp_path, replace(AFTER, n=100), "quality<0,quality<-0.05,failures>5%", before=replace(BEFORE, n=100)
    )
    assert [result.status for result in found.results] == ["undecided", "met", "met"]
    assert found.results[0].sentence.endswith(
        "only a change the other way proves a limit of 0; leave room, such as quality<-0.05"
    )


def test_an_amount_cannot_be_set_against_an_infinite_figure() -> None:
    assert status(made(0.06, 0.09, a=float("inf")), "latency>50ms") == "not met"


def judged(tmp_path: Path, after: Before, gates: str, *, before: Before = BEFORE, strict: bool = False) -> Judgement:
    found = compare(before.write(tmp_path / "a"), after.write(tmp_path / "b"))
    return judge_gates(found, parse_gates(gates), strict=strict)


GATES = "latency>5%,quality<0,failures>1%,decode_tps<-5%,peak_memory>20MB,ttft>50ms,disk>0"
ROOM = "latency>5%,quality<-0.25,failures>25%,decode_tps<-5%,peak_memory>20MB,ttft>50ms,disk>0"


def test_noise_passes_every_gate(tmp_path: Path) -> None:
    found = judged(tmp_path, AFTER, GATES)
    assert found.met and not judged(tmp_path / "strict", AFTER, GATES, strict=True).met
    # 12 cases are too few to prove that no score fell, and that less than 1 % fail.
    undecided = {result.gate for result in found.results if result.status != "met"}
    assert undecided == {"quality<0", "failures>1%"}
    assert judged(tmp_path / "room", AFTER, ROOM, strict=True).met


@pytest.mark.parametrize(
    ("after", "failing"),
    [
        (replace(AFTER, factor=1.1), ["latency>5%", "decode_tps<-5%"]),
        (replace(AFTER, marks=dict.fromkeys(range(6), 0.0)), ["quality<0"]),
        (replace(AFTER, memory=230_000_000), ["peak_memory>20MB"]),
        (replace(AFTER, targets=({"disk_bytes": 100_000_001},)), ["disk>0"]),
        (replace(AFTER, targets=({"disk_bytes": None},)), ["disk>0"]),
    ],
)
def test_a_planted_change_fails_its_gate_and_no_other(tmp_path: Path, after: Before, failing: list[str]) -> None:
    found = judged(tmp_path, after, GATES)
    assert not found.met
    assert [result.gate for result in found.results if result.status == "not met"] == failing


def test_failing_requests_fail_their_gate(tmp_path: Path) -> None:
    found = judged(tmp_path, replace(AFTER, failing=range(1, 11)), "failures>1%,latency>5%")
    assert [result.status for result in found.results] == ["not met", "not met"]


def test_a_slowdown_at_the_limit_is_undecided(tmp_path: Path) -> None:
    found = judged(tmp_path, replace(AFTER, factor=1.05), "latency>5%")
    assert (found.met, found.results[0].status) == (True, "undecided")
    assert "the limit lies inside the interval" in found.results[0].sentence


def test_a_gate_holds_at_every_level_and_for_every_target(tmp_path: Path) -> None:
    before = replace(BEFORE, levels=(Level.closed(1), Level.closed(2)), targets=({"id": "x"}, {"id": "y"}))
    found = judged(tmp_path, replace(before, seed=2, by_level={"c2": 1.2}), "latency>5%", before=before)
    assert not found.met
    assert [(result.target, result.status) for result in found.results] == [
        ("x", "met"),
        ("x", "not met"),
        ("y", "met"),
        ("y", "not met"),
    ]


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("latency>5%", Gate("latency>5%", "latency", True, 0.05)),
        (" latency > 5 % ", Gate("latency > 5 %", "latency", True, 0.05)),
        ("decode_tps<-5%", Gate("decode_tps<-5%", "decode_tps", False, -0.05)),
        ("decode_tps<-2.5tokens/s", Gate("decode_tps<-2.5tokens/s", "decode_tps", False, -2.5, absolute=True)),
        ("latency>+1.5s", Gate("latency>+1.5s", "latency", True, 1500.0, absolute=True)),
        ("peak_memory>20MB", Gate("peak_memory>20MB", "peak_memory", True, 2e7, absolute=True)),
        ("disk>1GiB", Gate("disk>1GiB", "disk", True, 2.0**30, absolute=True)),
        ("quality<0", Gate("quality<0", "quality", False, 0.0)),
        ("quality<-0.05", Gate("quality<-0.05", "quality", False, -0.05)),
        ("failures>1%", Gate("failures>1%", "failures", True, 0.01)),
    ],
)
def test_gates_are_read(text: str, gate: Gate) -> None:
    assert parse_gates(text) == (gate,)


def test_several_gates_are_read() -> None:
    assert [gate.metric for gate in parse_gates("latency>5%, quality<0,,failures>1%")] == [
        *("latency", "quality", "failures")
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("latncy>5%", 'did you mean "latency"?'),
        ("nonsense>5%", "there are quality, failures, ttft"),
        ("latency", "a metric, < or >, and a limit"),
        ("latency>=5%", "a metric, < or >, and a limit"),
        ("latency>nan%", "a metric, < or >, and a limit"),
        ("latency>1e999", "%, ms or s"),
        ("latency>1000000000000000000%", "a metric, < or >, and a limit"),
        ("latency>5", "%, ms or s"),
        ("latency>5MB", "%, ms or s"),
        ("peak_memory>5", "%, MB or GB"),
        ("decode_tps<-5ms", "% or tokens/s"),
        ("quality<0ms", "points: quality<0.05, or quality<5%"),
        ("", "such as --fail-on"),
        (",", "such as --fail-on"),
    ],
)
def test_a_gate_that_cannot_be_read_is_a_mistake_with_an_example(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_gates(text)
    assert hint in (caught.value.fix or "")
    assert "latency>5%" in (caught.value.fix or "") or "points" in hint


def test_every_metric_that_is_compared_can_be_a_gate(tmp_path: Path) -> None:
    found = compare(BEFORE.write(tmp_path / "a"), AFTER.write(tmp_path / "b"))
    assert {change.metric for change in found.targets[0].changes} == set(gate_metrics())
