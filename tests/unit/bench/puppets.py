"""A target that does what the test says, and what a block leaves of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clocks import Clock

from audition.bench.block import BlockRunner
from audition.bench.sample import Load, Sample
from audition.bench.subject import Subject
from audition.engines.protocol import Chunk, EngineDied, Finish, Reply
from audition.errors import AuditionError
from plans import a_case

Answer = float | tuple[str, str] | Exception
"""Seconds, or how the request fails (after a second), or how the engine does."""

TEN = [a_case(f"case-{n}") for n in range(10)]
DIED = EngineDied("the process of steady is gone", code="engine_crashed")


class Puppet(Subject):
    """A target that does what a function says of each request, by its number from 0."""

    def __init__(self, clock: Clock, answer: Callable[[int], Answer]) -> None:
        super().__init__()
        self.clock, self.answer = clock, answer
        self.refusal: AuditionError | None = None
        self.unload_failure: AuditionError | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.under_way = self.most = 0
        self.sent_at: list[float] = []
        self.is_closed = False

    async def open(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.session = self

    async def unload(self) -> None:
        self.facts["device"] = "unloaded"
        if self.unload_failure is not None:
            raise self.unload_failure

    async def close(self) -> None:
        await super().close()
        self.is_closed = True

    async def ask(
        self, messages: list[dict[str, str]], params: dict[str, Any], timeout_s: float
    ) -> Callable[[], Reply]:
        number = len(self.asked)
        self.asked.append((messages[0]["content"], params))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        sent_ns = self.clock.perf_counter_ns()
        self.sent_at.append(self.clock.now)
        answer = self.answer(number)
        try:
            await asyncio.sleep(answer if isinstance(answer, float) else 1.0)
        finally:
            self.under_way -= 1
        if isinstance(answer, Exception):
            raise answer
        end_ns = self.clock.perf_counter_ns()
        if isinstance(answer, tuple):
            return lambda: Reply(sent_ns, end_ns, (), None, answer[0] == "timeout", answer)
        return lambda: Reply(sent_ns, end_ns, (Chunk(f"{number}", end_ns),), Finish("stop", end_ns), False, None)


@dataclass
class Outcome:
    """What a block left."""

    samples: list[Sample]
    load: Load
    runner: BlockRunner
    target: Puppet

    @property
    def measured(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.phase == "measured"]


RunBlock = Callable[..., Outcome]


def message(sample: Sample) -> str:
    return (sample.error or {})["message"]


def code(sample: Sample) -> str:
    return (sample.error or {})["code"]


def ids(samples: Sequence[Sample]) -> list[tuple[str, str, str, int]]:
    return [(sample.phase, sample.level, sample.case, sample.repeat) for sample in samples]
