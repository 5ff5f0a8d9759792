"""Load patterns: when each request is sent. Closed loop: when an earlier one ended. Open loop: when its time comes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import TypeVar

Request = TypeVar("Request")

_EXACT_UP_TO = 50.0
"""Requests a second up to which it costs little to be awake for the last millisecond before each."""

Send = Callable[[Request, int | None], Awaitable[None]]
"""Sends a request and returns when its answer has been drained; the number is its scheduled time, nanoseconds."""


async def closed_loop(
    send: Send[Request], requests: Iterator[Request], concurrency: int, duration_s: float | None = None
) -> None:
    """Keep so many requests under way until there are no more, or the time is over; those under way are drained.

    A slow answer delays the requests after it, as it does for people who wait for theirs: the right pattern for one
    interactive user, and the wrong one to learn what happens when users do not wait (coordinated omission; Tene, "How
    NOT to measure latency").

    Raises:
        Exception: What `send` raised first; the other requests are cancelled.
    """
    until = None if duration_s is None else time.perf_counter() + duration_s

    async def worker() -> None:
        for request in requests:
            if until is not None and time.perf_counter() >= until:
                return
            await send(request, None)

    if concurrency == 1:
        await worker()
        return
    async with _Together() as together:
        for _ in range(concurrency):
            together.add(worker())


async def open_loop(
    send: Send[Request],
    requests: Iterator[Request],
    rate: float,
    rng: random.Random,
    duration_s: float | None = None,
) -> None:
    """Send requests at the moments of a Poisson process, whatever becomes of the earlier ones.

    The schedule is drawn beforehand, with gaps that are exponential with mean `1 / rate` seconds. A request that is
    sent late, because this process was busy, still counts from its scheduled moment.

    Raises:
        Exception: What `send` raised first; the other requests are cancelled.
    """
    start = time.perf_counter_ns()
    at = 0.0
    async with _Together() as together:
        for request in requests:
            at += rng.expovariate(rate)
            if duration_s is not None and at > duration_s:
                break
            due = start + int(at * 1e9)
            await _sleep_until(due, exactly=rate <= _EXACT_UP_TO)
            together.check()
            together.add(send(request, due))


async def _sleep_until(due_ns: int, *, exactly: bool) -> None:
    """Sleep until a moment. The event loop's timers are up to a millisecond late, so the last one is spent awake."""
    while (left := (due_ns - time.perf_counter_ns()) / 1e9) > 0:
        await asyncio.sleep(max(0.0, left - 0.001) if exactly else left)


async def in_turn(sends: list[tuple[Send[Request], Iterator[Request]]], rng: random.Random) -> None:
    """Alternate between several targets request by request, each turn in an order of its own."""
    left = list(sends)
    while left:
        rng.shuffle(left)
        for pair in list(left):
            send, requests = pair
            request = next(islice(requests, 1), None)
            if request is None:
                left.remove(pair)
            else:
                await send(request, None)


class _Together:
    """Tasks that end together: the first failure cancels the others and is raised as it is.

    Unlike `asyncio.TaskGroup`, which raises an `ExceptionGroup` and cannot be asked meanwhile.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def add(self, work: Awaitable[None]) -> None:
        """Start something."""
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)  # noqa: S101 - a coroutine becomes one
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def check(self) -> None:
        """Raise what failed so far."""
        if self._failure is not None:
            raise self._failure

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None and self._failure is None:
            self._failure = failure
            self._cancel()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _ended(self) -> None:
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def __aenter__(self) -> _Together:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._cancel()
        try:
            await self._ended()
        except asyncio.CancelledError:
            # Ctrl-C: what nobody waits for any more must not go on.
            self._cancel()
            await self._ended()
            raise
        if kind is None:
            self.check()
