from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from audition.bench.guards.base import TIMES
from audition.bench.plan import SERVER, Level
from audition.pick.constraints import Constraints
from audition.pick.decide import decide
from audition.report import markdown
from audition.summary.metrics import METRICS
from handmade import HOST, Made, Run, case, load, plan, run, sample, target

SECTIONS = ["Pick", "Results", "Highlights", "Guards and errors", "Every prompt", "All metrics", "Answers"]
SECTIONS += ["What the numbers mean", "Provenance"]
FREE = Constraints()
HOSTILE = [
    "<script>alert(1)</script>",
    "| a | b |\n| --- | --- |",
    "`code` ``more``",
    "`<b>in</b>` `**out**` ` <i>",
    "**bold** _it_ __x__ ~~gone~~ *i*",
    "[link](javascript:alert(1)) ![image](http://x/y.png)",
    "\n\n# Heading\n\n- item\n\n> quote\n\n***\n",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "\u202etxt.exe\u2066\u200b\u2028",
    "&lt;b&gt; &#x202e; &amp;",
    "\\| \\` \\\\| trailing \\",
    "<!-- comment --> <https://x.example>",
    "$x^2$ \ud800 \x00 \ufeff",
    "a_b _c_ d__e__f __a_._",
    "~~~\n```\n    indented",
    "x #\n#",
]


def report(made: Run, constraints: Constraints | None = FREE, host: dict[str, Any] = HOST) -> str:
    summary = made.summary()
    pick = None if constraints is None else decide(summary, constraints)
    return markdown.render(made.plan, host, summary, made.samples, pick)


