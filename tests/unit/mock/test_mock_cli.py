"""`audition mock`, and the document about it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from mock_client import chat

from audition.cli.mock import mock
from audition.errors import UsageError
from audition.mock import server
from audition.mock.faults import FAILURES, LIES
from audition.mock.script import Script

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "mock.md"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the command would have served."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(server, "run", lambda *arguments: calls.append(arguments))
    return calls


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(mock, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_options_become_the_script(started: list[tuple[Any, ...]], tmp_path: Path) -> None:
    options = "--ttft 200 --itl 5 --jitter 0.1 --drift 0.5 --prefill-tps 900 --stall 50 --stall-every 9 --tokens 7"
    options += " --tokens-per-chunk 2 --reasoning-tokens 3 --keepalive --role-delay 4 --context 99 --model m --device d"
    options += f" --seed 8 --api-key k --fail cut=5 --fail hang --lie empty --lie no_usage --log {tmp_path / 'log'}"
    assert invoke(*options.split(), "--port", "0", "--host", "::1").exit_code == 0
    script, host, port, log, _ = started[0]
    assert script == Script(
        ttft_ms=200,
        itl_ms=5,
        jitter=0.1,
        drift=0.5,
        prefill_tps=900,
        stall_ms=50,
        stall_every=9,
        tokens=7,
        tokens_per_chunk=2,
        reasoning_tokens=3,
        keepalive=True,
        role_delay_ms=4,
        context=99,
        model="m",
        device="d",
        seed=8,
        api_key="k",
        failures={"cut": 5, "hang": 1},
        lies=frozenset({"empty", "no_usage"}),
    )
    assert (host, port, log) == ("::1", 0, tmp_path / "log")


def test_every_field_of_the_script_has_an_option() -> None:
    import dataclasses

    assert {field.name for field in dataclasses.fields(Script)} <= {parameter.name for parameter in mock.params}


def test_defaults_are_those_of_the_script(started: list[tuple[Any, ...]]) -> None:
    invoke()
    assert started[0][:4] == (Script(), "127.0.0.1", 8099, None)


def test_the_help_states_the_true_defaults() -> None:
    told = {}
    for option in mock.params:
        assert isinstance(option, click.Option)
        if found := re.search(r"\[default: (.+)\]", option.help or ""):
            told[option.name or ""] = found[1]
    assert {"ttft_ms", "itl_ms", "tokens", "context", "model"} <= set(told)
    for name, value in told.items():
        assert str(getattr(Script(), name)).removesuffix(".0") == value


def test_options_win_over_a_file(started: list[tuple[Any, ...]], tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"ttft_ms": 7, "itl_ms": 8, "lies": ["empty"]}', encoding="utf-8")
    invoke("--script", str(path), "--itl", "9")
    assert started[0][0] == Script(ttft_ms=7, itl_ms=9, lies=frozenset({"empty"}))


@pytest.mark.parametrize("text", ["[]", '{"ttft": 1}', "{"])
def test_a_file_with_a_fault_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(str(path))):
        invoke("--script", str(path))


def test_what_is_mistyped_is_said() -> None:
    for every in ("five", "0", "1000001", "-1", "9" * 5000, ""):
        with pytest.raises(UsageError, match=r"--fail cut takes whole numbers from 1 to 1,000,000, not ") as caught:
            invoke("--fail", f"cut={every}")
        assert caught.value.fix == "--fail cut=5 fails every fifth request"
        assert len(caught.value.message) < 120
    with pytest.raises(UsageError, match='no failure called "cutt"'):
        invoke("--fail", "cutt")
    with pytest.raises(UsageError, match='no lie called "emptyy"') as caught:
        invoke("--lie", "emptyy")
    assert caught.value.fix == 'did you mean "empty"?'


@pytest.mark.parametrize(
    ("option", "value"), [("--ttft", "-1"), ("--itl", "nan"), ("--tokens", "1.5"), ("--jitter", "2")]
)
def test_a_number_out_of_bounds_is_said_of_the_option_that_was_typed(option: str, value: str) -> None:
    result = invoke(option, value)
    assert result.exit_code == 2
    assert option in result.output and "_ms" not in result.output


def test_fixes_name_options_as_they_are_typed() -> None:
    for arguments, option in (
        (["--lie", "prompt_cache"], "--prefill-tps"),
        (["--stall", "5"], "--stall-every"),
        (["--host", "0.0.0.0"], "--api-key"),
    ):
        with pytest.raises(UsageError) as caught:
            invoke(*arguments, "--port", "0")
        assert option in (caught.value.fix or "")


def test_the_list_explains_every_name() -> None:
    lines = invoke("--list").output.splitlines()
    for name, line in {**FAILURES, **LIES}.items():
        assert any(shown.split() == [name, *line.split()] for shown in lines)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_is_its_quiet_end() -> None:
    code = "from audition.cli.mock import mock; mock()"
    command = [sys.executable, "-c", code, "--port", "0", "--ttft", "1", "--tokens", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        url = re.fullmatch(r"(http://127\.0\.0\.1:\d+/v1)  \(Ctrl-C stops it\)\n", line)
        assert url is not None
        assert chat(url[1]).done
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (0, "", "")


def tables() -> list[dict[str, str]]:
    """Return the document's tables of names."""
    found: list[dict[str, str]] = []
    for block in re.findall(r"(?:^\|.*\n)+", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE):
        rows = [re.fullmatch(r"\| `(\w+)` \| (.+) \|", row) for row in block.splitlines()]
        found.append({row[1]: row[2] for row in rows if row is not None})
    return found


def test_the_document_lists_exactly_what_there_is() -> None:
    for names in (FAILURES, LIES):
        assert {name: line.replace("<", "\\<").replace("[", "\\[") for name, line in names.items()} in tables()


def test_the_document_explains_every_key_of_the_log() -> None:
    import dataclasses

    from audition.mock.exchange import Record

    assert any(set(table) == {field.name for field in dataclasses.fields(Record)} for table in tables())


def test_the_script_in_the_document_is_one() -> None:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        Script.from_mapping(json.loads(block))
