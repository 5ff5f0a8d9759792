"""Does a target get slower or faster while it is measured (heat, throttling, a filling cache)?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

from audition.stats.quantiles import median

if TYPE_CHECKING:
    import numpy as np

FEWEST = 8
_EXACT_UP_TO = 40
_LONGEST = 1000
_MOST_PAIRS = 2_000_000
"""Pairs grow with the square, so a long group is cut into stretches, each stood for by its median."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The relative change from the start of a run to its end.

    Attributes:
        change: 0.1 for a tenth more at the end than at the start; None with a `reason`.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided: how often chance alone gives as strong a trend.
        n: Values that could be compared with another of their group.
    """

    change: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    reason: str | None = None


def drift_test(
    times: Sequence[float], values: Sequence[float], groups: Sequence[Hashable] | None = None, level: float = 0.95
) -> Drift:
    """Test for a trend, comparing values with others of their group only.

    The seasonal Kendall test of Hirsch, Slack and Smith (Water Resources Research 18, 1982) with groups for seasons:
    Kendall's S is summed over groups, exactly for small samples without ties, else by its normal approximation with
    ties. The change is the median slope of all pairs in groups, relative to the group's median (Sen, JASA 63, 1968),
    over the whole time.

    Values of one load share its shift. Over a few loads that is not told apart from a trend; with a case in a load for
    a group, the trend within loads is tested alone.

    Args:
        times: When each was measured, any unit, shape (n,).
        values: Above 0, shape (n,); `math.inf` for a failed request.
        groups: What must not be compared with each other, such as different prompts, shape (n,); None is one group.
        level: Confidence of the interval.

    Returns:
        Without a change, and with a reason, when fewer than 8 values can be compared.

    Raises:
        ValueError: Lengths differ, a time is not finite or a value not above 0.
    """
    labels: Sequence[Hashable] = [None] * len(values) if groups is None else groups
    if not len(times) == len(values) == len(labels):
        raise ValueError(f"each value needs its time and its group: {len(values)}, {len(times)}, {len(labels)}")
    if not all(map(math.isfinite, times)) or not all(value > 0 for value in values):
        raise ValueError("a trend needs finite times and values above 0")
    by_group: dict[Hashable, list[tuple[float, float]]] = {}
    for time, value, label in zip(times, values, labels, strict=True):
        by_group.setdefault(label, []).append((time, value))
    usable = [_relative(sorted(members)) for members in by_group.values() if len(members) > 1]
    usable = [members for members in usable if members]
    n = sum(map(len, usable))
    if n < FEWEST:
        return Drift(None, None, None, None, n, f"n = {n} is too small: at least {FEWEST - n} more")
    longest = min(_LONGEST, max(FEWEST, 2 * _MOST_PAIRS // n))
    usable = [_stretches(members, longest) for members in usable]
    trends = [_kendall(members) for members in usable]
    s, variance = sum(t[0] for t in trends), math.fsum(t[1] for t in trends)
    if variance <= 0:
        return Drift(None, None, None, None, n, "all values were measured at the same time, or are the same")
    tied = any(t[2] for t in trends)
    sizes = [len(members) for members in usable]
    p = _exact_p(s, sizes) if sum(sizes) <= _EXACT_UP_TO and not tied else _normal_p(s, variance)
    span = max(times) - min(times)
    change, low, high = (slope * span for slope in _slopes(usable, variance, level))
    return Drift(change, low, high, p, n)


Series = list[tuple[float, float]]


def _relative(members: Series) -> Series:
    """Return the values in parts of their median; nothing when most failed."""
    centre = median(sorted(value for _, value in members))
    return [(time, value / centre) for time, value in members] if math.isfinite(centre) else []


def _stretches(members: Series, longest: int) -> Series:
    if len(members) <= longest:
        return members
    edges = [round(i * len(members) / longest) for i in range(longest + 1)]
    cuts = [members[start:end] for start, end in pairwise(edges)]
    return [(median(sorted(t for t, _ in cut)), median(sorted(v for _, v in cut))) for cut in cuts]


def _signs(members: Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences in time and in value of all pairs, the earlier first."""
    import numpy as np

    times, values = (np.array(column) for column in zip(*members, strict=True))
    first, second = np.triu_indices(times.size, k=1)
    with np.errstate(invalid="ignore"):
        rise = values[second] - values[first]
    rise[np.isnan(rise)] = 0  # both failed
    return times[second] - times[first], rise


def _kendall(members: Series) -> tuple[int, float, bool]:
    """Return Kendall's S, its variance, and whether there are ties (Kendall, Rank Correlation Methods, ch. 4)."""
    import numpy as np

    time, rise = _signs(members)
    s = int((np.sign(time) * np.sign(rise)).sum())
    n = len(members)
    ties = [_runs([t for t, _ in members]), _runs([v for _, v in members])]
    total = n * (n - 1) * (2 * n + 5)
    total -= sum(k * (k - 1) * (2 * k + 5) for runs in ties for k in runs)
    variance = total / 18
    pairs, triples = ([sum(math.perm(k, m) for k in runs) for runs in ties] for m in (2, 3))
    variance += pairs[0] * pairs[1] / (2 * n * (n - 1))
    if n > 2:
        variance += triples[0] * triples[1] / (9 * n * (n - 1) * (n - 2))
    return s, variance, any(pairs)


def _runs(values: Sequence[float]) -> list[int]:
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.values())


def _exact_p(s: int, sizes: Sequence[int]) -> float:
    """Return the two-sided p of S summed over groups: the distribution of inversions, group by group."""
    import numpy as np

    inversions = np.ones(1)
    for size in sizes:
        for k in range(2, size + 1):
            inversions = np.convolve(inversions, np.full(k, 1 / k))
    most = inversions.size - 1
    # S is the number of pairs less twice the inversions.
    sums = most - 2 * np.arange(most + 1)
    return min(1.0, float(inversions[np.abs(sums) >= abs(s)].sum()))


def _normal_p(s: int, variance: float) -> float:
    z = max(0, abs(s) - 1) / math.sqrt(variance)
    return 2 * NormalDist().cdf(-z)


def _slopes(usable: Sequence[Series], variance: float, level: float) -> tuple[float, float, float]:
    """Return the median slope of all pairs of a group, and the slopes that bound it (Sen 1968)."""
    import numpy as np

    slopes = []
    for members in usable:
        time, rise = _signs(members)
        slopes.append(rise[time > 0] / time[time > 0])
    ordered = np.sort(np.concatenate(slopes))
    reach = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(variance)
    low = max(0, math.floor((ordered.size - reach) / 2))
    high = min(ordered.size - 1, math.ceil((ordered.size + reach) / 2))
    return median(ordered.tolist()), float(ordered[low]), float(ordered[high])
