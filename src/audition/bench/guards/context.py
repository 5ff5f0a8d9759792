"""Is the context as large as it is said to be?"""

from __future__ import annotations

from dataclasses import dataclass

from audition.bench.guards.asking import unlike_others, words
from audition.bench.guards.base import Ask, Evidence, Finding, Guard, has_answer
from audition.bench.plan import Target
from audition.bench.sample import Sample

SHORTER, LONGER = 24, 160
"""Words of the two prompts that give the tokens per word."""
BUDGET_S = 10.0
"""What the long prompt may take, judged by the speed of the others."""
FULL = 0.9
"""Part of the advertised context that is tried at most: the answer and the estimate need the rest."""
_TOKENS = 16
_CODE_WORD = "kestrel"
_MOST_WORDS = 200_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """Prompt tokens as a straight line over words."""

    per_word: float
    besides: float

    @classmethod
    def of(cls, short: Sample | None, medium: Sample | None) -> Tokens | None:
        """Return the line through the two prompts; None where they have no counts, or counts that do not grow."""
        if short is None or medium is None or not short.prompt_tokens or not medium.prompt_tokens:
            return None
        per_word = (medium.prompt_tokens - short.prompt_tokens) / (LONGER - SHORTER)
        if per_word < 0.5:
            return None
        return cls(per_word, short.prompt_tokens - per_word * SHORTER)

    def at(self, count: int) -> int:
        """Return the tokens of a prompt with so many words."""
        return round(self.besides + self.per_word * count)


class ContextTooSmall(Guard):
    """The endpoint reads less of a prompt than the context that it advertises."""

    code = questions = "context_too_small"
    taints = ("quality", "ttft", "ttfa", "latency", "prefill_tps", "prompt_tokens")
    share = 0.8

    def applies(self, target: Target) -> bool:
        """Return whether there is a context to hold the answers against."""
        return advertised(target) is not None

    async def probe(self, ask: Ask, target: Target) -> None:
        """Ask a short and a medium prompt, then one as near to the advertised context as the time allows."""
        short = await ask("short", _prompt(SHORTER), max_tokens=_TOKENS)
        if not has_answer(short):
            return
        medium = await ask("medium", _prompt(LONGER), max_tokens=_TOKENS)
        context, tokens = advertised(target), Tokens.of(short, medium)
        if context is None or tokens is None or not has_answer(medium):
            return
        affordable = _tokens_per_s(short, medium) * BUDGET_S
        room = min(affordable, FULL * context - _TOKENS) - tokens.besides
        count = min(int(room / tokens.per_word), _MOST_WORDS)
        if count > 2 * LONGER:
            # A report that is made later has to know how long it was.
            await ask(f"long_{count}", _prompt(count), max_tokens=_TOKENS)

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the prompt tokens of the long prompt with what its words must have."""
        context = advertised(evidence.target)
        tokens = Tokens.of(evidence.step(self.code, "short"), evidence.step(self.code, "medium"))
        prefix = f"{self.code}/long_"
        step = next((step for step in evidence.probes if step.startswith(prefix)), None)
        if context is None or tokens is None or step is None or not step.removeprefix(prefix).isdigit():
            return None
        sample, expected = evidence.probes[step], tokens.at(int(step.removeprefix(prefix)))
        if sample.error is not None and sample.error.get("code") == "context_length_exceeded":
            return self.finding(
                f"a prompt of about {expected:,} tokens is refused as too long, though a context of {context:,} is "
                "advertised"
            )
        read = sample.prompt_tokens if has_answer(sample) else None
        if read is None or read + (sample.cached_tokens or 0) >= self.share * expected:
            return None
        if _CODE_WORD in sample.text.casefold():
            return None  # It knows how the prompt began, so that was read, however it counts.
        partly = "" if expected > 0.8 * context else "; a prompt of the full size would have taken too long"
        return self.finding(
            f"of a prompt of about {expected:,} tokens only {read:,} were read, though a context of {context:,} is "
            f"advertised{partly}"
        )


def advertised(target: Target) -> int | None:
    """Return the context that the engine was loaded with, or that the server names, in tokens."""
    value = target.settings.get("context")
    return value if isinstance(value, int) and value > 0 else None


def _prompt(count: int) -> str:
    """Return a prompt of that many words, with what it asks for at the start of it."""
    start = unlike_others(f"The code word is {_CODE_WORD}. Then come plain words:").split()
    end = "What was the code word? Answer with that word."
    return " ".join([*start, words(count - len(start) - len(end.split())), end])


def _tokens_per_s(short: Sample, medium: Sample) -> float:
    """Return the prefill speed: from the difference of the two where that is clear, else the least it can be."""
    first, second = (sample.ttft_ms or sample.latency_ms or 0.0 for sample in (short, medium))
    more = (medium.prompt_tokens or 0) - (short.prompt_tokens or 0)
    least = (medium.prompt_tokens or 0) / max(second, 1.0)
    difference = second - first
    clear = difference > max(5.0, 0.2 * first)
    return 1000 * (max(least, more / difference) if clear else least)
