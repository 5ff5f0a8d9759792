"""Was the work done, or remembered? Prompts and whole answers that come from a cache."""

from __future__ import annotations

from audition.bench.guards.asking import unlike_others, words
from audition.bench.guards.base import (
    TIMES,
    TTFT,
    Ask,
    Evidence,
    Finding,
    Guard,
    all_marked,
    has_answer,
    said,
)
from audition.bench.plan import Target
from audition.bench.sample import Sample

_LEAST_MS = 4.0
"""A difference below this proves nothing, whatever its ratio."""
_MADE_TO_DIFFER = "measured prompts were made to differ, so that it does not touch them"


class CachedPrompt(Guard):
    """Part of a prompt came from a cache, so its prefill was not measured."""

    code = "cached_prompt"
    taints = (*TTFT, "latency", "time_to_answer", "prefill_tps", "e2e_tps", "throughput")

    def check(self, evidence: Evidence) -> Finding | None:
        """Trust what the engine reports."""
        hits = sum(bool(sample.cached_tokens) for sample in evidence.samples)
        if not hits:
            return None
        n = len(evidence.samples)
        return self.finding(f"{hits} of {n} prompts were answered from a prompt cache", affected=hits, of=n)


class PromptCachedSilently(Guard):
    """The server keeps prompts and does not say so."""

    code = questions = "prompt_cached_silently"
    taints = CachedPrompt.taints
    pairs = 4
    ratio = 0.6

    async def probe(self, ask: Ask, target: Target) -> None:
        """Ask long prompts, each twice, as long as the second time is clearly the quicker one."""
        for pair in range(1, self.pairs + 1):
            prompt = unlike_others(f"Here are some words: {words(220)}. Say one of them.")
            fresh = await ask(f"fresh_{pair}", prompt, max_tokens=4, seed=2 * pair)
            if not has_answer(fresh):
                return
            # With another seed it is another request for a cache of whole answers, but not for one of prompts.
            repeat = await ask(f"repeat_{pair}", prompt, max_tokens=4, seed=2 * pair + 1)
            if repeat.cached_tokens or not _quicker(fresh, repeat, self.ratio, _LEAST_MS):
                return

    def check(self, evidence: Evidence) -> Finding | None:
        """Want every pair to show it: four of four by chance would need a lot of noise."""
        least = max(_LEAST_MS, 3 * (evidence.noise_floor_ms or 0.0))
        pairs = []
        for pair in range(1, self.pairs + 1):
            fresh, repeat = evidence.step(self.code, f"fresh_{pair}"), evidence.step(self.code, f"repeat_{pair}")
            if fresh is None or repeat is None or repeat.cached_tokens:
                return None
            if not _quicker(fresh, repeat, self.ratio, least):
                return None
            pairs.append((fresh.ttft_ms or 0.0, repeat.ttft_ms or 0.0))
        fresh_ms, repeat_ms = (sorted(times)[len(times) // 2] for times in zip(*pairs, strict=True))
        sentence = f"the server keeps prompts without saying so: TTFT is {fresh_ms:,.0f} ms, and {repeat_ms:,.0f} ms "
        sentence += "when the prompt comes again"
        if all_marked(evidence.samples):
            return self.finding(f"{sentence}; {_MADE_TO_DIFFER}", taints=())
        return self.finding(sentence)


def _quicker(fresh: Sample, repeat: Sample, ratio: float, least_ms: float) -> bool:
    if fresh.ttft_ms is None or repeat.ttft_ms is None:
        return False
    return repeat.ttft_ms < ratio * fresh.ttft_ms and fresh.ttft_ms - repeat.ttft_ms >= least_ms


class ResponseCached(Guard):
    """The server gives an earlier answer again instead of generating one."""

    code = "response_cached"
    taints = (*TIMES, "energy_per_token", "energy_per_answer")
    questions = "seed_ignored"
    pairs = (
        ("seed_ignored/once", "seed_ignored/again"),
        ("temperature_ignored/zero", "temperature_ignored/zero_again"),
    )
    others = ("temperature_ignored/hot_1", "temperature_ignored/hot_2")
    ratio = 5.0
    characters = 30

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the identical requests of other guards' probes, by the time from the first text to the last.

        The repeat must be quicker than every answer that was not one, so that one stall does not look like a cache.
        """
        steps = evidence.probes
        # One of the others that was asked again has the prompt it had, so that it may be remembered itself.
        others = [step for step in self.others if step in steps and steps[step].repeat == 0]
        fresh = [steps[step] for step in (*(first for first, _ in self.pairs), *others) if step in steps]
        spans = [
            span for sample in fresh if len(said(sample)) >= self.characters and (span := _span(sample)) is not None
        ]
        for first, second in self.pairs:
            if first not in steps or second not in steps or len(spans) < 2:
                continue
            repeat = _span(steps[second])
            same = said(steps[first]) == said(steps[second]) and len(said(steps[first])) >= self.characters
            if same and repeat is not None and self._is_from_cache(min(spans), repeat):
                sentence = (
                    f"an answer that had been given before came again {self._times(min(spans), repeat)}: the server "
                    "keeps whole answers"
                )
                if all_marked(evidence.samples):
                    return self.finding(f"{sentence}; {_MADE_TO_DIFFER}", taints=())
                return self.finding(sentence)
        return None

    def _is_from_cache(self, fresh_ms: float, repeat_ms: float) -> bool:
        return fresh_ms >= self.ratio * repeat_ms and fresh_ms - repeat_ms >= _LEAST_MS

    @staticmethod
    def _times(fresh_ms: float, repeat_ms: float) -> str:
        return f"in {repeat_ms:,.1f} ms instead of {fresh_ms:,.1f} ms"


def _span(sample: Sample) -> float | None:
    """Return the time that the text took to come, ms; all of the request's where it came at once."""
    if not has_answer(sample):
        return None
    times = sample.chunk_times_ms
    return times[-1] - times[0] if len(times) > 1 and times[-1] > times[0] else sample.latency_ms
