"""What the engine `foundry` promises besides what every engine does, with the real SDK and a real model."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from audition.engines.host import EngineProcess
from audition.engines.protocol import EngineError, Reply
from audition.store.foundry.process import foundry_dir
from foundry_catalog_server import FoundryService, entry

pytestmark = [
    pytest.mark.models,
    pytest.mark.torch,
    pytest.mark.skipif(importlib.util.find_spec("foundry_local_sdk") is None, reason="needs foundry-local-sdk"),
]
PARAMS = {"max_tokens": 60, "temperature": 0.0, "seed": 3}
PROMPTS = ["Name three colours.", "Tell a long story about a garden.", "Äpfel 🍎 日本語?"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[EngineProcess]:
    with EngineProcess("foundry", tmp_path / "engine.log") as process:
        yield process


def ask(process: EngineProcess, prompt: str, **params: Any) -> Reply:
    reply = process.chat([{"role": "user", "content": prompt}], PARAMS | params, 240)
    assert reply.failure is None, reply.failure
    return reply


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def registered() -> list[str]:
    file = foundry_dir() / "engine" / "models" / "foundry.local.modelinfo.json"
    return [model["model_path"] for model in json.loads(file.read_text())["models"]]


def prepared() -> list[Path]:
    return list((foundry_dir() / "engine" / "prepared").glob("*"))


def changed(folder: Path, copy: Path, change: Callable[[Path], Any]) -> Path:
    shutil.copytree(folder, copy)
    change(copy)
    return copy


def test_text_and_counts_are_those_of_the_runtime_under_it(
    onnx_folder: Path, process: EngineProcess, tmp_path: Path
) -> None:
    process.load(onnx_folder, {"context": 1024})
    with EngineProcess("ortgenai", tmp_path / "ortgenai.log") as other:
        other.load(onnx_folder, {"context": 1024})
        for prompt in PROMPTS:
            for temperature in (0.0, 1.0):
                ours, theirs = (ask(engine, prompt, temperature=temperature) for engine in (process, other))
                assert text(ours) == text(theirs)
                assert ours.finish is not None and theirs.finish is not None
                assert ours.finish.reason == theirs.finish.reason
                assert ours.finish.prompt_tokens == theirs.finish.prompt_tokens
                assert ours.finish.completion_tokens == theirs.finish.completion_tokens


def test_a_conversation_does_not_grow_from_request_to_request(onnx_folder: Path, process: EngineProcess) -> None:
    process.load(onnx_folder, {"context": 1024})
    replies = [ask(process, PROMPTS[0]) for _ in range(3)]
    assert len({reply.finish.prompt_tokens for reply in replies if reply.finish}) == 1
    assert len({text(reply) for reply in replies}) == 1


def test_what_a_killed_process_left_is_not_added_to(onnx_folder: Path, tmp_path: Path) -> None:
    bare = changed(onnx_folder, tmp_path / "bare", lambda folder: (folder / "chat_template.jinja").unlink())
    for _ in range(2):
        with EngineProcess("foundry", tmp_path / "engine.log") as process:
            process.load(bare, {"context": 512})
            os.kill(process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
            psutil.Process(process.pid).wait(10)
    assert len(registered()) == 1
    assert len(prepared()) == 1
    with EngineProcess("foundry", tmp_path / "engine.log") as process:
        process.load(bare, {"context": 512})
        assert len(prepared()) == 1
        ask(process, PROMPTS[0], max_tokens=2)
        process.unload()
    assert registered() == []
    assert prepared() == []
    assert (bare / "genai_config.json").read_bytes() == (onnx_folder / "genai_config.json").read_bytes()


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no configuration": (lambda folder: (folder / "genai_config.json").unlink(), "genai_config.json"),
    "no graph": (lambda folder: (folder / "model.onnx").unlink(), "File doesn't exist"),
    "no weights": (lambda folder: (folder / "model.onnx.data").unlink(), "External data path does not exist"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "failed to create tokenizer: Invalid file"),
    "a broken tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"), "failed to create tokenizer"),
    "a broken graph": (lambda folder: (folder / "model.onnx").write_bytes(b"\xff" * 999), "Protobuf parsing failed"),
    "cut weights": (lambda folder: os.truncate(folder / "model.onnx.data", 999), "out of bounds"),
    "a broken template": (lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"), "load the model: "),
    "a library of its own": (
        lambda folder: (folder / "genai_config.json").write_text(
            (folder / "genai_config.json").read_text().replace('"log_id"', '"custom_ops_library"')
        ),
        "custom_ops_library",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_cannot_be_loaded_is_refused_with_the_reason(
    onnx_folder: Path, tmp_path: Path, process: EngineProcess, fault: str
) -> None:
    change, reason = FAULTS[fault]
    folder = changed(onnx_folder, tmp_path / "model", change)
    with pytest.raises(EngineError, match=reason) as caught:
        process.load(folder, {"context": 512})
    assert caught.value.code == "load_failed"
    assert "::" not in caught.value.message, "no place in the SDK's source code"
    assert len(caught.value.message) < 450


_PROGRAM = """
import sys
from audition.engines.foundry import Foundry
engine = Foundry()
engine.describe()
engine.load(sys.argv[1], context=512)
for number in range(2):
    list(engine.chat([{"role": "user", "content": "Hello"}], max_tokens=4, temperature=0.0, seed=1))
engine.unload()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_it_opens_no_socket_from_start_to_end(onnx_folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=socket,connect,sendto", "-o", str(trace)]
    subprocess.run([*command, sys.executable, "-c", _PROGRAM, str(onnx_folder)], check=True, timeout=200)
    assert [line for line in trace.read_text().splitlines() if "socket(" in line or "connect(" in line] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the SDK trusts only the system's certificates")
def test_from_a_name_in_the_catalog_to_an_answer(
    onnx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = FoundryService(onnx_folder, [entry("smollm2-instruct-generic-cpu", 1, "smollm2")])
    monkeypatch.setenv("AUDITION_FOUNDRY_CATALOG", service.url)
    service.behind_tls(tmp_path, monkeypatch)

    def audition(*arguments: str) -> str:
        command = [sys.executable, "-m", "audition", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        listed = json.loads(audition("model", "list", "--source", "foundry", "--json"))
        assert [(model["name"], model["downloaded"]) for model in listed] == [("foundry:smollm2:generic-cpu", False)]
        answer = audition("run", "foundry:smollm2", "--prompt", PROMPTS[0], "--temperature", "0")
        assert "Red" in answer
        assert json.loads(audition("model", "list", "--source", "foundry", "--json"))[0]["downloaded"] is True
    finally:
        service.close()
    # Now without the catalog, under the name that it has here.
    suite = tmp_path / "prompts.json"
    suite.write_text(json.dumps(PROMPTS[:2]))
    options = ["--rounds", "1", "--max-tokens", "20", "--no-probes", "--out", str(tmp_path / "run")]
    audition("bench", "--models", "smollm2:generic-cpu", "--engines", "foundry", "--prompts", str(suite), *options)
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert {sample["target"] for sample in samples} == {"smollm2:generic-cpu/foundry/cpu"}
    assert all(sample["error"] is None for sample in samples if sample["phase"] == "measured")
