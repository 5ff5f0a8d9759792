"""Running a plan, block by block: load, first request, warm-up, all cases, unload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from audition.bench.machine import available_memory
from audition.bench.meters.memory import MemoryMeter
from audition.bench.plan import Block, Case, Plan, Target
from audition.bench.rundir import RunDir, RunWriter
from audition.bench.sample import Load, Memory, Phase, Sample, measured
from audition.engines.host import EngineProcess, Reply
from audition.engines.protocol import EngineDied, EngineError
from audition.errors import AuditionError


class Listener(Protocol):
    """Told what happens, for a person to see; it is called between requests, never during one."""

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


WARMUP_TOKENS = 16
"""The most that a warm-up answer may have: it brings the engine to speed, and nothing of it is counted."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a block."""

    phase: Phase
    case: Case
    key: str


def run_plan(
    run: RunDir,
    locate: Callable[[Target], Path],
    listener: Listener,
    free_memory: Callable[[], int] = available_memory,
) -> None:
    """Run every block of a run's plan that has not ended yet.

    Args:
        run: The run directory; what stands in it is kept, so that this is also how an interrupted run goes on.
        locate: Returns the weights of a target.
        listener: Told what happens.
        free_memory: Bytes that a new process could take.

    Raises:
        AuditionError: The run directory cannot be written, or is in use. What a model or an engine does wrong is not
            raised: it is that target's failed status.
    """
    plan = run.plan
    with run.writing() as writer:
        samples, loads = run.samples(), run.loads()
        if samples or loads or writer.torn:
            listener.resumed(len(samples), _requests_in(plan), writer.torn)
        ended = {load.block for load in loads}
        recorded: dict[str, set[tuple[str, str]]] = {}
        for sample in samples:
            recorded.setdefault(sample.block, set()).add((sample.phase, sample.case))
        left = [
            (number, block)
            for number, block in enumerate(plan.blocks, start=1)
            if block.id not in ended
            or any((r.phase, r.key) not in recorded.get(block.id, set()) for r in requests_of(plan, block))
        ]
        # Weights that are gone are no failure of the model: nothing is recorded of it.
        for target_id in {block.target for _, block in left}:
            locate(plan.target(target_id))
        for number, block in left:
            seen = recorded.get(block.id, set())
            listener.block_started(block, number, len(plan.blocks))
            runner = _BlockRunner(plan, block, seen, _attempt(samples, block), writer, listener)
            load = runner.run(run.path / "logs", locate, free_memory)
            writer.add_load(load)
            listener.block_ended(load)


def _attempt(samples: list[Sample], block: Block) -> int:
    return 1 + max((sample.attempt for sample in samples if sample.block == block.id), default=0)


def _requests_in(plan: Plan) -> int:
    return len(plan.blocks) * (1 + plan.settings.warmup + len(plan.cases))


def requests_of(plan: Plan, block: Block) -> Iterator[Request]:
    """Yield a block's requests in order.

    The first request after a load is always the suite's first case, so that `first_request` compares like with like;
    the warm-up takes the cases after it.
    """
    yield Request("first", plan.cases[0], plan.cases[0].id)
    for number in range(plan.settings.warmup):
        case = plan.cases[(number + 1) % len(plan.cases)]
        yield Request("warmup", case, case.id if plan.settings.warmup <= len(plan.cases) else f"{case.id}#{number}")
    cases = {case.id: case for case in plan.cases}
    for case_id in block.cases:
        yield Request("measured", cases[case_id], case_id)


