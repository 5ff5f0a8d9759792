"""The doctor: engines that work, lack a package, hang or crash; the store; settings without their secrets; folders."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from audition import doctor
from audition.cli.doctor import doctor as command
from audition.engines import registry
from audition.engines.endpoint.identify import Identity
from audition.errors import AuditionError

SECRET = "hunter2-do-not-show"


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test looks at this machine's ports."""
    monkeypatch.setattr(doctor, "local_servers", lambda _: {})


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, faulty: None) -> Any:
    """Leave only these of the registered engines."""

    def only(*names: str) -> None:
        points = [p for p in doctor.entry_points(group=doctor.GROUP) if p.name in names]
        monkeypatch.setattr(doctor, "entry_points", lambda group: points)

    return only


def found(**options: Any) -> dict[str, Any]:
    """Return the diagnosis, as it comes out of a file of JSON."""
    return json.loads(json.dumps(doctor.diagnose(**options)))  # type: ignore[no-any-return]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


def engine(name: str, **options: Any) -> dict[str, Any]:
    (about,) = [about for about in found(**options)["engines"] if about["name"] == name]
    return about  # type: ignore[no-any-return]


def test_an_engine_that_works_is_described(engines: Any) -> None:
    engines("talks")
    about = found()
    assert (about["ok"], about["problems"]) == (True, [])
    (talks,) = about["engines"]
    assert (talks["status"], talks["message"], talks["fix"]) == ("ok", None, None)
    assert talks["distribution"] == "faulty-engines"
    assert talks["formats"] is None, "an adapter of somebody else's is not imported here"


def test_an_adapter_that_lacks_a_package_is_not_installed(engines: Any) -> None:
    engines("missing", "steady")
    about = found()
    (missing, _) = about["engines"]
    assert missing["status"] == "not installed"
    assert "a package is missing" in missing["message"]
    assert "faulty-engines" in missing["fix"]
    assert about["ok"], "what is not installed is not broken"


def test_an_engine_of_ours_that_is_not_installed_comes_with_its_command(
    engines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines("llamacpp")
    error = AuditionError("the engine llamacpp is not installed here", code="engine_unavailable")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(doctor, "probe", fail)
    monkeypatch.setattr(registry, "_is_installed", lambda _: False)
    about = found()
    (llamacpp,) = about["engines"]
    assert (llamacpp["status"], llamacpp["message"]) == ("not installed", "xllamacpp missing")
    assert llamacpp["fix"].endswith("-m pip install 'audition[llamacpp]'")
    assert llamacpp["formats"] == ["gguf"]
    assert not about["ok"], "nothing can run"
    monkeypatch.setattr(registry, "_is_installed", lambda _: True)
    (llamacpp,) = found()["engines"]
    assert llamacpp["status"] == "broken"
    assert "--force-reinstall" in llamacpp["fix"]


def test_an_engine_that_hangs_is_given_up_and_the_others_are_still_told(
    engines: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "dozy.py").write_text(
        "import time\n\nclass Dozy:\n    def __init__(self):\n        time.sleep(999)\n"
    )
    engines("steady")
    entry = tmp_path / "site" / "dozy-1.0.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: dozy\nVersion: 1.0\n")
    (entry / "entry_points.txt").write_text("[audition.engines.v1]\ndozy = dozy:Dozy\n")
    points = [*doctor.entry_points(doctor.GROUP), EntryPoint("dozy", "dozy:Dozy", doctor.GROUP)]
    monkeypatch.setattr(doctor, "entry_points", lambda group: points)
    about = found(engine_timeout_s=3)
    dozy, steady = about["engines"]
    assert (dozy["status"], steady["status"]) == ("broken", "ok")
    assert "did not answer within 3 s" in dozy["message"]
    assert dozy["seconds"] < 20
    assert not about["ok"]
    assert [problem["where"] for problem in about["problems"]] == ["dozy"]


def test_an_engine_that_cannot_describe_itself_is_broken_not_fatal_to_the_doctor(engines: Any) -> None:
    engines("undescribable", "steady")
    by_name = {about["name"]: about for about in found()["engines"]}
    assert by_name["steady"]["status"] == "ok"
    assert by_name["undescribable"]["status"] == "broken"


@pytest.mark.skipif(importlib.util.find_spec("foundry_local_sdk") is None, reason="needs foundry-local-sdk")
def test_an_engine_that_cannot_write_is_not_to_be_installed_again(engines: Any, home: Path) -> None:
    engines("foundry")
    (home / "foundry").mkdir(parents=True)
    (home / "foundry" / "engine").write_text("a file where its folder has to be")
    about = engine("foundry")
    assert about["status"] == "broken"
    assert str(home / "foundry" / "engine") in about["message"]
    assert "force-reinstall" not in str(about["fix"])


