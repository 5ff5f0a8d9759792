"""How much text goes in and comes out: a model that says less is done sooner."""

from __future__ import annotations

from audition.bench.sample import Sample
from audition.summary.metrics.base import PerRequest, Records, counted_tokens


class CompletionTokens(PerRequest):
    """How long the answers are."""

    tag = "completion_tokens"
    header = "Answer length"
    unit = "tokens"
    formula = "completion tokens of a request, reasoning included, as `token_source` counts them"
    digits = 0
    failures_count = False
    counts_tokens = True

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when nobody counted, or the count cannot be."""
        tokens = counted_tokens(sample)
        return tokens if isinstance(tokens, str) else float(tokens)


class PromptTokens(PerRequest):
    """How long the prompts are, for this model's tokenizer and with its chat template."""

    tag = "prompt_tokens"
    header = "Prompt length"
    unit = "tokens"
    formula = "prompt tokens of a request, cached ones included, as the engine reports them"
    digits = 0
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when the engine does not say, or says 0: no prompt is empty."""
        if sample.prompt_tokens is None:
            return "the engine reports no prompt tokens"
        return float(sample.prompt_tokens) or "the server counts 0 tokens for a prompt"
