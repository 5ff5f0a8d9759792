"""Load patterns, in an event loop whose time is not the world's: hours pass at once, and nothing is by chance."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from clocks import LOOK_S, Clock, Play

from audition.bench.pattern import closed_loop, in_turn, open_loop


class Broken(Exception):
    pass


class Server:
    """Answers each request after a time of its own, and writes down what happens."""

    def __init__(self, clock: Clock, answer_s: Callable[[int], float] = lambda _: 1.0) -> None:
        self.clock = clock
        self.answer_s = answer_s
        self.sent: list[tuple[int, float, int | None]] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.under_way: list[int] = []
        """How many requests there were when each came, itself included."""
        self.fails_at: int | None = None

    async def send(self, request: int, scheduled_ns: int | None) -> None:
        self.sent.append((request, self.clock.now, scheduled_ns))
        self.under_way.append(len(self.sent) - len(self.ended) - len(self.cancelled))
        try:
            await asyncio.sleep(self.answer_s(request))
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        if request == self.fails_at:
            raise Broken(request)
        self.ended.append(request)


def uneven(request: int) -> float:
    return 0.1 + random.Random(request).random()


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_a_closed_loop_keeps_so_many_requests_under_way(clock: Clock, play: Play, concurrency: int) -> None:
    server = Server(clock, uneven)
    play(closed_loop(server.send, iter(range(50)), concurrency))
    assert [request for request, *_ in server.sent] == list(range(50))
    assert sorted(server.ended) == list(range(50)), "all are drained"
    assert server.under_way == [*range(1, concurrency), *[concurrency] * (51 - concurrency)]
    assert {scheduled for *_, scheduled in server.sent} == {None}


def test_a_closed_loop_with_fewer_requests_than_places_ends(clock: Clock, play: Play) -> None:
    server = Server(clock)
    play(closed_loop(server.send, iter(range(3)), 8))
    assert sorted(server.ended) == [0, 1, 2]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_closed_loop_sends_until_the_time_is_over_and_then_drains(clock: Clock, play: Play, concurrency: int) -> None:
    server, start = Server(clock, uneven), clock.now
    play(closed_loop(server.send, itertools.count(), concurrency, 20.0))
    late = [at - start for _, at, _ in server.sent]
    assert 18.5 < max(late) < 20.0
    assert len(server.ended) == len(server.sent) > 20 * concurrency
    assert 20.0 < clock.now - start < 21.2


@pytest.mark.parametrize("concurrency", [1, 3])
def test_when_no_time_is_left_nothing_is_sent(clock: Clock, play: Play, concurrency: int) -> None:
    server = Server(clock)
    play(closed_loop(server.send, itertools.count(), concurrency, 0.0))
    assert server.sent == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_first_failure_ends_a_closed_loop_and_is_raised_as_it_is(
    clock: Clock, play: Play, concurrency: int
) -> None:
    server = Server(clock, lambda request: 1.0 + request / 10)
    server.fails_at = 9
    with pytest.raises(Broken) as caught:
        play(closed_loop(server.send, iter(range(200)), concurrency))
    assert caught.value.args == (9,)
    assert sorted([9, *server.ended, *server.cancelled]) == sorted(request for request, *_ in server.sent)
    assert len(server.cancelled) == concurrency - 1, "the others are stopped, and none comes after them"


@pytest.mark.parametrize("pattern_name", ["closed", "open"])
def test_when_a_loop_is_interrupted_nothing_of_it_goes_on(clock: Clock, play: Play, pattern_name: str) -> None:
    server = Server(clock, lambda _: 1000.0)

    async def interrupt() -> None:
        if pattern_name == "closed":
            work = asyncio.ensure_future(closed_loop(server.send, iter(range(4)), 4))
        else:
            work = asyncio.ensure_future(open_loop(server.send, iter(range(4)), 10.0, random.Random(0)))
        await asyncio.sleep(20.0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert sorted(server.cancelled) == [0, 1, 2, 3]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(interrupt())


def schedule(rate: float, seed: int, n: int) -> list[float]:
    """The moments of a Poisson process, worked out a second time."""
    rng = random.Random(seed)
    return list(itertools.accumulate(rng.expovariate(rate) for _ in range(n)))


@pytest.mark.parametrize("rate", [0.5, 20.0, 400.0])
def test_an_open_loop_sends_at_its_moments_whatever_becomes_of_the_answers(
    clock: Clock, play: Play, rate: float
) -> None:
    server, start = Server(clock, lambda _: 10_000.0), clock.now
    play(open_loop(server.send, iter(range(200)), rate, random.Random(7)))
    expected = schedule(rate, 7, 200)
    assert [request for request, *_ in server.sent] == list(range(200))
    scheduled = [(ns or 0) / 1e9 - start for *_, ns in server.sent]
    assert scheduled == pytest.approx(expected, abs=1e-4)
    assert [at - start for _, at, _ in server.sent] == pytest.approx(expected, abs=2e-3)
    assert server.under_way == list(range(1, 201)), "no answer had come yet"
    assert sorted(server.ended) == list(range(200)), "all are drained"


def test_a_slow_rate_is_awake_at_its_moments(clock: Clock, play: Play) -> None:
    """Timers of the event loop are late by its resolution; that is no delay of the server's."""
    server = Server(clock)
    play(open_loop(server.send, iter(range(100)), 10.0, random.Random(7)))
    delays = [at - (ns or 0) / 1e9 for _, at, ns in server.sent]
    assert max(delays) < 20 * LOOK_S


