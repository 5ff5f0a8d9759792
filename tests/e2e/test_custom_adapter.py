"""The worked example of an adapter, in every way in which one can be named; and adapters without weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audition import api
from audition.bench.plan import Settings
from audition.bench.rundir import RunDir
from audition.errors import AuditionError, UsageError
from audition.testing import assert_conforms
from cli import COMMAND, audition

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "custom-adapter"
FAST = ("--rounds", "1", "--no-probes", "--deterministic", "--prompts", "prompts.json")

ECHO = '''
class Echo:
    """Says the prompt again, word by word."""

    def load(self, weights_path):
        self.weights = weights_path

    def generate(self, prompt, **params):
        if prompt.startswith("crash"):
            import os
            os._exit(9)
        yield from (f"{word} " for word in [str(self.weights), *prompt.split()][: params["max_tokens"]])
'''


def bench(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | ({} if path is None else {"PYTHONPATH": str(path)})
    return subprocess.run(
        [*COMMAND, "bench", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip


def texts(run: RunDir, engine: str) -> dict[str, str]:
    target = next(target.id for target in run.plan.targets if target.engine == engine)
    return {
        sample.case: sample.text for sample in run.samples() if sample.target == target and sample.phase == "measured"
    }


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy: nothing is to be written beside the example."""
    return shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "echoes.py").write_text(ECHO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.models
def test_the_example_is_an_adapter(real_models: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sample)
    weights = api.install(*api.find_model("smollm2-135m")).weights_path
    result = assert_conforms("my_engine:MyEngine", weights)
    levels = {finding.check: finding.level for finding in result.findings}
    assert set(levels) == {"chat", "output"}, str(result)
    assert result.facts["memory_taken_bytes"] > 90 * 2**20 > result.facts["memory_kept_bytes"]


@pytest.mark.models
def test_the_example_is_measured_beside_the_engine_that_comes_with_the_program(real_models: Path, sample: Path) -> None:
    arguments = ("--models", "smollm2-135m", "--engines", "llamacpp,mine=my_engine:MyEngine", "--out", "run")
    done = bench(sample, *arguments, *FAST)
    assert done.returncode == 0, done.stderr
    run = RunDir.open(str(sample / "run"))
    ids = sorted(target.id for target in run.plan.targets)
    assert ids == ["smollm2-135m:q4_1/llamacpp/cpu", "smollm2-135m:q4_1/mine/unknown"]
    assert texts(run, "mine") == texts(run, "llamacpp"), "the same weights, template and sampling"
    states = {
        target: [s.status for s in run.samples() if s.target == target and s.phase == "measured"] for target in ids
    }
    assert sorted(states[ids[0]]) == sorted(states[ids[1]]) == ["ok", "truncated"], "the limit cut both alike"
    assert "prompts_differ" not in (sample / "run" / "summary.json").read_text(), "its prompt's tokens are not known"
    measured = [s for s in run.samples() if s.phase == "measured" and s.target == ids[1]]
    assert [s.error for s in measured] == [None, None]
    assert all(s.token_source == "tokenizer" and s.completion_tokens and s.ttft_ms for s in measured)
    assert run.host["engines"]["mine"]["package"].startswith("my_engine.py ")
    assert str(sample) not in (sample / "run" / "benchmark_report.md").read_text(), "names, not places"


@pytest.mark.models
def test_the_example_by_its_models_json(real_models: Path, sample: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    prompts = str(sample / "prompts.json")
    done = bench(tmp_path / "elsewhere", "--models", str(sample / "models.json"), "--out", "run", *FAST[:-1], prompts)
    assert done.returncode == 0, done.stderr
    (target,) = RunDir.open(str(tmp_path / "elsewhere" / "run")).plan.targets
    assert (target.engine, target.adapter) == ("mine", f"mine=my_engine:MyEngine@{sample}")


@pytest.mark.models
def test_the_example_as_an_installed_package(
    real_models: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audition.engines import environment

    site = tmp_path / "site"
    info = site / "my_engine-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(sample / "my_engine.py", site)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[audition.engines.v1]\nmy-engine = my_engine:MyEngine\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(environment, "ALLOWED", environment.ALLOWED | {"PYTHONPATH"})
    suite = api.load_suite(sample / "prompts.json")
    run = api.prepare(
        ["smollm2-135m"], suite, engines=["my-engine"], settings=Settings(rounds=1, probes=False, temperature=0.0)
    )
    api.resume(run)
    assert "paris" in texts(run, "my-engine")["capital"].lower()
    assert run.host["engines"]["my-engine"]["package"] == "my-engine 1.0"


def test_there_is_nothing_to_download_for_it(echo: Path, home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "models.json").write_text(json.dumps({"bare": {"engine": "echoes:Echo"}}))
    shutil.copy(echo / "echoes.py", home)
    done = audition("model", "download", "bare")
    assert (done.returncode, "bare:any has no source" in done.stderr) == (2, True)
    said = audition("run", "bare", "--prompt", "hello there")
    assert (said.returncode, said.stdout.split()) == (0, ["None", "hello", "there"]), said.stderr


def settings(**more: Any) -> Settings:
    return Settings(rounds=1, probes=False, warmup=0, max_tokens=8, **more)


def cases(folder: Path, *prompts: str) -> Any:
    path = folder / "prompts.json"
    path.write_text(json.dumps({"cases": [{"id": prompt.split()[0], "prompt": prompt} for prompt in prompts]}))
    return api.load_suite(path)


def test_adapters_without_weights_and_with_weights_that_only_they_know(echo: Path) -> None:
    (echo / "table").mkdir()
    (echo / "table" / "words.dat").write_bytes(b"1234567")
    models = {"bare": {"engine": "echoes:Echo"}, "own": {"engine": "echoes:Echo", "weights": "table"}}
    (echo / "models.json").write_text(json.dumps(models))
    run = api.prepare(["models.json"], cases(echo, "hello there"), settings=settings(), out=echo / "run")
    api.resume(run)
    bare, own = run.plan.targets
    assert (bare.id, bare.format, bare.weights, bare.digest) == ("bare:any/echoes:Echo/unknown", "any", None, None)
    assert (bare.disk_bytes, bare.memory_estimate_bytes, bare.has_chat_template) == (None, None, None)
    assert (own.weights, own.disk_bytes) == (str(echo / "table"), 7)
    assert own.digest is not None
    assert run.host["models"]["bare:any"]["sha256"] is None
    said = {s.target: s.text for s in run.samples() if s.phase == "measured"}
    assert said == {bare.id: "None hello there ", own.id: f"{echo / 'table'} hello there "}
    conclusion = api.conclude(run)
    assert {target["status"] for target in conclusion.summary["targets"]} <= {"ok", "measured"}


def test_an_adapter_by_its_class_and_under_a_name(echo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(echo))
    import echoes

    (echo / "models.json").write_text(json.dumps({"bare": {"engine": "echoes:Echo"}}))
    suite = cases(echo, "hello there")
    both = {"one": echoes.Echo, "two": "echoes:Echo"}
    run = api.prepare(["models.json"], suite, engines=both, settings=settings(), out=echo / "run")
    api.resume(run)
    assert sorted(target.id for target in run.plan.targets) == ["bare:any/one/unknown", "bare:any/two/unknown"]
    assert texts(run, "one") == texts(run, "two") == {"hello": "None hello there "}
    del sys.modules["echoes"]


def test_an_adapter_that_crashes_harms_no_other_target(echo: Path) -> None:
    (echo / "models.json").write_text(json.dumps({"bare": {"engine": "echoes:Echo"}}))
    suite = cases(echo, "hello there", "crash now")
    (echo / "calm.py").write_text(ECHO.replace('"crash"', '"never"').replace("Echo", "Calm"))
    run = api.prepare(
        ["models.json"], suite, engines=["echoes:Echo", "calm:Calm"], settings=settings(), out=echo / "run"
    )
    api.resume(run)
    errors = {
        (s.target.split("/")[1], s.case): (s.error or {}).get("code") for s in run.samples() if s.phase == "measured"
    }
    assert errors["echoes:Echo", "crash"] == "engine_crashed"
    assert errors["calm:Calm", "crash"] is errors["calm:Calm", "hello"] is None


def test_a_class_of_the_running_program_is_refused_in_one_sentence(echo: Path) -> None:
    program = (
        f"{ECHO}\nfrom audition import api\napi.prepare(['smollm2-135m'], api.load_suite('demo'), engines=[Echo])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=echo)
    assert "__main__:Echo was defined in the program or notebook that runs" in done.stderr.splitlines()[-1]


def test_weights_that_are_gone_are_said_before_anything_is_measured(echo: Path) -> None:
    (echo / "words.dat").write_bytes(b"1234567")
    (echo / "models.json").write_text(json.dumps({"own": {"engine": "echoes:Echo", "weights": "words.dat"}}))
    suite = cases(echo, "hello there")
    run = api.prepare(["models.json"], suite, settings=settings(), out=echo / "run")
    (echo / "words.dat").unlink()
    with pytest.raises(AuditionError, match=r"not at .*words\.dat any more"):
        api.resume(run)
    with pytest.raises(UsageError, match="the weights of own cannot be read"):
        api.prepare(["models.json"], suite, settings=settings(), out=echo / "another")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"engine": "llamacpp"}, 'llamacpp needs a model to run, and its entry in models.json has no "source"'),
        ({"engine": "echoes:Nobody"}, "there is no Nobody in"),
        ({"engine": "nowhere:Nobody"}, "there is no module nowhere in"),
        ({"engine": "not a place:"}, "is no engine: it is neither a name nor the place of a class"),
        ({"engine": "echoes:Echo", "weights": "x", "source": "file:y.gguf"}, "give either source or weights, not both"),
        ({}, '"own" has no source'),
    ],
)
def test_an_entry_that_cannot_be_run_is_said(echo: Path, entry: dict[str, str], message: str) -> None:
    (echo / "models.json").write_text(json.dumps({"own": entry}))
    with pytest.raises(AuditionError) as caught:
        api.prepare(["models.json"], cases(echo, "hello"), settings=settings(), out=echo / "run")
    assert message in caught.value.message


def test_two_engines_of_one_name_are_told_apart_first(echo: Path) -> None:
    (echo / "other").mkdir()
    (echo / "other" / "echoes.py").write_text(ECHO)
    entries = {"a": {"engine": "echoes:Echo"}, "b": {"engine": f"echoes:Echo@{echo / 'other'}"}}
    (echo / "models.json").write_text(json.dumps(entries))
    with pytest.raises(UsageError, match="two engines are called echoes:Echo") as caught:
        api.prepare(["models.json"], cases(echo, "hello"), settings=settings(), out=echo / "run")
    assert caught.value.fix == "give one another name: other=echoes:Echo"


def test_the_name_that_two_have_is_not_proposed_again(echo: Path) -> None:
    (echo / "echoes.py").write_text(ECHO + ECHO.replace("Echo", "Other"))
    entries = {"a": {"engine": "x=echoes:Echo"}, "b": {"engine": "x=echoes:Other"}}
    (echo / "models.json").write_text(json.dumps(entries))
    with pytest.raises(UsageError, match="two engines are called x") as caught:
        api.prepare(["models.json"], cases(echo, "hello"), settings=settings(), out=echo / "run")
    assert caught.value.fix == "give one another name: other=echoes:Other"
