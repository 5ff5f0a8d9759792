"""`benchmark_report.md`: the whole result, for a pull request, a wiki or a reader without the tool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from audition.bench.guards.base import TIMES, TOKEN_COUNTS
from audition.bench.plan import Plan
from audition.bench.sample import Sample
from audition.pick.decide import MEMORY_RESOLUTION_BYTES, Pick
from audition.pick.same_model import SameModel
from audition.report import levels, same_model
from audition.report.figures import QUALITY_FORMULA, UNKNOWN, figure, interval, marked, typical_latency
from audition.report.machine import machine_lines, server_line
from audition.report.markup import cell, code, grid
from audition.report.table import COLUMNS, findings, not_known, rows, when_failed, why_no_p95
from audition.summary.metrics import METRICS, Metric, metric
from audition.summary.summarize import noise_floor_ms
from audition.summary.units import counted, duration, number, size
from audition.text import one_line, printable

FILE_NAME = "benchmark_report.md"
_ANSWER_LIMIT = 600


def render(
    plan: Plan,
    host: dict[str, Any],
    summary: dict[str, Any],
    samples: Sequence[Sample],
    pick: Pick | None,
    groups: Sequence[SameModel] = (),
) -> str:
    """Return the report's text; `groups` are the models that several targets have."""
    sections = [
        f"# Benchmark report: {cell(summary['name'])}",
        _intro(plan, host, summary),
        _pick(pick),
        _table(summary),
        _under_load(summary),
        _highlights(summary),
        *(_same_model(group, summary) for group in groups),
        _guards(summary),
        _by_case(plan, summary),
        _all_metrics(summary),
        _answers(plan, summary, samples),
        _formulas(summary),
        _provenance(plan, host, summary),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _intro(plan: Plan, host: dict[str, Any], summary: dict[str, Any]) -> str:
    machine = host["machine"]
    settings = plan.settings
    mode = "deterministic (temperature 0)" if settings.deterministic else f"temperature {settings.temperature}"
    cores, memory = machine["cores_logical"], machine["memory_total_bytes"]
    hardware = [
        cell(machine["cpu"] or "an unnamed processor"),
        counted(cores, "core") if cores else "an unknown number of cores",
        f"{size(memory)} of memory" if memory else "an unknown amount of memory",
    ]
    load = " and ".join(levels.described(level) for level in summary["levels"])
    text = (
        f"{counted(len(plan.targets), 'target')}, {counted(len(plan.cases), 'case')}, "
        f"{counted(summary['rounds'], 'round')}, {mode}, at most {settings.max_tokens} tokens an answer, {load}. "
        f"Planned {cell(plan.created_at)}, measured on {', '.join(hardware)}."
    )
    if summary["stopped"]:
        text += f" No more rounds were added: {cell(summary['stopped'])}."
    if not summary["complete"]:
        text += "\n\n**This run is not complete:** some blocks of its plan have not been run."
    return text


def _pick(pick: Pick | None) -> str:
    if pick is None:
        return ""
    demands = pick.constraints.demands()
    points = [f"- Demanded: {cell(', '.join(demands))}."] if demands else []
    points += [f"- Not {code(loser.target)}: {cell(loser.sentence)}." for loser in pick.losers]
    points += [f"- Note: {cell(note)}." for note in pick.notes]
    lines = ["## Pick", "", f"**{cell(pick.sentence)}**"]
    return "\n".join([*lines, "", *points] if points else lines)


def _table(summary: dict[str, Any]) -> str:
    lines = ["## Results", "", *grid(["Target", *(header for header, _ in COLUMNS)], rows(summary)), ""]
    legend = [
        "TTFT, latency and decode rate are medians over requests, p95 is that of the latency, load time is the median "
        "over loads, peak memory the largest seen. `!` marks a figure that a guard's finding taints (see below); "
        f"{UNKNOWN} means unknown, never zero.",
        "Complete counts the measured requests that were answered to their end: answers cut at the token limit and "
        "failed requests are not among them. Of bandwidth is how much of this machine's measured memory bandwidth "
        "decoding used: at 100 % no engine could be faster with this model.",
    ]
    if len(summary["levels"]) > 1:
        legend.append(f"The row is about the first load level: {levels.described(summary['levels'][0])}.")
    reason = why_no_p95(summary)
    if reason:
        legend.append(f"No p95 ({cell(reason)}).")
    lines.append(" ".join(legend))
    detail = []
    for target in summary["targets"]:
        cells = [_interval_cell(target["metrics"][tag]) for tag in _INTERVALS]
        detail.append([target["id"], *cells, _quality_interval(target)])
    header = [
        "Target",
        "TTFT, 95 % interval",
        "Latency, 95 % interval",
        "Decode tok/s, 95 % interval",
        "Quality, 95 % interval",
    ]
    if summary["settings"]["until_ci"] is not None:
        here = [[target["id"], typical_latency(target["latency_here"])] for target in summary["targets"]]
        lines += ["", *grid(["Target", "Typical latency on these prompts, 95 % interval for new loads"], here)]
    more = [[target["id"], *(marked(target["metrics"][tag]) for tag in _RESOURCES)] for target in summary["targets"]]
    resources = ["Target", *(_titled(metric(tag)) for tag in _RESOURCES)]
    reasons = _no_intervals(summary)
    return "\n".join([*lines, "", *grid(header, detail), *reasons, "", *grid(resources, more)])


_INTERVALS = ("ttft", "latency", "decode_tps")


def _no_intervals(summary: dict[str, Any]) -> list[str]:
    """Return why figures of the table stand without an interval, each reason once."""
    where: dict[str, list[str]] = {}
    for tag in _INTERVALS:
        entries = {target["id"]: target["metrics"][tag] for target in summary["targets"]}
        bare = {id_: entry["interval_reason"] for id_, entry in entries.items() if _is_bare(entry)}
        for reason in dict.fromkeys(bare.values()):
            ids = [id_ for id_, other in bare.items() if other == reason]
            of = "" if len(ids) == len(entries) else f" of {', '.join(ids)}"
            where.setdefault(reason, []).append(f"{metric(tag).header}{of}")
    text = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in where.items())
    return ["", f"No interval ({cell(text)})."] if text else []


