"""The main job, end to end, on the two real models."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from cli import audition, records

# Two minutes on an idle machine; llama.cpp is several times slower where its cores are shared.
pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that would leave the machine goes to a closed port."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "PIP_INDEX_URL", "PIP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_demo(real_models: Path, no_network: None, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = audition("demo", "--out", out)
    assert result.returncode == 0, result.stderr
    smollm = "smollm2-135m:q4_1/llamacpp/cpu"
    gemma = "gemma-3-270m:q4_k_m/llamacpp/cpu"

    # The terminal shows the table, the guards and the decision.
    assert f"Pick {smollm}" in result.stdout
    assert f"not {gemma}" in result.stdout
    assert "no chat template" in result.stdout
    assert str(out) in result.stderr

    # The base model is flagged by the guards, and that is why it is not chosen.
    summary = json.loads((out / "summary.json").read_text())
    by_id = {target["id"]: target for target in summary["targets"]}
    codes = {finding["code"] for finding in by_id[gemma]["findings"]}
    assert {"unusable_answers", "missing_chat_template", "special_tokens", "truncated_answers"} <= codes
    assert "cached_prompt" not in codes
    pick = json.loads((out / "pick.json").read_text())
    assert pick["target"] == smollm
    assert [loser["reason"] for loser in pick["losers"]] == ["unusable_answers"]
    assert not any(finding["disqualifies"] for finding in by_id[smollm]["findings"])
    assert by_id[smollm]["quality"]["score"] > 0.3 > by_id[gemma]["quality"]["score"]
    assert "not_repeatable" not in {finding["code"] for finding in by_id[smollm]["findings"]}

    # No prompt was cached, every token was counted by the engine, nothing is a zero that should be unknown.
    samples = records(out / "samples.jsonl")
    assert {sample["cached_tokens"] for sample in samples} == {0}
    assert {sample["token_source"] for sample in samples} == {"usage"}
    assert all(0 < sample["ttft_ms"] <= sample["latency_ms"] for sample in samples)
    assert all(len(sample["chunk_times_ms"]) <= sample["completion_tokens"] for sample in samples)

    # An independent reading of the samples gives the report's numbers.
    for target_id, target in by_id.items():
        measured = [s for s in samples if s["target"] == target_id and s["phase"] == "measured"]
        assert len(measured) == target["requests"]["measured"] == 27
        for tag in ("ttft", "latency"):
            median = statistics.median(sample[f"{tag}_ms"] for sample in measured)
            assert target["metrics"][tag]["value"] == pytest.approx(median, abs=0.01)
        tokens = sum(sample["completion_tokens"] for sample in measured)
        seconds = 0.0
        for block in {sample["block"] for sample in measured}:
            spans = [(s["sent_ns"], s["sent_ns"] + s["elapsed_ms"] * 1e6) for s in measured if s["block"] == block]
            seconds += (max(end for _, end in spans) - min(start for start, _ in spans)) / 1e9
        assert target["metrics"]["throughput"]["value"] == pytest.approx(tokens / seconds, abs=0.01)

    # Memory is that of the engine's process, weights included, and the disk figure that of the file.
    assert 98e6 < by_id[smollm]["metrics"]["peak_memory"]["value"] < 1e9
    assert by_id[smollm]["metrics"]["disk"]["value"] == 98_362_432

    report = (out / "benchmark_report.md").read_text()
    assert "## Pick" in report
    assert "## Provenance" in report

    # Deciding again under constraints needs no model, and its exit code says whether there is a pick.
    assert audition("pick", out, "--licence", "permissive", "--max-disk", "200MB").returncode == 0
    tight = audition("pick", out, "--max-memory", "50MB")
    assert tight.returncode == 3
    assert "nearest miss" in tight.stdout
