"""One metric of a run, traced: its formula, the samples behind each figure, and those left out with the reason.

Everything is read off the samples again, through the same functions that the summary's figures come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audition.bench.guards import Evidence, run_guards
from audition.bench.plan import Level, Plan, Target
from audition.bench.sample import Load, Sample
from audition.errors import AuditionError
from audition.report import explain_quality
from audition.report.figures import UNKNOWN, figure, interval, typical_latency
from audition.summary.metrics import Metric, Reading, Records, metric
from audition.summary.summarize import latency_here
from audition.summary.units import counted
from audition.text import one_line, printable

SCHEMA = 1
_IDS = 20
"""The most ids, and the most reasons, that are named; the rest is counted."""


def explain(
    plan: Plan, samples: Sequence[Sample], loads: Sequence[Load], host: Mapping[str, Any], tag: str
) -> dict[str, Any]:
    """Return, as plain JSON, what a metric is and what its figure of each target and load level rests on.

    Args:
        plan: Of the run.
        samples: All of the run.
        loads: All of the run.
        host: The content of `host.json`.
        tag: Of the metric, or `quality`.

    Raises:
        UsageError: There is no such metric; the nearest ones are given.
        AuditionError: The samples are not those of the plan.
    """
    known = {case.id for case in plan.cases}
    stray = {sample.case for sample in samples if sample.phase == "measured"} - known
    if stray:
        raise AuditionError(
            f'the plan has no case "{one_line(min(stray), 80)}"', fix="restore the run's files", code="bad_run"
        )
    if tag.casefold() == explain_quality.TAG:
        traced = explain_quality.quality_by_target(plan, samples)
        about = dict(explain_quality.ABOUT)
        parts: list[dict[str, Any]] = [{"quality": traced[target.id]} for target in plan.targets]
    else:
        found = metric(tag)
        about = {
            "tag": found.tag,
            "header": found.header,
            "unit": found.unit,
            "formula": found.formula,
            "better": found.better,
            "about": (found.__doc__ or "").partition("\n")[0],
        }
        parts = [{"levels": _levels(found, plan, target, samples, loads, host)} for target in plan.targets]
    targets = [
        {"id": target.id, **part, "findings": _findings(about["tag"], Evidence.of(plan, target, samples, loads, host))}
        for target, part in zip(plan.targets, parts, strict=True)
    ]
    return {"schema": SCHEMA, "run": plan.name, "metric": about, "targets": targets}


def lines(explained: Mapping[str, Any]) -> list[str]:
    """Return the same as printable lines for a person."""
    about = explained["metric"]
    out = [f"{about['header']} ({about['tag']}, {about['unit']}): {about['about']}", f"  = {about['formula']}"]
    for target in explained["targets"]:
        if "quality" in target:
            out += ["", one_line(target["id"]), *explain_quality.quality_lines(target["quality"])]
        for level in target.get("levels", ()):
            under = "" if level["level"] is None else f", {_level_in_words(level)}"
            out += ["", f"{one_line(target['id'])}{under}", *_level_lines(about, level)]
        out += [f"  ! {finding['code']}: {one_line(finding['sentence'], 500)}" for finding in target["findings"]]
    return [printable(line) for line in out]


def _levels(
    about: Metric,
    plan: Plan,
    target: Target,
    samples: Sequence[Sample],
    loads: Sequence[Load],
    host: Mapping[str, Any],
) -> list[dict[str, Any]]:
    levels = plan.levels if about.by_level else plan.levels[:1]
    traced = [
        _level(about, Records.of(plan, target, level, samples, loads, host), level if about.by_level else None)
        for level in levels
    ]
    if about.tag == "latency":
        asked = [s for s in samples if (s.target, s.phase, s.level) == (target.id, "measured", plan.levels[0].id)]
        traced[0]["latency_here"] = latency_here(asked)
    return traced


def _findings(tag: str, evidence: Evidence) -> list[dict[str, str]]:
    return [{"code": f.code, "sentence": f.sentence} for f in run_guards(evidence) if tag in f.taints]


def _level(about: Metric, records: Records, level: Level | None) -> dict[str, Any]:
    readings = about.read(records)
    by_reason: dict[str, list[Reading]] = {}
    for reading in readings.left_out:
        by_reason.setdefault(str(reading.reason), []).append(reading)
    # The reasons that most records have come first.
    reasons = sorted(by_reason, key=lambda reason: (-len(by_reason[reason]), reason))
    return {
        "level": None if level is None else level.id,
        "concurrency": None if level is None else level.concurrency,
        "rate": None if level is None else level.rate,
        "estimate": {"unit": about.unit, **about.estimate(records).to_json(about.digits + 2)},
        "used": _named(readings.used),
        "values": sum(len(reading.values) for reading in readings.used),
        "left_out": [{"reason": reason, **_named(by_reason[reason])} for reason in reasons[:_IDS]],
        "reasons_not_shown": max(0, len(reasons) - _IDS),
    }


def _named(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return how many records these are, and the ids of the first."""
    ids = sorted(_id(reading.record) for reading in readings)
    return {"n": len(ids), "ids": ids[:_IDS], "not_shown": max(0, len(ids) - _IDS)}


