"""What a block asks: its requests in order, and what stands in each."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from audition.bench.plan import Block, Case, Level, Plan
from audition.bench.sample import Phase

WARMUP_TOKENS = 16
"""The most that a warm-up answer may have: it brings the engine to speed, and nothing of it is counted."""

FILL = 4
"""A closed loop gets at least so many requests for each that is under way, or its ends would be most of it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a block.

    Attributes:
        key: The case's id; a warm-up that takes a case again adds its number.
        repeat: How often the case came before at this level of this block.
    """

    phase: Phase
    case: Case
    key: str
    level: str
    repeat: int = 0

    @property
    def id(self) -> tuple[str, str, str, int]:
        """What makes it unique in its block."""
        return self.phase, self.level, self.key, self.repeat


def opening(plan: Plan) -> Iterator[Request]:
    """Yield what every block asks before it measures.

    The first request after a load is always the suite's first case, so that `first_request` compares like with like;
    the warm-up takes the cases after it.
    """
    level = plan.levels[0].id
    yield Request("first", plan.cases[0], plan.cases[0].id, level)
    for number in range(plan.settings.warmup):
        case = plan.cases[(number + 1) % len(plan.cases)]
        key = case.id if plan.settings.warmup <= len(plan.cases) else f"{case.id}#{number}"
        yield Request("warmup", case, key, level)


def levels_of(plan: Plan, block: Block) -> list[Level]:
    """Return the load levels in the order in which a block takes them: shuffled, each block in its own way."""
    levels = list(plan.levels)
    random.Random(f"audition-levels-{plan.settings.seed}-{block.id}").shuffle(levels)  # noqa: S311 - an order
    return levels


def measured_requests(plan: Plan, block: Block, level: Level) -> Iterator[Request]:
    """Yield what a block measures at one level; without end where the level has a duration."""
    cases = {case.id: case for case in plan.cases}
    for repeat in count() if level.duration_s is not None else range(times(plan, level)):
        for case_id in block.cases:
            yield Request("measured", cases[case_id], case_id, level.id, repeat)


def times(plan: Plan, level: Level) -> int:
    """Return how often a block asks each case at a level without a duration."""
    if level.concurrency is None or level.concurrency == 1:
        return 1
    return -(-max(len(plan.cases), FILL * level.concurrency) // len(plan.cases))


def count_of(plan: Plan, block: Block) -> int:
    """Return how many requests a block has, levels with a duration left out; probes are not counted."""
    if block.is_probe:
        return 0
    each = sum(times(plan, level) for level in plan.levels if level.duration_s is None)
    return 1 + plan.settings.warmup + each * len(block.cases)


def parameters(plan: Plan, block: Block, request: Request) -> dict[str, Any]:
    """Return `max_tokens`, `temperature` and `seed` of a request."""
    settings = plan.settings
    max_tokens = request.case.max_tokens or settings.max_tokens
    return {
        "max_tokens": min(max_tokens, WARMUP_TOKENS) if request.phase == "warmup" else max_tokens,
        "temperature": settings.temperature,
        # With a temperature each round draws anew; without one every round must say the same.
        "seed": settings.seed if settings.deterministic else settings.seed + block.round,
    }


def mark_of(plan: Plan, block: Block, request: Request, attempt: int = 1) -> str | None:
    """Return what is put before a prompt so that no cache knows it, or None where nothing is.

    Engines of our own are told to keep nothing; a server does as it likes. The mark is the same for all targets, so
    that they are asked the same.
    """
    if plan.settings.prompt_cache != "avoid" or not plan.target(block.target).is_server:
        return None
    place = f"{plan.created_at}/{plan.settings.seed}/{block.round}/{attempt}/{'/'.join(map(str, request.id))}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


def marked(messages: tuple[dict[str, str], ...], mark: str | None) -> list[dict[str, str]]:
    """Return the messages with the mark before the first one's text."""
    if mark is None:
        return list(messages)
    first, *rest = messages
    return [{**first, "content": f"[{mark}]\n{first['content']}"}, *rest]
