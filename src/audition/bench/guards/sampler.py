"""Does the endpoint do what it is asked for: temperature, seed, the limit of tokens, a true reason for the end?"""

from __future__ import annotations

from audition.bench.guards.asking import unlike_others
from audition.bench.guards.base import Ask, Evidence, Finding, Guard, answered, asked_number, has_answer, noted, said
from audition.bench.guards.context import advertised
from audition.bench.guards.usage import is_too_long, tokens_fit
from audition.bench.plan import Target
from audition.bench.sample import Sample

TOKENS = 24
HOT = 1.5
"""High enough that a sampled text differs, low enough that servers with an upper bound take it."""
_TELLING = 20
"""Characters that a text needs before its being the same again says anything."""


class TemperatureIgnored(Guard):
    """Temperature 0 does not repeat, or a high one changes nothing."""

    code = questions = "temperature_ignored"
    taints = ("quality",)
    hot_steps = ("hot_1", "hot_2", "hot_3")

    async def probe(self, ask: Ask, target: Target) -> None:
        """Ask one prompt twice without a temperature, then with a high one until an answer differs.

        The seeds differ, so that a server that samples all the same, but from the seed, is seen.
        """
        prompt = unlike_others("Write the beginning of a story that nobody has told yet.")
        cold = await ask("zero", prompt, max_tokens=TOKENS, temperature=0.0, seed=11)
        if not has_answer(cold):
            return
        await ask("zero_again", prompt, max_tokens=TOKENS, temperature=0.0, seed=12)
        for seed, step in enumerate(self.hot_steps, start=21):
            hot = await ask(step, prompt, max_tokens=TOKENS, temperature=HOT, seed=seed)
            if said(hot) != said(cold):
                return

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the texts. One hot answer that differs is enough: small models are nearly deterministic."""
        cold, again = evidence.step(self.code, "zero"), evidence.step(self.code, "zero_again")
        if cold is None:
            return None
        if again is not None and said(cold) != said(again):
            return self.finding("answers at temperature 0 do not repeat")
        hot = [evidence.step(self.code, step) for step in self.hot_steps]
        if len(said(cold)) >= _TELLING and all(sample is not None and said(sample) == said(cold) for sample in hot):
            return self.finding(
                f"temperature is ignored: {len(hot)} answers at temperature {HOT:g}, each with another seed, are word "
                "for word that at temperature 0"
            )
        return None


class SeedIgnored(Guard):
    """The same seed does not give the same text."""

    code = questions = "seed_ignored"
    taints = ("quality",)

    async def probe(self, ask: Ask, target: Target) -> None:
        """Send one request twice, at a high temperature."""
        prompt = unlike_others("Name things that one could find in an old attic, in any order.")
        first = await ask("once", prompt, max_tokens=TOKENS, temperature=HOT, seed=7)
        if has_answer(first):
            await ask("again", prompt, max_tokens=TOKENS, temperature=HOT, seed=7)

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the texts, unless the server refuses a seed in the first place."""
        if any(noted(sample, "no_seed") for sample in evidence.answers()):
            return self.finding("the server does not take a seed, so answers cannot be repeated")
        once, again = evidence.step(self.code, "once"), evidence.step(self.code, "again")
        if once is None or again is None or said(once) == said(again):
            return None
        return self.finding(f"the same seed gave two different answers at temperature {HOT:g}")


class MaxTokensIgnored(Guard):
    """Answers are longer than the limit that was sent."""

    code = questions = "max_tokens_ignored"
    taints = ("latency", "time_to_answer", "completion_tokens", "energy_per_answer", "energy_per_answer_net", "quality")

    async def probe(self, ask: Ask, target: Target) -> None:
        """Ask for more than fits."""
        await ask("eight", unlike_others("Tell me everything that you know about the sea."), max_tokens=8)

    def check(self, evidence: Evidence) -> Finding | None:
        """Look at every answer whose limit is known. What usage says alone is not enough: it may be what is wrong."""
        samples = [sample for sample in evidence.answers() if asked_number(sample, "max_tokens")]
        over = sum(map(is_too_long, samples))
        if not over:
            return None
        return self.finding(
            f"{over} of {len(samples)} answers are longer than their limit of tokens allows: max_tokens is ignored",
            affected=over,
            of=len(samples),
        )


class FinishReasonWrong(Guard):
    """What is said about an answer's end is not what happened."""

    code = "finish_reason_wrong"
    taints = ("quality", "time_to_answer")

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the reasons with the token counts, where those can be believed."""
        samples = evidence.answers()
        silent = sum(sample.wire is not None and sample.finish_reason is None for sample in samples)
        if silent:
            return self._found(silent, samples, "do not say why they ended, so that a cut is not seen")
        counted = [sample for sample in samples if tokens_fit(sample)]
        full = [s for s in counted if s.completion_tokens == asked_number(s, "max_tokens")]
        # An answer may happen to end by itself at its last token, so one text proves nothing.
        stopped = [sample for sample in full if sample.finish_reason == "stop"]
        if len({said(sample) for sample in stopped}) >= 2 and len(stopped) > len(full) / 2:
            return self._found(len(stopped), samples, 'were cut exactly at the token limit and say "stop"')
        early = sum(_ended_early(sample, evidence.target) for sample in counted)
        return self._found(early, samples, 'say "length" far below their limit') if early else None

    def _found(self, affected: int, samples: list[Sample], fault: str) -> Finding:
        return self.finding(f"{affected} of {len(samples)} answers {fault}", affected=affected, of=len(samples))


def _ended_early(sample: Sample, target: Target) -> bool:
    """Return whether "length" is said where neither the limit nor the context can have been reached."""
    limit, context = asked_number(sample, "max_tokens"), advertised(target)
    if sample.finish_reason != "length" or limit is None or context is None:
        return False
    used, prompt = sample.completion_tokens, sample.prompt_tokens
    return used is not None and prompt is not None and used < 0.5 * limit and used + prompt < 0.9 * context


class NotRepeatable(Guard):
    """In deterministic mode the same prompt gave different answers."""

    code = "not_repeatable"
    taints = ("quality",)

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the answers to each prompt over the rounds; the first request repeats one even in a single round."""
        if not evidence.settings.deterministic:
            return None
        texts: dict[tuple[str, object], set[str]] = {}
        for sample in answered([*evidence.first, *evidence.samples]):
            # A mark makes it another prompt, to which another answer is no contradiction.
            prompt = sample.case, (sample.asked or {}).get("mark")
            texts.setdefault(prompt, set()).add(sample.text)
        changed = len({case for (case, _), variants in texts.items() if len(variants) > 1})
        if not changed:
            return None
        of = len({case for case, _ in texts})
        return self.finding(
            f"{changed} of {of} cases were answered differently when asked again, in deterministic mode",
            affected=changed,
            of=of,
        )
