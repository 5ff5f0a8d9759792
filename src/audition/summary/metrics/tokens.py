"""How much text goes in and comes out: a model that says less is done sooner."""

from __future__ import annotations

from audition.bench.sample import Sample
from audition.summary.metrics.base import PerRequest, Records
from audition.summary.metrics.speed import NOT_COUNTED


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
        """A reason when nobody counted."""
        return NOT_COUNTED if sample.completion_tokens is None else float(sample.completion_tokens)


class PromptTokens(PerRequest):
    """How long the prompts are, for this model's tokenizer and with its chat template."""

    tag = "prompt_tokens"
    header = "Prompt length"
    unit = "tokens"
    formula = "prompt tokens of a request, cached ones included, as the engine reports them"
    digits = 0
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when the engine does not say."""
        tokens = sample.prompt_tokens
        return "the engine reports no prompt tokens" if tokens is None else float(tokens)
