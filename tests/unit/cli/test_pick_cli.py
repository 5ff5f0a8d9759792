"""`audition pick` and `audition report` on runs made by hand, as a person would call them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from handmade import Made, Run, run

SPREAD = (500.0, 600.0, 700.0, 800.0, 900.0, 1000.0)
EVIL = "\x1b[2J<b>x</b>\u202e"


def audition(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audition", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two targets: the small one is picked, the large one takes more memory."""
    return run(Made("small", latencies=SPREAD), Made("large", memory=900_000_000, disk=2)).write(tmp_path / "run")


def test_a_pick_is_printed_and_written(folder: Path) -> None:
    done = audition("pick", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Pick small: ")
    assert "not large: its answers are not shown to be better" in done.stdout
    decision = json.loads((folder / "pick.json").read_text())
    assert (decision["outcome"], decision["target"]) == ("picked", "small")
    assert decision["sentence"] in (folder / "benchmark_report.md").read_text().replace("\\", "")
    assert {"summary.json", "scores.jsonl", "benchmark_report.csv"} <= {path.name for path in folder.iterdir()}


def test_json_is_the_pick_and_nothing_else(folder: Path) -> None:
    done = audition("pick", folder, "--max-memory", "1GB", "--licence", "permissive", "--json")
    assert done.returncode == 0
    decision = json.loads(done.stdout)
    assert decision == json.loads((folder / "pick.json").read_text())
    assert decision["constraints"] == {
        "licences": ["permissive"],
        "max_disk_bytes": None,
        "max_latency_ms": None,
        "max_memory_bytes": 1e9,
        "min_quality": None,
    }
    assert [loser["target"] for loser in decision["losers"]] == ["large"]


@pytest.mark.parametrize(
    ("arguments", "outcome", "said"),
    [
        (["--max-memory", "100MB"], "nothing_feasible", "Nothing is feasible. The nearest miss is small: "),
        (["--max-latency", "800ms", "--max-memory", "300MB"], "measure_more", "No pick yet: small may keep to"),
        (["--min-quality", "0.9"], "measure_more", "No pick yet: small and large may keep to"),
        (["--licence", "non-commercial"], "nothing_feasible", "Nothing is feasible."),
    ],
)
def test_without_a_pick_the_gate_is_not_met(folder: Path, arguments: list[str], outcome: str, said: str) -> None:
    done = audition("pick", folder, *arguments)
    assert done.returncode == 3
    assert done.stdout.startswith(said)
    as_json = audition("pick", folder, *arguments, "--json")
    assert as_json.returncode == 3
    decision = json.loads(as_json.stdout)
    assert (decision["outcome"], decision["target"]) == (outcome, None)
    assert decision == json.loads((folder / "pick.json").read_text())
    assert said in (folder / "benchmark_report.md").read_text()


def test_a_target_that_gets_nothing_right_is_not_picked(tmp_path: Path) -> None:
    done = audition("pick", run(Made("a", (0.0,) * 6)).write(tmp_path / "run"))
    assert (done.returncode, done.stdout.splitlines()[0]) == (3, "Nothing is feasible: no target can be used.")
    assert "not a: none of its answers to 6 judged cases scores above 0" in done.stdout


def test_identical_targets_are_too_close_to_call(tmp_path: Path) -> None:
    done = audition("pick", run(Made("a"), Made("b")).write(tmp_path / "run"))
    assert (done.returncode, done.stdout.startswith("Too close to call: a and b")) == (3, True)


def test_another_constraint_picks_another_target(folder: Path) -> None:
    assert audition("pick", folder).returncode == 0
    done = audition("pick", folder, "--max-disk", "1kB")
    assert (done.returncode, done.stdout.startswith("Pick large: it is the only one that can be used")) == (0, True)
    assert "demanded: disk at most 0.001 MB." in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-memory", "2 big"],
        ["--max-disk", "2"],
        ["--max-latency", "2d"],
        ["--max-latency", "-2s"],
        ["--min-quality", "2"],
        ["--min-quality", "nan"],
        ["--min-quality", "good"],
        ["--licence", "free"],
        ["--max-p95", "2s"],
    ],
)
def test_a_bad_demand_is_a_mistake_of_usage_and_changes_nothing(folder: Path, arguments: list[str]) -> None:
    before = {path.name for path in folder.iterdir()}
    done = audition("pick", folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert arguments[0] in done.stderr or arguments[1] in done.stderr or "finite" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in folder.iterdir()} == before


def test_no_quality_at_all_can_be_demanded(folder: Path) -> None:
    assert audition("pick", folder, "--min-quality", "0").returncode == 0


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    for verb in ("pick", "report"):
        done = audition(verb, tmp_path / "nothing")
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no run" in done.stderr