def _is_bare(entry: dict[str, Any]) -> bool:
    return entry["value"] is not None and not interval(entry) and bool(entry["interval_reason"])


def _under_load(summary: dict[str, Any]) -> str:
    if not levels.is_worth_showing(summary):
        return ""
    note = (
        "Throughput is all completion tokens over the wall time of the window, which is at least the stated duration. "
        "In an open loop (requests a second) times count from the moment a request was scheduled, so that waiting is "
        "in them; the moments are drawn, so that more or fewer requests come than planned."
    )
    return "\n".join(["## Under load", "", *grid(list(levels.HEADERS), levels.rows(summary)), "", note])


def _all_metrics(summary: dict[str, Any]) -> str:
    """Return every metric of every target, with interval and tail; what is unknown has its reason."""
    body: list[list[str]] = []
    unknown: dict[str, list[str]] = {}
    for about in METRICS:
        entries = [target["metrics"][about.tag] for target in summary["targets"]]
        reasons = {entry["reason"] or "not known" for entry in entries}
        if len(reasons) == 1 and all(entry["value"] is None for entry in entries):
            unknown.setdefault(reasons.pop(), []).append(f"{about.header} ({about.tag})")
        else:
            body.append([f"{about.header} ({about.tag}, {about.unit})", *map(_whole, entries)])
    header = ["Metric", *(target["id"] for target in summary["targets"])]
    lines = ["## All metrics", "", *grid(header, body), ""]
    scope = "The figures are those of the first load level. " if len(summary["levels"]) > 1 else ""
    lines.append(f"{scope}`audition report RUN --explain METRIC` names the samples behind each figure.")
    if unknown:
        nowhere = [f"- {', '.join(headers)}: {cell(one_line(reason, 200))}" for reason, headers in unknown.items()]
        lines += ["", "Known of no target here:", "", *nowhere]
    return "\n".join(lines)


