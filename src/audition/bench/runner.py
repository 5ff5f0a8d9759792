"""Running a plan: probes first, then block by block: load, first request, warm-up, all cases, unload."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from audition.bench.block import BlockRunner, Power
from audition.bench.machine import available_memory
from audition.bench.pattern import in_turn
from audition.bench.plan import Block, Plan, Target
from audition.bench.requests import count_of
from audition.bench.rundir import RunDir, RunWriter
from audition.bench.sample import Load, Sample
from audition.bench.schedule import Added, Schedule
from audition.bench.subject import make_subject, need_memory
from audition.errors import AuditionError


class Listener(Protocol):
    """Told what happens, for a person to see; never while a request of a closed loop at one is under way."""

    def resumed(self, done: int, total: int, torn: list[str]) -> None:
        """A run goes on that was interrupted."""
        ...

    def block_started(self, block: Block, number: int, total: int) -> None:
        """A target is about to be loaded."""
        ...

    def sample_added(self, sample: Sample) -> None:
        """A request ended."""
        ...

    def block_ended(self, load: Load) -> None:
        """A target was unloaded, or could not be loaded."""
        ...

    def added(self, added: Added) -> None:
        """A round was added because the results need it, or there will be no more."""
        ...


@dataclass(slots=True)
class _State:
    """What a run holds so far."""

    samples: list[Sample]
    loads: list[Load]

    def gave_up(self, target: str) -> int:
        """Return how many blocks of a target gave up since it last answered."""
        answered = {sample.block for sample in self.samples if sample.target == target and sample.error is None}
        count = 0
        for load in self.loads:
            if load.target != target:
                continue
            if load.block in answered:
                count = 0
            elif load.error is not None and load.error["code"] == "gave_up":
                count += 1
        return count


@dataclass(frozen=True, slots=True)
class Means:
    """What a run uses of its surroundings.

    Attributes:
        locate: Returns the weights of a target that is no server; None where its engine brings its own.
        free_memory: Bytes that a new process could take.
        power: The open energy counters, where there are any.
        calibrate: Takes the content of `host.json` and adds what is measured of the machine itself; called once a run,
            after the probes, so that a server hears from us at once.
    """

    locate: Callable[[Target], Path | None]
    free_memory: Callable[[], int] = available_memory
    power: Power | None = None
    calibrate: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] | None = None


def run_plan(run: RunDir, means: Means, listener: Listener) -> None:
    """Run every block of a run's plan that has not ended yet, and those that an adaptive plan adds.

    Args:
        run: The run directory; what stands in it is kept, so that this is also how an interrupted run goes on.
        means: What it uses.
        listener: Told what happens.

    Raises:
        AuditionError: The run directory cannot be written, or is in use. What a model or an engine does wrong is not
            raised: it is that target's failed status.
    """
    plan = run.plan
    with run.writing() as writer:
        runner = _Runner(plan, writer, means, listener)
        # Sockets are watched by their readiness, which Windows' default loop cannot do.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as loop:
            loop.run(runner.run())


class _Runner:
    def __init__(self, plan: Plan, writer: RunWriter, means: Means, listener: Listener) -> None:
        run = writer.run
        self._run = run
        self._plan = plan
        self._writer = writer
        self._means = means
        self._power = means.power
        self._listener = listener
        self._state = state = _State(list(map(_slim, run.samples())), run.loads())
        self._schedule = schedule = Schedule(plan, run.added())
        if state.samples or state.loads or writer.torn:
            total = sum(count_of(plan, block) for block in schedule.blocks)
            done = sum(sample.phase != "probe" for sample in state.samples)
            listener.resumed(done, total, writer.torn)
        # Weights that are gone are no failure of the model: nothing is recorded of it.
        for target in {plan.target(block.target).id: plan.target(block.target) for block in self._left()}.values():
            if not target.is_server:
                means.locate(target)

    def _left(self) -> list[Block]:
        return self._schedule.left(self._state.samples, self._state.loads)

    async def run(self) -> None:
        """Run what is left, and what the schedule adds to it."""
        while True:
            for group in self._groups():
                if not group[0].is_probe:
                    await self._calibrate()
                await self._run_group(group)
            added = self._schedule.more(self._state.samples, self._state.loads)
            if added is None:
                return
            self._writer.add_blocks(added)
            self._listener.added(added)

    async def _calibrate(self) -> None:
        if self._means.calibrate is None:
            return
        host = self._run.host
        if "noise_floor" not in host:
            host = await self._means.calibrate(host)
            self._writer.update_host(host)
        if self._power is not None:
            self._power = replace(self._power, idle_watts=(host.get("energy") or {}).get("idle_watts"))

    def _groups(self) -> Iterator[list[Block]]:
        """Yield the blocks that are to run, those together that interleave."""
        left = self._left()
        if not self._plan.settings.interleave:
            yield from ([block] for block in left)
            return
        yield from ([block] for block in left if block.is_probe)
        for round_ in sorted({block.round for block in left if not block.is_probe}):
            yield [block for block in left if block.round == round_]

    async def _run_group(self, blocks: list[Block]) -> None:
        runners = [self._block_runner(block) for block in blocks]
        try:
            if len(runners) > 1:
                need_memory([self._plan.target(block.target) for block in blocks], self._means.free_memory())
            for runner in runners:
                await runner.open()
            if len(runners) == 1:
                await runners[0].ask_all()
            else:
                await self._interleave(runners)
            for runner in runners:
                await runner.unload()
        except AuditionError as error:
            if error.code != "insufficient_memory":
                raise
            for runner in runners:
                runner.failed(error)
        finally:
            for runner in runners:
                await runner.close()
        for runner in runners:
            self._ended(runner)

    def _ended(self, runner: BlockRunner) -> None:
        load = runner.load()
        self._writer.add_load(load)
        self._state.loads.append(load)
        self._listener.block_ended(load)

    async def _interleave(self, runners: list[BlockRunner]) -> None:
        """Ask several loaded targets in turn, request by request."""
        for runner in runners:
            await runner.ask_opening()
        rng = random.Random(f"audition-turns-{self._plan.settings.seed}-{runners[0].block.id}")  # noqa: S311
        level = self._plan.levels[0]
        await in_turn([(runner.take_turn, runner.requests(level)) for runner in runners if runner.is_open], rng)

    def _block_runner(self, block: Block) -> BlockRunner:
        number = self._schedule.blocks.index(block) + 1
        self._listener.block_started(block, number, len(self._schedule.blocks))
        earlier = [sample for sample in self._state.samples if sample.block == block.id]
        attempt = 1 + max((sample.attempt for sample in earlier), default=0)
        target = self._plan.target(block.target)
        log = self._run.path / "logs" / f"{block.id}-{attempt}.log"
        return BlockRunner(
            self._plan,
            block,
            make_subject(self._plan, target, log, self._means.locate, self._means.free_memory),
            earlier=earlier,
            attempt=attempt,
            add=self._add,
            power=self._power,
            gave_up=self._state.gave_up(block.target),
        )

    def _add(self, sample: Sample) -> None:
        self._writer.add_sample(sample)
        self._state.samples.append(_slim(sample))
        self._listener.sample_added(sample)


def _slim(sample: Sample) -> Sample:
    """Return a sample without what the schedule does not look at: a long run has many."""
    return replace(sample, chunk_times_ms=(), text="", reasoning="", wire=None, engine_timings=None)
