"""Ranges and pieces: nothing is claimed twice, nothing is left out."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.store.transfer.answers import content_range
from audition.store.transfer.fault import Fault, Tries
from audition.store.transfer.pieces import Pieces
from audition.store.transfer.ranges import Ranges
from audition.store.transfer.settings import Settings

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=20)


@given(SPANS, st.integers(0, 70))
def test_ranges_are_a_set_of_bytes(spans, size):
    ranges, there = Ranges(), set()
    for start, end in spans:
        ranges.add(start, end)
        there |= set(range(start, end))
    listed = list(ranges)
    assert {byte for start, end in listed for byte in range(start, end)} == there
    assert listed == sorted(listed)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(listed))
    assert ranges.total == len(there)
    assert ranges.front == next(byte for byte in range(100) if byte not in there)
    assert {byte for start, end in ranges.cut(size) for byte in range(start, end)} == {b for b in there if b < size}
    gap = ranges.gap(size)
    missing = [byte for byte in range(size) if byte not in there]
    assert (gap is None) == (not missing)
    if gap:
        assert gap[0] == missing[0]
        assert not there & set(range(*gap))
        assert gap[1] == size or gap[1] in there


@given(SPANS, st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**32))
def test_every_byte_is_fetched_once_whatever_breaks(spans, size, piece, seed):
    """Several take, grow, fetch and give up at random; in the end all is there, and nobody's byte was another's."""
    chance = random.Random(seed)
    before = Ranges(spans).cut(size)
    had = {byte for start, end in before for byte in range(start, end)}
    pieces = Pieces(size, before, piece)
    claims, fetched = [], []
    for _ in range(10_000):
        if pieces.is_complete:
            break
        if len(claims) < 3 and (claim := pieces.take()):
            assert claim.at < claim.end <= claim.asked <= size
            claims.append(claim)
        claim = chance.choice(claims)
        if chance.random() < 0.1 or (claim.at == claim.end and not pieces.grow(claim)):
            pieces.release(claim)
            claims.remove(claim)
            continue
        count = chance.randint(0, claim.end - claim.at)
        fetched += range(claim.at, claim.at + count)
        pieces.add(claim, count)
    assert pieces.is_complete
    assert sorted(fetched) == sorted(set(range(size)) - had)


def test_a_lone_claim_goes_on_until_somebody_else_comes():
    pieces = Pieces(100, Ranges(), 10)
    lone = pieces.take()
    assert (lone.at, lone.end, lone.asked) == (0, 10, 100)
    assert pieces.grow(lone)
    assert lone.end == 20
    second = pieces.take()
    assert (second.at, second.end, second.asked) == (20, 30, 30)
    assert not pieces.grow(lone)


def test_a_size_that_is_learnt_later_bounds_what_was_claimed():
    pieces = Pieces(None, Ranges(), 10)
    claim = pieces.take()
    assert (claim.end, pieces.take(), pieces.is_complete) == (None, None, False)
    pieces.set_size(15)
    assert (claim.end, claim.asked) == (10, 15)


def test_what_nobody_waits_for_any_more_changes_nothing():
    pieces = Pieces(100, Ranges(), 10)
    claim = pieces.take()
    pieces.release(claim)
    pieces.add(claim, 10)
    assert pieces.done == 0
    assert not pieces.grow(claim)


def test_only_a_lone_claim_may_start_over():
    pieces = Pieces(100, Ranges([(0, 50)]), 10)
    one, two = pieces.take(), pieces.take()
    assert not pieces.restart(one, 100)
    assert pieces.done == 50
    pieces.release(two)
    assert pieces.restart(one, 100)
    assert (pieces.done, one.at, one.end, pieces.is_whole) == (0, 0, 100, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/100", (0, 10, 100)),
        ("bytes 5-5/*", (5, 6, None)),
        ("bytes */100", (0, 0, 100)),
        ("bytes 9-5/100", None),
        ("bytes 0-100/100", None),
        ("bytes 0-9", None),
        ("items 0-9/100", None),
        ("bytes -1-9/100", None),
        ("bytes 0-9/1e9", None),
        ("bytes \u0663-\u0669/\u0661\u0660", None),
        ("", None),
    ],
)
def test_a_content_range_is_one_or_none(text, expected):
    from email.message import Message

    headers = Message()
    headers["Content-Range"] = text
    assert content_range(headers) == expected


def test_waits_grow_to_a_bound_and_differ():
    settings = Settings(first_wait_s=1, longest_wait_s=4, first_tries=9)
    tries = Tries(settings, random.Random(1))
    waits = [tries.wait_after(Fault("x"), went_on=False) for _ in range(8)]
    for wait, longest in zip(waits, [1, 2, 4, 4, 4, 4, 4, 4], strict=True):
        assert longest / 2 <= wait <= longest
    assert len(set(waits)) == len(waits)
    with pytest.raises(Fault):
        tries.wait_after(Fault("x"), went_on=False)


def test_progress_begins_the_count_anew():
    tries = Tries(Settings(first_tries=2, tries=3))
    for _ in range(5):
        tries.wait_after(Fault("x"), went_on=True)
        tries.wait_after(Fault("x"), went_on=False)
    tries.wait_after(Fault("x"), went_on=False)
    with pytest.raises(Fault):
        tries.wait_after(Fault("x"), went_on=False)