def _id(record: Sample | Load) -> str:
    """Return block, case and repeat of a sample, or block and attempt of a load."""
    if isinstance(record, Sample):
        return f"{record.block}/{one_line(record.case, 80)}/{record.repeat}"
    return f"{record.block}#{record.attempt}"


def _level_in_words(level: Mapping[str, Any]) -> str:
    if level["rate"] is not None:
        return f"{level['level']} ({level['rate']:g} requests/s)"
    return f"{level['level']} ({counted(level['concurrency'], 'request')} at a time)"


def _level_lines(about: Mapping[str, Any], level: Mapping[str, Any]) -> list[str]:
    estimate = level["estimate"]
    out = [f"  {_headline(about, estimate)}"]
    if estimate["tail"] == "p5":
        out += _tail(about, estimate, "p95", "p5") + _tail(about, estimate, "p99", "p1")
    else:
        out += _tail(about, estimate, "p95", "p95") + _tail(about, estimate, "p99", "p99")
    if estimate["token_source"]:
        out.append(f"  tokens counted by: {', '.join(one_line(source, 40) for source in estimate['token_source'])}")
    if level.get("latency_here"):
        here = typical_latency(level["latency_here"])
        out.append(f"  typical latency on these prompts, 95 % interval for new loads: {here}")
    failed = f", {estimate['failed']} of them failed" if estimate["failed"] else ""
    gaps = f", {counted(level['values'], 'gap')} in all" if estimate["statistic"] == "median of gaps" else ""
    out.append(f"  used: {_ids(level['used'])}{failed}{gaps}")
    out += [f"  left out, {one_line(part['reason'])}: {_ids(part)}" for part in level["left_out"]]
    if level["reasons_not_shown"]:
        out.append(f"  and {counted(level['reasons_not_shown'], 'reason')} more")
    return out


def _headline(about: Mapping[str, Any], estimate: Mapping[str, Any]) -> str:
    name = estimate["label"] or about["header"]
    if estimate["value"] is None:
        return f"{name}: unknown: {one_line(estimate['reason'])}"
    text = f"{name}: {estimate['statistic']} {_with_unit(about, estimate, 'value')}"
    if found := interval(dict(estimate)):
        return f"{text}, 95 % interval {found} ({estimate['scope']})"
    return f"{text}; no interval ({estimate['interval_reason']})" if estimate["interval_reason"] else text


def _tail(about: Mapping[str, Any], estimate: Mapping[str, Any], end: str, name: str) -> list[str]:
    """Return a line for a percentile of the bad end, or why there is none."""
    if estimate[f"{end}_reason"] is not None:
        return [f"  no {name}: {estimate[f'{end}_reason']}"]
    if estimate[end] is None:
        return []
    low, high = (figure(dict(estimate), f"{end}_{side}") for side in ("low", "high"))
    bounds = (
        "" if (low, high) == (UNKNOWN, UNKNOWN) else f", 95 % interval [{low}, {high}] (these prompts, asked again)"
    )
    return [f"  {name} {_with_unit(about, estimate, end)}{bounds}"]


def _with_unit(about: Mapping[str, Any], estimate: Mapping[str, Any], end: str) -> str:
    """Return a figure with its unit; those of some units are written with it already."""
    text = figure(dict(estimate), end)
    return text if about["unit"] in ("ms", "bytes", "%") else f"{text} {about['unit']}"


def _ids(named: Mapping[str, Any]) -> str:
    if not named["n"]:
        return "none"
    more = f" and {named['not_shown']} more" if named["not_shown"] else ""
    return f"{named['n']} ({', '.join(named['ids'])}{more})"
