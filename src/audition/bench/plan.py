"""The plan: which targets answer which cases, in which order, with which settings; complete enough to run again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from audition.errors import AuditionError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt with what is expected of the answer.

    Attributes:
        messages: Role and content pairs, as a chat endpoint takes them.
        max_tokens: The most tokens an answer may have; None means the plan's own limit.
        expect: The checks as the person wrote them, one entry a check.
        cluster: Cases with the same value share material (a document, say) and are not independent.
    """

    id: str
    messages: tuple[dict[str, str], ...]
    max_tokens: int | None = None
    expect: tuple[Any, ...] = ()
    reference: str | None = None
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    cluster: str | None = None

    @property
    def prompt(self) -> str:
        """The last thing the user says."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), "")


@dataclass(frozen=True, slots=True)
class Target:
    """The thing that is measured: variant x engine x device x settings.

    Attributes:
        id: Stable: the same variant, engine, device and settings give the same id.
        digest: SHA-256 of the weights.
        has_chat_template: Whether the model file brings its own; None when nobody knows.
        disk_bytes: Unique bytes of the variant's files.
        memory_estimate_bytes: Weights, KV cache and working memory, from the header; None when it cannot be told.
    """

    id: str
    model: str
    variant: str
    format: str
    quantization: str | None
    engine: str
    device: str
    settings: dict[str, Any]
    digest: str
    licence: str | None
    licence_class: str
    disk_bytes: int
    has_chat_template: bool | None = None
    instruct: bool | None = None
    memory_estimate_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every request of a plan.

    Attributes:
        rounds: How often every target is loaded and answers all cases.
        warmup: Requests after the first one that are recorded but not counted.
        timeout_s: Limit for one request.
        seed: Of the sampler, and of the order of blocks and cases.
    """

    rounds: int = 3
    warmup: int = 1
    max_tokens: int = 120
    temperature: float = 0.2
    deterministic: bool = False
    seed: int = 0
    timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Block:
    """One load of one target and the cases it then answers: self-contained, so that it can be run anywhere."""

    id: str
    round: int
    target: str
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Targets x cases x repeats, and the order in which they are asked."""

    name: str
    created_at: str
    targets: tuple[Target, ...]
    cases: tuple[Case, ...]
    settings: Settings
    blocks: tuple[Block, ...]
    load_pattern: dict[str, Any] = field(default_factory=lambda: {"kind": "closed-loop", "concurrency": 1})

    def target(self, target_id: str) -> Target:
        """Return the target with this id."""
        return next(target for target in self.targets if target.id == target_id)

    def case(self, case_id: str) -> Case:
        """Return the case with this id."""
        return next(case for case in self.cases if case.id == case_id)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `plan.json`."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """Read the content of `plan.json`.

        Raises:
            AuditionError: It was written by another version, or is damaged.
        """
        try:
            if data["schema"] != SCHEMA:
                raise AuditionError(f"the plan has schema {data['schema']}; this version reads {SCHEMA}")
            blocks = [Block(**{**block, "cases": tuple(block["cases"])}) for block in data["blocks"]]
            targets = tuple(Target(**target) for target in data["targets"])
            cases = tuple(_case(case) for case in data["cases"])
            named = {name for block in blocks for name in (block.target, *block.cases)}
            if unknown := named - {target.id for target in targets} - {case.id for case in cases}:
                raise KeyError(*sorted(unknown))
            return cls(
                name=data["name"],
                created_at=data["created_at"],
                targets=targets,
                cases=cases,
                settings=Settings(**data["settings"]),
                blocks=tuple(blocks),
                load_pattern=data["load_pattern"],
            )
        except (KeyError, TypeError) as error:
            raise AuditionError(f"the plan is damaged ({error})", code="bad_plan") from error


def _case(data: dict[str, Any]) -> Case:
    sequences = {name: tuple(data[name]) for name in ("messages", "expect", "tags")}
    return Case(**{**data, **sequences})


def target_id(variant: str, engine: str, device: str, settings: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return a target's stable id, such as `smollm2-135m:q4_1/llamacpp/cpu`.

    Settings that differ from the engine's defaults add a short digest, so that two ids never mean different things.
    """
    base = f"{variant}/{engine}/{device}"
    changed = {name: value for name, value in settings.items() if defaults.get(name) != value}
    if not changed:
        return base
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
    return f"{base}#{digest[:6]}"


def make_blocks(targets: Sequence[Target], cases: Sequence[Case], settings: Settings) -> tuple[Block, ...]:
    """Lay out the blocks: in every round each target once, targets and cases shuffled with the recorded seed.

    A randomised complete block design: drift and heat of the machine fall on all targets alike.
    """
    rng = random.Random(f"audition-order-{settings.seed}")  # noqa: S311 - an order, not a secret
    blocks: list[Block] = []
    for round_ in range(1, settings.rounds + 1):
        order = list(targets)
        rng.shuffle(order)
        for target in order:
            shuffled = [case.id for case in cases]
            rng.shuffle(shuffled)
            blocks.append(Block(f"b{len(blocks) + 1:03d}", round_, target.id, tuple(shuffled)))
    return tuple(blocks)
