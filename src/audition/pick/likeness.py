"""What two runs differ in, which of it forbids a comparison, and which of their targets belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from audition.bench.plan import Case, Plan, Target
from audition.bench.rundir import RunDir
from audition.bench.sample import Load, Sample
from audition.bench.schedule import Schedule
from audition.errors import AuditionError, UsageError, nearest
from audition.text import one_line

ALLOWABLE = {
    "prompts": "the cases, or what is expected of their answers; only the cases that are the same are compared",
    "settings": "a setting that changes what is measured, such as `max_tokens` or the context",
    "levels": "the load levels; only those that both runs have are compared",
    "machine": "processor, cores, memory, system, architecture or how engines are told to use threads",
    "incomplete": "a run that did not end; what it has is compared",
    "model": "the bytes of the model under one name",
    "audition": "the version of Audition that measured",
}
"""What `--allow` takes. Engine, engine build, device and variant are what a comparison is for: they are only said."""

_SETTINGS = (
    *("max_tokens", "temperature", "deterministic", "stream", "prompt_cache"),
    *("interleave", "warmup", "timeout_s"),
)
_MACHINE = ("cpu", "cores_logical", "os", "architecture", "threading")
_SAME_MEMORY = 0.02
"""What a system keeps for itself changes with its kernel: memory that differs by less is the same memory."""
_NAMED_CASES = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in which two runs, or two targets, are not alike.

    Attributes:
        name: What `--allow` calls it, or `engine`, `device`, `variant`, which need no leave.
        sentence: A before and an after, such as `max_tokens 120 -> 256`.
        refused: It forbids the comparison unless it is allowed by name.
    """

    name: str
    sentence: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs, read once.

    Attributes:
        name: `A` is before, `B` is after.
        blocks: How many it has, those that an adaptive plan added included.
        blocks_left: How many of them have not ended, or lack a sample.
    """

    name: Literal["A", "B"]
    path: Path
    plan: Plan
    host: dict[str, Any]
    samples: tuple[Sample, ...]
    loads: tuple[Load, ...]
    blocks: int
    blocks_left: int

    @classmethod
    def read(cls, name: Literal["A", "B"], run: RunDir) -> Side:
        """Read a run.

        Raises:
            AuditionError: A file of it is damaged, or holds samples that its plan has no place for.
        """
        plan, samples, loads = run.plan, run.samples(), run.loads()
        schedule = Schedule(plan, run.added())
        planned = {(block.id, block.target, case) for block in schedule.blocks for case in block.cases}
        measured = [sample for sample in samples if sample.phase == "measured"]
        stray = {(sample.block, sample.target, sample.case) for sample in measured} - planned
        if stray or len({sample.key for sample in measured}) < len(measured):
            what = f"samples of what is not in its plan, such as {min(stray)}" if stray else "samples twice"
            raise AuditionError(f"{run.samples_path} holds {what}", fix="restore the file", code="bad_run")
        blocks, left = len(schedule.blocks), len(schedule.left(samples, loads))
        return cls(name, run.path, plan, run.host, tuple(samples), tuple(loads), blocks, left)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two targets that are compared, and what they differ in."""

    a: Target
    b: Target
    differences: tuple[Difference, ...] = ()


def run_differences(a: Side, b: Side) -> list[Difference]:
    """Return what the runs differ in, whichever of their targets are compared."""
    found = [
        Difference(
            "incomplete", f"{side.blocks_left} of {side.blocks} blocks of {side.name} are not done", refused=True
        )
        for side in (a, b)
        if side.blocks_left
    ]
    changed = [
        ("prompts", _prompts(a.plan.cases, b.plan.cases)),
        ("settings", _changes({name: (getattr(a.plan.settings, name), getattr(b.plan.settings, name))
                               for name in _SETTINGS})),
        ("levels", _changes({"levels": (_level_names(a.plan), _level_names(b.plan))})
                   or ("a level lasts longer in one of them" if set(a.plan.levels) != set(b.plan.levels) else "")),
        ("machine", _machine(a.host["machine"], b.host["machine"])),
        ("audition", _changes({"version": (a.host["machine"].get("audition"), b.host["machine"].get("audition"))})),
    ]  # fmt: skip
    return found + [Difference(name, sentence, refused=True) for name, sentence in changed if sentence]


def common_cases(a: Plan, b: Plan) -> tuple[Case, ...]:
    """Return the cases that ask the same and expect the same in both plans."""
    asked = {case.id: _substance(case) for case in b.cases}
    return tuple(case for case in a.cases if asked.get(case.id) == _substance(case))


def pair_targets(a: Side, b: Side, named: Sequence[tuple[str, str]] = ()) -> list[Pair]:
    """Return the targets that belong together.

    Those that are named; else those with the same id; else the same variant on another engine or device, where each
    run has it once; else the only target of each run.

    Raises:
        UsageError: A name is unknown, or nothing belongs together.
    """
    of_a, of_b = ({target.id: target for target in side.plan.targets} for side in (a, b))
    if named:
        for side, known, wanted in ((a, of_a, [x for x, _ in named]), (b, of_b, [y for _, y in named])):
            for id_ in wanted:
                _check_known(id_, known, side)
        found = [(of_a[x], of_b[y]) for x, y in dict.fromkeys(named)]
    else:
        found = [(target, of_b[id_]) for id_, target in of_a.items() if id_ in of_b]
        found = found or _by_variant(a.plan, b.plan)
        if not found and len(of_a) == len(of_b) == 1:
            found = [(a.plan.targets[0], b.plan.targets[0])]
    if not found:
        raise UsageError(
            f"no target of A belongs to one of B; A has {_listed(of_a)}; B has {_listed(of_b)}",
            fix=f"say which: --target '{one_line(next(iter(of_a)))}={one_line(next(iter(of_b)))}'",
        )
    return [Pair(x, y, tuple(_target_differences(x, y, a, b))) for x, y in found]


