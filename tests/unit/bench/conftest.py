"""Running a plan against engines that misbehave, and parts of it in a time of their own."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock, Loop, Play
from puppets import Answer, Outcome, Puppet, RunBlock
from running import Witness

from audition.bench import pattern
from audition.bench.block import BlockRunner
from audition.bench.plan import Block, Plan
from audition.bench.rundir import RunDir
from audition.bench.runner import Means, run_plan
from audition.bench.sample import Sample
from audition.errors import AuditionError

FREE = 2**40


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def go(weights: Path) -> Callable[..., Witness]:
    """Runs what is left of a run; what the run uses of its surroundings can be given by name."""

    def run(run: RunDir, witness: Witness | None = None, **more: Any) -> Witness:
        witness = witness or Witness()
        run_plan(run, Means(**{"locate": lambda _: weights, "free_memory": lambda: FREE} | more), witness)
        return witness

    return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that load patterns look at."""
    clock = Clock()
    watch = types.SimpleNamespace(perf_counter=clock.perf_counter, perf_counter_ns=clock.perf_counter_ns)
    monkeypatch.setattr(pattern, "time", watch)
    return clock


@pytest.fixture
def play(clock: Clock) -> Play:
    """Runs something in an event loop on that clock."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=lambda: Loop(clock)) as runner:
            runner.run(work)

    return run


@pytest.fixture
def run_block(clock: Clock, play: Play) -> RunBlock:
    """Runs one block of a plan against a puppet, from load to unload."""

    def run(
        plan: Plan,
        answer: Callable[[int], Answer] = lambda _: 1.0,
        *,
        block: Block | None = None,
        earlier: Sequence[Sample] = (),
        attempt: int = 1,
        add: Callable[[Sample], None] = lambda _: None,
        refusal: AuditionError | None = None,
        target: Puppet | None = None,
        **more: Any,
    ) -> Outcome:
        puppet, samples = target or Puppet(clock, answer), list[Sample]()
        puppet.refusal = refusal

        def record(sample: Sample) -> None:
            add(sample)
            samples.append(sample)

        runner = BlockRunner(
            plan, block or plan.blocks[0], puppet, earlier=earlier, attempt=attempt, add=record, **more
        )

        async def work() -> None:
            try:
                await runner.open()
                await runner.ask_all()
                await runner.unload()
            finally:
                await runner.close()
                assert puppet.is_closed

        play(work())
        return Outcome(samples, runner.load(), runner, puppet)

    return run
