"""What a choice must never do: change for a loser, or call chance a winner."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.pick.constraints import Constraints
from audition.pick.decide import Pick, decide
from handmade import Made, summary

CASES = 7
marks = st.tuples(*[st.sampled_from([1.0, 1.0, 0.5, 0.0, None, "cut"])] * CASES)
latencies = st.tuples(*[st.sampled_from([100.0, 101.0, 120.0, 300.0, 900.0])] * CASES)
megabytes = st.sampled_from([100, 130, 149, 150, 151, 200, 230, 260, 500])

targets = st.lists(
    st.builds(
        lambda marks, latencies, memory, disk, licence: Made(
            "", marks, latencies, memory * 1_000_000, disk, licence_class=licence
        ),
        marks,
        latencies,
        megabytes,
        st.integers(1, 4),
        st.sampled_from(["permissive", "permissive", "unknown"]),
    ),
    min_size=1,
    max_size=4,
).map(lambda made: [replace(one, id=f"t{index}") for index, one in enumerate(made)])

constraints = st.builds(
    Constraints,
    max_latency_ms=st.sampled_from([None, None, 110.0, 500.0]),
    max_memory_bytes=st.sampled_from([None, None, 2e8]),
    licences=st.sampled_from([(), ("permissive",)]),
    min_quality=st.sampled_from([None, None, 0.2]),
)


def pick(made: list[Made], constraints: Constraints) -> Pick:
    return decide(summary(*made), constraints)


def insert(made: list[Made], new: Made, place: int) -> list[Made]:
    place %= len(made) + 1
    return [*made[:place], new, *made[place:]]


@settings(deadline=None)
@given(targets, constraints)
def test_every_target_is_the_winner_or_has_its_reason(made: list[Made], constraints: Constraints) -> None:
    found = pick(made, constraints)
    losers = [loser.target for loser in found.losers]
    assert len(losers) == len(set(losers))
    undecided = set(found.tie_group) - set(losers)
    if found.outcome == "picked":
        assert undecided == {found.target}
        assert {found.target, *losers} == {one.id for one in made}
    elif found.outcome == "too_close_to_call":
        assert len(undecided) > 1
        assert undecided | set(losers) == {one.id for one in made}
    else:
        assert set(losers) == {one.id for one in made}
    assert all(loser.sentence and "inf ms" not in loser.sentence for loser in found.losers)
    assert (found.target is not None) == (found.outcome == "picked")


@settings(deadline=None)
@given(targets, constraints, st.integers(0, 4), st.sampled_from(["fails", "noise", "licence", "memory"]))
def test_a_target_that_cannot_be_used_never_changes_the_winner(
    made: list[Made], constraints: Constraints, place: int, how: str
) -> None:
    before = pick(made, constraints)
    best = Made("loser", (1.0,) * CASES, (1.0,) * CASES, 1_000_000, 1)
    if how == "fails":
        loser = replace(best, load_fails=True)
    elif how == "noise":
        loser = replace(best, text="round and round it goes and never stops. " * 9 + "yes sure")
    elif how == "licence":
        constraints = replace(constraints, licences=("permissive",))
        before = pick(made, constraints)
        loser = replace(best, licence_class="use-restricted")
    else:
        constraints = replace(constraints, max_memory_bytes=4e8)
        before = pick(made, constraints)
        loser = replace(best, memory=400_000_001)
    after = pick(insert(made, loser, place), constraints)
    assert (after.outcome, after.target, after.tie_group) == (before.outcome, before.target, before.tie_group)
    assert [x for x in after.losers if x.target != "loser"] == list(before.losers)


@settings(deadline=None)
@given(targets, constraints, st.integers(0, 4), st.data())
def test_a_target_that_is_worse_in_everything_never_changes_the_winner(
    made: list[Made], constraints: Constraints, place: int, data: st.DataObject
) -> None:
    before = pick(made, constraints)
    if before.target is None:
        return
    winner = next(one for one in made if one.id == before.target)
    # Answers no better in any case and worse in one, slower, and more of everything.
    answers = [data.draw(st.sampled_from([mark, 0.0, "cut"])) if mark in (1.0, 0.5) else mark for mark in winner.marks]
    answers[data.draw(st.integers(0, CASES - 1))] = "cut"
    loser = Made(
        "loser",
        answers,
        tuple(ms * 1.001 for ms in winner.latencies),
        (winner.memory or 0) + data.draw(st.sampled_from([1, 40_000_000, 60_000_000])),
        winner.disk + 1,
    )
    after = pick(insert(made, loser, place), constraints)
    assert after.target == before.target
    assert "loser" in {x.target for x in after.losers}


@settings(deadline=None)
@given(targets, constraints, st.randoms(use_true_random=False))
def test_the_order_of_the_targets_is_no_matter(made: list[Made], constraints: Constraints, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(made, len(made))
    before, after = pick(made, constraints), pick(shuffled, constraints)
    assert (after.outcome, after.target, set(after.losers)) == (before.outcome, before.target, set(before.losers))


def test_two_equal_targets_are_rarely_told_apart_by_their_answers() -> None:
    rng, repeats, told_apart = np.random.default_rng(11), 400, 0
    for _ in range(repeats):
        ability = rng.uniform(0.2, 0.9, 12)
        a, b = ((rng.random((2, 12)) < ability).astype(float)).tolist()
        found = pick([Made("a", a), Made("b", b)], Constraints())
        told_apart += any(loser.reason == "worse" for loser in found.losers)
    assert told_apart / repeats <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
