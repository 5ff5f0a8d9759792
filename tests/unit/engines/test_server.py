"""Finding a server: its address, its model there, and a key that stays out of every file."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from audition.engines.endpoint import connection
from audition.engines.protocol import EngineError
from audition.engines.server import Server, connect, find_server, read_key, settings_of
from audition.errors import UsageError
from audition.mock.process import MockServer
from audition.mock.script import Script
from dialect_servers import listed, running

KEY = "sk-a.secret_of-ours"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the test machine names no proxy."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.mark.parametrize(
    ("text", "url", "model"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1", ""),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1", ""),
        (
            "http://127.0.0.1:8080#llama3.2:1b-instruct-q4_K_M",
            "http://127.0.0.1:8080/v1",
            "llama3.2:1b-instruct-q4_K_M",
        ),
        ("https://example.org/v1#meta-llama/Llama-3.2-1B", "https://example.org/v1", "meta-llama/Llama-3.2-1B"),
        ("https://example.org/api/v1/chat/completions#m", "https://example.org/api/v1", "m"),
        ("[::1]:8080#hf.co/a/b:Q4#odd", "http://[::1]:8080/v1", "hf.co/a/b:Q4#odd"),
        (" http://127.0.0.1:8080 # two words ", "http://127.0.0.1:8080/v1", "two words"),
        ("127.0.0.1:8080#", "http://127.0.0.1:8080/v1", ""),
    ],
)
def test_a_server_is_named_by_its_address_and_a_model(text: str, url: str, model: str) -> None:
    assert settings_of(text) == {"url": url, "model": model}


@pytest.mark.parametrize("text", ["", "#model", "ftp://example.org", "http://user:key@example.org", "http://a/v1?x=1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of(text)
    assert caught.value.fix
    assert "key" not in caught.value.message


def test_settings_say_where_the_key_is_and_never_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.txt"
    file.write_text(f"\n  {KEY}\n")
    monkeypatch.setenv("OUR_KEY", f" {KEY} ")
    by_name = settings_of("127.0.0.1:1#m", key_env="OUR_KEY")
    by_file = settings_of("127.0.0.1:1#m", key_file=file, ca_file=tmp_path / "ca.pem")
    assert by_name == {"url": "http://127.0.0.1:1/v1", "model": "m", "key_env": "OUR_KEY"}
    assert by_file == {
        "url": "http://127.0.0.1:1/v1",
        "model": "m",
        "key_file": str(file),
        "ca_file": str(tmp_path / "ca.pem"),
    }
    assert KEY not in json.dumps([by_name, by_file])
    assert read_key("OUR_KEY", None) == read_key(None, str(file)) == KEY
    assert read_key(None, None) is None


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_variable_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("OUR_KEY", value)
    with pytest.raises(UsageError, match="OUR_KEY is not set") as caught:
        settings_of("127.0.0.1:1", key_env="OUR_KEY")
    assert caught.value.fix


@pytest.mark.parametrize("key", ["two words", "tab\tbed", "two\nlines", "schlüssel", "bell\x07"])
@pytest.mark.parametrize("place", ["env", "file"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, place: str
) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")
    monkeypatch.setenv("OUR_KEY", key)
    with pytest.raises(UsageError, match="characters that no key has") as caught:
        read_key("OUR_KEY", None) if place == "env" else read_key(None, str(tmp_path / "key"))
    assert caught.value.fix
    assert key not in caught.value.message
    assert ("OUR_KEY" if place == "env" else str(tmp_path / "key")) in caught.value.message


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name, sentence in (
        ("empty", "is empty"),
        ("bytes", "cannot read"),
        ("missing", "cannot read"),
        (".", "cannot"),
    ):
        with pytest.raises(UsageError, match=sentence) as caught:
            read_key(None, str(tmp_path / name))
        assert caught.value.fix


@pytest.mark.parametrize("file", ["a\0b", "~nobody-of-this-name/key"])
def test_a_path_that_is_none_is_refused(file: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_key(None, file)
    assert caught.value.fix


@pytest.mark.skipif(sys.platform == "win32", reason="has other home folders")
def test_a_key_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key").write_text(KEY)
    assert read_key(None, f"~{os.sep}key") == KEY


MANY = tuple(f"model-{n}" for n in range(30))


def found(name: str, *ids: str, **facts: Any) -> Server:
    """Find a model of a server that lists these."""
    with running({"/v1/models": listed(*ids, **facts)}) as it:
        return find_server(settings_of(f"{it.url}#{name}"))


@pytest.mark.parametrize(
    ("ids", "said", "fix"),
    [
        ((), "it lists none", "#MODEL'"),
        (MANY[:2], "it has model-0, model-1", "#model-0'"),
        (MANY, "it has model-0, model-1, model-2", "#model-0'"),
        (("\x1b[2Jx", "y"), "it has \N{REPLACEMENT CHARACTER}[2Jx, y", "#"),
    ],
)
def test_a_model_has_to_be_named_where_there_is_not_one(ids: tuple[str, ...], said: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        found("", *ids)
    assert said in caught.value.message
    assert "for http://127.0.0.1:" in caught.value.message
    assert fix in str(caught.value.fix)
    assert len(caught.value.message) < 300, "a long list is cut"


def test_the_only_model_need_not_be_named() -> None:
    it = found("", "only", max_model_len=4096)
    assert (it.settings["model"], it.entry["id"], it.entry["max_model_len"], it.notes) == ("only", "only", 4096, ())


def test_a_model_that_is_named_is_taken_and_looked_up() -> None:
    it = found("model-7", *MANY)
    assert (it.settings["model"], it.entry["id"], it.notes) == ("model-7", "model-7", ())
    it = found("unlisted", *MANY)
    assert (it.settings["model"], it.entry) == ("unlisted", {}), "what is wrong will show"


def test_a_name_is_taken_for_what_the_server_calls_it_and_that_is_said() -> None:
    it = found("llama3.2", "llama3.2:1b", "llama3.2:latest")
    assert it.settings["model"] == it.entry["id"] == "llama3.2:latest"
    assert it.notes == ('"llama3.2" is "llama3.2:latest" there',)


def test_without_a_list_a_named_model_is_asked_all_the_same() -> None:
    with running({}) as it:
        server = find_server(settings_of(f"{it.url}#m"))
        assert (server.settings["model"], server.entry) == ("m", {})
        assert it.paths == ["/v1/models"]
        with pytest.raises(UsageError, match=r"/v1/models is not there: ") as caught:
            find_server(settings_of(it.url))
    assert caught.value.code == "not_found"
    assert "/v1" in str(caught.value.fix)


def test_a_server_that_cannot_be_reached_is_no_fault_of_the_command() -> None:
    with pytest.raises(EngineError, match="nobody listens") as caught:
        find_server(settings_of("127.0.0.1:9"))
    assert caught.value.exit_code == 1


def test_nobody_at_the_address_is_said() -> None:
    with pytest.raises(EngineError) as caught:
        find_server(settings_of("127.0.0.1:9"))
    assert caught.value.code == "connection_refused"


def test_a_network_that_is_not_there_is_said_and_no_model_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(connection, "_connect", unreachable)
    with pytest.raises(EngineError, match=r"no connection to 127\.0\.0\.1:9: Network is unreachable") as caught:
        find_server(settings_of("127.0.0.1:9"))
    assert caught.value.fix == "check the network and the address"


@pytest.mark.parametrize("name", ["olama", "OLLAMA"])
def test_a_misspelt_name_of_a_server_brings_the_nearest(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(connection, "_connect", unknown)
    with pytest.raises(EngineError, match="no address is known") as caught:
        find_server(settings_of(name))
    assert str(caught.value.fix).startswith('did you mean "ollama"')


def test_a_server_is_asked_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", KEY)
    script = Script(ttft_ms=1, itl_ms=0, tokens=3, model="tiny", device="gpu", api_key=KEY)
    with MockServer(script) as mock:
        settings = settings_of(mock.url, key_env="OUR_KEY")
        server = find_server(settings)
        assert (server.settings["model"], server.entry["device"]) == ("tiny", "gpu")
        assert server.identity.name == "Audition"
        assert KEY not in json.dumps([server.to_json(), server.settings])
        with pytest.raises(EngineError) as caught:
            find_server(settings_of(mock.url))
        assert caught.value.code == "unauthorized"
        assert KEY not in caught.value.message

        async def ask() -> None:
            session = connect(server.settings, connections=2)
            await session.open(2)
            try:
                reply = (await session.ask([{"role": "user", "content": "hello"}], {"max_tokens": 3}, 10.0))()
            finally:
                await session.close()
            assert reply.failure is None
            assert len([chunk for chunk in reply.chunks if chunk.text]) == 3

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(ask())


def test_a_key_that_went_away_is_noticed_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_KEY", KEY)
    settings = settings_of("127.0.0.1:1#m", key_env="OUR_KEY")
    monkeypatch.delenv("OUR_KEY")
    with pytest.raises(UsageError, match="OUR_KEY"):
        connect(settings)
