"""Guards: is what we are talking to honest, and are the answers answers? Each marks the numbers it taints."""

from __future__ import annotations

from collections.abc import Callable

from audition.bench.guards.base import Ask, Evidence, Finding, Guard
from audition.bench.guards.cache import CachedPrompt, PromptCachedSilently, ResponseCached
from audition.bench.guards.context import ContextTooSmall
from audition.bench.guards.degenerate import (
    EmptyOutput,
    PromptEcho,
    RepetitionLoop,
    SpecialTokens,
    UnclosedReasoning,
    UnusableAnswers,
    WrongScript,
)
from audition.bench.guards.drift import Drift
from audition.bench.guards.endpoint import DeviceFallback, MissingChatTemplate, TemplateNotApplied, WrongModel
from audition.bench.guards.failures import FailingRequests, Truncation
from audition.bench.guards.machine import BackgroundLoad, MemoryKept, OnBattery, Steal, Swapping, Throttled
from audition.bench.guards.same_model import EngineDisagrees, PromptsDiffer
from audition.bench.guards.sampler import (
    FinishReasonWrong,
    MaxTokensIgnored,
    NotRepeatable,
    SeedIgnored,
    TemperatureIgnored,
)
from audition.bench.guards.stream import BufferedStream, ChunksAreNotTokens, ClientLag
from audition.bench.guards.usage import UsageImplausible, UsageMissing
from audition.bench.plan import Target

__all__ = ["GUARDS", "Ask", "Evidence", "Finding", "Guard", "run_guards", "run_probes"]

GUARDS: tuple[Guard, ...] = (
    UnusableAnswers(),
    FailingRequests(),
    WrongModel(),
    DeviceFallback(),
    EngineDisagrees(),
    PromptsDiffer(),
    ContextTooSmall(),
    TemplateNotApplied(),
    MissingChatTemplate(),
    ResponseCached(),
    CachedPrompt(),
    PromptCachedSilently(),
    MaxTokensIgnored(),
    FinishReasonWrong(),
    UsageMissing(),
    UsageImplausible(),
    BufferedStream(),
    TemperatureIgnored(),
    SeedIgnored(),
    NotRepeatable(),
    EmptyOutput(),
    UnclosedReasoning(),
    PromptEcho(),
    RepetitionLoop(),
    SpecialTokens(),
    WrongScript(),
    Truncation(),
    Drift(),
    BackgroundLoad(),
    Steal(),
    Swapping(),
    Throttled(),
    OnBattery(),
    ClientLag(),
    MemoryKept(),
    ChunksAreNotTokens(),
)
"""Every guard, the gravest first: it is the order in which findings are shown, and in which probes are asked."""


async def run_probes(ask_for: Callable[[str], Ask], target: Target) -> None:
    """Ask everything that the guards want to know of one target: 12 short requests where it is honest, at most 20.

    Args:
        ask_for: Returns the function with which the guard with this code asks; it records what comes back as
            `code/step`.
        target: What is asked.

    Raises:
        AuditionError: What asking raised: there is no point in asking more.
    """
    for guard in GUARDS:
        await guard.probe(ask_for(guard.code), target)


def run_guards(evidence: Evidence) -> list[Finding]:
    """Return what every guard found about one target, the gravest first; nothing where nothing was measured."""
    if not evidence.samples:
        return []
    return [finding for guard in GUARDS if (finding := guard.check(evidence)) is not None]
