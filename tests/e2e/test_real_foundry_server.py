"""Foundry Local's own web service: who it is, its aliases and ids, and a model of it measured as anybody's endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from audition.engines.server import find_server, settings_of
from audition.errors import UsageError
from cli import audition, read_summary, records

pytestmark = [
    pytest.mark.skipif(find_spec("foundry_local_sdk") is None, reason="needs foundry-local-sdk"),
    pytest.mark.timeout(600),
]

ALIAS, ID = "smollm2", "smollm2-instruct-generic-cpu:4"
SCRIPT = Path(__file__).parent / "foundry_service.py"


@contextmanager
def service(folder: Path, *model: Path) -> Iterator[str]:
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, model)]
    environment = {**os.environ, "ORT_TELEMETRY_DISABLED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def ask(url: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, None


def test_a_service_without_models_is_known_and_says_that_it_lists_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path / "service") as url:
        monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", url)
        started = time.monotonic()
        with pytest.raises(UsageError, match="it lists none"):
            find_server(settings_of("foundry"))
        with pytest.raises(UsageError, match='Foundry Local has no model "phi-4-mini"') as caught:
            find_server(settings_of("foundry#phi-4-mini"))
        assert caught.value.code == "model_not_found"
        assert time.monotonic() - started < 30, "a catalog that cannot be reached is waited for, but not for long"


@pytest.mark.torch
@pytest.mark.slow
def test_aliases_and_ids_of_a_real_service(onnx_model: Path, tmp_path: Path) -> None:
    with service(tmp_path / "service", onnx_model) as url:
        assert ask(f"{url}/v1/chat/completions", {"model": ALIAS, "messages": []})[0] >= 400, "it takes no alias"
        for name, is_loaded in ((ALIAS, False), (ALIAS, True), (ID, True), (ID, False), (ID[:-2], False)):
            if not is_loaded:
                ask(f"{url}/models/unload/{ALIAS}")
            found = find_server(settings_of(f"{url}#{name}"))
            assert (found.settings["model"], found.settings["api"]) == (ID, "2.x")
            assert found.identity.name == "Foundry Local"
            assert any("loaded" in note for note in found.notes) is not is_loaded
            assert ask(f"{url}/models/loaded") == (200, [ID])
        with pytest.raises(Exception, match="must be downloaded") as caught:
            find_server(settings_of(f"{url}#other"))
        assert caught.value.fix == "foundry model download other"


@pytest.mark.torch
@pytest.mark.slow
def test_a_real_service_is_measured_by_its_alias(onnx_model: Path, tmp_path: Path) -> None:
    out, prompts = tmp_path / "out", tmp_path / "prompts.json"
    prompts.write_text(json.dumps(["Name a colour.", "Name a river.", "Name a bird."]))
    with service(tmp_path / "service", onnx_model) as url:
        result = audition(
            *("bench", "--endpoint", f"{url}/#{ALIAS}", "--prompts", prompts, "--out", out, "--rounds", "2"),
            *("--max-tokens", "16", "--deterministic"),
        )
    assert result.returncode == 0, result.stderr
    assert f'"{ALIAS}" is "{ID}" there' in result.stderr
    (target,) = read_summary(out)["targets"]
    counts = target["requests"]
    assert (counts["measured"], counts["failed"], counts["timeout"]) == (6, 0, 0)
    assert target["token_sources"] == ["usage"]
    assert target["metrics"]["peak_memory"]["value"] > 50e6
    assert target["metrics"]["peak_memory"]["label"] == "Peak memory, whole server"
    assert {load["status"] for load in records(out / "loads.jsonl")} == {"ok"}
    assert "Foundry Local (2.x API)" in (out / "benchmark_report.md").read_text()
