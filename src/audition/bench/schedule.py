"""Which block comes next: those of the plan, then, where the plan adapts, rounds for the targets that need them.

Every decision follows from what is recorded, so that an interrupted run decides the same when it goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from audition.bench.plan import Block, Plan, make_round
from audition.bench.requests import measured_requests, opening
from audition.bench.sample import Load, Sample, counted_latency
from audition.stats.clusters import relative_half_width
from audition.stats.fixed_cases import FixedCases, fixed_cases_interval
from audition.stats.multiple import pairs_with_best
from audition.stats.paired import Ratio, ratio_interval

MOST_ROUNDS = 100
ALIKE = 0.02
"""Targets that differ by no more than this are not worth more rounds: they are the same in latency."""

LOOK_ALPHA = 0.01
"""Targets count as told apart, and get no more rounds, when chance alone tells some two apart less often than this.

Stricter than the 5 % at which the results are read: looking after every round gives chance many tries, and with 5 %
two identical targets would be told apart in 10 % of runs (benchmarks/adaptive.py; the idea is that of Peto et al.,
British Journal of Cancer 34, 1976).
"""

_LOADS_TO_SEE = 3
"""Fewer loads are not believed: two that happen to be alike would end a run whose interval is then too narrow.

With so many and still no interval, more of them give none either.
"""

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
        rows = {target.id: _latencies(samples, target.id, self._plan.levels[0].id) for target in self._plan.targets}
        answering = {id_: found for id_, found in rows.items() if _answers(found)}
        if not answering:
            return Added((), "no target answers")
        views = []
        if settings.until_ci is not None:
            views.append(_not_precise(answering, settings.until_ci))
        if settings.budget_s is not None:
            views.append(_not_told_apart(answering))
        wanted = {id_: reason for view in reversed(views) for id_, reason in view.wanted.items()}
        silent = [f"{id_} fails too often to go on" for id_ in rows if id_ not in answering]
        if not wanted:
            return Added((), _listed([*(said for view in views for said in view.settled), *silent]))
        reasons = _listed(wanted.values())
        if latest >= MOST_ROUNDS:
            return Added((), f"{MOST_ROUNDS} rounds are the most, and {reasons}")
        names = [target.id for target in self._plan.targets if target.id in wanted]
        if settings.budget_s is not None:
            names = self._affordable(names, loads)
            if not names:
                return Added((), f"the budget of {settings.budget_s:g} s leaves no time for more, and {reasons}")
        first = len(measured) + 1
        cases = [case.id for case in self._plan.cases]
        return Added(tuple(make_round(names, cases, settings, latest + 1, first)), reasons)

    def _affordable(self, names: Sequence[str], loads: Sequence[Load]) -> list[str]:
        """Return the targets whose next block fits into what is left of the budget, as the earlier ones took."""
        together = self._plan.settings.interleave
        left = (self._plan.settings.budget_s or 0.0) - _spent(loads, together=together)
        affordable = []
        for name in names:
            took = [load.wall_s for load in loads if load.target == name and load.wall_s and load.round > 0]
            if took and max(took) <= left:
                affordable.append(name)
                left -= 0.0 if together else max(took)
        return affordable


@dataclass(frozen=True, slots=True)
class _View:
    """What one of the two aims says.

    Attributes:
        wanted: The targets that need another round, with the reason.
        settled: What can be said when none does.
    """

    wanted: dict[str, str]
    settled: list[str]


def _not_precise(values: dict[str, list[_Row]], until: float) -> _View:
    """Find the targets whose latency is not known precisely enough."""
    wide, hopeless = {}, []
    for id_, rows in values.items():
        found = _precision(rows)
        width = relative_half_width(found)
        if found.loads < _LOADS_TO_SEE:
            wide[id_] = f"the typical latency on these prompts of {id_} is not known yet"
        elif width is None:
            hopeless.append(f"how well the typical latency of {id_} is known cannot be told from these prompts")
        elif width > until:
            wide[id_] = f"the typical latency on these prompts of {id_} is known to \N{PLUS-MINUS SIGN}{width:.1%}"
    if len(hopeless) == len(values):
        return _View(wide, hopeless)
    subject = "every target" if not hopeless else "every other target"
    known = f"the typical latency on these prompts of {subject} that answers is known to "
    return _View(wide, [*hopeless, f"{known}\N{PLUS-MINUS SIGN}{until:.1%} or better"])


def _not_told_apart(values: dict[str, list[_Row]]) -> _View:
    """Find the targets that may be as fast as the fastest, and the fastest; none when it stands alone."""
    if len(values) < 2:
        return _View({}, ["there is nothing to tell apart"])
    # Found pair by pair: over prompts that differ far more than targets do, a median would often choose the wrong one.
    fastest, *others = values
    for id_ in others:
        if (ratio_interval(values[fastest], values[id_]).value or 1.0) < 1:
            fastest = id_
    others = [id_ for id_ in values if id_ != fastest]
    level = 1 - LOOK_ALPHA / pairs_with_best(len(others))
    ratios = {id_: ratio_interval(values[fastest], values[id_], level) for id_ in others}
    seen = [id_ for id_ in others if min(_loads(values[id_]), _loads(values[fastest])) >= _LOADS_TO_SEE]
    hopeless = [id_ for id_ in seen if ratios[id_].low is None]
    alike = [id_ for id_ in seen if _is_within(ratios[id_], ALIKE)]
    tied = [id_ for id_, ratio in ratios.items() if not ratio.shown and id_ not in hopeless and id_ not in alike]
    if tied:
        # As they are named in the plan: which of them leads may change from round to round.
        close = [id_ for id_ in values if id_ == fastest or id_ in tied]
        return _View(dict.fromkeys(close, f"{' and '.join(close)} are too close to call in latency"), [])
    apart = [f"{fastest} and {id_} cannot be told apart by latency: {ratios[id_].reason}" for id_ in hopeless]
    apart += [f"{fastest} and {id_} differ in latency by {ALIKE:.0%} at most" for id_ in alike]
    return _View({}, apart or [f"{fastest} can be told apart from every other target by latency"])


def _is_within(ratio: Ratio, share: float) -> bool:
    """Return whether a ratio is known to differ from 1 by no more than a share."""
    return ratio.low is not None and ratio.high is not None and 1 - share <= ratio.low <= ratio.high <= 1 + share


def _spent(loads: Sequence[Load], *, together: bool) -> float:
    """Return how long the blocks took, in seconds; the blocks of a round that were loaded together count once."""
    took: dict[tuple[int, int, str], float] = {}
    for load in loads:
        key = (load.round, load.attempt, "" if together and load.round > 0 else load.block)
        took[key] = max(took.get(key, 0.0), load.wall_s or 0.0)
    return math.fsum(took.values())


def _answers(rows: Sequence[_Row]) -> bool:
    """Return whether more rounds could tell more: the latest block has an answer, and so have most cases.

    A target that has stopped answering would be waited for to its time limit, round after round.
    """
    if not rows:
        return False
    latest = rows[-1][1]
    answered = any(block == latest and math.isfinite(latency) for _, block, latency in rows)
    return answered and math.isfinite(_precision(rows).value)


def _latencies(samples: Sequence[Sample], target: str, level: str) -> list[_Row]:
    return [
        (sample.case, sample.block, counted_latency(sample))
        for sample in samples
        if sample.target == target and sample.phase == "measured" and sample.level == level
    ]


def _precision(rows: Sequence[_Row]) -> FixedCases:
    cases, blocks, latencies = zip(*rows, strict=True)
    return fixed_cases_interval(latencies, cases, blocks)


def _loads(rows: Sequence[_Row]) -> int:
    return len({block for _, block, _ in rows})


def _listed(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