def _whole(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return f"{UNKNOWN} ({one_line(entry['reason'] or 'not known', 70)})"
    parts = [f"{entry['label']}: {marked(entry)}" if entry["label"] else marked(entry), interval(entry)]
    tails = ("p95", "p99") if entry["tail"] == "p95" else ("p5", "p1")
    parts += [
        f"{name} {figure(entry, end)}"
        for name, end in zip(tails, ("p95", "p99"), strict=True)
        if entry[end] is not None
    ]
    return ", ".join(part for part in parts if part)


_RESOURCES = (
    "first_request",
    "prefill_tps",
    "throughput",
    "completion_tokens",
    "peak_memory_anonymous",
    "memory_after_unload",
)


def _titled(about: Metric) -> str:
    """Return a column's header; milliseconds and bytes are written with each figure."""
    return {"tokens/s": f"{about.header} tok/s", "tokens": f"{about.header}, tokens"}.get(about.unit, about.header)


def _highlights(summary: dict[str, Any]) -> str:
    """Say who leads in what, but only where the intervals do not overlap."""
    usable = [
        target
        for target in summary["targets"]
        if target["status"] in ("ok", "partly failed") and not any(f["disqualifies"] for f in target["findings"])
    ]
    lines = ["## Highlights", ""]
    if len(usable) < 2:
        only = f"Only {code(usable[0]['id'])} is usable" if usable else "No target is usable"
        lines.append(f"{only}: there is nothing to compare.")
    else:
        floor = noise_floor_ms(summary) or 0.0
        lines += [
            _leader(usable, tag, floor) for tag in ("ttft", "latency", "decode_tps", "load_time", "peak_memory", "disk")
        ]
    left_out = [code(target["id"]) for target in summary["targets"] if target not in usable]
    if left_out:
        lines += ["", f"Left out, because they failed or their answers are unusable: {', '.join(left_out)}."]
    return "\n".join(lines)


def _leader(targets: list[dict[str, Any]], tag: str, floor_ms: float) -> str:
    about = metric(tag)
    sign = 1 if about.better == "lower" else -1
    known = [target for target in targets if target["metrics"][tag]["value"] is not None]
    if len(known) < 2:
        return f"- {about.header}: known for fewer than two targets."
    known.sort(key=lambda target: sign * number(target["metrics"][tag]["value"]))
    best, second = known[0], known[1]
    facts = f"{marked(best['metrics'][tag])} against {marked(second['metrics'][tag])} of {code(second['id'])}"
    difference = abs(number(best["metrics"][tag]["value"]) - number(second["metrics"][tag]["value"]))
    if about.unit == "ms" and about.by_level and difference < floor_ms:
        return f"- {about.header}: no difference that means anything, {facts}; measuring adds {floor_ms:.2g} ms."
    shown = [_shown_better(about, best["metrics"][tag], target["metrics"][tag]) for target in known[1:]]
    if all(shown):
        return f"- {about.header}: {code(best['id'])} leads, {facts}."
    if None in shown:
        return f"- {about.header}: {code(best['id'])} has {facts}, but the sample is too small for an interval."
    return f"- {about.header}: no difference shown ({code(best['id'])} has {facts})."


def _shown_better(about: Metric, best: dict[str, Any], other: dict[str, Any]) -> bool | None:
    """Return whether a figure is shown to be better than another: None when the sample is too small to tell."""
    if best["statistic"] != "median":
        margin = MEMORY_RESOLUTION_BYTES if about.tag == "peak_memory" else 0.0
        return abs(number(best["value"]) - number(other["value"])) > margin
    near, far = ("high", "low") if about.better == "lower" else ("low", "high")
    if best[near] is None or other[far] is None:
        return None
    sign = 1 if about.better == "lower" else -1
    return sign * number(best[near]) < sign * number(other[far])


def _same_model(group: SameModel, summary: dict[str, Any]) -> str:
    lines = [f"## {cell(same_model.title(group))}", "", *(f"- {cell(line)}." for line in same_model.lines(group))]
    if body := same_model.matrix(group, summary):
        lines += ["", *grid(body[0], body[1:]), "", f"{cell(same_model.MATRIX_LEGEND)}."]
    return "\n".join(lines)


def _guards(summary: dict[str, Any]) -> str:
    lines = []
    for target in summary["targets"]:
        for finding in findings(target):
            sentence = cell(finding["sentence"]) + levels.only_with(finding, summary) + _taints(finding, target)
            grave = " **It must not be picked.**" if finding["disqualifies"] else ""
            lines.append(f"- {code(target['id'])}, {finding['code']}: {sentence}.{grave}")
        if target["not_known"]:
            lines.append(f"- {code(target['id'])}, not known, because the questions failed: {cell(not_known(target))}.")
        for error in target["errors"]:
            message = cell(one_line(error["message"]))
            lines.append(f"- {code(target['id'])}, {cell(error['code'])}: {message} ({when_failed(error)}).")
    return "\n".join(["## Guards and errors", "", *(lines or ["No guard found anything, and nothing failed."])])


_MOST_TAINTS = 6
_GROUPS = (("all times", TIMES), ("all token counts", TOKEN_COUNTS))


def _taints(finding: dict[str, Any], target: dict[str, Any]) -> str:
    """Return which figures of this target a finding marks, in brackets; long lists by their groups, or cut."""
    known = {tag for at in target["levels"] for tag, entry in at["metrics"].items() if entry["value"] is not None}
    known |= {"quality"} if target["quality"]["score"] is not None else set()
    named = [tag for tag in finding["taints"] if tag in known]
    for name, group in _GROUPS:
        if len(named) > _MOST_TAINTS and set(group) <= set(finding["taints"]):
            named = [name, *(tag for tag in named if tag not in group)]
    if len(named) > _MOST_TAINTS:
        named = [*named[:_MOST_TAINTS], f"{len(named) - _MOST_TAINTS} more"]
    return f" (taints {', '.join(named)})" if named else ""


def _by_case(plan: Plan, summary: dict[str, Any]) -> str:
    header = ["Case", *(target["id"] for target in summary["targets"])]
    # In the order of the plan: a summary that was read from its file has its keys sorted.
    body = [
        [case.id, *(_case_cell(target["by_case"][case.id]) for target in summary["targets"])] for case in plan.cases
    ]
    text = "Median latency (smallest to largest over the rounds), then the score of the answers."
    return "\n".join(["## Every prompt", "", text, "", *grid(header, body)])


def _case_cell(entry: dict[str, Any]) -> str:
    if entry["latency_median_ms"] is None:
        return "failed" if entry["failed"] else UNKNOWN
    low, high = duration(entry["latency_min_ms"]), duration(entry["latency_max_ms"])
    spread = f" ({low} to {high})" if entry["n"] > 1 else ""
    score = "not scored" if entry["score"] is None else f"score {entry['score']:.2f}"
    cut = f", {entry['truncated']} cut" if entry["truncated"] else ""
    failed = f", {entry['failed']} failed" if entry["failed"] else ""
    return f"{duration(entry['latency_median_ms'])}{spread}, {score}{cut}{failed}"


def _answers(plan: Plan, summary: dict[str, Any], samples: Sequence[Sample]) -> str:
    first: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        if sample.phase == "measured":
            first.setdefault((sample.target, sample.case), sample)
    lines = ["## Answers", "", "The first round's answer to each prompt, as the model wrote it."]
    for case in plan.cases:
        lines += ["", f"### {cell(case.id)}", "", _quoted(case.prompt)]
        for target in summary["targets"]:
            answer = first.get((target["id"], case.id))
            lines += ["", code(target["id"]) + _ending(answer)]
            lines += ["", _quoted(answer.text)] if answer else []
    return "\n".join(lines)


def _ending(sample: Sample | None) -> str:
    if sample is None:
        return " (not asked)"
    return {"ok": "", "truncated": " (cut at the token limit)"}.get(sample.status, f" ({sample.status})")


def _quoted(text: str) -> str:
    """Return text as an indented code block, in which nothing is markup, whatever a model wrote."""
    text = printable(text)
    if len(text) > _ANSWER_LIMIT:
        text = text[:_ANSWER_LIMIT] + " …"
    return "\n".join(f"    {line}" for line in text.splitlines()) if text.strip() else "    (no text)"


def _formulas(summary: dict[str, Any]) -> str:
    lines = [f"- **{m.header}** (`{m.tag}`, {m.unit}): {m.formula}." for m in METRICS]
    lines.append(
        f"- **Quantiles**: {summary['quantile_method']}. A failed request counts as infinitely slow. The intervals of "
        "medians are about new prompts of this kind and new loads: requests of one prompt, and of one load, are alike, "
        "and few loads that differ make them wide."
    )
    lines.append(f"- **Quality**: {QUALITY_FORMULA}.")
    return "\n".join(["## What the numbers mean", "", *lines])


def _provenance(plan: Plan, host: dict[str, Any], summary: dict[str, Any]) -> str:
    machine, blocks = host["machine"], summary["blocks"]
    asked = f"{counted(blocks['probes'], 'load')} for the questions of the guards" if blocks["probes"] else ""
    lines = [
        "## Provenance",
        "",
        f"- Audition {machine['audition']}, Python {machine['python']}, {machine['os']} {cell(machine['os_release'])} "
        f"({machine['architecture']}).",
        f"- Order of targets and cases shuffled with seed {plan.settings.seed}; "
        f"{counted(blocks['measured'], 'load')}, each with a first request and "
        f"{counted(plan.settings.warmup, 'warm-up request')}, which are kept apart; "
        f"{asked or 'the guards asked no questions (--no-probes)'}; at most {plan.settings.timeout_s:g} s a request.",
    ]
    lines += [f"- {line}." for line in machine_lines(host)]
    for name, about in sorted(host["engines"].items()):
        package, device = str(about.get("package", "version unknown")), str(about.get("device", "device unknown"))
        lines.append(f"- Engine {code(name)}: {cell(package)}, {cell(device)}.")
    for id_, about in sorted((host.get("servers") or {}).items()):
        lines.append(f"- Server {code(id_)}: {cell(server_line(about))}.")
    for target in plan.targets:
        facts = [target.format]
        facts += [] if target.is_server else [target.quantization or "quantization unknown"]
        facts += [f"{key} {value}" for key, value in sorted(target.settings.items())]
        source = host.get("models", {}).get(target.variant, {}).get("source")
        facts += [f"from {source}"] if source else []
        digest = f", sha256 {code(target.digest)}" if target.digest else ""
        lines.append(f"- {code(target.id)}: {cell(', '.join(facts))}{digest}.")
    if any(re.search(r"#[0-9a-f]{6}$", target.id) and not target.is_server for target in plan.targets):
        lines.append(
            "- `#` and six digits end the name of a target with unusual settings: they stand for these settings."
        )
    return "\n".join(lines)


def _interval_cell(entry: dict[str, Any]) -> str:
    return f"{marked(entry)} {interval(entry)}".strip() if entry["value"] is not None else entry["reason"]


def _quality_interval(target: dict[str, Any]) -> str:
    quality = target["quality"]
    if quality["score"] is None:
        return str(quality["reason"])
    return f"{quality['score']:.2f} [{quality['low']:.2f}, {quality['high']:.2f}], {counted(quality['cases'], 'case')}"
