"""Are the token counts there, and can they be right?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from audition.bench.guards.base import TOKEN_COUNTS, Evidence, Finding, Guard, answered, asked_number, noted, said
from audition.bench.guards.context import LONGER, SHORTER, ContextTooSmall
from audition.bench.sample import Sample

_FEW_CHARACTERS, _MANY_CHARACTERS = 0.7, 12.0
"""Characters per token that no tokenizer stays outside of over a whole answer in an alphabet."""
_ENOUGH = 8
"""Tokens from which an average says anything."""
_SHARE = 0.1
"""Part of the answers that have to be off: one among many may have a reason of its own."""
_ESTIMATED = frozenset({"estimate"})


def is_too_long(sample: Sample) -> bool:
    """Return whether the text itself is longer than its limit allows.

    A word has a token of its own, so words can be counted; what usage says counts only where pieces or words agree.
    """
    limit = asked_number(sample, "max_tokens")
    if limit is None:
        return False
    words = len(said(sample).split())
    letters = len("".join(said(sample).split()))
    told = sample.completion_tokens is not None and sample.completion_tokens > limit + 1
    seen = len(sample.chunk_times_ms) > limit + 1 or words > limit
    return (told and seen) or words > 2 * limit or letters > 32 * limit


def misfit(sample: Sample) -> str | None:
    """Return in what way the token count does not fit the answer; None when it does, or is not there."""
    tokens, limit, pieces = sample.completion_tokens, asked_number(sample, "max_tokens"), len(sample.chunk_times_ms)
    if tokens is None:
        return None
    if tokens == 0:
        return "report 0 tokens for a text" if said(sample) else None
    if limit is not None and tokens > limit + 1 and not is_too_long(sample):
        return "report more tokens than their limit, without the text to show for it"
    if tokens < pieces - 2:
        return "report fewer tokens than pieces of text"
    confirmed = tokens <= pieces + 2
    return None if confirmed or _fits_length(said(sample), tokens) else "do not fit the length of their text"


def _fits_length(text: str, tokens: int) -> bool:
    """Return whether the text may have so many tokens; signs, unlike letters, may be more than one token each."""
    in_alphabet = sum(character < "\u2e80" for character in text) > 0.9 * len(text)
    if tokens < _ENOUGH or not in_alphabet:
        return True
    return _FEW_CHARACTERS <= len(text) / tokens <= _MANY_CHARACTERS


def tokens_fit(sample: Sample) -> bool:
    """Return whether there is a token count, and the answer does not contradict it."""
    return sample.completion_tokens is not None and misfit(sample) is None


class UsageMissing(Guard):
    """The server does not say how many tokens an answer has."""

    code = "usage_missing"
    taints = TOKEN_COUNTS

    def check(self, evidence: Evidence) -> Finding | None:
        """Look at the measured answers; at the probes' where there are none."""
        samples = answered(evidence.samples) or evidence.answers()
        samples = [sample for sample in samples if sample.wire is not None]
        missing = sum(
            sample.completion_tokens is None or sample.token_source in _ESTIMATED or noted(sample, "no_usage")
            for sample in samples
        )
        if not missing:
            return None
        return self.finding(
            f"{missing} of {len(samples)} answers come without token counts: figures in tokens are estimates, or "
            "not known",
            affected=missing,
            of=len(samples),
        )


class UsageImplausible(Guard):
    """Token counts that cannot be right."""

    code = "usage_implausible"
    taints = TOKEN_COUNTS

    def check(self, evidence: Evidence) -> Finding | None:
        """Hold the counts against the texts, against the limit, and against the prompts."""
        samples = evidence.answers()
        faults = Counter(fault for sample in samples if (fault := misfit(sample) or _prompt_misfit(sample, evidence)))
        bad = sum(faults.values())
        growth = _prompt_growth(evidence)
        if growth is None and (not bad or bad < _SHARE * len(samples)):
            return None
        sentences = [f"{count} {fault}" for fault, count in _commonest(faults)] if bad else []
        if growth is not None:
            sentences.append(growth)
        return self.finding(
            f"of {len(samples)} token counts, {'; '.join(sentences)}",
            affected=bad or None,
            of=len(samples) if bad else None,
        )


def _commonest(faults: Counter[str]) -> Iterator[tuple[str, int]]:
    yield from sorted(faults.items(), key=lambda item: (-item[1], item[0]))[:3]


def _prompt_misfit(sample: Sample, evidence: Evidence) -> str | None:
    case = evidence.cases.get(sample.case)
    if case is None or sample.prompt_tokens is None:
        return None
    characters = sum(len(message["content"]) for message in case.messages)
    if sample.prompt_tokens + (sample.cached_tokens or 0) < characters / _MANY_CHARACTERS:
        return "report fewer prompt tokens than their prompt can have"
    return None


def _prompt_growth(evidence: Evidence) -> str | None:
    """Return what is wrong when a prompt of more words does not have more tokens."""
    shorter, longer = (evidence.step(ContextTooSmall.code, step) for step in ("short", "medium"))
    if shorter is None or longer is None or shorter.prompt_tokens is None or longer.prompt_tokens is None:
        return None
    if longer.prompt_tokens - shorter.prompt_tokens >= 0.5 * (LONGER - SHORTER):
        return None
    return (
        f"a prompt of {LONGER} words has {longer.prompt_tokens} and one of {SHORTER} words {shorter.prompt_tokens}: "
        "they do not grow with the prompt"
    )
