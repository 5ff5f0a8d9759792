"""What a guard is: a check that a number, or the endpoint behind it, is what it claims to be."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from audition.bench.plan import Case, Plan, Settings, Target
from audition.bench.sample import Load, Sample

TTFT = ("ttft", "ttfa")
TOKEN_TIMES = ("itl", "decode_tps", "tpot", "chars_per_s")
TIMES = (
    *(*TTFT, "latency", "time_to_answer", *TOKEN_TIMES),
    *("prefill_tps", "e2e_tps", "throughput", "request_rate", "first_request", "load_time", "bandwidth_use"),
)
"""Whatever depends on how fast the machine was."""
TOKEN_COUNTS = (
    *("decode_tps", "tpot", "prefill_tps", "e2e_tps", "throughput", "bandwidth_use", "completion_tokens"),
    *("prompt_tokens", "energy_per_token", "energy_per_token_net"),
)
"""Whatever is worked out from a number of tokens."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a guard may look at: one target of a run.

    Attributes:
        samples: The measured samples only, of all load levels; first and warm-up requests are not what is reported.
        first: The first request after each load.
        probes: What the guards themselves asked before the run, by `code/step`; empty when probes were switched off.
        cases: By id.
        host: The content of `host.json`.
        probes_ended: The code of the error that ended the probes before everything was asked; None if nothing did.
        others: The measured samples of the other targets of the same model, by the target's name.
    """

    target: Target
    samples: Sequence[Sample]
    first: Sequence[Sample]
    loads: Sequence[Load]
    cases: dict[str, Case]
    settings: Settings
    probes: Mapping[str, Sample] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    probes_ended: str | None = None
    others: Mapping[str, Sequence[Sample]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        plan: Plan,
        target: Target,
        samples: Sequence[Sample],
        loads: Sequence[Load],
        host: Mapping[str, Any],
    ) -> Evidence:
        """Return what a run recorded of one target, and of others with its model, from the samples and loads of all.

        A probe may have been asked again, because it failed or after a resume, and the last answer counts. The load for
        the probes is left out: it is not measured.
        """
        mine = [sample for sample in samples if sample.target == target.id]
        probes = sorted((s for s in mine if s.phase == "probe"), key=lambda sample: (sample.attempt, sample.repeat))
        end = max((load for load in loads if load.target == target.id and load.round == 0), key=_attempt, default=None)
        last = max(probes, key=lambda sample: (sample.attempt, sample.sent_ns or 0), default=None)
        ended = None if end is None or end.error is None else end.error["code"]
        return cls(
            target=target,
            samples=[sample for sample in mine if sample.phase == "measured"],
            first=[sample for sample in mine if sample.phase == "first"],
            loads=[load for load in loads if load.target == target.id and load.round > 0],
            cases={case.id: case for case in plan.cases},
            settings=plan.settings,
            probes={sample.case: sample for sample in probes},
            # That it was given up says less than what it was given up for.
            probes_ended=last.error["code"] if ended == "gave_up" and last is not None and last.error else ended,
            host=host,
            others={
                other.id: [s for s in samples if s.target == other.id and s.phase == "measured"]
                for other in plan.targets
                if other.model == target.model and other.id != target.id
            },
        )

    def step(self, code: str, step: str) -> Sample | None:
        """Return what came back from a probe's step; None when it was not asked, or failed."""
        sample = self.probes.get(f"{code}/{step}")
        return sample if sample is not None and has_answer(sample) else None

    @property
    def noise_floor_ms(self) -> float | None:
        """The most that a TTFT was off on this machine, as it was measured before the run; None if it was not."""
        floor = self.host.get("noise_floor")
        ttft = floor.get("ttft_ms") if isinstance(floor, Mapping) else None
        return number(ttft, "max") if isinstance(ttft, Mapping) else None

    def answers(self) -> list[Sample]:
        """Return what was answered, probes and measured requests alike."""
        return answered([*self.probes.values(), *self.samples])


@dataclass(frozen=True, slots=True)
class Finding:
    """A guard that failed.

    Attributes:
        sentence: For people, about this target.
        taints: The metrics whose numbers it marks; `quality` is one of them.
        disqualifies: The target must not be picked while this stands.
        affected: How many samples, out of `of`.
        levels: The load levels that it concerns; empty for all of them.
    """

    code: str
    sentence: str
    taints: tuple[str, ...]
    disqualifies: bool = False
    affected: int | None = None
    of: int | None = None
    levels: tuple[str, ...] = ()

    def concerns(self, level: str) -> bool:
        """Return whether it says something about what was measured at a load level."""
        return not self.levels or level in self.levels


@dataclass(frozen=True, slots=True)
class NotKnown:
    """A guard that could not find out, because its questions were not answered.

    Attributes:
        code: The guard's.
        reason: The codes of the errors that came instead.
    """

    code: str
    reason: str


class Ask(Protocol):
    """Sends a probe's request and records what comes back, as `code/step`."""

    async def __call__(
        self, step: str, prompt: str, *, max_tokens: int = 16, temperature: float = 0.0, seed: int | None = 0
    ) -> Sample:
        """Ask one user message; a failure is in the sample's status, it is not raised."""
        ...


class Guard(ABC):
    """One guard. A new one is a subclass and a line in `GUARDS`."""

    code: ClassVar[str]
    taints: ClassVar[tuple[str, ...]]
    questions: ClassVar[str | None] = None
    """The code of the guard whose probes answer it, mostly its own; None where it needs none."""

    def applies(self, target: Target) -> bool:
        """Return whether the answers to its questions can tell anything of such a target."""
        return True

    async def probe(self, ask: Ask, target: Target) -> None:
        """Ask what this guard needs to know; most look only at what the run leaves behind."""
        return

    @abstractmethod
    def check(self, evidence: Evidence) -> Finding | None:
        """Return what is wrong with this target, or None."""

    def finding(
        self,
        sentence: str,
        *,
        affected: int | None = None,
        of: int | None = None,
        disqualifies: bool = False,
        taints: tuple[str, ...] | None = None,
    ) -> Finding:
        """Return a finding of this guard; `taints` where it marks less than it usually does."""
        return Finding(self.code, sentence, self.taints if taints is None else taints, disqualifies, affected, of)


def _attempt(load: Load) -> int:
    return load.attempt


def has_answer(sample: Sample) -> bool:
    """Return whether there is an answer to look at."""
    return sample.status in ("ok", "truncated")


def answered(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that have an answer to look at: failed requests are counted elsewhere."""
    return [sample for sample in samples if has_answer(sample)]


def said(sample: Sample) -> str:
    """Return all that the model wrote, its reasoning included."""
    return sample.reasoning + sample.text


def noted(sample: Sample, note: str) -> bool:
    """Return whether the client noted this of the stream (`engines.protocol.Wire.notes`)."""
    return sample.wire is not None and note in (sample.wire.get("notes") or ())


def number(record: Mapping[str, Any] | None, name: str) -> float | None:
    """Return a finite number of a record that came from a file; None where there is none."""
    value = None if record is None else record.get(name)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and value is not None else None


def asked_number(sample: Sample, name: str) -> float | None:
    """Return a number that was sent with the request, such as `max_tokens`."""
    return number(sample.asked, name)


def all_marked(samples: Sequence[Sample]) -> bool:
    """Return whether every prompt was made to differ from all others, so that no cache can know it."""
    return bool(samples) and all(sample.asked is not None and sample.asked.get("mark") for sample in samples)