def test_the_same_seed_gives_the_same_schedule(clock: Clock, play: Play) -> None:
    schedules = []
    for seed in (1, 1, 2):
        server, start = Server(clock), round(clock.now * 1e9)
        play(open_loop(server.send, iter(range(50)), 5.0, random.Random(seed)))
        schedules.append([((ns or 0) - start) / 1e9 for *_, ns in server.sent])
    assert schedules[0] == pytest.approx(schedules[1], abs=1e-4)
    assert schedules[0] != pytest.approx(schedules[2], abs=1e-1)


def test_a_request_that_is_sent_late_counts_from_its_moment(clock: Clock, play: Play) -> None:
    server, start = Server(clock), clock.now
    expected = schedule(10.0, 3, 30)

    async def send(request: int, scheduled_ns: int | None) -> None:
        if request == 4:
            clock.now += 1.0  # this process was busy with something else
        await server.send(request, scheduled_ns)

    play(open_loop(send, iter(range(30)), 10.0, random.Random(3)))
    assert [(ns or 0) / 1e9 - start for *_, ns in server.sent] == pytest.approx(expected, abs=1e-4)
    again = expected[4] + 1.0
    late = [at - start for _, at, _ in server.sent[5:] if at - start < again + 2e-3]
    assert len(late) >= 5, "they are sent as soon as it can be"
    assert late == pytest.approx([again] * len(late), abs=2e-3)
    assert server.sent[-1][1] - start == pytest.approx(expected[-1], abs=2e-3), "and then it is on time again"


@pytest.mark.parametrize("duration_s", [0.0, 3.0, 60.0])
def test_an_open_loop_ends_with_its_time(clock: Clock, play: Play, duration_s: float) -> None:
    server = Server(clock)
    play(open_loop(server.send, itertools.count(), 4.0, random.Random(5), duration_s))
    expected = [at for at in schedule(4.0, 5, 1000) if at <= duration_s]
    assert len(server.sent) == len(server.ended) == len(expected)


def test_a_failure_ends_an_open_loop_before_its_next_request(clock: Clock, play: Play) -> None:
    server = Server(clock, lambda _: 10.0)
    server.fails_at = 0
    with pytest.raises(Broken):
        play(open_loop(server.send, iter(range(100)), 2.0, random.Random(1)))
    first = schedule(2.0, 1, 1)[0]
    sent = len([at for at in schedule(2.0, 1, 100) if at < first + 10.0])
    assert len(server.sent) == sent
    assert sorted([0, *server.cancelled]) == list(range(sent))


def test_a_failure_after_the_last_request_is_raised_too(clock: Clock, play: Play) -> None:
    server = Server(clock, lambda _: 10.0)
    server.fails_at = 2
    with pytest.raises(Broken):
        play(open_loop(server.send, iter(range(3)), 100.0, random.Random(1)))


def taken(turns: list[tuple[str, int]], sizes: list[int]) -> Iterator[list[tuple[str, int]]]:
    """Split what was sent into turns of these sizes."""
    rest = iter(turns)
    for size in sizes:
        yield list(itertools.islice(rest, size))
    assert list(rest) == []


def test_in_turn_asks_every_target_once_a_turn_until_all_are_through(play: Play) -> None:
    told: list[tuple[str, int]] = []
    under_way = 0

    def of(name: str) -> Callable[[int, int | None], Coroutine[Any, Any, None]]:
        async def send(request: int, scheduled_ns: int | None) -> None:
            nonlocal under_way
            under_way += 1
            assert (under_way, scheduled_ns) == (1, None), "one at a time"
            await asyncio.sleep(0.1)
            told.append((name, request))
            under_way -= 1

        return send

    lengths = {"a": 12, "b": 12, "c": 5}
    play(in_turn([(of(name), iter(range(n))) for name, n in lengths.items()], random.Random(4)))
    for name, n in lengths.items():
        assert [request for who, request in told if who == name] == list(range(n))
    orders = set()
    for number, turn in enumerate(taken(told, [3] * 5 + [2] * 7)):
        assert {request for _, request in turn} == {number}
        orders.add("".join(name for name, _ in turn))
    assert len(orders) > 4, "each turn has an order of its own"
