"""Several comparisons at once."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pairs_with_best(others: int) -> int:
    """Return how many comparisons stand behind those of the best with each of `others`.

    The best was found by looking, so every pair has been compared. Counting only those with the best would break a tie
    of eight identical targets in 7 % to 11 % of runs instead of 5 % (see benchmarks/false_winners.py).
    """
    return others * (others + 1) // 2


def holm(p_values: Sequence[float], among: int | None = None) -> tuple[float, ...]:
    """Return p values adjusted so that any false one falls below a level as rarely as the level says.

    Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979). It holds however the tests depend on each
    other, as they do when many targets are compared with the same one.

    Args:
        p_values: One per comparison, any order.
        among: How many comparisons these were chosen from, `pairs_with_best(...)` after looking for the best; None when
            they are all there are. Those left out count as showing nothing.

    Returns:
        The adjusted ones, in the same order.

    Raises:
        ValueError: One is not between 0 and 1, or they are more than `among`.
    """
    count = len(p_values) if among is None else among
    if not all(0 <= p <= 1 for p in p_values) or count < len(p_values):
        raise ValueError(f"p values lie between 0 and 1, and {len(p_values)} cannot come from {count}")
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = highest
    return tuple(adjusted)
