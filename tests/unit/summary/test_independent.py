"""Does a short script that shares no code with the program get the same numbers from the samples?"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from audition import api
from audition.bench.rundir import RunDir
from handmade import Made, Run, run

SCRIPT = """
import json, statistics, sys
samples = [json.loads(line) for line in open(sys.argv[1])]
out = {}
for name in sorted({s["target"] for s in samples}):
    mine = [s for s in samples if s["target"] == name and s["phase"] == "measured"]
    good = [s for s in mine if s["status"] in ("ok", "truncated")]
    failed = [float("inf")] * (len(mine) - len(good))
    rates = [1e3 * (s["completion_tokens"] - 1) / (s["chunk_times_ms"][-1] - s["chunk_times_ms"][0]) for s in good]
    spent = 0.0
    for block in {s["block"] for s in mine}:
        sent = [s for s in mine if s["block"] == block and s["sent_ns"] is not None]
        ends = [s["sent_ns"] + 1e6 * s["elapsed_ms"] for s in sent]
        spent += (max(ends) - min(s["sent_ns"] for s in sent)) / 1e9 if sent else 0
    throughput = sum(s["completion_tokens"] for s in good) / spent
    latency, ttft = (statistics.median([s[key] for s in good] + failed) for key in ("latency_ms", "ttft_ms"))
    out[name] = [len(mine), len(failed), latency, ttft, statistics.median(rates), throughput]
print(json.dumps(out))
"""


def in_time(made: Run) -> Run:
    """Return the run without its probes, its requests one after the other; a failed one took 77 ms."""
    blocks = tuple(block for block in made.plan.blocks if block.cases)
    measuring = {block.id for block in blocks}
    now, samples = 10**9, []
    for each in (s for s in made.samples if s.block in measuring):
        took = each.latency_ms if each.latency_ms is not None else 77.0
        samples.append(replace(each, sent_ns=now, elapsed_ms=took))
        now += round((took + 3) * 1e6)
    loads = [load for load in made.loads if load.block in measuring]
    settings = replace(made.plan.settings, probes=False)
    return Run(replace(made.plan, blocks=blocks, settings=settings), samples, loads)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_script_of_its_own_gets_the_same_numbers(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    marks = [(1.0, 0.5, 0.0, "cut", None)[rng.choice((0, 0, 0, 1, 2, 3, 4))] for _ in range(9)]
    others = [rng.uniform(50, 5000) for _ in range(9)]
    made = in_time(run(Made("a", marks, others), Made("b", marks[::-1], others[:4]), rounds=3))
    path = made.write(tmp_path / "run")
    api.conclude(RunDir(path))

    command = [sys.executable, "-c", SCRIPT, str(path / "samples.jsonl")]
    expected = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    summary = json.loads((path / "summary.json").read_text())
    assert [target["id"] for target in summary["targets"]] == list(expected) == ["a", "b"]
    for target in summary["targets"]:
        n, failed, latency, ttft, decode, throughput = expected[target["id"]]
        metrics, requests = target["metrics"], target["requests"]
        assert (requests["measured"], requests["failed"] + requests["timeout"]) == (n, failed)
        assert (metrics["latency"]["n"], metrics["latency"]["failed"]) == (n, failed)
        assert metrics["latency"]["value"] == pytest.approx(latency, abs=1e-3)
        assert metrics["ttft"]["value"] == pytest.approx(ttft, abs=1e-3)
        assert metrics["decode_tps"]["value"] == pytest.approx(decode, abs=1e-3)
        assert metrics["throughput"]["value"] == pytest.approx(throughput, abs=1e-3)