def section(text: str, name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {name}"
    return found[1]


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def flat(tokens: list[Token]) -> list[Token]:
    return [part for token in tokens for part in (token, *(token.children or []))]


def headings(text: str) -> list[str]:
    tokens = parse(text)
    return [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]


def check_tables(text: str) -> int:
    """Every table must have as many cells in each row as in its header; return how many tables there are."""
    lines = text.splitlines()
    tables = expected = 0
    for token in parse(text):
        if token.type == "tr_open" and token.map:
            row = token.map[0]
            cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", lines[row])) - 1
            if re.fullmatch(r"(\| --- )+\|", lines[row + 1]):
                tables, expected = tables + 1, cells
            assert cells == expected, lines[row]
    return tables


def test_it_has_all_its_parts() -> None:
    text = report(run(Made("a"), Made("b", memory=900_000_000), rounds=2, name="my suite"))
    assert [name for name in headings(text) if not name.startswith("c")] == ["Benchmark report: my suite", *SECTIONS]
    assert check_tables(text) == 5
    assert "2 targets, 6 cases, 2 rounds, temperature 0.2, at most 120 tokens an answer" in text
    assert "Test Processor 9000, 8 cores, 16.00 GB of memory" in text
    assert text.endswith(".\n")
    assert not re.search(r"\n{3,}", text)


def test_the_pick_with_what_was_demanded_and_why_not_the_others() -> None:
    made = run(Made("a"), Made("b", memory=900_000_000))
    text = section(report(made, Constraints(max_latency_ms=2000.0)), "Pick")
    assert text.startswith("**Pick a: ")
    assert "- Demanded: median latency at most 2.00 s." in text
    assert "- Not `b`: its answers are not shown to be better, and it takes more memory" in text
    assert "- Note: 6 judged cases can show only large differences" in text
    assert "## Pick" not in report(made, None)


def test_a_sentence_that_stands_alone_is_followed_by_no_empty_list() -> None:
    text = section(report(run(Made("a", (1.0,) * 30))), "Pick")
    assert text.strip().splitlines() == [text.strip()]


def test_the_main_table_and_its_legend() -> None:
    text = section(report(run(Made("a"), Made("b"))), "Results")
    speed = "| a | 1.00 | 400 ms | 1.00 s | \N{EN DASH} | 20.0 | \N{EN DASH} | "
    assert f"{speed}300 ms | 200 MB | 100 MB | 6/6 | MIT (permissive) |" in text
    assert "No p95 (n = 6 is too small: at least 53 more requests are needed)." in text
    assert "| a | 400 ms \\[400 ms, 400 ms\\] |" in text
    assert "1.00 \\[0.61, 1.00\\], 6 cases" in text


def test_an_incomplete_run_says_so_at_the_top() -> None:
    made = run(Made("a"), rounds=2)
    text = report(Run(made.plan, made.samples, made.loads[:1]))
    assert "**This run is not complete:**" in text.partition("## Pick")[0]
    assert "not complete" not in report(made)


SPREAD = tuple(100.0 * i for i in range(1, 11))


def highlights(*targets: Made, **kwargs: Any) -> str:
    return section(report(run(*targets, **kwargs)), "Highlights")


def test_overlapping_intervals_show_no_difference() -> None:
    text = highlights(Made("a", (1.0,) * 10, SPREAD), Made("b", (1.0,) * 10, tuple(ms + 50 for ms in SPREAD)))
    assert "- Latency: no difference shown (`a` has 550 ms against 600 ms of `b`)." in text
    assert "leads" not in text


def test_intervals_apart_show_a_leader() -> None:
    text = highlights(Made("a", (1.0,) * 10, SPREAD), Made("b", (1.0,) * 10, tuple(ms * 10 for ms in SPREAD)))
    assert "- Latency: `a` leads, 550 ms against 5.50 s of `b`." in text
    assert "- Decode: `a` leads, " in text


def test_a_leader_must_be_ahead_of_all_and_not_only_of_the_second() -> None:
    # The third is slower by its median than the second, but so spread that it may be faster than the first.
    wide = (100.0, 150.0, *(9000.0,) * 8)
    made = run(Made("a", (1.0,) * 10, (200.0,)), Made("b", (1.0,) * 10, (300.0,)), Made("c", (1.0,) * 10, wide))
    assert "- Latency: no difference shown" in section(report(made), "Highlights")


def test_too_few_requests_have_no_leader() -> None:
    text = highlights(Made("a", (1.0,) * 3), Made("b", (1.0,) * 3, (5000.0,)))
    assert "- Latency: `a` has 1.00 s against 5.00 s of `b`, but the sample is too small for an interval." in text


@pytest.mark.parametrize(("more", "said"), [(40_000_000, "no difference shown"), (60_000_000, "`a` leads")])
def test_memory_within_the_resolution_of_the_pick_is_no_difference(more: int, said: str) -> None:
    assert f"- Peak memory: {said}" in highlights(Made("a"), Made("b", memory=200_000_000 + more))


def test_equal_disks_have_no_leader() -> None:
    assert "- Disk: no difference shown (`a` has 100 MB against 100 MB of `b`)." in highlights(Made("a"), Made("b"))
    assert "- Disk: `a` leads, 100 MB against 101 MB of `b`." in highlights(Made("a"), Made("b", disk=101_000_000))


def test_unknown_figures_are_not_compared() -> None:
    assert "- Peak memory: known for fewer than two targets." in highlights(Made("a"), Made("b", memory=None))


def test_unusable_targets_are_left_out_of_the_highlights() -> None:
    text = highlights(Made("a"), Made("b", load_fails=True))
    assert "Only `a` is usable: there is nothing to compare." in text
    assert "Left out, because they failed or their answers are unusable: `b`." in text
    noise = Made("b", text="again and again and again it says so. " * 9)
    assert "their answers are unusable: `b`." in highlights(Made("a"), noise)
    assert "No target is usable" in highlights(Made("a", load_fails=True))


def test_tainted_figures_are_marked_where_they_are_compared() -> None:
    text = highlights(Made("a", (1.0,) * 9 + ("cut",)), Made("b", (1.0,) * 10))
    assert re.search(r"Latency: .*1\.00 s !", text)


def test_guards_and_errors_are_listed() -> None:
    loop = "again and again and again it says so. " * 9
    text = section(report(run(Made("a", text=loop), Made("b", load_fails=True))), "Guards and errors")
    assert "- `a`, unusable_answers: 6 of 6 answers are unusable" in text
    marked = re.search(r"in a loop\).*\(taints (.*)\)\. \*\*It must not be picked\.\*\*", text)
    assert marked and marked[1] == "quality, latency, itl, decode_tps, tpot, chars_per_s, 2 more", "all that is noise"
    assert "- `b`, bad_model_file: the file is cut off (1 of 1 loads, 0 of 6 measured)." in text
    assert "- `b`, engine_died: the engine died (1 of 1 first requests, 6 of 6 measured)." in text
    assert "nothing failed" in section(report(run(Made("a"))), "Guards and errors")


def test_every_prompt_has_its_latency_in_the_order_of_the_plan() -> None:
    made = run(Made("a", (1.0,) * 12, SPREAD), rounds=2)
    text = section(report(made), "Every prompt")
    cases = re.findall(r"^\| (c\d+) \|", text, re.MULTILINE)
    assert cases == [f"c{i}" for i in range(1, 13)]
    assert "| c2 | 200 ms (200 ms to 200 ms), score 1.00 |" in text


def test_a_summary_from_its_file_gives_the_same_report() -> None:
    made = run(Made("a", (1.0,) * 12), Made("b", (0.0,) * 12))
    summary = made.summary()
    for entry in summary["targets"]:
        entry["by_case"] = dict(sorted(entry["by_case"].items()))
    pick = decide(summary, FREE)
    assert markdown.render(made.plan, HOST, summary, made.samples, pick) == report(made)


def test_cut_failed_and_unscored_cases_say_so() -> None:
    made = run(Made("a", ("cut", None, 1.0)), Made("b", (0.5, 0.0, 1.0)))
    text = section(report(made), "Every prompt")
    assert "| c1 | 1.00 s, score 0.00, 1 cut | 1.00 s, score 0.50 |" in text
    assert "| c2 | failed | 1.00 s, score 0.00 |" in text
    assert "not scored" in section(report(run(Made("a"), checked=False)), "Every prompt")


def test_answers_stand_under_their_prompts() -> None:
    made = run(Made("a", (1.0, "cut")), Made("b", (0.5, None)))
    text = section(report(Run(made.plan, [s for s in made.samples if s.target == "b"], made.loads)), "Answers")
    assert "`b`\n\n    yes\n" in text
    assert "`a` (not asked)\n\n`b` (failed)\n\n    (no text)" in text
    assert "`a` (cut at the token limit)\n\n    yes sure" in section(report(made), "Answers")


def test_the_first_request_after_a_load_is_not_shown_as_an_answer() -> None:
    made = plan([target("a")], [case("c1")])
    samples = [sample(phase="first", text="too early"), sample(phase="measured", text="measured")]
    text = section(report(Run(made, samples, [load()])), "Answers")
    assert ("too early" in text, "    measured" in text) == (False, True)


def test_formulas_and_provenance() -> None:
    host = copy.deepcopy(HOST)
    host["models"]["a"] = {"source": "pypi:some_model==1.0"}
    text = report(run(Made("a"), rounds=3), host=host)
    formulas = section(text, "What the numbers mean")
    for metric in METRICS:
        assert f"- **{metric.header}** (`{metric.tag}`, {metric.unit}): {metric.formula}." in formulas
    assert "type 7" in formulas
    assert "medians are about new prompts of this kind and new loads" in formulas
    provenance = section(text, "Provenance")
    assert "seed 0; 3 loads" in provenance
    assert "Engine `fake`: fakeengine 1.2.3, cpu." in provenance
    assert "Server" not in provenance, "runs without one have no such line"
    assert f"from pypi:some_model==1.0, sha256 `{target('a').digest}`." in provenance
    assert "Audition 0.0.0, Python 3.11.9, Linux 6.1 (x86_64)" in provenance


def test_what_no_target_shows_is_listed_once_with_its_reason() -> None:
    whole = section(report(run(Made("a"), Made("b"))), "All metrics")
    table, nowhere = whole.split("Known of no target here:")
    energy = [f"{metric.header} ({metric.tag})" for metric in METRICS if "energy" in metric.tag]
    (line,) = [line for line in nowhere.splitlines() if energy[0] in line]
    assert all(name in line for name in energy)
    assert "energy" not in table
    for metric in METRICS:
        assert (f"({metric.tag}, " in table) != (f"({metric.tag})" in nowhere)


def test_an_unknown_machine_is_described_in_words() -> None:
    host = copy.deepcopy(HOST)
    host["machine"] |= {"cpu": None, "cores_logical": None, "memory_total_bytes": None}
    text = report(run(Made("a")), host=host)
    assert "an unnamed processor, an unknown number of cores, an unknown amount of memory" in text
    assert "None" not in text


@pytest.mark.parametrize("targets", [1, 2, 25])
def test_all_failed(targets: int) -> None:
    text = report(run(*(Made(f"t{i}", load_fails=True) for i in range(targets))))
    assert "**Nothing is feasible: no target can be used.**" in text
    assert check_tables(text) == 5
    results = section(text, "Results")
    assert not re.search(r"\| 0\.0 |\| 0 (ms|MB)|nan|None|inf\b", results)


def test_many_targets() -> None:
    text = report(run(*(Made(f"t{i:02d}", memory=(i + 1) * 100_000_000) for i in range(40))))
    assert "Pick t00" in text
    assert check_tables(text) == 5
    assert text.count("- Not `t") == 39


def test_who_a_server_said_that_it_was_is_in_the_provenance() -> None:
    host = copy.deepcopy(HOST)
    about = {"package": "Ollama 0.12.6", "model": "m:latest", "quantization": "Q4_K_M", "context": 4096, "slots": None}
    host["servers"] = {"m@127.0.0.1:1/endpoint": {**about, "notes": ['"m" is "m:latest" there']}}
    provenance = section(report(run(Made("a")), host=host), "Provenance")
    line = next(line for line in provenance.splitlines() if "Server" in line)
    assert "`m@127.0.0.1:1/endpoint`" in line
    assert "Ollama 0.12.6, model m:latest, quantization Q4" in line.replace("\\_", "_")
    assert "context 4096" in line
    assert "slots" not in line
    assert '"m" is "m:latest" there' in line


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_anywhere_is_only_text(evil: str) -> None:
    cases = [case(evil, prompt=evil, expect=("yes",)), case("plain", prompt=evil)]
    ids = [evil, f"{evil}2", "bad"]
    made = plan([target(i, licence=evil, quantization=evil, settings={evil: evil}) for i in ids], cases, name=evil)
    samples = [sample(target=i, case=c.id, text=evil) for i in ids[:2] for c in cases]
    error = {"code": evil, "message": evil}
    samples += [sample("failed", target="bad", case=c.id, error=error) for c in cases]
    loads = [load(target=i, block=block.id) for i, block in zip(ids, made.blocks, strict=True)]
    host = {**copy.deepcopy(HOST), "engines": {evil: {"package": evil, "device": evil}}, "models": {}}
    host["servers"] = {evil: {"package": evil, "model": evil, "quantization": evil, "notes": [evil]}}
    host["machine"] |= {"cpu": evil, "os_release": evil}
    text = report(Run(made, samples, loads), host=host)

    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800]", text)
    tokens = flat(parse(text))
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "fence", "blockquote_open", "hr", "s_open"}
    assert not kinds & {"em_open", "ordered_list_open"}
    bold = {tokens[i + 1].content[:4] for i, token in enumerate(tokens) if token.type == "strong_open"}
    assert bold <= {"Pick", "Noth", "Too ", "It m", "This", *(m.header[:4] for m in METRICS), "Qual", "Quan"}
    assert [token.tag for token in tokens if token.type == "heading_open"] == [
        "h1",
        *["h2"] * 7,
        "h3",
        "h3",
        "h2",
        "h2",
    ]
    assert check_tables(text) == 5
    # Entities are not decoded either: what is shown is what was written.
    shown = "".join(token.content for token in tokens if token.type == "text")
    assert not re.search("[\u202a-\u202e]", shown)


