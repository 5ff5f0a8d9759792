"""A run that is killed with -9 in any phase goes on, and ends as it would have; real model, real processes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli import audition, records, start

pytestmark = [
    pytest.mark.models,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and SIGINT are POSIX signals"),
]

PROMPTS = '["Name three colours.", "Say hello to Ada.", "Count from one to five."]'
ROUNDS = 2
PLANNED = ROUNDS * (1 + 1 + 3)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Poll quickly until the run has got that far."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def phases(out: Path) -> list[str]:
    return [record["phase"] for record in records(out / "samples.jsonl")]


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "probe": lambda out: phases(out).count("probe") >= 2,
    "load": lambda out: (out / "logs" / "b001-1.log").exists(),
    "first request": lambda out: (
        "loading model" in (out / "logs" / "b001-1.log").read_text()
        if (out / "logs" / "b001-1.log").exists()
        else False
    ),
    "warm-up": lambda out: "first" in phases(out),
    "measured": lambda out: phases(out).count("measured") >= 1,
    "unload": lambda out: phases(out).count("measured") == 3,
    "second block": lambda out: phases(out).count("first") == 2,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment: str, real_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.json"
    prompts.write_text(PROMPTS)
    options = ["--rounds", ROUNDS, "--deterministic", "--max-tokens", 24, "--out", out]
    if moment != "probe":
        options.append("--no-probes")
    process = start("bench", "--models", "smollm2-135m", "--prompts", prompts, *map(str, options))
    wait_until(lambda: MOMENTS[moment](out), process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = (out / "samples.jsonl").read_bytes() if (out / "samples.jsonl").exists() else b""
    whole = before[: before.rfind(b"\n") + 1]
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "the engine's process outlived the run"

    resumed = audition("bench", "--resume", out)

    assert resumed.returncode == 0, resumed.stderr
    assert (out / "samples.jsonl").read_bytes().startswith(whole)
    samples = records(out / "samples.jsonl")
    # A probe is asked again from its start: what it was told by a process that is gone may not hold for the next one.
    keys = [(s["block"], s["phase"], s["case"]) for s in samples if s["phase"] != "probe"]
    assert len(keys) == len(set(keys)) == PLANNED
    assert {sample["status"] for sample in samples} <= {"ok", "truncated"}
    assert sorted(load["block"] for load in records(out / "loads.jsonl")) == [
        *("b001", "b002"),
        *(["p001"] if moment == "probe" else []),
    ]
    texts = {(sample["case"], sample["text"]) for sample in samples if sample["phase"] == "measured"}
    assert len(texts) == 3, "deterministic answers differ after the resume"
    again = audition("bench", "--resume", out)
    assert again.returncode == 0
    assert records(out / "samples.jsonl") == samples


def test_interrupted_with_ctrl_c(real_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.json"
    prompts.write_text(PROMPTS)
    process = start("bench", "--models", "smollm2-135m", "--prompts", prompts, "--no-probes", "--out", out)
    wait_until(lambda: phases(out).count("measured") >= 1, process)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert f"audition bench --resume '{out}'" in stderr
    assert not psutil.wait_procs(children, timeout=10)[1]
    report = audition("report", out)
    assert report.returncode == 0
    assert "not complete" in report.stdout


def test_two_runs_cannot_share_a_folder(real_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.json"
    prompts.write_text(PROMPTS)
    process = start("bench", "--models", "smollm2-135m", "--prompts", prompts, "--rounds", "20", "--out", out)
    wait_until(lambda: bool(phases(out)), process)
    second = audition("bench", "--resume", out)
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert "in use by another run" in second.stderr
    counts = [len(list(group)) for _, group in itertools.groupby(phases(out))]
    assert counts, "the first run kept its samples"
