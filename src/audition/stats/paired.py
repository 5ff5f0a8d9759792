"""Two targets on the same cases: is one better, or is it chance?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audition.stats.clusters import load_shift
from audition.stats.components import Components, exponential, grouped
from audition.stats.quantiles import median, ranks
from audition.stats.student import quantile

if TYPE_CHECKING:
    import numpy as np

_EXACT_UP_TO = 16
_DRAWS = 20_000
_TIE = 1e-6
"""Sums this close, in parts of the largest difference, are equal: thirds do not add up exactly."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The mean difference over cases, and how often chance alone gives one as large.

    Attributes:
        p: Two-sided; never 0.
        n: Cases.
        discordant: Cases on which the two differ at all; the others say nothing.
    """

    difference: float
    p: float
    n: int
    discordant: int


def sign_flip_test(differences: Sequence[float], rng: np.random.Generator) -> PairedTest:
    """Test whether paired differences are centred on zero (Fisher's randomisation test).

    Under the null hypothesis each difference could as well have the other sign. All sign patterns are tried up to 16
    discordant cases, 20,000 random ones beyond.

    Args:
        differences: One per case, shape (n,).
        rng: Draws the patterns when there are too many.

    Raises:
        ValueError: There are no differences, or one is not a finite number.
    """
    import numpy as np

    values = np.asarray(differences, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("a test needs at least one case, and finite differences")
    # Sorted, so that the random patterns give the same p whatever order the cases came in.
    moving = np.sort(values[values != 0])
    mean = math.fsum(values) / values.size
    if moving.size == 0:
        return PairedTest(0.0, 1.0, values.size, 0)
    observed = abs(moving.sum()) - _TIE * np.abs(moving).max()
    if moving.size <= _EXACT_UP_TO:
        patterns = (np.arange(2**moving.size)[:, None] >> np.arange(moving.size)) & 1
        sums = np.abs((1 - 2 * patterns) @ moving)
        p = float((sums >= observed).mean())
    else:
        signs = rng.choice((-1.0, 1.0), size=(_DRAWS, moving.size))
        p = (1 + int((np.abs(signs @ moving) >= observed).sum())) / (_DRAWS + 1)
    return PairedTest(mean, p, values.size, int(moving.size))


Observation = tuple[Hashable, Hashable, float]
"""One request: its case, its load, its value."""

FEWEST_CASES = 3
"""Two cases have one degree of freedom: such an interval is too wide to be of use."""
_WALSH_UP_TO = 2000
_ONE_LOAD = "one load: a difference between loads may look like one between targets"


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times what `a` takes `b` takes, for new cases of the kind and new loads.

    Attributes:
        value: The typical ratio of a case; infinite when `b` fails where `a` does not, None with a `reason`.
        low: Lower end; None, with a `reason`, where the data cannot carry an interval.
        high: Upper end.
        n_cases: Cases that both have.
        between_loads: Whether the interval contains what differs from load to load; not so when either has one load.
        shown: Whether a difference is shown: the interval leaves out 1, and contains what loads differ by.
        reason: Why there is no interval, or why none is shown in spite of it.
    """

    value: float | None
    low: float | None
    high: float | None
    n_cases: int
    between_loads: bool
    shown: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more than `a` `b` takes, on average, with its interval."""

    value: float
    low: float
    high: float


def ratio_interval(a: Iterable[Observation], b: Iterable[Observation], level: float = 0.95) -> Ratio:
    """Compare two targets on the same cases by ratio, as fits latencies, rates and sizes.

    The ratio of a case is that of its medians. Over cases, ranks bound it without assuming a shape: the Hodges-Lehmann
    estimate with Wilcoxon's interval (Hollander and Wolfe, Nonparametric Statistical Methods, 3.3), exact for two
    targets that are alike, since their ratios are then symmetric about 1. With so few cases that ranks cannot reach the
    level (below six for 95 %), it is Student's interval of the logarithms.

    A shift of a load moves all the cases together and does not show in their spread, so each target's is estimated and
    added (Kalibera and Jones, ISMM 2013, on repeating at the highest level that varies). The two targets' loads count
    as independent, which is on the safe side where the rounds of both drift alike.

    Args:
        a: The requests of the one, values above 0; `math.inf` for a failed one.
        b: The requests of the other. Cases that the other lacks are left out.
        level: Confidence.

    Raises:
        ValueError: A value is not above 0.
    """
    ours, theirs = _on_common_cases(a, b)
    if any(not value > 0 for _, _, value in (*ours, *theirs)):
        raise ValueError("a ratio needs values above 0")
    ours, theirs = _logarithms(ours), _logarithms(theirs)
    between_loads = _loads(ours) > 1 and _loads(theirs) > 1
    before, after = _by_case(ours), _by_case(theirs)
    differences = sorted(
        (median(sorted(after[case])) - median(sorted(before[case])) for case in before),
        key=lambda d: (math.isnan(d), d),
    )
    # Where both fail there is no telling which is slower: it could be either, without end.
    known = [d for d in differences if not math.isnan(d)]
    n = len(differences)
    if not known:
        reason = "both failed in every case that they share" if n else "they share no case"
        return Ratio(None, None, None, n, between_loads, False, reason)
    centre = _hodges_lehmann(known)
    value = exponential(centre)
    bounds = _bounds(differences, known, centre, level)
    if isinstance(bounds, str):
        return Ratio(value, None, None, n, between_loads, False, bounds)
    shift = _shift_half_width(load_shift(*_columns(ours)), load_shift(*_columns(theirs)), level)
    low = exponential(_widened(bounds[0], centre, shift, -1))
    high = exponential(_widened(bounds[1], centre, shift, 1))
    shown = between_loads and not low <= 1 <= high
    return Ratio(value, low, high, n, between_loads, shown, None if between_loads else _ONE_LOAD)


def bounded_difference(
    differences: Sequence[float], weights: Sequence[float] | None = None, level: float = 0.95
) -> Difference:
    """Return the mean of paired differences between -1 and 1, as of scores and failure rates, with its interval.

    The adjusted Wald interval of Bonett and Price (J. Educational and Behavioral Statistics 37, 2012) for the
    difference of two paired proportions: a case of +1 and a case of -1 are added, so that cases that are all alike
    leave a width. Its variance of proportions is the mean square less the squared mean, which carries over to any
    difference between -1 and 1. With Student's quantile in place of the normal one, which with 4, 7 or 10 cases that
    all differ covers only 88 %. A difference is shown where the interval leaves out 0; there is no second rule.

    Args:
        differences: One per case, shape (n,): the mean over the repeats of a case.
        weights: Of the cases, above 0; they count as Kish's effective number of cases. None weighs all alike.
        level: Confidence.

    Raises:
        ValueError: There are no differences, one is out of range, or the weights do not fit.
    """
    shares = [1.0] * len(differences) if weights is None else list(weights)
    if not differences or any(not -1 <= d <= 1 for d in differences):
        raise ValueError("paired differences lie between -1 and 1, and there is at least one")
    if len(shares) != len(differences) or any(not 0 < share < math.inf for share in shares):
        raise ValueError("each case has a weight above 0")
    # Relative to the heaviest, so that no square overflows.
    heaviest = max(shares)
    shares = [share / heaviest for share in shares]
    total = math.fsum(shares)
    n = total**2 / math.fsum(share**2 for share in shares)
    mean = math.fsum(share * d for share, d in zip(shares, differences, strict=True)) / total
    square = math.fsum(share * d**2 for share, d in zip(shares, differences, strict=True)) / total
    centre = n * mean / (n + 2)
    variance = (n * square + 2) / (n + 2) - centre**2
    half = quantile(0.5 + level / 2, n + 1) * math.sqrt(variance / (n + 2))
    return Difference(mean, max(-1.0, centre - half), min(1.0, centre + half))


def load_difference(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Difference | None:
    """Return the difference of the means of loads with Welch's interval; None where nothing tells how loads vary.

    Args:
        a: One finite value per load.
        b: The same of the other.
        level: Confidence.
    """
    if min(len(a), len(b)) < 2:
        return None
    half = _welch([(_spread(values) / len(values), len(values) - 1) for values in (a, b)], level)
    if half <= 0:
        return None
    value = _mean(b) - _mean(a)
    return Difference(value, value - half, value + half)


def _on_common_cases(a: Iterable[Observation], b: Iterable[Observation]) -> tuple[list[Observation], list[Observation]]:
    ours, theirs = list(a), list(b)
    common = {case for case, _, _ in ours} & {case for case, _, _ in theirs}
    return [row for row in ours if row[0] in common], [row for row in theirs if row[0] in common]


def _logarithms(rows: Sequence[Observation]) -> list[Observation]:
    return [(case, load, math.log(value)) for case, load, value in rows]


def _columns(rows: Sequence[Observation]) -> tuple[list[float], list[Hashable], list[Hashable]]:
    return [row[2] for row in rows], [row[0] for row in rows], [row[1] for row in rows]


def _by_case(rows: Sequence[Observation]) -> dict[Hashable, list[float]]:
    return grouped([row[2] for row in rows], [row[0] for row in rows])


def _loads(rows: Sequence[Observation]) -> int:
    return len({load for _, load, _ in rows})


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _spread(values: Sequence[float]) -> float:
    """Return the variance of what `values` are a sample of."""
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _shift_half_width(a: Components | None, b: Components | None, level: float) -> float:
    """Return half the width that the shifts of both targets' loads add."""
    return _welch([(part.between_loads, part.loads - 1) for part in (a, b) if part is not None], level)


def _welch(parts: Sequence[tuple[float, int]], level: float) -> float:
    """Return half the interval of a sum of independent means, each with a variance and its degrees of freedom.

    Welch, Biometrika 34 (1947).
    """
    parts = [(variance, df) for variance, df in parts if variance > 0]
    if not parts:
        return 0.0
    total = math.fsum(variance for variance, _ in parts)
    df = total**2 / math.fsum(variance**2 / df for variance, df in parts)
    return quantile(0.5 + level / 2, df) * math.sqrt(total)


def _widened(bound: float, centre: float, shift: float, side: int) -> float:
    """Return a bound, below (-1) or above (1), with what loads add to its distance from the centre."""
    if math.isinf(bound):
        return bound
    if math.isinf(centre):
        return bound + side * shift
    return centre + side * math.hypot(bound - centre, shift)


def _bounds(
    differences: Sequence[float], known: Sequence[float], centre: float, level: float
) -> tuple[float, float] | str:
    """Return the interval of the centre of symmetry of `differences`, or why there is none."""
    n = len(differences)
    if n < FEWEST_CASES:
        return f"n = {n} is too small: at least {_more_cases(FEWEST_CASES - n)}"
    dropped = _dropped(n, level) if n <= _WALSH_UP_TO else None
    if dropped is None and n <= _WALSH_UP_TO:
        if len(known) < n or any(map(math.isinf, known)):
            # All signs the same by chance: 1 in 2 ** (n - 1).
            fewest = math.ceil(round(1 - math.log2(1 - level), 9))
            return f"with failures, n = {n} is too small: at least {_more_cases(max(1, fewest - n))}"
        mean = _mean(known)
        half = quantile(0.5 + level / 2, n - 1) * math.sqrt(_spread(known) / n)
        return min(mean, centre) - half, max(mean, centre) + half
    unknown = n - len(known)
    worst, best = [*([-math.inf] * unknown), *known], [*known, *([math.inf] * unknown)]
    if dropped is None:
        found = ranks(n, 0.5, level) or (1, n)
        return worst[found[0] - 1], best[found[1] - 1]
    return _walsh(worst, dropped, -math.inf), _walsh(best, n * (n + 1) // 2 - 1 - dropped, math.inf)


def _more_cases(n: int) -> str:
    return f"{n} more case{'s' * (n > 1)}"


def _walsh(ordered: Sequence[float], rank: int, unknown: float) -> float:
    """Return one of the sorted means of all pairs (each value with itself, too), counted from 0."""
    import numpy as np

    values = np.asarray(ordered)
    first, second = np.triu_indices(values.size)
    with np.errstate(invalid="ignore"):
        means = (values[first] + values[second]) / 2
    means[np.isnan(means)] = unknown
    return float(np.partition(means, rank)[rank])


def _hodges_lehmann(known: Sequence[float]) -> float:
    """Return the median of the means of all pairs; the plain median of very many."""
    n = len(known)
    if n > _WALSH_UP_TO:
        return median(known)
    pairs = n * (n + 1) // 2
    lower = _walsh(known, (pairs - 1) // 2, -math.inf)
    upper = _walsh(known, pairs // 2, math.inf)
    if lower == -upper and math.isinf(lower):
        return median(known) if not math.isnan(median(known)) else 0.0
    return lower / 2 + upper / 2


def _dropped(n: int, level: float) -> int | None:
    """Return how many means of pairs lie outside each end of Wilcoxon's interval, None when `n` is too small.

    The largest k that the signed-rank sum reaches, or stays below, in at most half of what the level leaves.
    """
    import numpy as np

    missed = (1 - level) / 2
    if n > 50:
        middle, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return math.floor(middle - quantile(1 - missed, math.inf) * spread - 0.5)
    # The signed-rank sum is a sum of a random half of 1..n: count the subsets of each sum.
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
    below = np.flatnonzero(np.cumsum(ways) / 2.0**n <= missed)
    return int(below[-1]) if below.size else None