@pytest.mark.parametrize("evil", HOSTILE)
def test_names_are_shown_as_they_are(evil: str) -> None:
    plain = " ".join(evil.split())
    if not plain.isprintable():
        return
    made = plan([target("a")], [case(evil)])
    tokens = parse(report(Run(made, [sample(case=evil)], [load()])))
    inlines = [token for i, token in enumerate(tokens) if i and tokens[i - 1].type == "heading_open"]
    shown = ["".join(child.content for child in token.children or []) for token in inlines]
    assert plain in shown


def test_an_answer_is_quoted_as_it_is() -> None:
    answer = "# Title\n\n    indented\n\tTab | pipe <b> `code`\n```\n~~~"
    made = run(Made("a", (1.0,), text=answer))
    blocks = [token.content for token in parse(report(made)) if token.type == "code_block"]
    assert blocks == ["Say yes.\n", f"{answer}\n"]


def test_a_megabyte_of_answer_is_cut() -> None:
    made = run(Made("a", (1.0,), text="word | <b> " * 100_000))
    error = {"code": "x", "message": "m" * 1_000_000}
    made = Run(made.plan, made.samples, [replace(made.loads[0], error=error)])
    text = report(made)
    assert len(text) < 20_000
    assert " \N{HORIZONTAL ELLIPSIS}" in section(text, "Answers")


