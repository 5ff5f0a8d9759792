"""Which block comes next: those of the plan, then, where the plan adapts, rounds for the targets that need them.

Every decision follows from what is recorded, so that an interrupted run decides the same when it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from audition.bench.plan import Block, Plan, make_round
from audition.bench.requests import measured_requests, opening
from audition.bench.sample import Load, Sample
from audition.stats.clusters import relative_half_width
from audition.stats.fixed_cases import FixedCases, fixed_cases_interval
from audition.stats.paired import ratio_interval

MOST_ROUNDS = 100

_Row = tuple[str, str, float]
"""Case, block and latency in milliseconds, infinite where the request failed."""


@dataclass(frozen=True, slots=True)
class Added:
    """A decision after the planned rounds.

    Attributes:
        blocks: The next round; empty when there will be no more.
        reason: Why, for people.
    """

    blocks: tuple[Block, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return the line of `blocks.jsonl`."""
        blocks = [{"id": b.id, "round": b.round, "target": b.target, "cases": list(b.cases)} for b in self.blocks]
        return {"schema": 1, "blocks": blocks, "reason": self.reason}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Added:
        """Read a line of `blocks.jsonl`."""
        return cls(tuple(Block.from_json(block) for block in data["blocks"]), data["reason"])


class Schedule:
    """The blocks of a run, and what follows after them."""

    def __init__(self, plan: Plan, added: Sequence[Added]) -> None:
        self._plan = plan
        self._added = list(added)

    @classmethod
    def of(cls, plan: Plan, blocks: Sequence[Block]) -> Schedule:
        """Return a schedule of just these blocks."""
        return cls(replace(plan, blocks=tuple(blocks)), [])

    @property
    def blocks(self) -> list[Block]:
        """All blocks so far, in order."""
        return [*self._plan.blocks, *(block for added in self._added for block in added.blocks)]

    def left(self, samples: Sequence[Sample], loads: Sequence[Load]) -> list[Block]:
        """Return the blocks that have not ended, or lack a sample."""
        ended = {load.block for load in loads}
        recorded: dict[str, set[tuple[str, str, str, int]]] = {}
        for sample in samples:
            recorded.setdefault(sample.block, set()).add((sample.phase, sample.level, sample.case, sample.repeat))
        return [
            block for block in self.blocks if block.id not in ended or self._lacks(block, recorded.get(block.id, set()))
        ]

    def _lacks(self, block: Block, recorded: set[tuple[str, str, str, int]]) -> bool:
        if block.is_probe:
            return False
        fixed = (level for level in self._plan.levels if level.duration_s is None)
        requests = [*opening(self._plan), *(r for level in fixed for r in measured_requests(self._plan, block, level))]
        return any(request.id not in recorded for request in requests)

    def more(self, samples: Sequence[Sample], loads: Sequence[Load]) -> Added | None:
        """Decide what comes after all blocks so far; None when nothing does, or that has been said already."""
        if not self._plan.is_adaptive or (self._added and not self._added[-1].blocks):
            return None
        added = self._decide(samples, loads)
        self._added.append(added)
        return added

    def _decide(self, samples: Sequence[Sample], loads: Sequence[Load]) -> Added:
        settings = self._plan.settings
        measured = [block for block in self.blocks if not block.is_probe]
        latest = max((block.round for block in measured), default=0)
        values = {target.id: _latencies(samples, target.id, self._plan.levels[0].id) for target in self._plan.targets}
        alive = {id_: rows for id_, rows in values.items() if any(math.isfinite(latency) for *_, latency in rows)}
        wanted = self._not_precise(alive) if settings.until_ci is not None else {}
        for id_, reason in self._not_told_apart(alive).items():
            if settings.budget_s is not None:
                wanted.setdefault(id_, reason)
        if not wanted:
            return Added((), self._enough(alive))
        if latest >= MOST_ROUNDS:
            return Added((), f"{MOST_ROUNDS} rounds are the most, and {_listed(wanted)}")
        names = [target.id for target in self._plan.targets if target.id in wanted]
        if settings.budget_s is not None:
            names = self._affordable(names, loads)
            if not names:
                return Added((), f"the budget of {settings.budget_s:g} s is spent, and {_listed(wanted)}")
        first = len(measured) + 1
        cases = [case.id for case in self._plan.cases]
        return Added(tuple(make_round(names, cases, settings, latest + 1, first)), _listed(wanted))

    def _not_precise(self, values: dict[str, list[_Row]]) -> dict[str, str]:
        """Return the targets whose latency is not known precisely enough, with how well it is."""
        until = self._plan.settings.until_ci
        assert until is not None  # noqa: S101 - asked by the caller
        wide = {}
        for id_, found in values.items():
            width = relative_half_width(_precision(found))
            if width is None or width > until:
                known = "not known yet" if width is None else f"known to \N{PLUS-MINUS SIGN}{width:.1%}"
                wide[id_] = f"the latency of {id_} is {known}"
        return wide

    def _not_told_apart(self, values: dict[str, list[_Row]]) -> dict[str, str]:
        """Return the targets that may be as fast as the fastest, and the fastest; none when it stands alone."""
        if len(values) < 2:
            return {}
        best = min(values, key=lambda id_: (_precision(values[id_]).value, id_))
        tied = [id_ for id_ in values if id_ != best and not ratio_interval(values[best], values[id_]).shown]
        if not tied:
            return {}
        reason = f"{best} and {' and '.join(tied)} are too close to call in latency"
        return dict.fromkeys([best, *tied], reason)

    def _enough(self, values: dict[str, list[_Row]]) -> str:
        if not values:
            return "no target answers"
        until = self._plan.settings.until_ci
        if until is not None:
            return f"the latency of every target is known to \N{PLUS-MINUS SIGN}{until:.1%} or better"
        return "all targets can be told apart by latency" if len(values) > 1 else "there is nothing to tell apart"

    def _affordable(self, names: Sequence[str], loads: Sequence[Load]) -> list[str]:
        """Return the targets whose next block fits into what is left of the budget, as the earlier ones took."""
        budget = self._plan.settings.budget_s
        assert budget is not None  # noqa: S101 - asked by the caller
        left = budget - sum(load.wall_s or 0.0 for load in loads)
        affordable = []
        for name in names:
            took = [load.wall_s for load in loads if load.target == name and load.wall_s and load.round > 0]
            if took and max(took) <= left:
                affordable.append(name)
                left -= max(took)
        return affordable


def _latencies(samples: Sequence[Sample], target: str, level: str) -> list[_Row]:
    return [
        (sample.case, sample.block, math.inf if sample.latency_ms is None else sample.latency_ms)
        for sample in samples
        if sample.target == target and sample.phase == "measured" and sample.level == level
    ]


def _precision(rows: list[_Row]) -> FixedCases:
    cases, blocks, latencies = zip(*rows, strict=True)
    return fixed_cases_interval(latencies, cases, blocks)


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(dict.fromkeys(reasons.values()))
