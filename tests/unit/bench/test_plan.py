"""The plan: it survives its file, and its order is fair, recorded and reproducible."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from audition.bench.plan import Case, Level, Plan, Settings, check_design, check_targets, make_blocks, target_id
from audition.errors import AuditionError, UsageError
from plans import a_case, a_plan, a_target

CASES = [a_case(name) for name in ("red", "green", "blue", "grey", "pink", "teal")]
TARGETS = [a_target(model=name) for name in ("one", "two", "three", "four")]


def through_json(plan: Plan) -> Plan:
    return Plan.from_json(json.loads(json.dumps(plan.to_json())))


def test_a_plan_survives_its_file() -> None:
    cases = [
        Case(
            "full",
            ({"role": "system", "content": "Be \ud83d brief."}, {"role": "user", "content": "世界"}),
            max_tokens=5,
            expect=("Paris", {"contains_any": ["a", "b"]}, ["c", "d"], 42),
            reference="Paris",
            weight=2.5,
            tags=("short", "fact"),
            cluster="geography",
        ),
        a_case("plain"),
    ]
    target = a_target(has_chat_template=False, instruct=True, memory_estimate_bytes=2**40, licence=None)
    plan = a_plan([target, a_target(model="two")], cases, rounds=2, deterministic=True, temperature=0.0)
    assert through_json(plan) == plan
    assert through_json(plan).case("full").messages == plan.case("full").messages


def test_a_plan_says_which_schema_it_has() -> None:
    assert a_plan().to_json()["schema"] == 2


def test_targets_and_cases_are_found_by_id() -> None:
    plan = a_plan(TARGETS, CASES)
    assert plan.target(TARGETS[2].id) is TARGETS[2]
    assert plan.case("grey") is CASES[3]


def test_the_prompt_is_the_last_thing_the_user_says() -> None:
    messages = [("system", "s"), ("user", "first"), ("assistant", "a"), ("user", "last"), ("assistant", "b")]
    case = Case("c", tuple({"role": role, "content": content} for role, content in messages))
    assert case.prompt == "last"
    assert Case("c", ({"role": "system", "content": "s"},)).prompt == ""


def damaged(**changes: Any) -> Any:
    data = json.loads(json.dumps(a_plan().to_json()))
    return data | changes


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "plan",
        {},
        damaged(targets=None),
        damaged(targets=[{"id": "x"}]),
        damaged(cases=[{"id": "x"}]),
        damaged(settings={"rounds": 1, "surprise": 2}),
        damaged(blocks=[{"id": "b001"}]),
        damaged(blocks=[{"id": "b001", "round": 1, "target": "nobody", "cases": ["red"]}]),
        damaged(blocks=[{"id": "b001", "round": 1, "target": a_target().id, "cases": ["nothing"]}]),
        {key: value for key, value in damaged().items() if key != "levels"},
    ],
)
def test_a_damaged_plan_is_said_to_be_damaged(data: Any) -> None:
    with pytest.raises(AuditionError, match="plan is damaged") as caught:
        Plan.from_json(data)
    assert caught.value.code == "bad_plan"


def test_a_plan_of_another_version_is_refused() -> None:
    with pytest.raises(AuditionError, match=r"schema 3; this version reads 2"):
        Plan.from_json(damaged(schema=3))


def test_each_round_holds_each_target_once_and_each_block_all_cases_once() -> None:
    blocks = make_blocks(TARGETS, CASES, Settings(probes=False, rounds=5))
    assert len(blocks) == 20
    for round_ in range(5):
        of_round = blocks[4 * round_ : 4 * round_ + 4]
        assert {block.round for block in of_round} == {round_ + 1}
        assert Counter(block.target for block in of_round) == {target.id: 1 for target in TARGETS}
    for block in blocks:
        assert Counter(block.cases) == {case.id: 1 for case in CASES}
    assert [block.id for block in blocks] == [f"b{number:03d}" for number in range(1, 21)]


def test_block_ids_stay_unique_beyond_a_thousand() -> None:
    blocks = make_blocks(TARGETS[:1], CASES[:1], Settings(rounds=1200, probes=False))
    assert len({block.id for block in blocks}) == 1200


def test_the_order_is_shuffled() -> None:
    blocks = make_blocks(TARGETS, CASES, Settings(probes=False, rounds=10))
    assert len({tuple(block.target for block in blocks[i : i + 4]) for i in range(0, 40, 4)}) > 1
    assert len({block.cases for block in blocks}) > 10


def test_every_target_comes_first_about_as_often() -> None:
    rounds = 400
    blocks = make_blocks(TARGETS, CASES[:1], Settings(rounds=rounds))
    first = Counter(block.target for block in blocks[::4])
    assert all(rounds / 4 * 0.6 < first[target.id] < rounds / 4 * 1.4 for target in TARGETS)


def test_the_same_seed_gives_the_same_order() -> None:
    settings = Settings(rounds=3, seed=7)
    assert make_blocks(TARGETS, CASES, settings) == make_blocks(TARGETS, CASES, settings)
    other = replace(settings, temperature=1.0, max_tokens=3, timeout_s=1.0)
    assert make_blocks(TARGETS, CASES, other) == make_blocks(TARGETS, CASES, settings)


def test_the_order_is_the_same_on_every_machine() -> None:
    """The order of seed 0, written down: a plan from elsewhere can be made again here."""
    blocks = make_blocks(TARGETS, CASES[:3], Settings(rounds=1, probes=False))
    assert [(block.target.split(":")[0], *block.cases) for block in blocks] == [
        ("three", "green", "red", "blue"),
        ("two", "green", "red", "blue"),
        ("four", "green", "red", "blue"),
        ("one", "green", "red", "blue"),
    ]


def test_another_seed_gives_another_order() -> None:
    orders = {make_blocks(TARGETS, CASES, Settings(probes=False, rounds=3, seed=seed)) for seed in range(20)}
    assert len(orders) == 20


def test_a_target_id_says_what_is_measured() -> None:
    assert target_id("m:q4_0", "llamacpp", "cpu", {"context": 4096}, {"context": 4096}) == "m:q4_0/llamacpp/cpu"


def test_target_ids_are_distinct_for_different_settings() -> None:
    default = {"context": 4096, "threads": 4}
    settings = [{"context": context, "threads": threads} for context in (512, 1024, 4096) for threads in (1, 2, 4)]
    ids = [target_id("m:q4_0", "llamacpp", "cpu", one, default) for one in settings]
    assert len(set(ids)) == len(settings)
    assert all(name.startswith("m:q4_0/llamacpp/cpu") for name in ids)


def test_target_ids_do_not_depend_on_the_order_of_settings() -> None:
    one = target_id("m", "e", "cpu", {"context": 512, "threads": 2}, {})
    two = target_id("m", "e", "cpu", {"threads": 2, "context": 512}, {})
    assert one == two


@pytest.mark.parametrize(
    ("targets", "levels", "what"),
    [
        (2, (Level.closed(1), Level.closed(4)), "in turn"),
        (2, (Level.closed(4),), "in turn"),
        (2, (Level.open(2.0),), "in turn"),
        (2, (Level.closed(1, 30.0),), "in turn"),
        (1, (Level.closed(1),), "two targets or more"),
    ],
)
def test_what_cannot_interleave_is_refused(targets: int, levels: tuple[Level, ...], what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        check_design(targets, Settings(interleave=True), levels)
    assert caught.value.fix
    check_design(targets, Settings(), levels)


def test_two_targets_may_interleave() -> None:
    check_design(2, Settings(interleave=True), (Level.closed(1),))


def test_a_target_that_is_named_twice_is_refused() -> None:
    check_targets(TARGETS)
    with pytest.raises(UsageError, match="named twice"):
        check_targets([*TARGETS, TARGETS[1]])
