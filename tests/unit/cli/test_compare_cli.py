"""`audition compare`: exit codes, what is printed, and that its document agrees with it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from audition.cli.compare import compare
from audition.errors import AuditionError, UsageError
from audition.pick.gates import gate_metrics, parse_gates
from audition.pick.likeness import ALLOWABLE
from comparable import Before

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "compare.md"
BEFORE = Before(n=8)
AFTER = replace(BEFORE, seed=2)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(compare, [*map(str, arguments)])


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return BEFORE.write(tmp_path / "before").path


@pytest.fixture
def same(tmp_path: Path) -> Path:
    return AFTER.write(tmp_path / "same").path


@pytest.fixture
def slower(tmp_path: Path) -> Path:
    return replace(AFTER, factor=1.1).write(tmp_path / "slower").path


def test_a_comparison_is_printed_and_nothing_is_written(before: Path, slower: Path) -> None:
    files = {path: path.read_bytes() for folder in (before, slower) for path in folder.rglob("*")}
    done = run(before, slower)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{before} -> {slower}: 8 cases compared")
    assert re.search(r"^  Latency: (9\.\d|10) % slower \[", done.stdout, re.MULTILINE)
    (unknown,) = [line for line in done.stdout.splitlines() if "nknown" in line]
    assert unknown.startswith("  Unknown in both: Energy per token, Energy per answer (")
    assert {path: path.read_bytes() for folder in (before, slower) for path in folder.rglob("*")} == files


@pytest.mark.parametrize(
    ("gates", "code", "said"),
    [
        ("latency>5%", 3, "Gates failed: 1 not met."),
        ("latency>10%", 0, "No gate failed: 1 undecided (more cases or rounds decide; --strict fails it)."),
        (
            *("latency>20%,quality<0,failures>1%", 0),
            "No gate failed: 1 met, 2 undecided (more cases or rounds decide; --strict fails them).",
        ),
        ("latency>20%,quality<-0.5", 0, "All gates are met: 2 met."),
        ("energy_per_token>5%", 3, "Gates failed: 1 not met."),
    ],
)
def test_gates_decide_the_exit_code(before: Path, slower: Path, gates: str, code: int, said: str) -> None:
    done = run(before, slower, "--fail-on", gates)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (code, said)


def test_strict_fails_what_is_undecided(before: Path, slower: Path) -> None:
    done = run(before, slower, "--fail-on", "latency>10%", "--strict")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        3,
        "Gates failed: 1 undecided (more cases or rounds decide; --strict fails it).",
    )


def test_json_is_the_comparison_and_nothing_else(before: Path, slower: Path) -> None:
    done = run(before, slower, "--fail-on", "latency>5%", "--json")
    assert done.exit_code == 3
    data = json.loads(done.stdout)
    assert data["gates"]["met"] is False
    assert [result["status"] for result in data["gates"]["results"]] == ["not met"]
    assert {change["metric"] for change in data["targets"][0]["changes"]} == set(gate_metrics())
    assert json.loads(run(before, slower, "--json").stdout)["gates"] is None


def test_markdown_is_written_for_a_pull_request(before: Path, slower: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "compare.md"
    done = run(before, slower, "--fail-on", "latency>5%", "--markdown", file)
    assert (done.exit_code, done.stderr) == (3, f"Written: {file}\n")
    text = file.read_text(encoding="utf-8")
    assert "**Gates failed: 1 not met.**" in text
    assert re.search(r"^\| latency>5% \| not met \| a \| Latency: \+(9\.\d|10) %", text, re.MULTILINE)
    (tmp_path / "file").write_text("")
    failed = run(before, slower, "--markdown", tmp_path / "file" / "x.md")
    assert isinstance(failed.exception, AuditionError) and failed.exception.exit_code == 1


def test_unlike_runs_are_a_mistake_of_usage_until_allowed(before: Path, tmp_path: Path) -> None:
    other = replace(AFTER, host={"cpu": "Other Processor"}).write(tmp_path / "other").path
    refused = run(before, other)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.fix == "compare them all the same: --allow machine"
    allowed = run(before, other, "--allow", "machine")
    assert allowed.exit_code == 0
    assert "machine: cpu Test Processor 9000 -> Other Processor" in allowed.stdout


def test_targets_can_be_named(tmp_path: Path) -> None:
    both = replace(BEFORE, targets=({"id": "x"}, {"id": "y", "device": "cuda"})).write(tmp_path / "both").path
    done = run(both, both, "--target", "x=y")
    assert done.exit_code == 0
    assert "x -> y\n  device cpu -> cuda\n" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "x"],
        ["--target", "=x"],
        ["--strict"],
        ["--fail-on", "latncy>5%"],
        ["--fail-on", ""],
        ["--allow", "everything"],
        ["--target", "a=nobody"],
    ],
)
def test_mistakes_of_usage(before: Path, same: Path, arguments: list[str]) -> None:
    done = run(before, same, *arguments)
    assert done.stdout == ""
    assert done.exit_code == 2 or (isinstance(done.exception, UsageError) and done.exception.exit_code == 2)


def test_a_run_that_is_not_there(before: Path, tmp_path: Path) -> None:
    done = run(before, tmp_path / "nothing")
    assert isinstance(done.exception, UsageError) and "there is no run" in done.exception.message


def test_text_of_others_does_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    evil = {"id": "\x1b[2Jevil\u202e"}
    runs = [
        replace(made, targets=(evil,), package=f"\x1b[2J{made.seed}", host={"cpu": f"\x1b[2J{made.seed}"})
        .write(tmp_path / str(made.seed))
        .path
        for made in (BEFORE, AFTER)
    ]
    done = run(*runs, "--allow", "machine")
    assert done.exit_code == 0
    assert "engine fake" in done.stdout and "machine: cpu" in done.stdout
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert "\x1b" not in run(*runs, "--allow", "machine", "--json").stdout


def table(heading: str) -> set[str]:
    """Return the names in the first column of the table under a heading of the document."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return {name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}


def test_the_document_names_what_can_be_allowed_and_what_can_be_a_gate() -> None:
    assert table("What must be alike") == set(ALLOWABLE)
    assert table("Gates") == set(gate_metrics())


def test_the_gates_that_the_document_shows_can_be_read() -> None:
    shown = re.findall(r"--fail-on '([^']+)'|`(\w+[<>][^`]+)`", DOCUMENT.read_text(encoding="utf-8"))
    assert len(shown) >= 5
    for option, gate in shown:
        parse_gates(option or gate)


def test_the_help_names_what_can_be_allowed() -> None:
    words = " ".join(run("--help").stdout.split())
    assert f"What the runs may differ in: {', '.join(ALLOWABLE)}." in words
