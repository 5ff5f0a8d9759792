"""How precisely is a target known on just these cases: the spread between cases left out, that between loads kept."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from audition.stats.components import components, exponential, grouped
from audition.stats.quantiles import median
from audition.stats.student import quantile

# A residual counts for no more than this many (robust) standard deviations, so that one stall is not a slow load.
_CLIP = 3.0 * 1.4826
_MEDIAN_FROM_LOADS = 3
"""With so many loads the median of a case begins to vary like one: by pi / 2 more than a mean."""


@dataclass(frozen=True, slots=True)
class FixedCases:
    """The typical value over the cases, with its interval for the same cases asked again in new loads.

    Attributes:
        value: Geometric mean of the cases' medians; infinite when half of the cases or more failed.
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
    the shifts of loads, each with the t quantile of its degrees of freedom, added in squares (MOVER). A single case
    has Student's interval over its loads.

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
    count = len(set(loads))
    if math.isinf(median(sorted(median(sorted(found)) for found in grouped(values, cases).values()))):
        return FixedCases(math.inf, None, None, len(values), count)
    kept = [(math.log(v), c, load) for v, c, load in zip(values, cases, loads, strict=True) if math.isfinite(v)]
    logarithms, kept_cases, kept_loads = zip(*kept, strict=True)
    centre = {case: median(sorted(found)) for case, found in grouped(logarithms, kept_cases).items()}
    value = exponential(math.fsum(centre.values()) / len(centre))
    residuals = [v - centre[c] for v, c in zip(logarithms, kept_cases, strict=True)]
    half = _half_width(residuals, kept_cases, kept_loads, level)
    if half is None:
        return FixedCases(value, None, None, len(values), count)
    return FixedCases(value, value * exponential(-half), value * exponential(half), len(values), count)


def _half_width(
    residuals: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable], level: float
) -> float | None:
    """Return half the width on the logarithmic scale; None where nothing repeats, or nothing varies."""
    count = len(set(loads))
    # A median of three leaves one of them without a residual; that says nothing of their spread.
    moving = sorted(abs(residual) for residual in residuals if residual)
    if count < 2 or not moving:
        return None
    bound = _CLIP * median(moving)
    clipped = [max(-bound, min(bound, residual)) for residual in residuals]
    inflation = math.pi / 2 if count >= _MEDIAN_FROM_LOADS else 1.0
    parts = components(clipped, cases, loads)
    if parts.df_within > 0:
        within = quantile(0.5 + level / 2, parts.df_within) * math.sqrt(parts.within * inflation)
        return parts.half_width(level, within)
    if len(set(cases)) > 1:
        return None
    return quantile(0.5 + level / 2, count - 1) * math.sqrt(_variance_of_mean(grouped(clipped, loads)) * math.pi / 2)


def _variance_of_mean(by_load: Mapping[Hashable, Sequence[float]]) -> float:
    means = [math.fsum(found) / len(found) for found in by_load.values()]
    centre = math.fsum(means) / len(means)
    return math.fsum((mean - centre) ** 2 for mean in means) / (len(means) - 1) / len(means)
