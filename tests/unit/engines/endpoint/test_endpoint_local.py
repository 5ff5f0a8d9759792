"""Servers on this machine: whose process listens, and where the usual ones are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from audition.engines.endpoint import local
from audition.engines.endpoint.local import foundry_address, is_loopback, listening, server_process
from audition.engines.server import local_servers, settings_of
from audition.errors import UsageError
from audition.mock.process import MockServer
from audition.mock.script import Script
from dialect_servers import LLAMA_CPP, running


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost")],
        *[(host, False) for host in ("192.168.1.1", "0.0.0.0", "example.org", "localhost.example.org", "", "::2")],
    ],
)
def test_this_machine_is_known_by_its_names(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_process_of_a_server_on_this_machine_is_found() -> None:
    with MockServer(Script()) as mock:
        port = mock.url.partition("127.0.0.1:")[2].partition("/")[0]
        for url in (mock.url, f"http://localhost:{port}/v1"):
            assert server_process(url) == mock.pid
        assert listening(int(port)) == [mock.pid]
    assert listening(int(port)) is None
    assert "does not show" in str(server_process(mock.url)), "nobody listens there any more"


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080/v1", "https://example.org/v1"])
def test_a_server_elsewhere_has_no_process_here(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_connections", lambda **_: pytest.fail("nobody need look"))
    assert "not on this machine" in str(server_process(url))


@pytest.mark.parametrize(("url", "port"), [("http://127.0.0.1/v1", 80), ("https://[::1]/v1", 443)])
def test_without_a_port_the_schemes_own_is_meant(monkeypatch: pytest.MonkeyPatch, url: str, port: int) -> None:
    own = os.getpid()
    monkeypatch.setattr(local, "listening", lambda asked: [own] if asked == port else None)
    assert server_process(url) == own


@pytest.mark.parametrize("error", [psutil.AccessDenied(), OSError("no")])
def test_where_all_connections_are_not_shown_ones_own_are(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(**_: str) -> None:
        raise error

    monkeypatch.setattr(psutil, "net_connections", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listening(port) == [os.getpid()]
    assert listening(port) is None


def test_a_connection_to_a_port_does_not_listen_at_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            assert listening(address[1]) == [os.getpid()]
            assert listening(client.getsockname()[1]) is None


FORK = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
    os.kill(child, 9)
else:
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_workers_that_share_a_port_are_their_parents() -> None:
    with subprocess.Popen([sys.executable, "-c", FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        port = int(process.stdout.readline())
        assert server_process(f"http://127.0.0.1:{port}/v1") == process.pid
        process.stdin.close()


def test_two_programs_at_one_port_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with MockServer(Script()) as one, MockServer(Script()) as other:
        monkeypatch.setattr(local, "listening", lambda _: [one.pid, other.pid])
        assert server_process(one.url) == "several programs listen there"
    assert server_process(one.url) == "its process cannot be looked at"


@pytest.mark.parametrize("name", ["docker-proxy", "ssh", "wslrelay.exe", "com.docker.backend.exe"])
def test_what_only_passes_on_is_not_the_server(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(psutil.Process, "name", lambda _: name)
    monkeypatch.setattr(local, "listening", lambda _: [os.getpid()])
    assert "passes on to a server elsewhere" in str(server_process("http://127.0.0.1:1/v1"))


# --- Where the usual servers are. ---


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ollama", "http://127.0.0.1:11434/v1"),
        ("lmstudio", "http://127.0.0.1:1234/v1"),
        ("llama-server", "http://127.0.0.1:8080/v1"),
        ("vllm", "http://127.0.0.1:8000/v1"),
    ],
)
def test_the_usual_servers_have_names(name: str, url: str) -> None:
    assert settings_of(name) == {"url": url, "model": ""}
    assert settings_of(f" {name} #a:b") == {"url": url, "model": "a:b"}
    assert settings_of(f"http://{name}:5/v1")["url"] == f"http://{name}:5/v1", "a host of that name"


@pytest.mark.parametrize("value", ["http://127.0.0.1:5273", "http://127.0.0.1:5273/v1/", " 127.0.0.1:5273 "])
def test_the_variable_says_where_foundry_is(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FOUNDRY_LOCAL_ENDPOINT", value)
    monkeypatch.setattr(local, "listeners", lambda: pytest.fail("nobody need look"))
    assert settings_of("foundry") == {"url": "http://127.0.0.1:5273/v1", "model": ""}
    assert settings_of("foundry#phi-4-mini")["model"] == "phi-4-mini"


@pytest.fixture
def no_foundry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither the variable, nor the command, nor a process; returns the folder where commands are looked for."""
    monkeypatch.delenv("FOUNDRY_LOCAL_ENDPOINT", raising=False)
    monkeypatch.setattr(local, "listeners", dict)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_no_foundry_is_said_with_what_to_do(no_foundry: Path) -> None:
    with pytest.raises(UsageError, match="no running Foundry Local") as caught:
        settings_of("foundry#phi")
    assert "FOUNDRY_LOCAL_ENDPOINT" in str(caught.value.fix)


def command(folder: Path, script: str) -> None:
    file = folder / "foundry"
    file.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    file.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no command there")
@pytest.mark.parametrize(
    "said",
    [
        "print('\\U0001f7e2 Model management service is running on http://127.0.0.1:53123/openai/status')",
        "print('Service is running at http://localhost:53123.') if sys.argv[1] == 'server' else None",
        "sys.exit('unknown') if sys.argv[1] == 'server' else print('http://127.0.0.1:53123')",
        "print('see http://example.org:80 or http://127.0.0.1:53123')",
        "sys.stdout.buffer.write(b'\\xff\\xfe http://127.0.0.1:53123')",
    ],
)
def test_the_command_says_where_foundry_is(no_foundry: Path, said: str) -> None:
    command(no_foundry, said)
    assert foundry_address().replace("localhost", "127.0.0.1") == "http://127.0.0.1:53123"


@pytest.mark.skipif(sys.platform == "win32", reason="a script is no command there")
@pytest.mark.parametrize(
    "said",
    ["print('not running')", "sys.exit(3)", "print('http://192.0.2.1:5273')", "import time; time.sleep(60)"],
)
def test_a_command_that_does_not_say_is_no_answer(no_foundry: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_STATUS_TIMEOUT_S", 0.5)
    command(no_foundry, said)
    with pytest.raises(UsageError):
        foundry_address()


@pytest.mark.parametrize("name", ["foundry", "Inference.Service.Agent", "FoundryLocal.exe"])
def test_a_process_of_that_name_is_found(no_foundry: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "listeners", lambda: {5273: {os.getpid()}, 22: {2**30}})
    monkeypatch.setattr(psutil.Process, "name", lambda _: name)
    assert foundry_address() == "http://127.0.0.1:5273"


def test_other_processes_are_not_taken_for_it(no_foundry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "listeners", lambda: {5273: {os.getpid()}})
    monkeypatch.setattr(psutil.Process, "cmdline", lambda _: ["/home/foundry/bin/python", "foundry.py"])
    with pytest.raises(UsageError):
        foundry_address()


def test_the_usual_addresses_are_asked_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(LLAMA_CPP) as it:
        usual: dict[str, Any] = {"llama-server": it.url, "ollama": "http://127.0.0.1:9/v1"}
        monkeypatch.setattr(local, "USUAL", usual)
        found = local_servers()
    assert {url: identity.name for url, identity in found.items()} == {it.url: "llama.cpp"}
