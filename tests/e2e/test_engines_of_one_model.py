"""One model in several real engines: fed the same, alike in their answers; a wrong template and a broken file show."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from audition.store.store import Store
from cli import audition, read_summary

PROMPTS = (
    *("What is the capital of France? Answer in one word.", "Name three fruits.", "Who wrote Hamlet?"),
    *("Explain photosynthesis in two sentences.", "What does HTTP 404 mean?", "Why is the sky blue?"),
    *("List five uses of a paper clip.", "Tell a short story about a cat and a lighthouse."),
)
TEMPLATE = "{% for m in messages %}### {{ m['role'] }}:\n{{ m['content'] }}\n{% endfor %}### assistant:\n"


def prompts(folder: Path) -> Path:
    path = folder / "prompts.json"
    path.write_text(json.dumps({"cases": [{"id": f"case-{n}", "prompt": p} for n, p in enumerate(PROMPTS)]}))
    return path


def bench(folder: Path, *options: str) -> dict[str, Any]:
    """Measure, and return the summary; its findings by the targets' ids."""
    out = folder / "run"
    always = ("--deterministic", "--no-probes", "--max-tokens", "60", "--prompts", prompts(folder), "--out", out)
    done = audition("bench", *options, *map(str, always))
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m in different" in done.stdout
    assert "## smollm2-135m in different" in (out / "benchmark_report.md").read_text(encoding="utf-8")
    return read_summary(out)


def findings(summary: dict[str, Any]) -> dict[str, set[str]]:
    return {
        target["id"].removeprefix("smollm2-135m:"): {
            finding["code"]
            for finding in target["findings"]
            if finding["code"] in ("prompts_differ", "engine_disagrees")
        }
        for target in summary["targets"]
    }


def samples(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [sample for line in lines if (sample := json.loads(line))["phase"] == "measured"]


@pytest.mark.models
@pytest.mark.slow
def test_two_engines_are_fed_the_same_and_answer_alike(real_models: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    summary = bench(tmp_path, "--engines", "llamacpp,openvino", "--models", "smollm2-135m", "--rounds", "2")
    assert findings(summary) == {"q4_1/llamacpp/cpu": set(), "q4_1/openvino/cpu": set()}
    hashes = {(sample["case"], sample["prompt_sha256"]) for sample in samples(tmp_path)}
    assert len(hashes) == len(PROMPTS)
    (pair,) = summary["agreement"]
    assert pair["cases"] == len(PROMPTS)
    assert 0.2 < pair["similarity"] < 1
    assert "All run the same file" in (tmp_path / "run" / "benchmark_report.md").read_text(encoding="utf-8")


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.torch
def test_a_wrong_template_and_a_broken_file_are_found(onnx_model: Path, downloaded: Path, tmp_path: Path) -> None:
    """In a store of its own: the kept one is for models that are whole."""
    weights = next(e.weights_path for e in Store(downloaded / "store").installed() if e.id == "smollm2-135m:q4_1")
    shutil.copy(weights, tmp_path / "model.gguf")
    folders = {name: tmp_path / name for name in ("right", "wrong", "broken")}
    for folder in folders.values():
        shutil.copytree(onnx_model, folder)
    (folders["wrong"] / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = folders["wrong"] / "tokenizer_config.json"
    tokenizer.write_text(json.dumps({**json.loads(tokenizer.read_text()), "chat_template": TEMPLATE}))
    spoil(folders["broken"] / "model.onnx.data")
    for name, path in {"whole": tmp_path / "model.gguf", **folders}.items():
        done = audition("model", "import", path, "--name", f"smollm2-135m:{name}", "--licence", "Apache-2.0")
        assert done.returncode == 0, done.stderr
    names = ",".join(f"smollm2-135m:{name}" for name in ("whole", "right", "wrong", "broken"))
    found = findings(bench(tmp_path, "--models", names, "--rounds", "1"))
    assert found["broken/ortgenai/cpu"] == {"engine_disagrees", "prompts_differ"}
    assert "prompts_differ" in found["wrong/ortgenai/cpu"]
    # They are not at fault, and yet do not answer the question that `wrong` was asked.
    assert found["whole/llamacpp/cpu"] == found["right/ortgenai/cpu"] == {"prompts_differ"}


def spoil(weights: Path) -> None:
    """Change one bit in each thousandth byte or so."""
    data, rng = bytearray(weights.read_bytes()), random.Random(1)
    for _ in range(len(data) // 1000):
        data[rng.randrange(len(data))] ^= rng.choice((1, 2, 16, 32))
    weights.write_bytes(data)
