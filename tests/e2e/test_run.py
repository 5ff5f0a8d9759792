"""`audition run`: one answer, piped in or on the command line, and a chat in a terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import COMMAND, audition

pytestmark = pytest.mark.models


def test_one_prompt(real_models: Path) -> None:
    options = ("--temperature", "0", "--max-tokens", "30")
    result = audition("run", "smollm2-135m", "--prompt", "What is the capital of France? Answer in one word.", *options)
    assert result.returncode == 0, result.stderr
    assert "Paris" in result.stdout


def test_standard_input(real_models: Path) -> None:
    result = audition(
        "run", "smollm2-135m", "--temperature", "0", stdin="What is the capital of France? Answer in one word."
    )
    assert result.returncode == 0, result.stderr
    assert "Paris" in result.stdout


def test_a_cut_answer_is_said(real_models: Path) -> None:
    result = audition("run", "smollm2-135m", "--prompt", "Tell me a long story.", "--max-tokens", "5")
    assert result.returncode == 0
    assert "cut at the token limit" in result.stderr
    assert "cut at" not in result.stdout


def test_a_prompt_that_does_not_fit(real_models: Path) -> None:
    result = audition("run", "smollm2-135m", "--context", "64", stdin="word " * 500)
    assert result.returncode == 1
    assert "context" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_chat_in_a_terminal(real_models: Path) -> None:
    import pty

    parent, child = pty.openpty()
    command = [*COMMAND, "run", "smollm2-135m", "--temperature", "0", "--max-tokens", "30"]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, close_fds=True)
    os.close(child)
    seen = ""

    def wait_for(words: str, start: int = 0) -> int:
        nonlocal seen
        deadline = time.monotonic() + 120
        while words not in seen[start:]:
            assert time.monotonic() < deadline, seen
            if select.select([parent], [], [], 1)[0]:
                seen += os.read(parent, 4096).decode("utf-8", "replace")
        return seen.index(words, start) + len(words)

    at = wait_for("> ")
    os.write(parent, b"What is the capital of France? Answer in one word.\n")
    at = wait_for("Paris", at)
    at = wait_for("> ", at)
    os.write(parent, b"/exit\n")
    assert process.wait(timeout=30) == 0
    os.close(parent)
