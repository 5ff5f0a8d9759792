"""Guards: is what we are talking to honest, and are the answers answers? Each marks the numbers it taints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from audition.bench.guards.asking import patiently
from audition.bench.guards.base import Ask, Evidence, Finding, Guard, NotKnown, answered, has_answer
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

__all__ = ["GUARDS", "Ask", "Evidence", "Finding", "Guard", "NotKnown", "not_known", "run_guards", "run_probes"]

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

    What fails and may not fail again is asked once more.

    Args:
        ask_for: Returns the function with which the guard with this code asks; it records what comes back as
            `code/step`.
        target: What is asked.

    Raises:
        AuditionError: What asking raised: there is no point in asking more.
    """
    for guard in GUARDS:
        await guard.probe(patiently(ask_for(guard.code)), target)


def run_guards(evidence: Evidence) -> list[Finding]:
    """Return what every guard found about one target, the gravest first; nothing where nothing was measured."""
    if not evidence.samples:
        return []
    found = ((guard, guard.check(evidence)) for guard in GUARDS)
    return [replace(finding, levels=_levels(guard, evidence)) for guard, finding in found if finding is not None]


def _levels(guard: Guard, evidence: Evidence) -> tuple[str, ...]:
    """Return the load levels at which a guard finds something by themselves; empty for all, or where it takes all."""
    levels = sorted({sample.level for sample in evidence.samples})
    if len(levels) < 2:
        return ()
    alone = {level: [sample for sample in evidence.samples if sample.level == level] for level in levels}
    hit = tuple(level for level in levels if guard.check(replace(evidence, samples=alone[level])) is not None)
    return () if len(hit) == len(levels) else hit


def not_known(evidence: Evidence, findings: Sequence[Finding]) -> list[NotKnown]:
    """Return the guards that could not find out, because their questions failed; nothing where nothing was answered.

    Args:
        evidence: What was left of the target.
        findings: What the guards found in it: who found something knows enough.
    """
    if not answered(evidence.samples):
        return []
    found = {finding.code for finding in findings}
    unasked = _unasked(evidence)
    unknown = []
    for guard in GUARDS:
        if guard.questions is None or guard.code in found or not guard.applies(evidence.target):
            continue
        mine = [sample for step, sample in evidence.probes.items() if step.startswith(f"{guard.questions}/")]
        codes = {sample.error["code"] for sample in mine if sample.error is not None and not has_answer(sample)}
        if not codes and evidence.probes_ended is not None and guard.questions in unasked:
            codes = {evidence.probes_ended}
        if codes:
            unknown.append(NotKnown(guard.code, ", ".join(sorted(codes))))
    return unknown


def _unasked(evidence: Evidence) -> set[str]:
    """Return the guards that may have had more to ask when the probes ended: the last one that asked, and what follows.

    A request that an engine died of leaves no sample, so nobody knows how far that last guard had come.
    """
    codes = [guard.code for guard in GUARDS]
    asked = [codes.index(step.partition("/")[0]) for step in evidence.probes if step.partition("/")[0] in codes]
    return set(codes[max(asked, default=0) :])