class _BlockRunner:
    """One block: it always ends with a load record, and with one sample for every request of the plan."""

    def __init__(
        self,
        plan: Plan,
        block: Block,
        seen: set[tuple[str, str]],
        attempt: int,
        writer: RunWriter,
        listener: Listener,
    ) -> None:
        self._plan = plan
        self._block = block
        self._target = plan.target(block.target)
        self._attempt = attempt
        self._writer = writer
        self._listener = listener
        self._todo = [r for r in requests_of(plan, block) if (r.phase, r.key) not in seen]
        # After a resume the load is cold again; a request that is not recorded stands in for the ones that were.
        self._prime = bool(seen) and not any(request.phase == "first" for request in self._todo)

    def run(self, logs: Path, locate: Callable[[Target], Path], free_memory: Callable[[], int]) -> Load:
        facts: dict[str, Any] = {
            "target": self._target.id,
            "block": self._block.id,
            "round": self._block.round,
            "attempt": self._attempt,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            need_memory(self._target, free_memory())
            log = logs / f"{self._block.id}-{self._attempt}.log"
            with EngineProcess(self._target.engine, log) as engine, MemoryMeter(engine.pid) as meter:
                facts |= {"spawn_ms": engine.spawn_ms, "import_ms": engine.import_ms, "baseline": meter.now()}
                facts["load_ms"] = engine.load(locate(self._target), self._target.settings)
                self._ask_all(engine)
                facts["peak"] = meter.peak
                engine.unload()
                facts["after_unload"] = _if_alive(meter.now())
        except (EngineError, EngineDied) as error:
            return self._failed(facts, error)
        except AuditionError as error:
            if error.code != "insufficient_memory":
                raise
            return self._failed(facts, error)
        return Load(**facts, status="ok")

    def _ask_all(self, engine: EngineProcess) -> None:
        if self._prime:
            self._ask(engine, Request("warmup", self._plan.cases[0], self._plan.cases[0].id))
        while self._todo:
            request = self._todo[0]
            reply = self._ask(engine, request)
            sample = measured(
                reply,
                target=self._target.id,
                case=request.key,
                block=self._block.id,
                round_=self._block.round,
                phase=request.phase,
                attempt=self._attempt,
            )
            self._add(sample)

    def _ask(self, engine: EngineProcess, request: Request) -> Reply:
        settings = self._plan.settings
        max_tokens = request.case.max_tokens or settings.max_tokens
        params = {
            "max_tokens": min(max_tokens, WARMUP_TOKENS) if request.phase == "warmup" else max_tokens,
            "temperature": settings.temperature,
            # With a temperature each round draws anew; without one every round must say the same.
            "seed": settings.seed if settings.deterministic else settings.seed + self._block.round,
        }
        return engine.chat(list(request.case.messages), params, settings.timeout_s)

    def _failed(self, facts: dict[str, Any], error: AuditionError) -> Load:
        """Record the request that failed and those that could not be asked any more, then the load itself."""
        reason = {"code": error.code, "message": error.message}
        asked = facts.get("load_ms") is not None
        while self._todo:
            request = self._todo[0]
            self._add(
                Sample(
                    target=self._target.id,
                    case=request.key,
                    block=self._block.id,
                    round=self._block.round,
                    phase=request.phase,
                    status="failed",
                    error=reason,
                    attempt=self._attempt,
                )
            )
            if asked:
                reason = {"code": error.code, "message": f"not asked: {error.message}"}
        return Load(**facts, status="failed", error={"code": error.code, "message": error.message})

    def _add(self, sample: Sample) -> None:
        self._writer.add_sample(sample)
        self._todo.pop(0)
        self._listener.sample_added(sample)


def need_memory(target: Target, free: int) -> None:
    """Refuse a load that cannot fit, rather than freeze the machine.

    Raises:
        AuditionError: `insufficient_memory`, with the estimate and what is free.
    """
    needed = target.memory_estimate_bytes
    if needed is not None and needed > free:
        raise AuditionError(
            f"{target.variant} needs about {needed / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} MB are free",
            fix="close other programs, or choose a smaller variant or a smaller --context",
            code="insufficient_memory",
        )


def _if_alive(memory: Memory | None) -> Memory | None:
    return memory if memory is not None and memory.total > 0 else None
