"""The server as a process: it starts fast and light, says where it is, and leaves no orphan."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mock_client import chat

from audition.errors import AuditionError
from audition.mock import process
from audition.mock.process import MockServer
from audition.mock.script import Script


def test_it_serves_and_ends() -> None:
    with MockServer(Script(ttft_ms=1, itl_ms=0, tokens=3, model="tiny")) as mock:
        assert mock.url.startswith("http://127.0.0.1:")
        assert chat(mock.url, model="tiny").done
        inner = mock._process
        assert mock.pid == inner.pid
    assert inner.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        chat(mock.url)


def test_it_ends_when_its_parent_is_killed() -> None:
    code = (
        "from audition.mock.process import MockServer; from audition.mock.script import Script; import os\n"
        "m = MockServer(Script()); m.__enter__(); print(m.pid, flush=True); os._exit(9)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    import psutil

    orphan = int(out.stdout)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(orphan) and psutil.Process(orphan).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.01)


def test_it_ends_amid_requests_and_its_log_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "truth.jsonl"
    with MockServer(Script(failures={"hang": 2}), log) as mock:
        import http.client

        chat(mock.url)
        hanging = http.client.HTTPConnection("127.0.0.1", int(mock.url.split(":")[2].split("/")[0]))
        hanging.request("POST", "/v1/chat/completions", b'{"messages": [{"role": "user", "content": "hi"}]}')
        time.sleep(0.1)
        inner = mock._process
    hanging.close()
    assert inner.returncode == 0
    assert [json.loads(line)["client_gone"] for line in log.read_text().splitlines()] == [False, True]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(AuditionError, match=r"did not start: cannot write"), MockServer(Script(), tmp_path):
        pass


def test_a_server_that_crashes_says_its_last_words() -> None:
    mock = MockServer(Script())
    mock._command = [sys.executable, "-c", "raise SystemExit('no such module')"]
    with pytest.raises(AuditionError, match="no such module"), mock:
        pass


def test_a_server_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT_S", 0.2)
    mock = MockServer(Script())
    mock._command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(AuditionError, match=r"within 0\.2 s"), mock:
        pass
    assert mock._process.returncode is not None


def test_it_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pydantic", "rich", "psutil", "click", "httpx", "audition.bench", "xllamacpp")
    code = f"import sys, audition.mock.__main__; print([x for x in {heavy!r} if x in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
