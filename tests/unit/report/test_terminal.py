from __future__ import annotations

import io
import re
from itertools import product
from typing import Any

import pytest
from rich.console import Console

from audition.pick.constraints import Constraints
from audition.pick.decide import decide
from audition.report import terminal
from handmade import Made, Run, case, load, plan, run, sample, summary, target

EVIL = "\x1b[2J\x9b31m\x07[red]x[/red]\u202e\u200b\x00\r"


def show(data: dict[str, Any], *, width: int = 160, colour: bool = False, **demands: Any) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None,
        markup=False, highlight=False, emoji=False,
    )  # fmt: skip
    terminal.show(console, data, decide(data, Constraints(**demands)))
    return stream.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│ \n").split("│")]


def test_table_and_pick() -> None:
    text = show(summary(Made("a"), Made("b", memory=900_000_000)), max_latency_ms=2000.0)
    assert text.startswith("hand made: 6 cases, 1 round, temperature 0.2")
    (row,) = (cells(line) for line in text.splitlines() if line.startswith("│ b "))
    assert row[:5] == ["b", "1.00", "400 ms", "1.00 s", "\N{EN DASH}"]
    assert row[5:] == ["20.0", "\N{EN DASH}", "300 ms", "900 MB", "100 MB", "6/6", "MIT (permissive)"]
    assert "Pick a: " in text
    assert "  demanded: median latency at most 2.00 s." in text
    assert "  not b: its answers are not shown to be better, and it takes more memory" in text
    assert "  note: 6 judged cases" in text
    assert "No p95 (n = 6 is too small" in text


def test_guards_and_errors_stand_under_their_target() -> None:
    text = show(summary(Made("a", ("cut",) * 6), Made("b", load_fails=True)))
    assert "a\n  ! truncated_answers: 6 of 6 answers were cut" in text
    assert "b\n  ! failing_requests: " in text
    assert "  bad_model_file (1 of 1 loads, 0 of 6 measured): the file is cut off" in text
    assert "engine_died (1 of 1 first requests, 6 of 6 measured): the engine died" in text
    assert "! marks the figures" in text
    assert "! marks" not in show(summary(Made("a")))
    assert "Complete: answered to the end; cut and failed answers are not." in text
    assert "Complete:" not in show(summary(Made("a")))


def test_an_incomplete_run_says_so() -> None:
    made = run(Made("a"), rounds=2)
    assert "This run is not complete." in show(Run(made.plan, made.samples, made.loads[:1]).summary())
    assert "not complete" not in show(made.summary())


def test_only_the_picked_target_is_green() -> None:
    text = show(summary(Made("a"), Made("b", memory=900_000_000)), colour=True)
    (picked,) = (line for line in text.splitlines() if "│" in line and "200 MB" in line)
    (other,) = (line for line in text.splitlines() if "│" in line and "900 MB" in line)
    assert "\x1b[32m" in picked
    assert "\x1b[32m" not in other


@pytest.mark.parametrize("width", [160, 100, 80, 60, 40])
def test_no_figure_is_cut_short_however_narrow_the_terminal(width: int) -> None:
    made = [Made(f"model-number-{i}:q4_k_m/llamacpp/cpu", memory=i * 100_000_000 + 12_000_000) for i in (1, 2, 3, 4)]
    text = show(summary(*made), width=width)
    table = "\n".join(line for line in text.splitlines() if "│" in line or "┃" in line)
    assert "\N{HORIZONTAL ELLIPSIS}" not in table
    for i in (1, 2, 3, 4):
        assert f" {i}12 MB " in table
    assert table.count(" MIT (permissive) ") == 4
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_narrow_table_stands_on_its_side() -> None:
    made = [Made(f"model-{i}:q4_k_m/llamacpp/cpu") for i in (1, 2, 3)]
    text = show(summary(*made), width=80)
    assert [cells(line)[0] for line in text.splitlines() if line.startswith("│")][:3] == ["Quality", "TTFT", "Latency"]
    (header,) = (line for line in text.splitlines() if "model-1:q4_k_m" in line and "┃" in line)
    assert "/llamacpp" not in header


def test_hostile_text_does_not_reach_the_terminal_raw() -> None:
    made = plan([target(EVIL, licence=EVIL), target("b"), target("bad")], [case("c1")], name=EVIL)
    samples = [sample(target=EVIL, text=EVIL), sample(target="b", text=EVIL)]
    samples.append(sample("failed", target="bad", error={"code": EVIL, "message": EVIL + "\n" + "long " * 100_000}))
    loads = [load(target=t.id, block=b.id) for t, b in zip(made.targets, made.blocks, strict=True)]
    data = Run(made, samples, loads).summary()
    finding = {"code": "x", "sentence": EVIL, "taints": ["quality"], "affected": 1, "of": 1, "levels": []}
    data["targets"][0]["not_known"] = [{"code": "y", "reason": EVIL}]
    data["targets"][0]["findings"] = [finding | {"disqualifies": False}]
    data["targets"][1]["findings"] = [finding | {"disqualifies": True}]
    # Picked, with the finding as its note; then not.
    for demands, width in product(({}, {"max_latency_ms": 0.001}), (160, 60)):
        text = show(data, width=width, **demands)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", text)
        # Nor is it markup of the terminal library.
        assert "[red]x[/red]" in text.replace("\n", "")
        assert len(text) < 10_000


def test_all_failed_has_no_figures() -> None:
    text = show(summary(Made("a", load_fails=True), Made("b", load_fails=True)))
    assert "Nothing is feasible: no target can be used." in text
    (row,) = (cells(line) for line in text.splitlines() if line.startswith("│ a "))
    assert row[1:11] == [*["\N{EN DASH}"] * 8, "100 MB", "0/6"]


def test_without_a_pick_there_is_only_the_table() -> None:
    stream = io.StringIO()
    Console(file=stream, width=160).print(terminal.render(summary(Made("a")), None))
    assert "Pick" not in stream.getvalue()
    assert "│ a " in stream.getvalue()


def test_what_until_makes_precise_stands_under_the_table() -> None:
    data = summary(Made("a"), Made("b", latencies=(3000.0,)), rounds=3)
    assert "Typical latency" not in show(data)
    data["settings"]["until_ci"] = 0.05
    data["targets"][0]["latency_here"] |= {"low_ms": 950.0, "high_ms": 1100.0}
    lines = show(data).splitlines()
    start = lines.index("Typical latency on these prompts, 95 % interval for new loads")
    assert lines[start + 1 : start + 3] == ["  a: 1.00 s [950 ms, 1.10 s]", "  b: 3.00 s"]


def test_what_the_guards_could_not_know_is_one_line() -> None:
    data = summary(Made("a"), Made("b"))
    data["targets"][1]["not_known"] = [{"code": code, "reason": "http_500"} for code in ("seed_ignored", "usage")]
    text = show(data)
    assert "b\n  ? not known, because the questions failed: seed_ignored, usage (http_500)\n" in text
    assert text.count("not known") == 1


def test_no_mark_is_explained_where_nothing_is_marked() -> None:
    data = summary(Made("a"))
    finding = {"code": "x", "sentence": "so", "taints": [], "affected": 1, "of": 1, "levels": [], "disqualifies": False}
    data["targets"][0]["findings"] = [finding]
    assert "! marks" not in show(data)
    data["targets"][0]["findings"] = [finding | {"taints": ["latency"]}]
    assert "! marks" in show(data)
