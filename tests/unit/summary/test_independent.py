"""Does a short script that shares no code with the program get the same numbers from the samples?"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from audition import api
from audition.bench.rundir import RunDir
from handmade import Made, run

SCRIPT = """
import json, statistics, sys
samples = [json.loads(line) for line in open(sys.argv[1])]
out = {}
for name in sorted({s["target"] for s in samples}):
    mine = [s for s in samples if s["target"] == name and s["phase"] == "measured"]
    good = [s for s in mine if s["status"] in ("ok", "truncated")]
    failed = [float("inf")] * (len(mine) - len(good))
    rates = [1e3 * (s["completion_tokens"] - 1) / (s["chunk_times_ms"][-1] - s["chunk_times_ms"][0]) for s in good]
    throughput = 1e3 * sum(s["completion_tokens"] for s in good) / sum(s["latency_ms"] for s in good)
    latency, ttft = (statistics.median([s[key] for s in good] + failed) for key in ("latency_ms", "ttft_ms"))
    out[name] = [len(mine), len(failed), latency, ttft, statistics.median(rates), throughput]
print(json.dumps(out))
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_script_of_its_own_gets_the_same_numbers(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    marks = [(1.0, 0.5, 0.0, "cut", None)[rng.choice((0, 0, 0, 1, 2, 3, 4))] for _ in range(9)]
    others = [rng.uniform(50, 5000) for _ in range(9)]
    path = run(Made("a", marks, others), Made("b", marks[::-1], others[:4]), rounds=3).write(tmp_path / "run")
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