def test_the_digits_in_a_name_are_explained_once_where_there_are_any() -> None:
    explained = "six digits end the name of a target with unusual settings"
    assert report(run(Made("a#b5b3d5"), Made("b#0123ab"))).count(explained) == 1
    assert explained not in report(run(Made("a"), Made("b#thing")))


def with_findings(**changes: Any) -> str:
    """Return the report of a run whose summary was changed by hand."""
    made = run(Made("a", (1.0,) * 3))
    summary = made.summary()
    summary["targets"][0] |= changes
    return markdown.render(made.plan, HOST, summary, made.samples, decide(summary, FREE))


def finding_of(*taints: str, **fields: Any) -> dict[str, Any]:
    given = {"code": "x", "sentence": "it is so", "taints": taints, "disqualifies": False, "levels": ()}
    return {**given, "affected": None, "of": None, **fields}


def test_what_the_guards_could_not_know_is_said() -> None:
    open_ = [("seed_ignored", "http_500"), ("max_tokens_ignored", "http_500"), ("context_too_small", "timeout")]
    text = with_findings(not_known=[{"code": code, "reason": reason} for code, reason in open_])
    assert (
        "- `a`, not known, because the questions failed: seed_ignored, max_tokens_ignored (http_500); "
        "context_too_small (timeout)."
    ) in section(text, "Guards and errors")
    assert "not known, because" not in with_findings()


