"""One block: a target is opened, asked, and closed; it always ends with one load record and all its samples."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from audition.bench import pattern
from audition.bench.guards import run_probes
from audition.bench.meters.activity import ActivityMeter
from audition.bench.meters.energy import EnergyMeter, energy_between
from audition.bench.plan import Block, Level, Plan
from audition.bench.requests import Request, levels_of, mark_of, marked, measured_requests, opening, parameters
from audition.bench.sample import HOPELESS, Load, Place, Sample, measured
from audition.bench.subject import Subject
from audition.engines.protocol import EngineDied, EngineError, Reply
from audition.errors import AuditionError

if TYPE_CHECKING:
    from audition.bench.guards.base import Ask

GIVE_UP_AFTER = 5
"""Failures in a row of the kind that every request will share; then the rest of the block is not asked any more."""
_PROBE_PATIENCE = 2
MOST_FAILURES = 50
"""Failures in a row of any kind: a server that refuses everything at once must not be asked for minutes."""


@dataclass(frozen=True, slots=True)
class Power:
    """The energy counters of this machine, and its power in watts while nothing of ours runs, if known."""

    meter: EnergyMeter
    idle_watts: float | None


class BlockRunner:
    """Runs one block.

    What goes wrong with the target is not raised: it is in the samples and in the load record.
    """

    def __init__(
        self,
        plan: Plan,
        block: Block,
        subject: Subject,
        *,
        earlier: Sequence[Sample],
        attempt: int,
        add: Callable[[Sample], None],
        power: Power | None = None,
        gave_up: int = 0,
    ) -> None:
        """Prepare a block.

        Args:
            plan: The plan it belongs to.
            block: Which block.
            subject: Its target, not yet open.
            earlier: The samples that an interrupted attempt left.
            attempt: The number of this attempt, from 1.
            add: Records a sample.
            power: The open energy counters, where there are any.
            gave_up: How many blocks of the target gave up before, without a single answer in between.
        """
        self.block = block
        self.gave_up = False
        self._plan = plan
        self._subject = subject
        self._attempt = attempt
        self._record = add
        self._power = power
        patience = _PROBE_PATIENCE if block.is_probe else GIVE_UP_AFTER
        self._patience = (patience, 1, 0)[min(gave_up, 2)]
        self._earlier = earlier
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._activity = ActivityMeter(subject.pids)
        self._error: AuditionError | None = None
        self._opened = False
        self._in_a_row = 0
        self._failures = 0
        self._last_error = "it never answered in earlier blocks"
        self._ended: deque[tuple[Request, Callable[[], Reply], dict[str, Any], int | None]] = deque()
        self._drainer: asyncio.Task[None] | None = None
        self._under_way: dict[tuple[str, str, str, int], Request] = {}
        self._probed: Counter[str] = Counter()
        seen = {(s.phase, s.level, s.case, s.repeat) for s in earlier}
        self._seen = seen
        self._todo = {request.id: request for request in self._all_requests() if request.id not in seen}
        # After a resume the load is cold again; a request that is not recorded stands in for the ones that were.
        self._prime = bool(seen) and not any(phase == "first" for phase, *_ in self._todo)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._opened and self._error is None

    async def open(self) -> None:
        """Load the target, or reach it."""
        try:
            await self._subject.open()
            self._opened = True
        except (EngineError, EngineDied) as error:
            self.failed(error)
        except AuditionError as error:
            if error.code != "insufficient_memory":
                raise
            self.failed(error)

    async def ask_all(self) -> None:
        """Ask everything that has no sample yet."""
        if not self.is_open:
            return
        if self.block.is_probe:
            await self._guarded(run_probes(self._ask_for, self._plan.target(self.block.target)))
            return
        await self.ask_opening()
        for level in levels_of(self._plan, self.block):
            if self.is_open:
                await self._guarded(self._measure(level))

    async def ask_opening(self) -> None:
        """Ask the first request and the warm-up."""
        if self.is_open:
            await self._guarded(self._ask_opening())

    async def _ask_opening(self) -> None:
        if self._prime:
            request = next(opening(self._plan))
            messages = marked(request.case.messages, mark_of(self._plan, self.block, request, self._attempt))
            params = parameters(self._plan, self.block, request)
            await self._subject.session.ask(messages, params, self._plan.settings.timeout_s)
        for request in opening(self._plan):
            if request.id in self._todo:
                await self.send(request, None)
                await self._drained()

    def requests(self, level: Level) -> Iterator[Request]:
        """Yield what is left to measure at a level."""
        return (request for request in measured_requests(self._plan, self.block, level) if request.id not in self._seen)

    async def _measure(self, level: Level) -> None:
        before = None if self._power is None else self._power.meter.read()
        duration = None if level.duration_s is None else max(0.0, level.duration_s - self._spent(level))
        if level.rate is not None:
            rng = random.Random(f"audition-arrivals-{self._plan.settings.seed}-{self.block.id}-{self._attempt}")  # noqa: S311
            await pattern.open_loop(self.send, self.requests(level), level.rate, rng, duration)
        else:
            await pattern.closed_loop(self.send, self.requests(level), level.concurrency or 1, duration)
        await self._drained()
        if self._power is not None and before is not None:
            energy = energy_between(before, self._power.meter.read(), self._power.idle_watts)
            self._subject.facts.setdefault("energy", {})[level.id] = energy.to_json()

    def _spent(self, level: Level) -> float:
        """Return the seconds that an interrupted attempt has already measured at a level."""
        spent = 0.0
        for attempt in {sample.attempt for sample in self._earlier}:
            ends = [
                (s.sent_ns, s.sent_ns + int((s.elapsed_ms or 0.0) * 1e6))
                for s in self._earlier
                if s.attempt == attempt and s.level == level.id and s.phase == "measured" and s.sent_ns is not None
            ]
            if ends:
                spent += (max(end for _, end in ends) - min(start for start, _ in ends)) / 1e9
        return spent

    async def send(self, request: Request, scheduled_ns: int | None) -> None:
        """Send one request; its sample is made when nothing else waits for this process.

        Raises:
            EngineError: The engine cannot be asked.
            EngineDied: It is gone, or has failed too often in a row.
            AuditionError: A sample cannot be recorded.
        """
        if self.gave_up or self._patience == 0:
            self.gave_up = True
            raise self._hopeless()
        mark = mark_of(self._plan, self.block, request, self._attempt)
        params = parameters(self._plan, self.block, request)
        self._under_way[request.id] = request
        reply = await self._subject.session.ask(
            marked(request.case.messages, mark), params, self._plan.settings.timeout_s
        )
        asked = params if mark is None else {**params, "mark": mark}
        self._ended.append((request, reply, asked, scheduled_ns))
        if self._alone(request):
            self._flush()
        elif self._drainer is None or self._drainer.done():
            if self._drainer is not None:
                self._drainer.result()  # a sample could not be recorded
            self._drainer = asyncio.ensure_future(self._drain())

    async def take_turn(self, request: Request, scheduled_ns: int | None) -> None:
        """Send one request between those of other targets, which go on whatever becomes of this one."""
        if self.is_open:
            await self._guarded(self.send(request, scheduled_ns))

    def _alone(self, request: Request) -> bool:
        """Whether no other request can be under way."""
        return request.phase != "measured" or request.level == "c1"

    async def _drain(self) -> None:
        """Make samples one at a time, and let everything that is ready go first."""
        while self._ended:
            await asyncio.sleep(0)
            self._make_sample()

    async def _drained(self) -> None:
        if self._drainer is not None:
            await self._drainer
        self._flush()

    def _flush(self) -> None:
        while self._ended:
            self._make_sample()

    def _make_sample(self) -> None:
        request, reply, asked, scheduled_ns = self._ended.popleft()
        self._under_way.pop(request.id, None)
        self._add(measured(reply(), self._place(request), asked=asked, scheduled_ns=scheduled_ns))

    def _add(self, sample: Sample) -> None:
        self._todo.pop((sample.phase, sample.level, sample.case, sample.repeat), None)
        self._record(sample)
        error = sample.error
        self._failures = self._failures + 1 if error is not None else 0
        self._in_a_row = self._in_a_row + 1 if error is not None and error["code"] in HOPELESS else 0
        if error is not None and (self._in_a_row >= self._patience or self._failures >= MOST_FAILURES):
            self.gave_up = True
            self._last_error = error["message"]

    def _hopeless(self) -> EngineDied:
        return EngineDied(f"it failed again and again: {self._last_error}", code="gave_up")

    def _ask_for(self, code: str) -> Ask:
        """Return what a guard asks its probe's requests with."""

        async def ask(
            step: str, prompt: str, *, max_tokens: int = 16, temperature: float = 0.0, seed: int | None = 0
        ) -> Sample:
            if self.gave_up:
                raise self._hopeless()
            params = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
            messages = [{"role": "user", "content": prompt}]
            reply = await self._subject.session.ask(messages, params, self._plan.settings.timeout_s)
            case = f"{code}/{step}"
            place = Place(
                self.block.target,
                case,
                self.block.id,
                self.block.round,
                "probe",
                self._attempt,
                repeat=self._probed[case],
            )
            self._probed[case] += 1
            sample = measured(reply(), place, asked={**params, "prompt_chars": len(prompt)})
            self._add(sample)
            return sample

        return ask

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Do something that the target can spoil; what it spoils is recorded. A fault of ours is raised."""
        try:
            await work
        except (EngineError, EngineDied) as error:
            # Replies that had arrived before still count.
            self._flush()
            self.failed(error)

    async def unload(self) -> None:
        """Have the target give its memory back."""
        if self.is_open:
            try:
                await self._subject.unload()
            except (EngineError, EngineDied) as error:
                self.failed(error)

    def failed(self, error: AuditionError) -> None:
        """Record that the target failed, the requests it failed at, and those that cannot be asked any more."""
        self._error = self._error or error
        reason = {"code": error.code, "message": error.message}
        not_asked = {**reason, "message": f"not asked: {error.message}"}
        for id_, request in {**self._under_way, **self._todo}.items():
            said = reason if id_ in self._under_way or not self._opened else not_asked
            self._todo.pop(id_, None)
            self._record(Sample(**self._place(request).facts(), status="failed", error=said))
        self._under_way.clear()

    async def close(self) -> None:
        """End the target, whatever happened; what had arrived is recorded."""
        if self._drainer is not None:
            self._drainer.cancel()
        try:
            self._flush()
        finally:
            # While its processes are there: what they used is not the background's.
            self._subject.facts["activity"] = self._activity.stop().to_json()
            await self._subject.close()

    def load(self) -> Load:
        """Return the record of this load."""
        error = self._error
        return Load(
            target=self.block.target,
            block=self.block.id,
            round=self.block.round,
            attempt=self._attempt,
            started_at=self._started_at,
            status="ok" if error is None else "failed",
            error=None if error is None else {"code": error.code, "message": error.message},
            **self._subject.facts,
        )

    def _place(self, request: Request) -> Place:
        return Place(
            target=self.block.target,
            case=request.key,
            block=self.block.id,
            round=self.block.round,
            phase=request.phase,
            attempt=self._attempt,
            level=request.level,
            repeat=request.repeat,
        )

    def _all_requests(self) -> Iterator[Request]:
        """Yield every request that has to have a sample in the end; a level with a duration has none such."""
        if self.block.is_probe:
            return
        yield from opening(self._plan)
        for level in self._plan.levels:
            if level.duration_s is None:
                yield from measured_requests(self._plan, self.block, level)
