"""How precisely is a target known on just these cases: the spread between cases left out, that between loads kept."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from audition.stats.clusters import load_shift
from audition.stats.components import exponential
from audition.stats.quantiles import median
from audition.stats.student import quantile


@dataclass(frozen=True, slots=True)
class FixedCases:
    """The typical value over the cases, with its interval for the same cases asked again in new loads.

    Attributes:
        value: Median of the cases' medians; infinite when most cases failed.
        low: Lower end; None where there are too few repeats to tell.
        high: Upper end.
        n: Values.
        loads: Distinct loads.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    loads: int


def fixed_cases_interval(
    values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable], level: float = 0.95
) -> FixedCases:
    """Return how well repeats have fixed a positive quantity, such as a latency, on these cases.

    More rounds make this interval narrower, whatever the cases are like; one about new cases they do not. It is the
    crossed random effects model on logarithms (see `components`) without the cases' part: chance within a load, and
    the shifts of loads, each with the t quantile of its degrees of freedom, added in squares (MOVER).

    Args:
        values: One per request, above 0; `math.inf` for a failed one, which tells nothing of the speed.
        cases: The case of each.
        loads: The load of each.
        level: Confidence.

    Raises:
        ValueError: There are no values, or one is not above 0.
    """
    if len(values) == 0 or any(not value > 0 for value in values):
        raise ValueError("a typical value needs values, all of them above 0")
    by_case: dict[Hashable, list[float]] = {}
    for value, case in zip(values, cases, strict=True):
        by_case.setdefault(case, []).append(value)
    typical = median(sorted(median(sorted(found)) for found in by_case.values()))
    count = len(set(loads))
    logarithms = [math.log(value) for value in values]
    parts = load_shift(logarithms, cases, loads) if math.isfinite(typical) else None
    if parts is None or parts.df_within < 1:
        return FixedCases(typical, None, None, len(values), count)
    half = parts.half_width(level, quantile(0.5 + level / 2, parts.df_within) * math.sqrt(parts.within))
    return FixedCases(typical, typical * exponential(-half), typical * exponential(half), len(values), count)
