"""A real server over a real socket: llama.cpp's own, with its defaults, measured as anybody's endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import audition, read_summary, records

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(900)]

SERVE = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.ui = 4096, 2, False
params.fit_params = False
params.hostnames = ["127.0.0.1"]
params.model_alias = ["smollm2"]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""

# What this machine does beside, and what is true of a small model's answers.
NO_LIES = {"background_load", "cpu_steal", "client_lag", "drift", "truncated_answers", "repetition_loop"}
# By default the server keeps prompts, and says so; marked prompts make it harmless.
KEEPS_PROMPTS = {"cached_prompt", "prompt_cached_silently"}


@pytest.fixture
def server(real_models: Path) -> Iterator[str]:
    weights = json.loads(audition("model", "info", "smollm2-135m", "--json").stdout)["path"]
    command = [sys.executable, "-c", SERVE, weights]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.kill()


def test_an_honest_server_is_not_accused_and_its_numbers_agree_with_its_own(server: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prompts = tmp_path / "prompts.json"
    topics = ("a river", "bread", "winter", "a library", "bees", "the moon")
    prompts.write_text(json.dumps([f"Write two sentences about {topic}." for topic in topics]))
    result = audition(
        *("bench", "--endpoint", f"{server}/v1", "--prompts", prompts, "--out", out),
        *("--rounds", "2", "--max-tokens", "40", "--deterministic", "--concurrency", "1,2"),
    )
    assert result.returncode == 0, result.stderr
    (target,) = read_summary(out)["targets"]
    assert {finding["code"] for finding in target["findings"]} <= NO_LIES | KEEPS_PROMPTS
    assert target["requests"]["failed"] == target["requests"]["timeout"] == 0
    assert target["token_sources"] == ["usage"]
    assert [level["level"] for level in target["levels"]] == ["c1", "c2"]

    # The server's own figures are of the same requests: what we see from outside takes a little longer, never less.
    measured = [s for s in records(out / "samples.jsonl") if s["phase"] == "measured" and s["level"] == "c1"]
    for sample in measured:
        timings = sample["engine_timings"]
        inside = timings["prompt_ms"] + timings["predicted_ms"]
        assert inside * 0.98 <= sample["latency_ms"] <= inside * 1.1 + 60
        assert sample["ttft_ms"] >= timings["prompt_ms"] * 0.98
        assert len(sample["chunk_times_ms"]) <= sample["completion_tokens"]
    prompts_sent = {sample["asked"]["mark"] for sample in measured}
    assert len(prompts_sent) == len(measured), "every prompt was made to differ"
