"""What a block asks: keys that are unique, orders that are recorded, and marks that no cache knows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from audition.bench.plan import SERVER, Block, Level, Plan, make_round
from audition.bench.requests import (
    FILL,
    WARMUP_TOKENS,
    Request,
    count_of,
    levels_of,
    mark_of,
    marked,
    measured_requests,
    opening,
    parameters,
    times,
)
from plans import a_case, a_plan, a_target

LEVELS = tuple(Level.closed(n) for n in (1, 2, 4, 8, 16))
SERVERS = [a_target(model=name, format=SERVER) for name in ("one", "two")]


def briefly(requests: list[Request]) -> list[tuple[str, str]]:
    return [(request.phase, request.key) for request in requests]


@pytest.mark.parametrize(
    ("warmup", "keys"),
    [
        (0, []),
        (1, ["green"]),
        (3, ["green", "blue", "red"]),
        (5, ["green#0", "blue#1", "red#2", "green#3", "blue#4"]),
    ],
)
def test_a_block_opens_with_the_first_case_and_then_warms_up(warmup: int, keys: list[str]) -> None:
    plan = a_plan(warmup=warmup, levels=(Level.closed(4), Level.closed(1)))
    requests = list(opening(plan))
    assert briefly(requests) == [("first", "red"), *(("warmup", key) for key in keys)]
    assert [request.case.id for request in requests] == ["red", *(key.partition("#")[0] for key in keys)]
    assert {(request.level, request.repeat) for request in requests} == {("c4", 0)}


def test_levels_are_taken_in_an_order_of_each_blocks_own() -> None:
    plan = a_plan(levels=LEVELS, seed=3)
    blocks = [Block(f"b{n:03d}", n, plan.targets[0].id, ("red",)) for n in range(20)]
    orders = [tuple(levels_of(plan, block)) for block in blocks]
    assert {frozenset(order) for order in orders} == {frozenset(LEVELS)}
    assert len(set(orders)) > 10
    again = Plan.from_json(plan.to_json() | {"blocks": []})
    assert [tuple(levels_of(again, block)) for block in blocks] == orders, "the seed of the plan decides"
    other = a_plan(levels=LEVELS, seed=4)
    assert [tuple(levels_of(other, block)) for block in blocks] != orders


@pytest.mark.parametrize(
    ("concurrency", "cases", "expected"),
    [(1, 3, 1), (1, 50, 1), (2, 3, 3), (4, 3, 6), (4, 16, 1), (4, 15, 2), (8, 1, 32)],
)
def test_there_are_enough_requests_to_keep_so_many_under_way(concurrency: int, cases: int, expected: int) -> None:
    level = Level.closed(concurrency)
    plan = a_plan(cases=[a_case(f"case-{n}") for n in range(cases)], levels=(level,))
    assert times(plan, level) == expected
    requests = list(measured_requests(plan, plan.blocks[0], level))
    assert len(requests) == expected * cases >= (FILL * concurrency if concurrency > 1 else 1)
    assert Counter(request.key for request in requests) == {case.id: expected for case in plan.cases}
    assert [request.key for request in requests[:cases]] == list(plan.blocks[0].cases), "each case once, then again"
    assert {request.repeat for request in requests} == set(range(expected))
    assert {(request.phase, request.level) for request in requests} == {("measured", f"c{concurrency}")}


def test_an_open_loop_asks_each_case_once() -> None:
    level = Level.open(2.5)
    plan = a_plan(levels=(level,))
    assert [r.key for r in measured_requests(plan, plan.blocks[0], level)] == list(plan.blocks[0].cases)
    assert {r.level for r in measured_requests(plan, plan.blocks[0], level)} == {"r2.5"}


@pytest.mark.parametrize("level", [Level.closed(1, 60.0), Level.closed(4, 60.0), Level.open(2.0, 60.0)])
def test_a_level_with_a_duration_has_requests_without_end(level: Level) -> None:
    plan = a_plan(levels=(level,))
    requests = list(islice(measured_requests(plan, plan.blocks[0], level), 3000))
    assert len({request.id for request in requests}) == 3000
    assert [request.repeat for request in requests] == [n // 3 for n in range(3000)]


def test_no_two_requests_of_a_block_are_the_same() -> None:
    plan = a_plan(levels=(*LEVELS, Level.open(1.0), Level.open(1.5)), warmup=7)
    block = plan.blocks[0]
    ids = [r.id for r in opening(plan)] + [r.id for level in plan.levels for r in measured_requests(plan, block, level)]
    assert len(set(ids)) == len(ids) == count_of(plan, block)


def test_what_has_no_number_beforehand_is_not_counted() -> None:
    plan = a_plan(levels=(Level.closed(1), Level.closed(8, 30.0)), warmup=2)
    assert count_of(plan, plan.blocks[0]) == 1 + 2 + 3
    assert count_of(plan, Block("p001", 0, plan.targets[0].id, ())) == 0


@pytest.mark.parametrize(
    ("phase", "own", "expected"),
    [("measured", None, 100), ("measured", 3, 3), ("measured", 500, 500), ("first", 500, 500), ("warmup", 3, 3),
     ("warmup", 500, WARMUP_TOKENS), ("warmup", None, WARMUP_TOKENS)],
)  # fmt: skip
def test_the_limit_of_tokens(phase: str, own: int | None, expected: int) -> None:
    plan = a_plan(cases=[a_case("red", max_tokens=own)], max_tokens=100, temperature=0.7)
    request = Request(phase, plan.cases[0], "red", "c1")  # type: ignore[arg-type]
    asked = parameters(plan, plan.blocks[0], request)
    assert (asked["max_tokens"], asked["temperature"]) == (expected, 0.7)


@pytest.mark.parametrize(("deterministic", "seeds"), [(False, [11, 12, 13]), (True, [10, 10, 10])])
def test_the_seed_changes_with_the_round_unless_answers_have_to_repeat(deterministic: bool, seeds: list[int]) -> None:
    plan = a_plan(rounds=3, seed=10, deterministic=deterministic)
    request = next(opening(plan))
    assert [parameters(plan, block, request)["seed"] for block in plan.blocks] == seeds


def test_every_prompt_to_a_server_has_a_mark_of_its_own() -> None:
    plan = a_plan(SERVERS, rounds=3, warmup=4, levels=(Level.closed(1), Level.closed(4)))
    marks: dict[str, set[tuple[object, ...]]] = {}
    for block in plan.blocks:
        requests = [*opening(plan), *(r for level in plan.levels for r in measured_requests(plan, block, level))]
        for attempt in (1, 2):
            for request in requests:
                mark = mark_of(plan, block, request, attempt)
                assert mark is not None and len(mark) == 8
                marks.setdefault(mark, set()).add((block.round, attempt, *request.id))
    assert {len(places) for places in marks.values()} == {1}, "no two requests share one"
    assert len(marks) == 3 * 2 * (1 + 4 + 3 + 18), "and all targets are asked the same"


def test_two_runs_do_not_share_their_marks() -> None:
    plan = a_plan(SERVERS)
    request = next(opening(plan))
    later = replace(plan, created_at="2026-11-22T12:00:01+00:00")
    assert mark_of(plan, plan.blocks[0], request) != mark_of(later, plan.blocks[0], request)


def test_an_engine_of_ours_and_a_kept_cache_get_no_mark() -> None:
    ours, kept = a_plan(), a_plan(SERVERS, prompt_cache="keep")
    assert mark_of(ours, ours.blocks[0], next(opening(ours))) is None
    assert mark_of(kept, kept.blocks[0], next(opening(kept))) is None


def test_a_mark_stands_before_everything_else() -> None:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."})
    assert marked(messages, None) == list(messages)
    first, second = marked(messages, "0a1b2c3d")
    assert first == {"role": "system", "content": "[0a1b2c3d]\nBe brief."}
    assert second == messages[1]
    assert messages[0]["content"] == "Be brief.", "the case itself is left as it is"


def test_a_round_is_the_same_whoever_lays_it_out() -> None:
    plan = a_plan([a_target(model=name) for name in "abc"], rounds=2)
    names, cases = [target.id for target in plan.targets], [case.id for case in plan.cases]
    assert tuple(make_round(names, cases, plan.settings, 2, 4)) == plan.blocks[3:]