def test_a_report_shows_the_run_and_says_what_it_wrote(folder: Path) -> None:
    done = audition("report", folder)
    assert done.returncode == 0
    assert done.stdout.startswith("hand made: 6 cases, 1 round")
    assert "Pick small: " in done.stdout
    assert done.stderr.splitlines() == [f"Written: {folder / name}" for name in REPORTS]
    summary = json.loads(audition("report", folder, "--json").stdout)
    assert summary == json.loads((folder / "summary.json").read_text())


REPORTS = ("benchmark_report.md", "benchmark_report.csv")
FILES = (*REPORTS, "summary.json", "scores.jsonl", "pick.json")


def test_a_report_made_again_has_the_same_bytes(tmp_path: Path) -> None:
    made = run(Made("a", (1.0, 0.5, None, "cut", 0.0) * 4, SPREAD), Made("b", (1.0,) * 20, load_fails=True), rounds=2)
    # A pick reads the summary from its file, where the cases stand in another order than in the plan.
    folder = made.write(tmp_path / "run")
    contents = []
    for arguments in (["report"], ["report"], ["pick"], ["pick"], ["report"]):
        assert audition(*arguments, folder).returncode == 0
        contents.append({name: (folder / name).read_bytes() for name in FILES})
    assert all(content == contents[0] for content in contents)


def test_a_report_keeps_the_demands_of_the_last_pick(folder: Path) -> None:
    assert audition("pick", folder, "--max-memory", "100MB").returncode == 3
    before = (folder / "pick.json").read_bytes()
    assert "Nothing is feasible." in audition("report", folder).stdout
    assert (folder / "pick.json").read_bytes() == before


def test_a_damaged_pick_names_the_file_and_what_to_do(folder: Path) -> None:
    (folder / "pick.json").write_text("{}")
    done = audition("report", folder)
    assert done.returncode == 1
    assert "pick.json is damaged" in done.stderr
    assert "fix: make it again: audition pick" in done.stderr
    assert audition("pick", folder).returncode == 0


def test_the_csv_agrees_with_the_summary(folder: Path) -> None:
    audition("report", folder)
    with (folder / "benchmark_report.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    for target in json.loads((folder / "summary.json").read_text())["targets"]:
        row = rows[target["id"]]
        assert float(row["latency_value_ms"]) == target["metrics"]["latency"]["value"]
        assert float(row["quality_score"]) == target["quality"]["score"]


def test_hostile_names_reach_neither_terminal_nor_page(tmp_path: Path) -> None:
    made = run(Made(EVIL, licence=EVIL), Made("b", memory=900_000_000), name=EVIL)
    folder = made.write(tmp_path / "run")
    for arguments in (["report"], ["pick"]):
        done = audition(*arguments, folder)
        assert done.returncode == 0
        assert not set("\x1b\u202e") & set(done.stdout + done.stderr)
    page = (folder / "benchmark_report.md").read_text()
    assert not set("\x1b\u202e") & set(page)


def test_an_interrupted_run_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    made = run(Made("a"), Made("b"), rounds=2)
    folder = Run(made.plan, made.samples[:7], made.loads[:1]).write(tmp_path / "run")
    with (folder / "samples.jsonl").open("a") as stream:
        stream.write('{"schema": 1, "target": "a", "ca')
    done = audition("report", folder)
    assert done.returncode == 0
    assert "This run is not complete." in done.stdout
    assert "note: the run is not complete: audition bench --resume" in done.stdout
    decision = json.loads((folder / "pick.json").read_text())
    assert [loser["reason"] for loser in decision["losers"]] == ["failed"]


def test_a_run_without_any_sample(tmp_path: Path) -> None:
    made = run(Made("a"), Made("b"))
    folder = Run(made.plan, [], []).write(tmp_path / "run")
    done = audition("report", folder)
    assert (done.returncode, "Nothing is feasible" in done.stdout) == (0, True)
    assert audition("pick", folder).returncode == 3


def edited(folder: Path, change: str) -> subprocess.CompletedProcess[str]:
    """Edit the samples of a run by hand, then report it."""
    path = folder / "samples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    measured = next(i for i, line in enumerate(lines) if '"measured"' in line)
    if change == "delete":
        del lines[measured]
    elif change == "double":
        lines.append(lines[measured])
    else:
        lines[measured] = (
            lines[measured].replace('"case": "c1"', '"case": "zzz"').replace('"case": "c2"', '"case": "zzz"')
        )
    path.write_text("".join(lines))
    return audition("report", folder)


def test_a_run_that_lacks_a_sample_is_not_complete(folder: Path) -> None:
    assert "not complete" in edited(folder, "delete").stdout
    assert not json.loads((folder / "summary.json").read_text())["complete"]


@pytest.mark.parametrize("change", ["double", "rename"])
def test_samples_that_the_plan_has_no_place_for_are_refused(folder: Path, change: str) -> None:
    done = edited(folder, change)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "samples" in done.stderr
    assert "unexpected fault" not in done.stderr
