"""The outermost layer: every error becomes a sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from audition.cli import main as main_module
from audition.errors import AuditionError, UsageError


def run_main(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *args: str) -> int:
    """Run `audition cache location ARGS` with a verb that raises `error`; return the exit code."""

    def verb() -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(main_module._Verbs, "get_command", lambda *_: click.Command("cache", callback=verb))
    monkeypatch.setattr(sys, "argv", ["audition", *args, "cache"])
    with pytest.raises(SystemExit) as ended:
        main_module.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (AuditionError("it broke"), 1),
        (UsageError("it is wrong"), 2),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, code: int) -> None:
    assert run_main(monkeypatch, error) == code


def test_an_error_is_a_sentence_and_a_fix(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_main(monkeypatch, AuditionError("it broke", fix="mend it"))
    assert capsys.readouterr().err == "error: it broke\n  fix: mend it\n"


def test_an_error_cannot_repaint_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(monkeypatch, AuditionError("the model said \x1b[2J\x07"))
    assert "\x1b" not in capsys.readouterr().err


def test_a_fault_of_ours_has_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_main(monkeypatch, ZeroDivisionError("division by zero"))
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "ZeroDivisionError: division by zero" in said
    assert "--debug" in said


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_module._Verbs, "get_command", lambda *_: click.Command("cache", callback=lambda: 1 / 0))
    monkeypatch.setattr(sys, "argv", ["audition", "--debug", "cache"])
    with pytest.raises(ZeroDivisionError):
        main_module.main()


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m audition --help | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("Usage:")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said", "fix"),
    [
        ("bnch", 'audition has no command "bnch"', 'did you mean "bench"?'),
        ("model lst", 'audition model has no command "lst"', 'did you mean "list"?'),
        ("cache xyz", 'audition cache has no command "xyz"', "audition cache --help"),
        ("--nope", "audition has no option --nope", "audition --help"),
        ("compare a", "RUN_B is missing", "audition compare [OPTIONS] RUN_A RUN_B"),
        ("model download", "NAMES is missing", "audition model download [OPTIONS] NAMES..."),
        ("compare a b --strict", "--strict goes with --fail-on", "audition compare --help"),
        (
            "pick --licence permisive",
            "--licence takes permissive, use-restricted, non-commercial or unknown, not 'permisive'",
            'did you mean "permissive"?',
        ),
        ("pick --min-quality 2", "--min-quality takes numbers from 0 to 1, not '2.0'", "audition pick --help"),
        ("mock --lie emty", 'there is no lie called "emty"', 'did you mean "empty"?'),
        ("model import x --to y", "--to takes onnx-genai, not 'y'", "audition model import --help"),
        ("mock --port 70000", "--port takes whole numbers from 0 to 65,535, not '70000'", "audition mock --help"),
    ],
)
def test_a_mistyped_command_line_is_one_sentence_and_a_fix(
    arguments: str, said: str, fix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["audition", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main_module.main()
    assert (ended.value.code, capsys.readouterr().err) == (2, f"error: {said}\n  fix: {fix}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctor", ""], "PATH is empty"),
        (["doctor", " "], "PATH is empty"),
        (["model", "import", ""], "the model's name is empty"),
        (["model", "info", ""], "the model's name is empty"),
        (["model", "download", ""], "the model's name is empty"),
        (["bench", "--models", "smollm2-135m", "--engines", ""], "--engines names no engine"),
        (["bench", "--models", "smollm2-135m", "--engines", " , "], "--engines names no engine"),
    ],
)
def test_an_empty_name_is_not_the_current_folder_and_not_the_default(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["audition", *arguments])
    with pytest.raises(SystemExit) as ended:
        main_module.main()
    first, fix = capsys.readouterr().err.splitlines()
    assert (ended.value.code, first) == (2, f"error: {said}")
    assert fix.startswith("  fix: ")


def test_without_a_command_the_help_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["audition", "model"])
    with pytest.raises(SystemExit):
        main_module.main()
    assert capsys.readouterr().err.startswith("Usage: audition model")
