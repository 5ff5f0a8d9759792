"""The same model in several targets: was it fed the same prompts, and does it give answers of one kind?

Engines and quantizations round differently, so that texts part after some words. How much they still share, the limits
here and the measurements behind them stand in `docs/guards.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, takewhile
from math import comb, sqrt
from statistics import fmean, median, stdev

from audition.bench.guards.base import Evidence, Finding, Guard, answered, said
from audition.bench.guards.degenerate import UnusableAnswers, is_unusable
from audition.bench.plan import Case
from audition.bench.sample import Sample
from audition.stats.student import quantile
from audition.text import one_line

UNLIKE = 0.2
"""Healthy engines share 0.30 or more of their texts with each other (measured), answers to other questions 0.07."""
NOTHING_ALIKE = 0.1
ONE_VOICE = 0.95
"""Targets whose texts are nearly the same run the same code underneath: they do not count as two witnesses."""
FEWEST_CASES = 5
_SHORT = 20
"""Characters of an answer below which a wrong one shares nothing with a right one, and yet is an answer."""
_LOOK_AT = 4000
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the answers of two targets are, over the cases that both answered.

    Attributes:
        identical: Cases with the same text in both.
        similarity: Mean over cases of the share of text that both have, 0 to 1 (`similarity`).
        words_alike: Median over cases of the words before the first that differs.
    """

    cases: int
    identical: int
    similarity: float
    words_alike: float


def agreement(a: Sequence[Sample], b: Sequence[Sample]) -> Agreement | None:
    """Compare the first answers to each case; None where no case was answered by both."""
    pairs = _pairs(a, b)
    if not pairs:
        return None
    return Agreement(
        cases=len(pairs),
        identical=sum(x == y for x, y in pairs),
        similarity=fmean(similarity(x, y) for x, y in pairs),
        words_alike=median(_words_alike(x, y) for x, y in pairs),
    )


def similarity(a: str, b: str) -> float:
    """Return the share of text that two answers have in common: Dice's coefficient of their runs of three characters.

    It needs no words, so it holds in every script; order decides nothing beyond the three. Dice, Ecology 26 (1945).
    """
    return _similarity(*sorted((a[:_LOOK_AT], b[:_LOOK_AT])))


@lru_cache(maxsize=2**12)  # every target of a model looks at all pairs
def _similarity(a: str, b: str) -> float:
    if a == b:
        return 1.0
    x, y = _runs(a), _runs(b)
    return 2 * (x & y).total() / (x.total() + y.total())


@lru_cache(maxsize=2**12)
def _runs(text: str) -> Counter[str]:
    flat = f" {' '.join(text.casefold().split())} "
    return Counter(flat[i : i + 3] for i in range(max(1, len(flat) - 2)))


def _words_alike(a: str, b: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a.split(), b.split(), strict=False)))


def _first_answers(samples: Sequence[Sample]) -> dict[str, Sample]:
    first: dict[str, Sample] = {}
    for sample in answered(samples):
        first.setdefault(sample.case, sample)
    return first


def _pairs(a: Sequence[Sample], b: Sequence[Sample]) -> list[tuple[str, str]]:
    ours, theirs = _first_answers(a), _first_answers(b)
    return [(said(ours[case]), said(theirs[case])) for case in ours if case in theirs]


class PromptsDiffer(Guard):
    """Another target of the same model was fed other prompts, so the two do not answer the same questions."""

    code = "prompts_differ"
    taints = ("quality", "ttft", "ttfa", "latency", "time_to_answer", "prefill_tps", "e2e_tps", "prompt_tokens")

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare what each engine says that it fed: the tokens' hash, else their number."""
        mine = _fed(evidence.samples)
        found, affected, known_at_most = [], set[str](), 0
        for name, samples in evidence.others.items():
            theirs = _fed(samples)
            known = {case: differ for case in mine if case in theirs
                     if (differ := _differ(mine[case], theirs[case])) is not None}  # fmt: skip
            unlike = [case for case, differ in known.items() if differ]
            if unlike:
                example = _example(unlike[0], mine[unlike[0]], theirs[unlike[0]])
                found.append(f"than {one_line(name, 80)} in {len(unlike)} of {len(known)} cases ({example})")
                affected |= set(unlike)
                known_at_most = max(known_at_most, len(known))
        if not found:
            return None
        more = f", and than {len(found) - _NAMED} more targets" if len(found) > _NAMED else ""
        sentence = f"it was fed another prompt {', '.join(found[:_NAMED])}{more}: their chat templates are not alike"
        return self.finding(sentence, affected=len(affected), of=max(known_at_most, len(affected)))


