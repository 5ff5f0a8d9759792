"""What a guard is: a check that a number, or the endpoint behind it, is what it claims to be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from audition.bench.plan import Case, Settings, Target
from audition.bench.sample import Load, Sample


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a guard may look at: one target of a run.

    Attributes:
        samples: The measured samples only; first and warm-up requests are not what is reported.
        first: The first request after each load.
        cases: By id.
    """

    target: Target
    samples: Sequence[Sample]
    first: Sequence[Sample]
    loads: Sequence[Load]
    cases: dict[str, Case]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """A guard that failed.

    Attributes:
        sentence: For people, about this target.
        taints: The metrics whose numbers it marks; `quality` is one of them.
        disqualifies: The target must not be picked while this stands.
        affected: How many samples, out of `of`.
    """

    code: str
    sentence: str
    taints: tuple[str, ...]
    disqualifies: bool = False
    affected: int | None = None
    of: int | None = None


class Guard(ABC):
    """One guard. A new one is a subclass and a line in `GUARDS`."""

    code: ClassVar[str]
    taints: ClassVar[tuple[str, ...]]

    @abstractmethod
    def check(self, evidence: Evidence) -> Finding | None:
        """Return what is wrong with this target, or None."""

    def finding(
        self, sentence: str, *, affected: int | None = None, of: int | None = None, disqualifies: bool = False
    ) -> Finding:
        """Return a finding of this guard."""
        return Finding(self.code, sentence, self.taints, disqualifies, affected, of)


def answered(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that have an answer to look at: failed requests are counted elsewhere."""
    return [sample for sample in samples if sample.status in ("ok", "truncated")]
