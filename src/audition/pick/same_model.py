"""The same model in several targets of one run: how they differ from the best of them, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from audition.bench.plan import Plan, Target
from audition.bench.sample import Load, Sample
from audition.pick.changes import Change, metric_change, quality_change
from audition.quality.scores import SampleScore
from audition.summary.metrics import Metric, Records, metric
from audition.summary.summarize import noise_floor_ms

METRICS = ("ttft", "decode_tps", "latency", "load_time", "peak_memory")
QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Standing:
    """One figure of a model's targets, against the best of them.

    Attributes:
        best: The target whose figure is the best, by value; whether that is shown is for each of the others to say.
        value: The best figure.
        others: By target: what changes from the best to it. `a` is the best's figure, `b` the other's.
        unknown: Targets of which the figure is not known.
    """

    metric: str
    header: str
    unit: str
    best: str
    value: float
    others: Mapping[str, Change]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SameModel:
    """A model that several targets of a run have.

    Attributes:
        targets: Those that answered, in the plan's order.
        files: What they run, by `quantization (format, digest)`: other weights are never passed over in silence.
        engines: Whether they are on different engines, not only different variants or devices.
        standings: One per metric that two of them have.
        unusable: Targets that are in no standing, because their speed would be that of producing noise.
    """

    model: str
    targets: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    engines: bool
    standings: tuple[Standing, ...]
    unusable: tuple[str, ...] = ()


def same_models(
    plan: Plan,
    samples: Sequence[Sample],
    loads: Sequence[Load],
    scores: Sequence[SampleScore],
    host: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> list[SameModel]:
    """Return each model that two targets or more answered with, and how these compare at the first load level."""
    entries = {entry["id"]: entry for entry in summary["targets"]}
    groups: dict[str, list[Target]] = {}
    for target in plan.targets:
        if entries[target.id]["status"] in ("ok", "partly failed"):
            groups.setdefault(target.model, []).append(target)
    found = []
    for model, targets in groups.items():
        if len(targets) < 2:
            continue
        unusable = [t for t in targets if any(finding["disqualifies"] for finding in entries[t.id]["findings"])]
        usable = [t for t in targets if t not in unusable]
        records = {t.id: Records.of(plan, t, plan.levels[0], samples, loads, host) for t in usable}
        standings = [_standing(metric(tag), records, entries, noise_floor_ms(host)) for tag in METRICS]
        standings.append(_quality(plan, usable, scores, entries))
        found.append(
            SameModel(
                model,
                tuple(target.id for target in targets),
                _files(targets),
                len({target.engine for target in targets}) > 1,
                tuple(standing for standing in standings if standing is not None),
                tuple(target.id for target in unusable),
            )
        )
    return found


def _standing(
    about: Metric, records: Mapping[str, Records], entries: Mapping[str, Any], noise_ms: float | None
) -> Standing | None:
    values = {id_: _number(entries[id_]["metrics"][about.tag]["value"]) for id_ in records}
    best = _best(values, about.better)
    if best is None:
        return None
    others = {
        id_: _tainted(metric_change(about, records[best], records[id_], noise_ms), entries, best, id_)
        for id_ in _in_order(values, best, about.better)
    }
    unknown = tuple(id_ for id_, value in values.items() if value is None)
    return Standing(about.tag, about.header, about.unit, best, values[best] or 0.0, others, unknown)


def _quality(
    plan: Plan, targets: Sequence[Target], scores: Sequence[SampleScore], entries: Mapping[str, Any]
) -> Standing | None:
    values = {target.id: _number(entries[target.id]["quality"]["score"]) for target in targets}
    best = _best(values, "higher")
    if best is None:
        return None
    weights = {case.id: case.weight for case in plan.cases}
    mine = {id_: [score for score in scores if score.target == id_] for id_ in values}
    others = {
        id_: _tainted(quality_change(mine[best], mine[id_], weights), entries, best, id_)
        for id_ in _in_order(values, best, "higher")
    }
    unknown = tuple(id_ for id_, value in values.items() if value is None)
    return Standing(QUALITY, "Quality", "score", best, values[best] or 0.0, others, unknown)


def _best(values: Mapping[str, float | None], better: str) -> str | None:
    """Return who has the best figure, by name where they are equal; None where fewer than two have one."""
    known = {id_: value for id_, value in values.items() if value is not None and math.isfinite(value)}
    if len(known) < 2:
        return None
    sign = 1 if better == "lower" else -1
    return min(known, key=lambda id_: (sign * known[id_], id_))


def _in_order(values: Mapping[str, float | None], best: str, better: str) -> list[str]:
    """Return the others whose figure is known, the best first."""
    sign = 1 if better == "lower" else -1
    known = [(sign * value, id_) for id_, value in values.items() if value is not None and id_ != best]
    return [id_ for _, id_ in sorted(known)]


def _tainted(change: Change, entries: Mapping[str, Any], *targets: str) -> Change:
    """Return the change with the guards whose findings mark the figure, in either target."""
    places = [
        entries[id_]["quality"] if change.metric == QUALITY else entries[id_]["metrics"][change.metric]
        for id_ in targets
    ]
    return replace(change, tainted_by=tuple(sorted({code for place in places for code in place["tainted_by"]})))


def _files(targets: Sequence[Target]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for target in targets:
        digest = target.digest[:8] if target.digest else "digest unknown"
        what = f"{target.quantization or 'unknown quantization'} ({target.format}, {digest})"
        found[what] = (*found.get(what, ()), target.id)
    return found


def _number(value: Any) -> float | None:
    return None if value is None else math.inf if value == "inf" else float(value)
