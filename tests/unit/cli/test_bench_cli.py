"""`audition bench`: what its options become, and what is refused before anything is downloaded or asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audition.bench.plan import Level, Settings
from audition.cli import main as main_module
from audition.cli import session
from plans import a_run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a session would have been started with."""
    started: dict[str, Any] = {}

    def start(models: list[str], suite: Any, settings: Settings, **more: Any) -> None:
        started.update(models=models, suite=suite, settings=settings, **more)

    def go_on(run: Any, *, as_json: bool) -> None:
        started.update(resumed=run.path, as_json=as_json)

    monkeypatch.setattr(session, "start", start)
    monkeypatch.setattr(session, "go_on", go_on)
    return started


@pytest.fixture
def bench(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run `audition bench ARGS`; return the exit code and what was said."""

    def run(*args: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["audition", "bench", *args])
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


Bench = Callable[..., tuple[int, str]]


def test_a_model_alone_takes_the_defaults(bench: Bench, started: dict[str, Any]) -> None:
    assert bench("--models", "smollm2-135m, gemma-3-270m ,") == (0, "")
    suite = started.pop("suite")
    assert started == {
        "models": ["smollm2-135m", "gemma-3-270m"],
        "settings": Settings(max_tokens=suite.max_tokens or Settings().max_tokens),
        "engines": [],
        "servers": [],
        "levels": (Level.closed(1),),
        "out": None,
        "context": None,
        "as_json": False,
    }


def test_engines_are_a_list_and_are_for_models(bench: Bench, started: dict[str, Any]) -> None:
    assert bench("--models", "smollm2-135m", "--engines", "llamacpp, ortgenai,") == (0, "")
    assert started["engines"] == ["llamacpp", "ortgenai"]
    code, said = bench("--endpoint", "http://127.0.0.1:1/v1", "--engines", "llamacpp")
    assert (code, "--engines is for models" in said) == (2, True)


@pytest.mark.parametrize(
    ("args", "changed"),
    [
        (["--rounds", "5"], {"rounds": 5}),
        (["--deterministic"], {"deterministic": True, "temperature": 0.0}),
        (["--deterministic", "--temperature", "0.7"], {"deterministic": True, "temperature": 0.0}),
        (["--temperature", "0"], {"deterministic": True, "temperature": 0.0}),
        (["--temperature", "0.7"], {"temperature": 0.7}),
        (["--max-tokens", "7"], {"max_tokens": 7}),
        (["--seed", "9"], {"seed": 9}),
        (["--timeout", "2.5"], {"timeout_s": 2.5}),
        (["--interleave"], {"interleave": True}),
        (["--until", "ci=5%"], {"until_ci": 0.05}),
        (["--budget", "10m"], {"budget_s": 600.0}),
        (["--prompt-cache", "keep"], {"prompt_cache": "keep"}),
        (["--no-stream"], {"stream": False}),
        (["--no-probes"], {"probes": False}),
        (["--power-watts", "65.5"], {"power_watts": 65.5}),
    ],
)
def test_options_become_settings(
    bench: Bench, started: dict[str, Any], args: list[str], changed: dict[str, Any]
) -> None:
    assert bench("--models", "a", *args) == (0, "")
    usual = {"max_tokens": started["suite"].max_tokens or Settings().max_tokens}
    assert started["settings"] == Settings(**{**usual, **changed})


@pytest.mark.parametrize(
    ("args", "levels"),
    [
        (["--concurrency", "1,4"], (Level.closed(1), Level.closed(4))),
        (["--rate", "2.5", "--duration", "30s"], (Level.open(2.5, 30.0),)),
        (["--duration", "10m"], (Level.closed(1, 600.0),)),
    ],
)
def test_options_become_levels(
    bench: Bench, started: dict[str, Any], args: list[str], levels: tuple[Level, ...]
) -> None:
    assert bench("--models", "a", *args) == (0, "")
    assert started["levels"] == levels


def test_options_become_the_rest(bench: Bench, started: dict[str, Any], tmp_path: Path) -> None:
    assert bench("--models", "a", "--out", str(tmp_path / "x"), "--context", "512", "--json") == (0, "")
    assert (started["out"], started["context"], started["as_json"]) == (tmp_path / "x", 512, True)


def test_servers_are_named_as_often_as_there_are_any(
    bench: Bench, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "sk-secret")
    assert bench("--endpoint", "127.0.0.1:1#a/b:c", "--endpoint", "example.org", "--key-env", "OUR_KEY") == (0, "")
    assert started["models"] == []
    assert started["servers"] == [
        {"url": "http://127.0.0.1:1/v1", "model": "a/b:c", "key_env": "OUR_KEY"},
        {"url": "http://example.org/v1", "model": "", "key_env": "OUR_KEY"},
    ]


def test_a_key_may_stand_in_a_file(bench: Bench, started: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-secret\n")
    assert bench("--endpoint", "127.0.0.1:1#m", "--key-file", str(tmp_path / "key"), "--ca-file", "ca.pem") == (0, "")
    (server,) = started["servers"]
    assert (server["key_file"], server["ca_file"]) == (str(tmp_path / "key"), "ca.pem")
    assert "sk-secret" not in str(started)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "no model is named"),
        (["--models", " , "], "no model is named"),
        (["--models", "a", "--key-env", "K"], "--key-env is for servers"),
        (["--models", "a", "--key-file", "k"], "--key-file is for servers"),
        (["--models", "a", "--ca-file", "c"], "--ca-file is for servers"),
        (["--endpoint", "127.0.0.1:1", "--key-env", "K", "--key-file", "k"], "one place: --key-env or --key-file"),
        (["--endpoint", "127.0.0.1:1", "--key-env", "NOT_SET_HERE"], "NOT_SET_HERE is not set"),
        (["--endpoint", "127.0.0.1:1", "--key-file", "missing"], "cannot read the key from missing"),
        (["--endpoint", "ftp://127.0.0.1"], "neither http:// nor https://"),
        (["--models", "a", "--concurrency", "0"], "--concurrency takes numbers from 1 to 512"),
        (["--models", "a", "--concurrency", ""], "--concurrency takes numbers from 1 to 512"),
        (["--models", "a", "--rate", "0"], "--rate takes numbers"),
        (["--models", "a", "--rate", "1", "--concurrency", "1"], "--concurrency has no say"),
        (["--models", "a", "--duration", "soon"], '"soon" is not a duration'),
        (["--models", "a", "--budget", "10"], '"10" is not a duration'),
        (["--models", "a", "--until", "5%"], "--until takes the half-width of an interval"),
        (["--resume", "latest", "--rounds", "3"], "so --rounds has no say"),
        (["--resume", "latest", "--models", "a"], "so --models has no say"),
        (["--resume", "latest", "--concurrency", "4"], "so --concurrency has no say"),
        (["--resume", "latest", "--no-probes"], "so --no-probes has no say"),
        (["--resume", "latest"], 'no run "latest"'),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_fix(
    bench: Bench, started: dict[str, Any], args: list[str], said: str
) -> None:
    status, error = bench(*args)
    assert status == 2
    assert error.startswith("error: ") and said in error
    assert "\n  fix: " in error
    assert started == {}


@pytest.mark.parametrize(
    "args",
    [
        *(["--rounds", text] for text in ("0", "1001", "x")),
        *(["--max-tokens", text] for text in ("0", "100001")),
        *(["--temperature", text] for text in ("-1", "5.1", "nan")),
        *(["--seed", text] for text in ("-1", "2147483648")),
        *(["--context", text] for text in ("63", "0")),
        *(["--timeout", text] for text in ("0", "nan", "inf", "86401")),
        *(["--power-watts", text] for text in ("0", "-5", "nan", "inf")),
        ["--prompt-cache", "sometimes"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_what_is_out_of_bounds_is_refused(bench: Bench, started: dict[str, Any], args: list[str]) -> None:
    status, error = bench("--models", "a", *args)
    assert status == 2
    assert error.startswith("error: ") and len(error.splitlines()) == 2
    assert args[0] in error.splitlines()[0]
    assert error.splitlines()[1].startswith("  fix: ")
    assert started == {}


@pytest.mark.parametrize(
    ("args", "said", "fix"),
    [
        (["--rounds", "0"], "--rounds takes whole numbers from 1 to 1,000, not '0'", "audition bench --help"),
        (["--timeout", "0.01"], "--timeout takes numbers from 0.1 to 86,400, not '0.01'", "audition bench --help"),
        (["--rounds", "x"], "--rounds takes whole numbers from 1 to 1,000, not 'x'", "audition bench --help"),
        (["--prompt-cache", "keeep"], "--prompt-cache takes avoid or keep, not 'keeep'", 'did you mean "keep"?'),
        (["--endpont", "x"], "audition bench has no option --endpont", 'did you mean "--endpoint"'),
        (["--models"], "--models requires an argument", "audition bench --help"),
        (["x"], "Got unexpected extra argument (x)", "audition bench --help"),
    ],
)
def test_what_is_mistyped_is_one_sentence_and_a_fix(bench: Bench, args: list[str], said: str, fix: str) -> None:
    status, error = bench(*args)
    first, second = error.splitlines()
    assert (status, first) == (2, f"error: {said}")
    assert second.startswith(f"  fix: {fix}")


def test_a_variable_of_the_environment_is_named_as_such(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_ROUNDS", "0")
    assert bench("--models", "a")[1].startswith("error: BENCH_ROUNDS takes whole numbers from 1 to 1,000")


def test_a_run_goes_on_by_its_name(bench: Bench, started: dict[str, Any], home: Path) -> None:
    run = a_run(home / "runs" / "monday")
    assert bench("--resume", "monday", "--json") == (0, "")
    assert started == {"resumed": run.path, "as_json": True}


def test_what_the_environment_says_is_no_option_that_was_given(
    bench: Bench, started: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_ROUNDS", "7")
    monkeypatch.setenv("BENCH_MODELS", "smollm2-135m")
    assert bench() == (0, "")
    assert (started["models"], started["settings"].rounds) == (["smollm2-135m"], 7)
    started.clear()
    a_run(home / "runs" / "monday")
    assert bench("--resume", "latest") == (0, "")
    assert started["resumed"] == home / "runs" / "monday"
