"""`benchmark_report.md`: the whole result, for a pull request, a wiki or a reader without the tool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from audition.bench.plan import Plan
from audition.bench.sample import Sample
from audition.pick.decide import Pick
from audition.report.figures import UNKNOWN, duration, figure, interval, size
from audition.report.table import COLUMNS, rows, why_no_p95
from audition.summary.metrics import METRICS, Metric
from audition.summary.summarize import number
from audition.text import one_line, printable

FILE_NAME = "benchmark_report.md"
_ANSWER_LIMIT = 600


def render(
    plan: Plan, host: dict[str, Any], summary: dict[str, Any], samples: Sequence[Sample], pick: Pick | None
) -> str:
    """Return the report's text."""
    sections = [
        f"# Benchmark report: {_cell(summary['name'])}",
        _intro(plan, host, summary),
        _pick(pick),
        _table(summary),
        _highlights(summary),
        _guards(summary),
        _by_case(summary),
        _answers(plan, summary, samples),
        _formulas(summary),
        _provenance(plan, host),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _intro(plan: Plan, host: dict[str, Any], summary: dict[str, Any]) -> str:
    machine = host["machine"]
    settings = plan.settings
    mode = "deterministic (temperature 0)" if settings.deterministic else f"temperature {settings.temperature}"
    text = (
        f"{len(plan.targets)} target(s), {len(plan.cases)} cases, {settings.rounds} round(s), {mode}, at most "
        f"{settings.max_tokens} tokens an answer, one request at a time. Measured {plan.created_at} on "
        f"{_cell(machine['cpu'] or 'an unnamed processor')}, {machine['cores_logical']} cores, "
        f"{size(machine['memory_total_bytes'])} of memory."
    )
    if not summary["complete"]:
        text += "\n\n**This run is not complete:** some blocks of its plan have not been run."
    return text


def _pick(pick: Pick | None) -> str:
    if pick is None:
        return ""
    lines = ["## Pick", "", f"**{_cell(pick.sentence)}**"]
    lines += [f"- Not `{_code(loser.target)}`: {_cell(loser.sentence)}." for loser in pick.losers]
    lines += [f"- Note: {_cell(note)}." for note in pick.notes]
    return "\n".join([*lines[:3], "", *lines[3:]] if len(lines) > 3 else lines)


def _table(summary: dict[str, Any]) -> str:
    lines = ["## Results", "", *_grid(["Target", *(header for header, _ in COLUMNS)], rows(summary)), ""]
    lines.append(
        "TTFT, latency and decode rate are medians over requests, load time is the median over loads, peak memory the "
        "largest seen. `!` marks a figure that a guard's finding taints (see below); "
        f"{UNKNOWN} means unknown, never zero."
    )
    reason = why_no_p95(summary)
    if reason:
        lines.append(f"No p95: {reason}.")
    detail = []
    for target in summary["targets"]:
        cells = [_interval_cell(target["metrics"][tag]) for tag in ("ttft", "latency", "decode_tps")]
        detail.append([target["id"], *cells, _quality_interval(target)])
    header = [
        "Target",
        "TTFT, 95 % interval",
        "Latency, 95 % interval",
        "Decode tok/s, 95 % interval",
        "Quality, 95 % interval",
    ]
    more = [[target["id"], *(figure(target["metrics"][tag]) for tag in _RESOURCES)] for target in summary["targets"]]
    resources = ["Target", *(_metric(tag).header for tag in _RESOURCES)]
    return "\n".join([*lines, "", *_grid(header, detail), "", *_grid(resources, more)])


_RESOURCES = (
    "load_time",
    "first_request",
    "peak_memory",
    "peak_memory_anonymous",
    "memory_after_unload",
    "disk",
    "throughput",
    "prefill_tps",
    "completion_tokens",
)


def _highlights(summary: dict[str, Any]) -> str:
    """Say who leads in what, but only where the intervals do not overlap."""
    usable = [
        target
        for target in summary["targets"]
        if target["status"] in ("ok", "partly failed") and not any(f["disqualifies"] for f in target["findings"])
    ]
    lines = ["## Highlights", ""]
    left_out = [target["id"] for target in summary["targets"] if target not in usable]
    if len(usable) < 2:
        lines.append(
            "There are not two usable targets to compare." if not usable else f"Only `{usable[0]['id']}` is usable."
        )
    else:
        lines += [_leader(usable, tag) for tag in ("ttft", "latency", "decode_tps", "load_time", "peak_memory", "disk")]
    if left_out:
        lines.append(
            f"- Left out, because they failed or their answers are unusable: {', '.join(f'`{i}`' for i in left_out)}."
        )
    return "\n".join(lines)


def _leader(targets: list[dict[str, Any]], tag: str) -> str:
    about = _metric(tag)
    known = [target for target in targets if target["metrics"][tag]["value"] is not None]
    if len(known) < 2:
        return f"- {about.header}: not known for two targets."
    sign = 1 if about.better == "lower" else -1
    ordered = sorted(known, key=lambda target: sign * number(target["metrics"][tag]["value"]))
    best, second = ordered[0]["metrics"][tag], ordered[1]["metrics"][tag]
    facts = f"{figure(best)} against {figure(second)} of `{ordered[1]['id']}`"
    if best["statistic"] == "median":
        ends = [(m["low"], m["high"]) for m in (best, second)]
        if any(end is None for pair in ends for end in pair):
            return f"- {about.header}: {facts} by `{ordered[0]['id']}`, but the sample is too small for an interval."
        inner = ("high", "low") if about.better == "lower" else ("low", "high")
        if sign * number(best[inner[0]]) >= sign * number(second[inner[1]]):
            return f"- {about.header}: no difference shown ({facts})."
    return f"- {about.header}: `{ordered[0]['id']}` leads, {facts}."


def _guards(summary: dict[str, Any]) -> str:
    lines = []
    for target in summary["targets"]:
        for finding in target["findings"]:
            taints = ", ".join(finding["taints"])
            grave = " **It must not be picked.**" if finding["disqualifies"] else ""
            lines.append(
                f"- `{target['id']}`, {finding['code']}: {_cell(finding['sentence'])} (taints {taints}).{grave}"
            )
        for error in target["errors"]:
            message = _cell(one_line(error["message"]))
            lines.append(f"- `{target['id']}`, {error['code']}: {message} ({error['requests']} requests).")
    return "\n".join(["## Guards and errors", "", *(lines or ["No guard found anything, and nothing failed."])])


def _by_case(summary: dict[str, Any]) -> str:
    header = ["Case", *(f"{target['id']}" for target in summary["targets"])]
    body = []
    for case in summary["targets"][0]["by_case"]:
        body.append([case, *(_case_cell(target["by_case"][case]) for target in summary["targets"])])
    text = "Median latency (smallest to largest over the rounds), then the score of the answers."
    return "\n".join(["## Every prompt", "", text, "", *_grid(header, body)])


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
        lines += ["", f"### {_cell(case.id)}", "", _quoted(case.prompt)]
        for target in summary["targets"]:
            answer = first.get((target["id"], case.id))
            lines += ["", f"`{target['id']}`" + _ending(answer), "", _quoted(answer.text if answer else "")]
    return "\n".join(lines)


def _ending(sample: Sample | None) -> str:
    if sample is None:
        return " was not asked"
    return {"ok": "", "truncated": " (cut at the token limit)"}.get(sample.status, f" ({sample.status})")


def _quoted(text: str) -> str:
    """Return text as an indented code block, in which nothing is markup, whatever a model wrote."""
    text = printable(text)
    if len(text) > _ANSWER_LIMIT:
        text = text[:_ANSWER_LIMIT] + " …"
    return "\n".join(f"    {line}" for line in text.splitlines()) if text.strip() else "    (no text)"


def _formulas(summary: dict[str, Any]) -> str:
    lines = [f"- **{m.header}** (`{m.tag}`, {m.unit}): {m.formula}." for m in METRICS]
    lines.append(f"- Quantiles: {summary['quantile_method']}. A failed request counts as infinitely slow.")
    lines.append(
        "- **Quality**: mean over cases of the weighted mean of a case's checks; empty, cut and failed answers score 0,"
        " what nothing judged is left out; Wilson interval over cases."
    )
    return "\n".join(["## What the numbers mean", "", *lines])


def _provenance(plan: Plan, host: dict[str, Any]) -> str:
    machine = host["machine"]
    lines = [
        "## Provenance",
        "",
        f"- Audition {machine['audition']}, Python {machine['python']}, {machine['os']} {_cell(machine['os_release'])} "
        f"({machine['architecture']}).",
        f"- Order of targets and cases shuffled with seed {plan.settings.seed}; {len(plan.blocks)} loads, each with a "
        f"first request and {plan.settings.warmup} warm-up request(s) that are kept apart.",
    ]
    for name, about in sorted(host["engines"].items()):
        lines.append(
            f"- Engine `{name}`: {_cell(str(about.get('package', 'unknown')))}, device {about.get('device', 'cpu')}."
        )
    for target in plan.targets:
        settings = ", ".join(f"{key} {value}" for key, value in sorted(target.settings.items()))
        lines.append(
            f"- `{target.id}`: {target.format} {target.quantization or ''}, {settings}, sha256 `{target.digest}`."
        )
    return "\n".join(lines)


def _interval_cell(metric: dict[str, Any]) -> str:
    return f"{figure(metric)} {interval(metric)}".strip() if metric["value"] is not None else metric["reason"]


def _quality_interval(target: dict[str, Any]) -> str:
    quality = target["quality"]
    if quality["score"] is None:
        return str(quality["reason"])
    return f"{quality['score']:.2f} [{quality['low']:.2f}, {quality['high']:.2f}], {quality['cases']} cases"


def _metric(tag: str) -> Metric:
    return next(metric for metric in METRICS if metric.tag == tag)


def _grid(header: list[str], body: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    """Return text that is only text in Markdown: one line, no markup, no HTML."""
    flat = " ".join(printable(text).split())
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", flat)


def _code(text: str) -> str:
    return printable(text).replace("`", "'")
