"""Which runs are compared at all, and which of their targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.bench.plan import Case, Level
from audition.errors import UsageError
from audition.pick.compare import Comparison, compare
from audition.pick.likeness import ALLOWABLE
from comparable import Before, without_block, written
from handmade import Run

BEFORE = Before(n=6)
AFTER = replace(BEFORE, seed=2)


def change_cases(run: Run, change: Callable[[Case], Case]) -> Run:
    return replace(run, plan=replace(run.plan, cases=tuple(map(change, run.plan.cases))))


def other_prompt(case: Case) -> Case:
    return replace(case, messages=({"role": "user", "content": "Say no."},)) if case.id == "c2" else case


def unlike(name: str) -> tuple[Run, dict[str, Any]]:
    """Return a run that differs from BEFORE in one thing."""
    run, facts = AFTER.run(), AFTER.facts()
    if name == "prompts":
        return change_cases(run, other_prompt), facts
    if name == "settings":
        return replace(AFTER, settings={"max_tokens": 256}).run(), facts
    if name == "levels":
        return replace(AFTER, levels=(Level.closed(1), Level.closed(2))).run(), facts
    if name == "machine":
        return run, replace(AFTER, host={"cpu": "Other Processor"}).facts()
    if name == "incomplete":
        return without_block(run, run.plan.blocks[-1].id), facts
    if name == "model":
        return replace(AFTER, targets=({"digest": "0ther" * 12},)).run(), facts
    return run, replace(AFTER, host={"audition": "9.9.9"}).facts()


@pytest.mark.parametrize("name", sorted(ALLOWABLE))
def test_unlike_runs_are_refused_by_name_and_allowed_by_name(tmp_path: Path, name: str) -> None:
    a = BEFORE.write(tmp_path / "a")
    run, facts = unlike(name)
    b = written(run, tmp_path / "b", facts)
    with pytest.raises(UsageError, match=rf"unlike in {name} \(") as caught:
        compare(a, b)
    assert caught.value.fix == f"compare them all the same: --allow {name}"
    assert caught.value.exit_code == 2
    others = [other for other in ALLOWABLE if other != name]
    with pytest.raises(UsageError, match=rf"unlike in {name} \("):
        compare(a, b, allow=others)
    found = compare(a, b, allow=[name])
    said = [*found.differences, *found.targets[0].differences]
    assert [difference.name for difference in said] == [name]


def test_all_differences_are_named_at_once(tmp_path: Path) -> None:
    a = BEFORE.write(tmp_path / "a")
    b = replace(AFTER, settings={"temperature": 0.9}, host={"cpu": "Other"}).write(tmp_path / "b")
    with pytest.raises(UsageError, match=r"settings \(temperature 0.2 -> 0.9\); machine \(cpu Test.* -> Other\)") as e:
        compare(a, b)
    assert e.value.fix == "compare them all the same: --allow settings --allow machine"


@pytest.mark.parametrize(
    "settings",
    [
        *({"max_tokens": 7}, {"temperature": 0.0}, {"deterministic": True}, {"stream": False}),
        *({"prompt_cache": "keep"}, {"interleave": True}, {"timeout_s": 9.0}),
    ],
)
def test_settings_that_change_what_is_measured_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    b = replace(AFTER, settings=settings).write(tmp_path / "b")
    with pytest.raises(UsageError, match=f"settings .*{next(iter(settings))}"):
        compare(BEFORE.write(tmp_path / "a"), b)


@pytest.mark.parametrize("settings", [{"seed": 9}, {"rounds": 2}])
def test_settings_that_do_not_are_no_difference(tmp_path: Path, settings: dict[str, Any]) -> None:
    b = replace(AFTER, settings=settings).write(tmp_path / "b")
    assert compare(BEFORE.write(tmp_path / "a"), b).differences == ()


def test_another_context_is_another_setting(tmp_path: Path) -> None:
    b = replace(AFTER, targets=({"settings": {"context": 512}},)).write(tmp_path / "b")
    with pytest.raises(UsageError, match=r"settings \(context 4096 -> 512\)"):
        compare(BEFORE.write(tmp_path / "a"), b)


@pytest.mark.parametrize(
    ("facts", "refused"),
    [
        ({"cores_logical": 2}, True),
        ({"memory_total_bytes": 32_000_000_000}, True),
        ({"memory_total_bytes": None}, True),
        ({"architecture": "aarch64"}, True),
        ({"os": "Windows"}, True),
        ({"memory_total_bytes": 15_900_000_000}, False),
        ({"memory_available_bytes": 1}, False),
        ({"os_release": "6.2"}, False),
    ],
)
def test_the_machine_is_what_decides_speed(tmp_path: Path, facts: dict[str, Any], refused: bool) -> None:
    a, b = BEFORE.write(tmp_path / "a"), replace(AFTER, host=facts).write(tmp_path / "b")
    if refused:
        with pytest.raises(UsageError, match=f"machine .*{next(iter(facts))}"):
            compare(a, b)
    else:
        assert compare(a, b).differences == ()


def test_only_the_prompts_that_are_the_same_are_compared(tmp_path: Path) -> None:
    a = BEFORE.write(tmp_path / "a")
    b = written(change_cases(AFTER.run(), other_prompt), tmp_path / "b", AFTER.facts())
    found = compare(a, b, allow=["prompts"])
    assert found.cases == 5
    by_metric = {change.metric: change for change in found.targets[0].changes}
    assert by_metric["latency"].n == (5, 5)
    # More went into these than the prompts that both runs asked.
    assert {m: c.reason for m, c in by_metric.items() if c.reason and "other prompts" in c.reason}.keys() == {
        *("throughput", "peak_memory", "first_request", "energy_per_token", "energy_per_answer")
    }


def test_other_labels_are_no_other_prompts(tmp_path: Path) -> None:
    run = change_cases(AFTER.run(), lambda case: replace(case, tags=("new",), cluster="k"))
    b = written(run, tmp_path / "b", AFTER.facts())
    assert compare(BEFORE.write(tmp_path / "a"), b).differences == ()


@pytest.mark.parametrize("change", [{"expect": ("no",)}, {"reference": "x"}, {"max_tokens": 3}, {"weight": 2.0}])
def test_what_is_expected_belongs_to_a_prompt(tmp_path: Path, change: dict[str, Any]) -> None:
    run = change_cases(AFTER.run(), lambda case: replace(case, **change))
    b = written(run, tmp_path / "b", AFTER.facts())
    a = BEFORE.write(tmp_path / "a")
    with pytest.raises(UsageError, match=r"6 changed: c1, c2, c3 \.\.\."):
        compare(a, b)
    with pytest.raises(UsageError, match="no case in common"):
        compare(a, b, allow=["prompts"])


def test_only_the_levels_that_both_have_are_compared(tmp_path: Path) -> None:
    a = BEFORE.write(tmp_path / "a")
    b = replace(AFTER, levels=(Level.closed(2),)).write(tmp_path / "b")
    with pytest.raises(UsageError, match="no load level in common"):
        compare(a, b, allow=["levels"])


def test_an_unknown_name_to_allow_is_a_mistake(tmp_path: Path) -> None:
    a = BEFORE.write(tmp_path / "a")
    with pytest.raises(UsageError, match="nothing to allow") as caught:
        compare(a, a, allow=["prompt"])
    assert caught.value.fix == 'did you mean "prompts" or "incomplete"?'


def differences(comparison: Comparison) -> dict[str, str]:
    (target,) = comparison.targets
    return {difference.name: difference.sentence for difference in target.differences}


def test_engine_build_and_device_are_what_a_comparison_is_for(tmp_path: Path) -> None:
    a = BEFORE.write(tmp_path / "a")
    newer = replace(AFTER, package="fakeengine 1.3.0").write(tmp_path / "newer")
    assert differences(compare(a, newer)) == {"engine": "engine fake fakeengine 1.2.3 -> fakeengine 1.3.0"}
    gpu = replace(AFTER, targets=({"id": "a/gpu", "device": "cuda"},)).write(tmp_path / "gpu")
    assert differences(compare(a, gpu)) == {"device": "device cpu -> cuda"}
    other = replace(AFTER, targets=({"id": "a/other", "engine": "other", "digest": "1" * 64},)).write(tmp_path / "o")
    said = differences(compare(a, other))
    assert said["engine"] == "engine fake fakeengine 1.2.3 -> other"
    assert said["model"].startswith("model bytes d1ge57")


def test_what_a_server_does_not_tell_is_said_and_not_refused(tmp_path: Path) -> None:
    server = {"digest": None, "settings": {"address": "http://127.0.0.1:8080/v1"}}
    b = replace(AFTER, targets=(server,)).write(tmp_path / "b")
    assert differences(compare(BEFORE.write(tmp_path / "a"), b)) == {
        "model": "model bytes d1ge57d1ge57 -> unknown",
        "target settings": "address unknown -> http://127.0.0.1:8080/v1, context 4096 -> unknown",
    }


def test_where_the_engine_says_it_ran_counts_more_than_where_it_was_to_run(tmp_path: Path) -> None:
    run = AFTER.run()
    run = replace(run, loads=[replace(load, device="cuda:0") for load in run.loads])
    b = written(run, tmp_path / "b", AFTER.facts())
    assert differences(compare(BEFORE.write(tmp_path / "a"), b)) == {"device": "device cpu -> cuda:0"}


def titles(comparison: Comparison) -> list[str]:
    return [target.title for target in comparison.targets]


def test_targets_are_paired_by_id_then_by_variant_then_alone(tmp_path: Path) -> None:
    def run(name: str, *targets: dict[str, Any]) -> Any:
        return replace(AFTER, targets=targets).write(tmp_path / name)

    x = {"id": "x", "variant": "m:q4"}
    x_gpu = {"id": "x/gpu", "variant": "m:q4", "device": "cuda"}
    y = {"id": "y", "variant": "n:q4"}
    a = run("a", x, y)
    same = compare(a, run("same", x, x_gpu))
    assert titles(same) == ["x"]
    assert same.notes == ("not compared, of A: y", "not compared, of B: x/gpu")
    assert titles(compare(a, run("variant", x_gpu))) == ["x -> x/gpu"]
    assert titles(compare(run("one", x), run("other", y))) == ["x -> y"]
    assert titles(compare(a, run("named", x, y), targets=[("x", "y")])) == ["x -> y"]
    twice = run("twice", x_gpu, {**x_gpu, "id": "x/npu", "device": "npu"})
    with pytest.raises(UsageError, match="A has x, y; B has x/gpu, x/npu") as caught:
        compare(a, twice)
    assert caught.value.fix == "say which: --target 'x=x/gpu'"


def test_two_targets_of_one_run_can_be_compared(tmp_path: Path) -> None:
    run = replace(BEFORE, targets=({"id": "x"}, {"id": "y"})).write(tmp_path / "a")
    found = compare(run, run, targets=[("x", "y")])
    assert titles(found) == ["x -> y"]
    assert "A and B are the same run" not in found.notes


def test_a_target_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    run = replace(BEFORE, targets=({"id": "smollm"}, {"id": "gemma"})).write(tmp_path / "a")
    with pytest.raises(UsageError, match='B has no target "gema"') as caught:
        compare(run, run, targets=[("smollm", "gema")])
    assert caught.value.fix == 'did you mean "gemma"?'