def test_a_finding_names_only_what_has_a_figure_and_long_lists_by_their_group() -> None:
    few = finding_of("latency", "energy_per_token", "prefill_tps")
    text = section(with_findings(findings=[few]), "Guards and errors")
    assert "- `a`, x: it is so (taints latency, prefill_tps)." in text
    assert "energy_per_token" not in text
    text = section(with_findings(findings=[finding_of(*TIMES, "quality")]), "Guards and errors")
    assert "- `a`, x: it is so (taints all times, quality)." in text
    some = ("ttft", "ttfa", "latency", "itl", "decode_tps", "tpot", "e2e_tps", "throughput")
    text = section(with_findings(findings=[finding_of(*some)]), "Guards and errors")
    assert "(taints ttft, ttfa, latency, itl, decode_tps, tpot, 2 more)." in text
    assert "taints" not in section(with_findings(findings=[finding_of("energy_per_token")]), "Guards and errors")


def test_under_the_pick_a_finding_is_only_named() -> None:
    text = with_findings(findings=[finding_of("latency")])
    assert "- Note: a: the guards found x (see Guards and errors in the report)." in section(text, "Pick")
    assert text.count("it is so") == 1


def test_failures_that_do_not_disqualify_are_told_once() -> None:
    text = report(run(Made("a", (1.0,) * 9 + (None,))))
    assert "failing_requests" not in text
    assert "engine_died: the engine died (1 of 10 measured)." in section(text, "Guards and errors")
    assert section(text, "Pick").count("failed") == 1


