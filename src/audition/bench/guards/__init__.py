"""Guards: is what we are talking to honest, and are the answers answers? Each marks the numbers it taints."""

from __future__ import annotations

from audition.bench.guards.base import Evidence, Finding, Guard
from audition.bench.guards.degenerate import (
    EmptyOutput,
    PromptEcho,
    RepetitionLoop,
    SpecialTokens,
    UnusableAnswers,
)
from audition.bench.guards.endpoint import (
    CachedPrompt,
    MemoryKept,
    MissingChatTemplate,
    NotRepeatable,
    Truncation,
)

__all__ = ["GUARDS", "Evidence", "Finding", "Guard", "run_guards"]

GUARDS: tuple[Guard, ...] = (
    UnusableAnswers(),
    MissingChatTemplate(),
    EmptyOutput(),
    PromptEcho(),
    RepetitionLoop(),
    SpecialTokens(),
    Truncation(),
    CachedPrompt(),
    NotRepeatable(),
    MemoryKept(),
)


def run_guards(evidence: Evidence) -> list[Finding]:
    """Return what every guard found about one target, the gravest first."""
    return [finding for guard in GUARDS if (finding := guard.check(evidence)) is not None]
