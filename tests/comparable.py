"""Two runs that can be compared: the same cases, some noise, and a change planted between them."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audition.bench.plan import Level, Plan, Settings, make_blocks
from audition.bench.requests import measured_requests
from audition.bench.rundir import RunDir
from audition.bench.sample import Load, Memory, Sample
from handmade import ANSWERS, HOST, Run, load, made_cases, sample, target


@dataclass(frozen=True)
class Before:
    """A run as a test wants it; `replace` it for the run after.

    Attributes:
        factor: Of every time; `by_level` more, at a level.
        noise: Standard deviation of the logarithm of a time.
        marks: Of a case, by its number from 0; the others answer all right.
        failing: Numbers of the cases whose requests fail.
        memory: The peak of the first load; each later one takes 0.2 % more.
        host: Changes the machine's facts.
    """

    n: int = 12
    rounds: int = 3
    factor: float = 1.0
    by_level: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.01
    seed: int = 1
    marks: Mapping[int, float] = field(default_factory=dict)
    failing: Collection[int] = ()
    memory: int = 200_000_000
    load_ms: float = 300.0
    targets: tuple[dict[str, Any], ...] = ({},)
    settings: Mapping[str, Any] = field(default_factory=dict)
    levels: tuple[Level, ...] = (Level.closed(1),)
    host: Mapping[str, Any] = field(default_factory=dict)
    noise_floor_ms: float | None = None
    package: str = "fakeengine 1.2.3"

    def run(self) -> Run:
        """Return the complete run."""
        targets = [target(**{"engine": "fake", **facts}) for facts in self.targets]
        cases = made_cases(self.n)
        settings = Settings(**{"rounds": self.rounds, "warmup": 0, "probes": False, **self.settings})
        blocks = make_blocks(targets, cases, settings)
        plan = Plan("made", "2026-01-01T00:00:00+00:00", tuple(targets), tuple(cases), settings, blocks, self.levels)
        rng = random.Random(self.seed)
        samples: list[Sample] = []
        loads: list[Load] = []
        for block in blocks:
            where: dict[str, Any] = {"target": block.target, "block": block.id, "round": block.round}
            opening = where | {"phase": "first", "case": "c1", "level": self.levels[0].id}
            samples.append(self._answer(0, opening, rng))
            for level in self.levels:
                for request in measured_requests(plan, block, level):
                    at = where | {"level": level.id, "case": request.key, "repeat": request.repeat}
                    samples.append(self._answer(cases.index(request.case), at, rng))
            peak = int(self.memory * (1 + 0.002 * block.round))
            ms = self.load_ms * rng.lognormvariate(0, self.noise)
            loads.append(load(**where, load_ms=ms, peak=Memory(peak, peak // 2, peak // 2)))
        return Run(plan, samples, loads)

    def write(self, path: Path) -> RunDir:
        """Write the run."""
        return written(self.run(), path, self.facts())

    def facts(self) -> dict[str, Any]:
        """Return `host.json`."""
        host = HOST | {
            "machine": HOST["machine"] | dict(self.host),
            "engines": {"fake": {"package": self.package, "device": "cpu"}},
        }
        return host | (
            {} if self.noise_floor_ms is None else {"noise_floor": {"ttft_ms": {"p50": self.noise_floor_ms}}}
        )

    def _answer(self, index: int, where: dict[str, Any], rng: random.Random) -> Sample:
        # Prompts differ fivefold in how long they take.
        factor = self.factor * self.by_level.get(where["level"], 1.0)
        ms = 200.0 * (1 + 4 * index / self.n) * factor * rng.lognormvariate(0, self.noise)
        if index in self.failing:
            return sample("failed", **where)
        times = tuple(round(ms * (0.4 + 0.05 * i), 3) for i in range(11))
        return sample(
            **where,
            latency_ms=round(ms, 3),
            elapsed_ms=round(ms, 3),
            ttft_ms=times[0],
            ttfa_ms=times[0],
            chunk_times_ms=times,
            text=ANSWERS[self.marks.get(index, 1.0)],
        )


def written(run: Run, path: Path, host: dict[str, Any]) -> RunDir:
    """Write a run that was changed by hand."""
    return RunDir(run.write(path, host))


def without_block(run: Run, block: str) -> Run:
    """Return the run as it is when it was stopped before a block."""
    return replace(
        run,
        samples=[sample for sample in run.samples if sample.block != block],
        loads=[load for load in run.loads if load.block != block],
    )
