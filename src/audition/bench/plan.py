"""The plan: which targets answer which cases, in which order, with which settings; complete enough to run again."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from audition.errors import AuditionError, UsageError

SCHEMA = 2
SERVER = "server"
"""The format of a target that is somebody else's server."""


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
        settings: What the engine is loaded with; of a server: its address, the model's name there, where the key is.
        digest: SHA-256 of the weights; of a server None, but where it shows it.
        has_chat_template: Whether the model file brings its own; None when nobody knows.
        disk_bytes: Unique bytes of the variant's files; None for a server.
        active_bytes: Bytes that one token touches: the weights that are read for it; None when nobody knows.
        memory_estimate_bytes: Weights, KV cache and working memory, from the header; None when it cannot be told.
        adapter: The place of a person's own engine (`engines.reference`); None for a registered one.
        weights: The path of weights that are not in the store, because only such an engine reads them.
    """

    id: str
    model: str
    variant: str
    format: str
    quantization: str | None
    engine: str
    device: str
    settings: dict[str, Any]
    digest: str | None
    licence: str | None
    licence_class: str
    disk_bytes: int | None
    has_chat_template: bool | None = None
    instruct: bool | None = None
    memory_estimate_bytes: int | None = None
    active_bytes: int | None = None
    adapter: str | None = None
    weights: str | None = None

    @property
    def is_server(self) -> bool:
        """Whether somebody else runs it: nothing is loaded, and nothing is known of its files and memory."""
        return self.format == SERVER


@dataclass(frozen=True, slots=True)
class Level:
    """A load that targets are put under.

    Attributes:
        id: `c4` for four requests at a time, `r2.5` for 2.5 requests a second.
        concurrency: Closed loop: so many requests are always under way; None in the open loop.
        rate: Open loop: requests a second, at the moments of a Poisson process, whether or not earlier ones ended.
        duration_s: Go on for so long, asking the cases again and again; None asks each case once (more often where
            there are fewer cases than it takes to keep so many requests under way).
    """

    id: str
    concurrency: int | None = None
    rate: float | None = None
    duration_s: float | None = None

    @classmethod
    def closed(cls, concurrency: int, duration_s: float | None = None) -> Level:
        """Return a closed loop."""
        return cls(f"c{concurrency}", concurrency=concurrency, duration_s=duration_s)

    @classmethod
    def open(cls, rate: float, duration_s: float | None = None) -> Level:
        """Return an open loop."""
        return cls(f"r{rate:g}", rate=rate, duration_s=duration_s)


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every request of a plan.

    Attributes:
        rounds: How often every target is loaded and answers all cases; with `until_ci` or `budget_s`, the least.
        warmup: Requests after the first one that are recorded but not counted.
        timeout_s: Limit for one request.
        seed: Of the sampler, of the order of blocks and cases, and of the moments of an open loop.
        prompt_cache: `avoid` begins each measured prompt with a mark of its own where the engine may keep prompts.
        stream: Whether answers are asked for piece by piece.
        probes: Whether each target is first asked what shows if it is honest.
        interleave: Load all targets of a round at once and ask them in turn.
        until_ci: Go on until each target's latency is known to so much (0.05 is ±5 %).
        budget_s: Go on, or stop, at this time.
        power_watts: What a person's meter shows while the machine answers.
    """

    rounds: int = 3
    warmup: int = 1
    max_tokens: int = 120
    temperature: float = 0.2
    deterministic: bool = False
    seed: int = 0
    timeout_s: float = 300.0
    prompt_cache: str = "avoid"
    stream: bool = True
    probes: bool = True
    interleave: bool = False
    until_ci: float | None = None
    budget_s: float | None = None
    power_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One load of one target and the cases it then answers: self-contained, so that it can be run anywhere.

    A block without cases is a probe: the target is asked what shows if it is honest, before anything is measured.
    """

    id: str
    round: int
    target: str
    cases: tuple[str, ...]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Block:
        """Read a block as `plan.json` and `blocks.jsonl` hold it."""
        return cls(**{**data, "cases": tuple(data["cases"])})

    @property
    def is_probe(self) -> bool:
        """Whether nothing is measured in it."""
        return not self.cases


@dataclass(frozen=True, slots=True)
class Plan:
    """Targets x cases x repeats, and the order in which they are asked."""

    name: str
    created_at: str
    targets: tuple[Target, ...]
    cases: tuple[Case, ...]
    settings: Settings
    blocks: tuple[Block, ...]
    levels: tuple[Level, ...] = (Level.closed(1),)

    def target(self, target_id: str) -> Target:
        """Return the target with this id."""
        return next(target for target in self.targets if target.id == target_id)

    def case(self, case_id: str) -> Case:
        """Return the case with this id."""
        return next(case for case in self.cases if case.id == case_id)

    @property
    def is_adaptive(self) -> bool:
        """Whether rounds are added while results need them, beyond the blocks that are planned."""
        return self.settings.until_ci is not None or self.settings.budget_s is not None

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
            blocks = [Block.from_json(block) for block in data["blocks"]]
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
                levels=tuple(Level(**level) for level in data["levels"]),
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
    """Lay out the blocks: a probe of each target, then in every round each target once.

    A randomised complete block design: targets and cases are shuffled with the recorded seed, so that drift and heat
    of the machine fall on all targets alike.
    """
    probes = [Block(f"p{n:03d}", 0, target.id, ()) for n, target in enumerate(targets, start=1)]
    blocks = list(probes) if settings.probes else []
    before = len(blocks)
    names = [target.id for target in targets]
    for round_ in range(1, settings.rounds + 1):
        blocks += make_round(names, [case.id for case in cases], settings, round_, len(blocks) - before + 1)
    return tuple(blocks)


def make_round(
    targets: Sequence[str], cases: Sequence[str], settings: Settings, round_: int, first: int
) -> list[Block]:
    """Return the blocks of one round, in its own shuffled order.

    Args:
        targets: Their ids.
        cases: Their ids.
        settings: For the seed.
        round_: Its number, from 1.
        first: The number of its first block.
    """
    rng = random.Random(f"audition-order-{settings.seed}-{round_}")  # noqa: S311 - an order, not a secret
    order = list(targets)
    rng.shuffle(order)
    blocks = []
    for number, target in enumerate(order, start=first):
        shuffled = list(cases)
        rng.shuffle(shuffled)
        blocks.append(Block(f"b{number:03d}", round_, target, tuple(shuffled)))
    return blocks


def check_targets(targets: Sequence[Target]) -> None:
    """Refuse a target that is named twice.

    Raises:
        UsageError: With what to change.
    """
    ids = [target.id for target in targets]
    twice = next((id_ for id_ in ids if ids.count(id_) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice", fix="name each target once; --rounds repeats the measurement")


def check_design(targets: int, settings: Settings, levels: Sequence[Level]) -> None:
    """Refuse what does not go together, before anything is downloaded for it.

    Args:
        targets: How many there are.
        settings: What holds for every request.
        levels: The loads that targets are put under.

    Raises:
        UsageError: With what to change.
    """
    timed = any(level.duration_s is not None for level in levels)
    if settings.interleave and (len(levels) > 1 or levels[0].concurrency != 1 or timed):
        raise UsageError(
            "--interleave asks one request at a time, in turn", fix="leave out --concurrency, --rate and --duration"
        )
    if settings.interleave and targets < 2:
        raise UsageError("--interleave needs two targets or more", fix="leave it out")
