"""A real model, imported and converted to ONNX by the real tools, and asked in the engine that it is for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from audition.models.folder_check import check_folder
from audition.store.store import Store
from cli import audition, prompts_file, read_summary, start, wait_until

pytestmark = [
    pytest.mark.torch,
    pytest.mark.models,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def own(downloaded: Path, home: Path, onnx_model: Path) -> Path:
    """The test's own data folder, with nothing but SmolLM2 in its store, which may be written to."""
    del onnx_model  # only for its check of the tools
    from audition.models.catalog import load_catalog

    spec = load_catalog()["smollm2-135m"]
    found = Store(downloaded / "store").find(spec.variants[0])
    assert found is not None
    blobs = home / "store" / "blobs"
    blobs.mkdir(parents=True)
    shutil.copyfile(found.weights_path, blobs / found.weights_path.name)
    target = home / "store" / found.manifest.relative_to(downloaded / "store")
    target.parent.mkdir(parents=True)
    shutil.copyfile(found.manifest, target)
    return home


def test_the_converted_model_is_whole_and_says_where_it_came_from(onnx_model: Path, real_models: Path) -> None:
    assert check_folder(onnx_model) == []
    (row,) = [
        row
        for row in json.loads(audition("model", "list", "--downloaded", "--json").stdout)
        if row["id"] == "smollm2-135m:int4"
    ]
    assert (row["format"], row["quantization"], row["parameters"]) == ("onnx-genai", "INT4", 134515008)
    assert (row["context_length"], row["chat_template"], row["licence"]) == (8192, True, "Apache-2.0")
    made_from = row["provenance"]["converted_from"]
    assert made_from["id"] == "smollm2-135m:q4_1"
    assert made_from["sha256"] == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert row["provenance"]["tools"]["onnxruntime-genai"]
    assert "is intact" in audition("model", "verify", "smollm2-135m:int4").stdout
    again = audition("model", "import", "smollm2-135m", "--to", "onnx-genai", timeout=60)
    assert (again.returncode, "is in the store" in again.stdout) == (0, True), again.stderr


def test_one_model_in_two_engines(onnx_model: Path, real_models: Path, tmp_path: Path) -> None:
    prompts = prompts_file(tmp_path, 2)
    out = tmp_path / "run"
    options = ["--rounds", "1", "--max-tokens", "8", "--no-probes", "--out", str(out), "--prompts", str(prompts)]
    done = audition("bench", "--models", "smollm2-135m", "--engines", "llamacpp,ortgenai", "--deterministic", *options)
    assert done.returncode == 0, done.stderr
    targets = {target["id"]: target for target in read_summary(out)["targets"]}
    assert sorted(targets) == ["smollm2-135m:int4/ortgenai/cpu", "smollm2-135m:q4_1/llamacpp/cpu"]
    assert {target["status"] for target in targets.values()} == {"ok"}, targets
    plan = {target["id"]: target for target in json.loads((out / "plan.json").read_text())["targets"]}
    ort = plan["smollm2-135m:int4/ortgenai/cpu"]
    assert (ort["format"], ort["quantization"], ort["has_chat_template"]) == ("onnx-genai", "INT4", True)
    assert ort["active_bytes"] == pytest.approx(84e6, rel=0.02)
    assert ort["memory_estimate_bytes"] > ort["disk_bytes"]


def staged(home: Path) -> list[Path]:
    return [path for path in (home / "store" / "staging").rglob("*") if path.is_file()]


def workers() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = process.info["cmdline"] or []
        here = str((process.info["environ"] or {}).get("HF_HOME", ""))
        if "audition.convert.worker" in command and here.startswith(os.environ["AUDITION_HOME"]):
            found.append(process)
    return found


def gone(home: Path, deadline_s: float = 60) -> bool:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if not staged(home) and not workers():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_conversion_that_is_killed_leaves_nothing(own: Path, how: signal.Signals) -> None:
    before = [entry.id for entry in Store().installed()]
    process = start("model", "import", "smollm2-135m", "--to", "onnx-genai")
    # Into the middle: the de-quantised weights are being written.
    wait_until(lambda: any("unpacked" in path.parts for path in staged(own)), process, timeout=120)
    assert workers()
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    assert gone(own), (staged(own), workers())
    assert [entry.id for entry in Store().installed()] == before
    assert Store().leftovers() == []


def test_a_hugging_face_folder_is_converted_too(onnx_model: Path, own: Path, tmp_path: Path) -> None:
    # The de-quantised weights as transformers writes them: a folder as it comes from Hugging Face.
    script = (
        "import sys, pathlib\nfrom audition.convert import worker\n"
        "folder = pathlib.Path(sys.argv[1])\nworker._unpack(folder, 'model.gguf', pathlib.Path(sys.argv[2]))\n"
    )
    source = tmp_path / "source"
    source.mkdir()
    (smollm,) = Store().installed()
    shutil.copyfile(smollm.weights_path, source / "model.gguf")
    folder = tmp_path / "my-smollm"
    subprocess.run([sys.executable, "-c", script, str(source), str(folder)], check=True, timeout=300)
    plain = audition("model", "import", folder)
    assert plain.stdout.startswith("my-smollm:f32 is in the store: safetensors"), plain.stderr
    done = audition("model", "import", folder, "--to", "onnx-genai", "--precision", "int8", "--licence", "Apache-2.0")
    assert done.stdout.startswith("my-smollm:int8 is in the store: onnx-genai, INT8"), done.stderr
    assert "licence Apache-2.0 (permissive)" in done.stdout
    asked = ["--prompt", "Name three primary colours.", "--max-tokens", "12", "--temperature", "0"]
    answer = audition("run", "my-smollm:int8", *asked)
    assert "primary colours are" in answer.stdout, answer.stderr
