"""An event loop whose time is not the world's: hours pass at once, and nothing is by chance."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

LOOK_S = 10e-6
"""What a look at the clock costs: without it a loop that waits for a moment would wait for ever."""

LATE_S = 0.0008
"""How late a timer is, as real ones are."""


class Clock:
    """Time passes while everyone sleeps, and a little with every look."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        self.now += LOOK_S
        return self.now

    def perf_counter_ns(self) -> int:
        return round(self.perf_counter() * 1e9)


class Selector(selectors.SelectSelector):
    """Waits for nothing but the time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everyone waits, and nobody will wake them")
        self.clock.now += timeout + LATE_S if timeout > 0 else 0.0
        return []


class Loop(asyncio.SelectorEventLoop):
    """An event loop on such a clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        super().__init__(Selector(clock))

    def time(self) -> float:
        return self.clock.now


Play = Callable[[Coroutine[Any, Any, None]], None]
"""Runs something in such a loop."""