def test_no_engine_and_no_server_can_run_nothing(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engines()
    result = run()
    assert result.exit_code == 1
    assert "Nothing can run a model here." in result.output
    monkeypatch.setattr(doctor, "local_servers", lambda _: {"http://127.0.0.1:11434/v1": Identity("Ollama", "0.9")})
    result = run()
    assert result.exit_code == 0
    assert "http://127.0.0.1:11434/v1: Ollama 0.9" in result.output


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "https_proxy", "HTTP_PROXY", "PIP_INDEX_URL", "FOUNDRY_LOCAL_ENDPOINT", "BENCH_PROMPT"]
)
def test_no_value_that_may_be_secret_is_shown(engines: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://me:{SECRET}@example.org")
    engines("steady")
    about = found()
    assert {"name": name, "from": "environment", "value": None} in about["settings"]
    assert SECRET not in json.dumps(about)
    result = run()
    assert name in result.output
    assert SECRET not in result.output


def test_settings_say_where_they_are_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_ROUNDS", "7\x1b[2J")
    home.mkdir()
    (home / "models.json").write_text("{}")
    by_name = {setting["name"]: setting for setting in doctor.settings({"BENCH_ROUNDS": "7\x1b[2J", "HOME": "/x"})}
    assert by_name["BENCH_ROUNDS"]["value"] == "7\N{REPLACEMENT CHARACTER}[2J"
    assert by_name["models.json"]["from"] == "data folder"
    assert "HOME" not in by_name


def test_the_store_is_told(engines: Any, home: Path) -> None:
    engines("steady")
    (home / "store" / "blobs").mkdir(parents=True)
    (home / "store" / "blobs" / "left.part").write_bytes(b"x" * 10)
    about = found()
    store = about["store"]
    assert (store["home"], store["from"]) == (str(home), "AUDITION_HOME")
    assert (store["models"], store["leftovers"], store["leftover_bytes"]) == (0, 1, 10)
    assert store["disk_free_bytes"] > 0
    assert about["ok"], "leftovers are a warning"
    assert [problem["fatal"] for problem in about["problems"] if problem["where"] == "store"] == [False]


@pytest.mark.parametrize("damage", ["not json", "[]"])
def test_a_damaged_store_is_broken_and_said(engines: Any, home: Path, damage: str) -> None:
    engines("steady")
    manifest = home / "store" / "manifests" / "file" / "x" / "1.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(damage)
    result = run()
    assert result.exit_code == 1
    assert "bad" in result.output
    assert str(manifest) in result.output


def test_a_data_folder_that_is_a_file_is_said(engines: Any, home: Path) -> None:
    engines("steady")
    home.write_text("")
    result = run()
    assert result.exit_code == 1
    assert f"nothing can be written in {home}" in result.output


def test_everything_is_in_the_json_that_the_document_describes(engines: Any) -> None:
    engines("steady")
    result = run("--json")
    assert result.exit_code == 0
    about = json.loads(result.output)
    document = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    keys = {*about, *about["engines"][0], *about["store"], "where", "message", "fix", "fatal", "facts"}
    for key in keys - {"schema"}:
        assert f"`{key}`" in document, key


def test_a_folder_with_problems_has_a_line_and_a_fix_for_each(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "genai_config.json").write_text('{"model": {"decoder": {"filename": "model.onnx"}}}')
    result = run(folder)
    assert result.exit_code == 1
    about = json.loads(run(folder, "--json").output)
    assert (about["ok"], about["format"], about["engine"]) == (False, "onnx-genai", "ortgenai")
    assert len([problem for problem in about["problems"] if problem["fatal"]]) >= 2
    for problem in about["problems"]:
        assert problem["message"] in result.output
        assert problem["fix"] in result.output
    assert about["facts"] is None
    assert "It cannot be used." in result.output


@pytest.mark.parametrize("name", ["nothing-here", "notes.txt", "empty.gguf"])
def test_what_is_no_model_is_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "nothing-here":
        path.write_bytes(b"")
    result = run(path)
    assert result.exit_code == 1
    assert "bad" in result.output


def test_checking_files_asks_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "probe", lambda *_: pytest.fail("it asked"))
    run(tmp_path)


@pytest.mark.models
def test_the_real_engine_and_the_real_model(real_models: Path) -> None:
    from audition.store.store import Store

    assert engine("llamacpp")["status"] == "ok"
    path = next(e.weights_path for e in Store().installed() if e.id == "smollm2-135m:q4_1")
    shutil.copy(path, real_models / "model.gguf")
    result = run(real_models / "model.gguf")
    assert result.exit_code == 0
    assert "llama, 135 M parameters, Q4_1" in result.output
    base = next(e.weights_path for e in Store().installed() if e.id.startswith("gemma-3-270m"))
    shutil.copy(base, real_models / "base.gguf")
    result = run(real_models / "base.gguf")
    assert result.exit_code == 0, "a base model has no chat template"
    assert "warn  it has no chat template" in result.output


def test_the_doctor_imports_no_engine_itself() -> None:
    program = """
import sys
from audition import doctor
doctor.diagnose()
print([n for n in ("xllamacpp", "torch", "transformers", "openvino", "openvino_genai", "onnxruntime_genai",
                   "foundry_local_sdk", "onnxruntime") if n in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_foundry_local_is_looked_for_where_its_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from audition.engines.server import local_servers
    from audition.mock.process import MockServer
    from audition.mock.script import Script

    with MockServer(Script()) as server:
        monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", server.url.removesuffix("/v1"))
        assert server.url in local_servers(5.0)
    assert server.url not in local_servers()
    for nonsense in ("http://[", "::", " "):
        monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", nonsense)
        local_servers()
