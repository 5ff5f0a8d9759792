"""How much requests of one case are alike, and how much a load shifts all of its requests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from audition.stats.student import quantile

# How much of the spread between loads is put down to chance before the rest counts as a difference between loads.
# All of it would be right on average, but with few loads the difference is then often taken for none and the interval
# comes out too short. Found by simulation: the largest shares that keep the coverage (benchmarks/coverage.py).
_CHANCE_OF_TWO = 0.1
_CHANCE = 0.6


@dataclass(frozen=True, slots=True)
class Components:
    """The parts of the variance of a mean over requests, in squares of the values' unit.

    Attributes:
        between_cases: Variance of the mean as the spread between cases shows it, 0 with one case.
        within: As the spread shows it that neither cases nor loads explain.
        among_loads: As the spread between loads shows it, 0 with one load.
        between_loads: What loads add to the rest: `among_loads` without what chance alone makes of it.
        cases: Distinct cases.
        loads: Distinct loads.
        df_within: Degrees of freedom of `within`.
        shifts: Each load's mean shift from what its cases are elsewhere.
        skewness: Of the mean over cases, or over requests with one case; 0 with fewer than three.
    """

    between_cases: float
    within: float
    among_loads: float
    between_loads: float
    cases: int
    loads: int
    df_within: int
    shifts: Mapping[Hashable, float]
    skewness: float

    def case_half_width(self, level: float) -> float:
        """Return half the width of Student's interval over cases; over the requests in their loads with one case."""
        variance, df = self._case_part()
        return quantile(0.5 + level / 2, df) * math.sqrt(variance) if df > 0 else 0.0

    def half_width(self, level: float, case_part: float) -> float:
        """Return half the width of an interval with the loads' part added to that of the cases.

        Each part is taken with the t quantile of its own degrees of freedom, and the squares are added (MOVER, Zou and
        Donner, Statistics in Medicine 27, 2008). One quantile for the sum (Satterthwaite, Biometrics Bulletin 2, 1946)
        covers too little here: with three loads, a spread between loads that came out small by chance also makes the
        degrees of freedom come out large.
        """
        if not self.between_loads:
            return case_part
        return math.hypot(case_part, quantile(0.5 + level / 2, self.loads - 1) * math.sqrt(self.between_loads))

    def skew(self, level: float) -> float:
        """Return how much further the mean's interval has to reach above (or, if negative, below) for its skewness.

        The quadratic term of Johnson's modified t (JASA 73, 1978), in the values' unit.
        """
        variance, df = self._case_part()
        if df < 1:
            return 0.0
        return self.skewness * math.sqrt(variance) / 6 * (1 + 2 * quantile(0.5 + level / 2, df) ** 2)

    def _case_part(self) -> tuple[float, int]:
        return (self.between_cases, self.cases - 1) if self.cases > 1 else (self.within, self.df_within)


def components(values: Sequence[float], cases: Sequence[Hashable], loads: Sequence[Hashable]) -> Components:
    """Split the variance of the mean of `values` into cases, loads and the rest (crossed random effects).

    The sum over clusters is that of Cameron, Gelbach and Miller (J. Business & Economic Statistics 29, 2011), which in
    a balanced design is the analysis of variance. Every sum is exact, so the order of the requests is no matter.

    Args:
        values: One finite number per request, shape (n,).
        cases: The case of each, shape (n,).
        loads: The load of each, shape (n,).
    """
    n = len(values)
    mean = math.fsum(values) / n
    deviations = [value - mean for value in values]
    by_case, by_load = grouped(deviations, cases), grouped(deviations, loads)
    between_cases = _cluster_variance(by_case, n)

    nested = len(by_case) > 1 and len(set(zip(cases, loads, strict=True))) == len(by_case)
    if nested:
        # Every case met one load only: the cases of a load are its repeats.
        shifts = _means(by_load)
        within, df_within = between_cases, len(by_case) - len(by_load)
    else:
        # Cases are compared with themselves in other loads: a load that lost its slow cases must not look fast.
        case_means = _means(by_case)
        residuals = [value - case_means[case] for value, case in zip(deviations, cases, strict=True)]
        by_load = grouped(residuals, loads)
        shifts = _means(by_load)
        left = math.fsum((value - shifts[load]) ** 2 for value, load in zip(residuals, loads, strict=True))
        df_within = n - len(by_case) - len(by_load) + 1
        within = left / df_within / n if df_within > 0 else 0.0
    among_loads = between_loads = 0.0
    # Where each load has one case of its own, the spread between cases is that between loads, and is taken already.
    if len(by_load) > 1 and not (nested and df_within == 0):
        among_loads = _cluster_variance(by_load, n)
        between_loads = max(0.0, among_loads - (_CHANCE_OF_TWO if len(by_load) == 2 else _CHANCE) * within)
    sums = [math.fsum(members) for members in by_case.values()] if len(by_case) > 1 else deviations
    return Components(
        between_cases=between_cases,
        within=within,
        among_loads=among_loads,
        between_loads=between_loads,
        cases=len(by_case),
        loads=len(by_load),
        df_within=df_within,
        shifts=shifts,
        skewness=_skewness(sums),
    )


def exponential(x: float) -> float:
    """Return e**x, infinite where a float cannot hold it: two loads far apart bound next to nothing."""
    return math.exp(x) if x < 700 else math.inf


def grouped(values: Sequence[float], labels: Sequence[Hashable]) -> dict[Hashable, list[float]]:
    """Return the values of each label."""
    groups: dict[Hashable, list[float]] = {}
    for value, label in zip(values, labels, strict=True):
        groups.setdefault(label, []).append(value)
    return groups


def _means(clusters: Mapping[Hashable, Sequence[float]]) -> dict[Hashable, float]:
    return {label: math.fsum(members) / len(members) for label, members in clusters.items()}


def _cluster_variance(clusters: Mapping[Hashable, Sequence[float]], n: int) -> float:
    """Return the variance of the mean of n values that sum to 0, were the clusters all that is independent."""
    count = len(clusters)
    if count < 2:
        return 0.0
    return math.fsum(math.fsum(members) ** 2 for members in clusters.values()) / n**2 * count / (count - 1)


def _skewness(sums: Sequence[float]) -> float:
    """Return the skewness of the mean of independent terms that sum to 0 (Fisher and Pearson's G1 over sqrt(n))."""
    n = len(sums)
    second = math.fsum(value * value for value in sums) / n
    if n < 3 or second <= 0:
        return 0.0
    third = math.fsum(value**3 for value in sums) / n
    return float(third / second**1.5) * math.sqrt(n * (n - 1)) / (n - 2) / math.sqrt(n)
