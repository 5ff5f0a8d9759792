"""What the tests of running plans share: a listener that remembers, and what a plan and a run hold, in brief."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from audition.bench.plan import Block, Plan, Target
from audition.bench.requests import Request, measured_requests, opening
from audition.bench.rundir import RunDir
from audition.bench.sample import Load, Sample
from audition.bench.schedule import Added, Schedule


class Witness:
    """A listener that writes down what it is told, and may interrupt."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.samples = 0
        self.interrupt_after = interrupt_after

    def resumed(self, done: int, total: int, torn: list[str]) -> None:
        self.told.append(("resumed", (done, total, torn)))

    def block_started(self, block: Block, number: int, total: int) -> None:
        self.told.append(("started", (block.id, number, total)))

    def sample_added(self, sample: Sample) -> None:
        self.told.append(("sample", brief(sample)))
        self.samples += 1
        if self.samples == self.interrupt_after:
            raise KeyboardInterrupt

    def block_ended(self, load: Load) -> None:
        self.told.append(("ended", load.block))

    def added(self, added: Added) -> None:
        self.told.append(("added", added.reason))


def brief(sample: Sample) -> tuple[str, str, str]:
    return sample.block, sample.phase, sample.case


def requests_of(plan: Plan, block: Block) -> list[Request]:
    return [*opening(plan), *(request for level in plan.levels for request in measured_requests(plan, block, level))]


def is_complete(run: RunDir) -> bool:
    return not Schedule(run.plan, run.added()).left(run.samples(), run.loads())


def planned(plan: Plan) -> Counter[tuple[str, str, str]]:
    return Counter(
        (block.id, request.phase, request.key) for block in plan.blocks for request in requests_of(plan, block)
    )


def recorded(run: RunDir) -> Counter[tuple[str, str, str]]:
    return Counter(map(brief, run.samples()))


def of(samples: Sequence[Sample], target: Target) -> list[Sample]:
    return [sample for sample in samples if sample.target == target.id]
