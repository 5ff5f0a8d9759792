"""A real server over a real socket: llama.cpp's own, with its defaults, measured as anybody's endpoint."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audition.engines.protocol import Reply
from audition.engines.server import connect, find_server, settings_of
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

    # Who it is, and what it holds.
    ((id_, about),) = json.loads((out / "host.json").read_text())["servers"].items()
    assert id_ == target["id"]
    assert about["name"] == "llama.cpp"
    assert about["version"]
    assert (about["quantization"], about["context"], about["slots"]) == ("Q4_1", 2048, 2)
    assert about["model"].endswith(".gguf") or len(about["model"]) > 10
    assert about["package"] in (out / "benchmark_report.md").read_text()
    peak = target["metrics"]["peak_memory"]
    # The weights are mapped into its memory: 98 MB; everything together is far below a gigabyte.
    assert 98e6 < peak["value"] < 1e9
    assert peak["label"] == "Peak memory, whole server"


def test_the_official_client_and_ours_get_the_same_text(server: str) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)
    settings = find_server(settings_of(server)).settings
    topics = ("a river", "bread \N{SNOWMAN}", "winter")

    async def ours(messages: list[dict[str, str]], params: dict[str, Any]) -> Reply:
        session = connect(settings)
        try:
            # The server keeps the prompt of the first, so that the second and the other client's are computed alike.
            replies = [(await session.ask(messages, params, 60.0))() for _ in range(2)]
        finally:
            await session.close()
        return replies[1]

    requests = [
        ([{"role": "user", "content": f"Write two sentences about {topic}."}], params)
        for topic in topics
        for params in (
            {"max_tokens": 40, "temperature": 0.0, "seed": 1},
            {"max_tokens": 24, "temperature": 0.9, "seed": 7},
        )
    ]
    for messages, params in requests:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            reply = runner.run(ours(messages, params))
        pieces, finish, usage = [], None, None
        extra = {"stream_options": {"include_usage": True}}
        for chunk in client.chat.completions.create(
            model=settings["model"], messages=messages, stream=True, **params, **extra
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finish = choice.finish_reason or finish
        assert reply.failure is None
        assert reply.finish is not None
        assert "".join(chunk.text for chunk in reply.chunks) == "".join(pieces) != ""
        assert [chunk.text for chunk in reply.chunks] == [piece for piece in pieces if piece]
        assert reply.finish.reason == finish
        assert (reply.finish.prompt_tokens, reply.finish.completion_tokens) == (
            usage.prompt_tokens,
            usage.completion_tokens,
        )