def refuse_unlike(differences: Sequence[Difference], allow: Collection[str]) -> None:
    """Refuse a comparison of unlike things that is not allowed by name.

    Raises:
        UsageError: With every difference, and the options that allow them.
    """
    for name in allow:
        if name not in ALLOWABLE:
            known = ", ".join(ALLOWABLE)
            raise UsageError(
                f'"{one_line(name)}" is nothing to allow', fix=nearest(name, list(ALLOWABLE)) or f"there are {known}"
            )
    refused = [difference for difference in differences if difference.refused and difference.name not in allow]
    if refused:
        what = "; ".join(dict.fromkeys(f"{item.name} ({item.sentence})" for item in refused))
        options = " ".join(dict.fromkeys(f"--allow {item.name}" for item in refused))
        raise UsageError(f"the runs are unlike in {what}", fix=f"compare them all the same: {options}", code="unlike")


def _substance(case: Case) -> Case:
    """Return what of a case decides a measurement: all but its labels."""
    return replace(case, tags=(), cluster=None)


def _prompts(a: Sequence[Case], b: Sequence[Case]) -> str:
    of_a, of_b = ({case.id: _substance(case) for case in cases} for cases in (a, b))
    parts = {
        "only in A": [id_ for id_ in of_a if id_ not in of_b],
        "only in B": [id_ for id_ in of_b if id_ not in of_a],
        "changed": [id_ for id_ in of_a if id_ in of_b and of_a[id_] != of_b[id_]],
    }
    return ", ".join(f"{len(ids)} {what}: {_some(ids)}" for what, ids in parts.items() if ids)


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(one_line(id_, 40) for id_ in ids[:_NAMED_CASES])
    return shown if len(ids) <= _NAMED_CASES else f"{shown} ..."


def _changes(values: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{name} {_word(a)} -> {_word(b)}" for name, (a, b) in values.items() if a != b)


def _word(value: Any) -> str:
    return "unknown" if value is None else one_line(str(value), 80)


def _level_names(plan: Plan) -> str:
    return " ".join(sorted(level.id for level in plan.levels))


def _machine(a: dict[str, Any], b: dict[str, Any]) -> str:
    values = {name: (a.get(name), b.get(name)) for name in _MACHINE}
    memory = (a.get("memory_total_bytes"), b.get("memory_total_bytes"))
    numbers = [size for size in memory if isinstance(size, int)]
    if len(numbers) < 2 or abs(numbers[0] - numbers[1]) > _SAME_MEMORY * max(numbers):
        values["memory_total_bytes"] = memory
    return _changes(values)


def _target_differences(a: Target, b: Target, side_a: Side, side_b: Side) -> list[Difference]:
    """Return what two targets differ in; only bytes that changed under one name, and the context, are refused."""
    other_variant, other_engine = a.variant != b.variant, a.engine != b.engine
    both = {name: (a.settings.get(name), b.settings.get(name)) for name in sorted({*a.settings, *b.settings})}
    # A server tells neither its bytes nor, often, its context: that is said, but it is no proof of a difference.
    context = {name: pair for name, pair in both.items() if name == "context" and None not in pair}
    rest = {name: pair for name, pair in both.items() if name not in context}
    digests = (a.digest and a.digest[:12], b.digest and b.digest[:12])
    same_name = not (other_variant or other_engine)
    found = [
        ("engine", _engines(a, b, side_a, side_b), False),
        ("device", _changes({"device": (_device(a, side_a), _device(b, side_b))}), False),
        ("variant", _changes({"variant": (a.variant, b.variant)}), False),
        ("model", _changes({"model bytes": digests}), same_name and None not in digests),
        ("settings", _changes(context), True),
        ("target settings", _changes(rest), False),
    ]
    return [Difference(name, sentence, refused) for name, sentence, refused in found if sentence]


def _engines(a: Target, b: Target, side_a: Side, side_b: Side) -> str:
    packages = (_package(a, side_a), _package(b, side_b))
    if a.engine == b.engine:
        return _changes({f"engine {one_line(a.engine, 40)}": packages})
    names = [f"{target.engine} {package or ''}".strip() for target, package in zip((a, b), packages, strict=True)]
    return _changes({"engine": (names[0], names[1])})


def _package(target: Target, side: Side) -> str | None:
    """Return the engine's or the server's package with its version, as it gave it; None where it gave none."""
    servers = side.host.get("servers")
    description = side.host["engines"].get(target.engine)
    if target.is_server and isinstance(servers, dict):
        description = servers.get(target.id)
    package = description.get("package") if isinstance(description, dict) else None
    return str(package) if package else None


def _device(target: Target, side: Side) -> str:
    """Return where the engine said that the model ran, or else where it was to run."""
    said = {load.device for load in side.loads if load.target == target.id and load.device}
    return " and ".join(sorted(said)) or target.device


def _by_variant(a: Plan, b: Plan) -> list[tuple[Target, Target]]:
    counts = [Counter(target.variant for target in plan.targets) for plan in (a, b)]
    of_b = {target.variant: target for target in b.targets}
    once = [target for target in a.targets if all(count[target.variant] == 1 for count in counts)]
    return [(target, of_b[target.variant]) for target in once]


def _check_known(id_: str, known: dict[str, Target], side: Side) -> None:
    if id_ not in known:
        fix = nearest(id_, list(known)) or f"{side.name} has {_listed(known)}"
        raise UsageError(f'{side.name} has no target "{one_line(id_)}"', fix=fix)


def _listed(targets: Collection[str]) -> str:
    return ", ".join(one_line(id_, 80) for id_ in targets)
