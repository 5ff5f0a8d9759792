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