def _fed(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Return an answer to each case whose prompt is the case's: a mark makes it another, a cache may hide a part."""
    plain = [s for s in samples if not (s.asked or {}).get("mark") and not s.cached_tokens]
    return _first_answers(plain)


def _differ(a: Sample, b: Sample) -> bool | None:
    """Return whether two prompts differ; None when nobody can tell."""
    if a.prompt_sha256 is not None and b.prompt_sha256 is not None:
        return a.prompt_sha256 != b.prompt_sha256
    if a.prompt_tokens is None or b.prompt_tokens is None:
        return None
    return a.prompt_tokens != b.prompt_tokens


def _example(case: str, a: Sample, b: Sample) -> str:
    name = one_line(case, 40)
    if a.prompt_tokens is None or b.prompt_tokens is None or a.prompt_tokens == b.prompt_tokens:
        return f"{name}: other tokens"
    return f"{name}: {a.prompt_tokens:,} tokens against {b.prompt_tokens:,}"


class EngineDisagrees(Guard):
    """Its answers are unlike those that the same model gives elsewhere: a template, a kernel or a file is broken."""

    code = "engine_disagrees"
    taints = ("quality",)

    def check(self, evidence: Evidence) -> Finding | None:
        """Look for answers that are noise here alone, and for answers that nobody else's are like."""
        others = {name: samples for name, samples in evidence.others.items() if answered(samples)}
        if not others or not answered(evidence.samples):
            return None
        finding = self._noise_here_alone(evidence, others)
        if finding is None and evidence.settings.temperature == 0:
            finding = self._unlike_all(evidence.samples, others)
        return finding

    def _noise_here_alone(self, evidence: Evidence, others: Mapping[str, Sequence[Sample]]) -> Finding | None:
        share = UnusableAnswers.share
        bad, of = _unusable(evidence.samples, evidence.cases)
        if bad < share * of:
            return None
        for name, samples in others.items():
            theirs, of_theirs = _unusable(samples, evidence.cases)
            if 2 * theirs < share * of_theirs and _is_shown(evidence.samples, samples, evidence.cases):
                sentence = (
                    f"{bad} of {of} answers are unusable here and {theirs} of {of_theirs} from the same model in "
                    f"{one_line(name, 80)}: it is not the model, but its template, its file or its engine"
                )
                return self.finding(sentence, affected=bad, of=of)
        return None

    def _unlike_all(self, mine: Sequence[Sample], others: Mapping[str, Sequence[Sample]]) -> Finding | None:
        shared = {name: found for name, samples in others.items() if (found := _Shared.of(mine, samples)) is not None}
        outside = {name: found for name, found in shared.items() if found.mean < ONE_VOICE}
        if not outside:
            return None
        closest = max(outside, key=lambda name: (outside[name].mean, name))
        nearest = outside[closest]
        pairs = [_Shared.of(others[a], others[b]) for a, b in combinations(outside, 2)]
        among = max((pair.mean for pair in pairs if pair is not None and pair.mean < ONE_VOICE), default=None)
        here = f"its answers share {_percent(nearest.mean)} of their text with those of {one_line(closest, 80)}"
        if among is not None and nearest.high < UNLIKE and 2 * nearest.mean < among:
            sentence = f"{here}, the nearest; two others of the same model share {_percent(among)} with each other"
        elif nearest.high < NOTHING_ALIKE:
            sentence = f"{here}, which is the same model: one of the two does not answer what it is asked"
        else:
            return None
        return self.finding(sentence, affected=nearest.cases, of=nearest.cases)


@dataclass(frozen=True, slots=True)
class _Shared:
    """The mean similarity over cases, and the upper end of its interval at 95 %."""

    mean: float
    high: float
    cases: int

    @classmethod
    def of(cls, a: Sequence[Sample], b: Sequence[Sample]) -> _Shared | None:
        """Return it for the cases where one of the two says enough; None when they are too few."""
        values = [similarity(x, y) for x, y in _pairs(a, b) if max(len(x), len(y)) >= _SHORT]
        n = len(values)
        if n < FEWEST_CASES:
            return None
        return cls(fmean(values), fmean(values) + quantile(0.975, n - 1) * stdev(values) / sqrt(n), n)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _is_shown(mine: Sequence[Sample], theirs: Sequence[Sample], cases: Mapping[str, Case]) -> bool:
    """Return whether more cases have an unusable answer here alone than chance would bring: the sign test, one-sided.

    It takes five cases that are unusable here alone and none the other way round: 1/2^5 < 0.05.
    """
    ours, others = _first_answers(mine), _first_answers(theirs)
    pairs = [
        (is_unusable(ours[case], cases[case]), is_unusable(others[case], cases[case]))
        for case in ours
        if case in others and case in cases
    ]
    here, there = (sum(pair == kind for pair in pairs) for kind in ((True, False), (False, True)))
    n = here + there
    return 20 * sum(comb(n, k) for k in range(here, n + 1)) < 1 << n


def _unusable(samples: Sequence[Sample], cases: Mapping[str, Case]) -> tuple[int, int]:
    """Return how many answers are unusable, out of how many."""
    known = [sample for sample in answered(samples) if sample.case in cases]
    return sum(is_unusable(sample, cases[sample.case]) for sample in known), len(known)
