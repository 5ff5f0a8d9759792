"""Is what we talk to set up as we think: template, cache, token limit, repeatability, memory given back."""

from __future__ import annotations

from collections import defaultdict

from audition.bench.guards.base import Evidence, Finding, Guard, answered


class MissingChatTemplate(Guard):
    """The model file has no chat template, so the engine has to make one up."""

    code = "missing_chat_template"
    taints = ("quality",)

    def check(self, evidence: Evidence) -> Finding | None:
        """Trust the file's header."""
        if evidence.target.has_chat_template is not False:
            return None
        base = ": it is a base model that was never taught to answer" if evidence.target.instruct is False else ""
        return self.finding(
            f"the model file has no chat template{base}; {evidence.target.engine} fell back to one of its own"
        )


class CachedPrompt(Guard):
    """Part of a prompt came from a cache, so its prefill was not measured."""

    code = "cached_prompt"
    taints = ("ttft", "latency", "prefill_tps")

    def check(self, evidence: Evidence) -> Finding | None:
        """Trust what the engine reports."""
        hits = sum(bool(sample.cached_tokens) for sample in evidence.samples)
        if not hits:
            return None
        n = len(evidence.samples)
        return self.finding(f"{hits} of {n} prompts were answered from a prompt cache", affected=hits, of=n)


class Truncation(Guard):
    """Answers were cut by the token limit."""

    code = "truncated_answers"
    taints = ("latency", "quality")

    def check(self, evidence: Evidence) -> Finding | None:
        """Count the answers whose finish reason is the length."""
        samples = answered(evidence.samples)
        cut = sum(sample.status == "truncated" for sample in samples)
        if not cut:
            return None
        return self.finding(
            f"{cut} of {len(samples)} answers were cut at the token limit; their latency is that of the limit, and "
            "checks score them 0",
            affected=cut,
            of=len(samples),
        )


class NotRepeatable(Guard):
    """In deterministic mode the same prompt gave different answers."""

    code = "not_repeatable"
    taints = ("quality",)

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the answers to each case over the rounds; the first request repeats one even in a single round."""
        if not evidence.settings.deterministic:
            return None
        texts: dict[str, set[str]] = defaultdict(set)
        for sample in answered([*evidence.first, *evidence.samples]):
            texts[sample.case].add(sample.text)
        changed = sum(len(variants) > 1 for variants in texts.values())
        if not changed:
            return None
        return self.finding(
            f"{changed} of {len(texts)} cases were answered differently when asked again, in deterministic mode",
            affected=changed,
            of=len(texts),
        )


class MemoryKept(Guard):
    """After unloading, the engine's process still holds much of what the model took."""

    code = "memory_not_given_back"
    taints = ("memory_after_unload",)
    share = 0.5
    floor_bytes = 32 * 2**20
    """What a load took is the process's own noise below this: imported code, buffers."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the resident sizes before loading, at the peak and after unloading."""
        worst = 0.0
        for load in evidence.loads:
            if load.baseline is None or load.peak is None or load.after_unload is None:
                continue
            taken = load.peak.total - load.baseline.total
            if taken >= self.floor_bytes:
                worst = max(worst, (load.after_unload.total - load.baseline.total) / taken)
        if worst <= self.share:
            return None
        return self.finding(
            f"after unloading, {worst:.0%} of the memory that the model took was still held until its process ended"
        )