def two_levels(*statuses: str) -> Run:
    made = replace(plan([target("a")], [case("c1")]), levels=(Level.closed(1), Level.closed(4)))
    samples = [sample(repeat=n) for n in range(3)]
    samples += [sample(status, level="c4", repeat=n) for n, status in enumerate(statuses)]
    return Run(made, samples, [load()])


def test_the_table_counts_and_marks_what_its_row_is_about() -> None:
    text = report(two_levels("ok", "truncated", "truncated"))
    results = section(text, "Results")
    assert "| 3/3 |" in results
    assert "The row is about the first load level: one request at a time." in results
    assert "!" not in next(line for line in results.splitlines() if line.startswith("| a |"))
    first, fourth = (line for line in section(text, "Under load").splitlines() if line.startswith("| a |"))
    assert ("250 ms !" in first, "250 ms !" in fourth) == (False, True)
    assert "(only with 4 requests at a time) (taints latency" in section(text, "Guards and errors")


def test_the_legend_says_what_complete_and_of_bandwidth_mean() -> None:
    text = section(report(run(Made("a"))), "Results")
    assert "Complete counts the measured requests that were answered to their end" in text
    assert "answers cut at the token limit and failed requests are not among them" in text
    assert "Of bandwidth is how much of this machine's measured memory bandwidth" in text


def test_a_figure_without_an_interval_has_its_reason_below_the_table() -> None:
    made = run(Made("a", (1.0,) * 3), Made("b", (1.0,) * 3))
    reason = made.summary()["targets"][0]["metrics"]["latency"]["interval_reason"]
    text = section(report(made), "Results")
    assert f"No interval (TTFT, Latency, Decode: {reason})." in text
    assert "No interval" not in report(run(Made("a"), Made("b")))
    some = made.summary()
    some["targets"][0]["metrics"]["latency"] |= {"low": 1.0, "high": 2.0}
    text = markdown.render(made.plan, HOST, some, made.samples, None)
    assert f"No interval (TTFT, Latency of b, Decode: {reason})." in text


def test_the_provenance_tells_loads_from_loads() -> None:
    made = run(Made("a"), rounds=2)
    assert "; 2 loads, each with" in section(report(made), "Provenance")
    assert "the guards asked no questions (--no-probes)" in section(report(made), "Provenance")
    asked = replace(made.plan, blocks=(replace(made.plan.blocks[0], id="p001", round=0, cases=()), *made.plan.blocks))
    text = section(report(Run(asked, made.samples, made.loads)), "Provenance")
    assert "; 2 loads, each with" in text
    assert "; 1 load for the questions of the guards;" in text


def test_of_a_server_no_checksum_is_called_unknown() -> None:
    made = plan([target("a", format=SERVER, digest=None, quantization=None)], [case("c1")])
    text = section(report(Run(made, [sample()], [load()])), "Provenance")
    assert "- `a`: server, context 4096." in text
