"""Who a server is: every known product by its own routes, and whatever else answers, in bounded time."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from endpoint_servers import run

import dialect_servers as servers
from audition.engines.endpoint import EndpointSession
from audition.engines.endpoint import session as session_module
from audition.engines.endpoint.identify import UNKNOWN, Identity, identify, match
from audition.engines.protocol import EngineError
from audition.engines.server import find_server, settings_of

NAMED = [
    (
        servers.LLAMA_CPP,
        "small",
        Identity("llama.cpp", "b8681-Debian", model="small.Q4_1.gguf", quantization="Q4_1", context=2048, slots=2),
    ),
    (
        servers.OLLAMA,
        "qwen2.5:0.5b",
        Identity(
            *("Ollama", "0.12.6"),
            model="qwen2.5:0.5b",
            family="qwen2",
            quantization="Q4_K_M",
            digest=servers.SHA,
            context=4096,
            device="gpu",
        ),
    ),
    (
        servers.LM_STUDIO,
        "qwen2.5-0.5b-instruct",
        Identity(
            "LM Studio",
            api="v1",
            model="qwen2.5-0.5b-instruct",
            family="qwen2",
            quantization="Q8_0",
            context=4096,
            slots=4,
        ),
    ),
    (servers.LM_STUDIO, "openai/gpt-oss-20b", Identity("LM Studio", api="v1", model="openai/gpt-oss-20b")),
    (
        servers.LM_STUDIO_0,
        "meta-llama-3.1-8b-instruct",
        Identity(
            "LM Studio",
            api="v0",
            model="meta-llama-3.1-8b-instruct",
            family="llama",
            quantization="Q4_K_M",
            context=8192,
        ),
    ),
    (servers.VLLM, "Qwen/Qwen3-8B", Identity("vLLM", "0.11.0", model="Qwen/Qwen3-8B", context=40960)),
    (servers.AUDITION, "mock", Identity("Audition")),
    ({"/v1/models": servers.listed("m")}, "m", Identity(UNKNOWN)),
    ({"/v1/models": servers.listed("m", owner="sglang")}, "m", Identity("SGLang")),
]


@pytest.mark.parametrize(("routes", "model", "expected"), NAMED, ids=lambda value: getattr(value, "name", ""))
def test_known_servers_are_known_by_their_own_routes(routes: Any, model: str, expected: Identity) -> None:
    with servers.running(routes) as server:
        found = find_server(settings_of(f"{server.url}#{model}"))
    assert found.identity == expected
    assert found.settings["model"] == model
    assert "/v1/chat/completions" not in server.paths, "no model was asked"


def test_a_server_that_says_its_name_is_not_asked_for_others_routes() -> None:
    for routes in (servers.LLAMA_CPP, servers.VLLM, servers.AUDITION):
        with servers.running(routes) as server:
            find_server(settings_of(server.url))
        assert server.paths == list(routes)


def test_a_model_that_is_not_loaded_has_no_context() -> None:
    with servers.running({**servers.OLLAMA, "/api/ps": {"models": []}}) as server:
        found = find_server(settings_of(f"{server.url}#qwen2.5:0.5b")).identity
    assert (found.name, found.context, found.device) == ("Ollama", None, None), "32768 is what it was trained for"


def test_a_program_in_front_of_ollama_is_not_ollama() -> None:
    routes = {path: servers.OLLAMA[path] for path in ("/v1/models", "/api/version")}
    with servers.running(routes) as server:
        assert find_server(settings_of(f"{server.url}#qwen2.5:0.5b")).identity.name == UNKNOWN


@pytest.mark.parametrize(
    ("root", "shown"),
    [
        ("/home/somebody/models/llama", "llama"),
        ("C:\\Users\\somebody\\llama.gguf", "llama.gguf"),
        ("./somebody/llama/", "llama"),
        ("~/somebody", "somebody"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("", None),
        (7, None),
    ],
)
def test_a_path_shows_no_folders(root: Any, shown: str | None) -> None:
    with servers.running({"/v1/models": servers.listed("m", owner="vllm", root=root)}) as server:
        assert find_server(settings_of(server.url)).identity.model == shown


HOSTILE = "\x1b[2J\u202eevil\n" * 1000


def test_text_of_a_server_is_printable_and_short() -> None:
    props = {**servers.LLAMA_CPP["/props"], "build_info": HOSTILE, "model_path": HOSTILE, "model_ftype": HOSTILE}
    with servers.running({**servers.LLAMA_CPP, "/props": props}) as server:
        found = find_server(settings_of(server.url))
    text = json.dumps(found.to_json(), ensure_ascii=False)
    assert len(text) < 1000
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("value", [None, 7, -1, 0, 10**12, True, "4096", [], {}, 1.5, float("nan")])
def test_facts_of_another_shape_are_none(value: Any) -> None:
    """Every field of every dialect in turn is something else; the server is still known, or said to be unknown."""
    for routes, model, _ in NAMED:
        table = dict(routes)
        with servers.running(table) as server:
            for path in [path for path in routes if path != "/v1/models"]:
                for broken in _broken(routes[path], value):
                    table[path] = broken
                    found = find_server(settings_of(f"{server.url}#{model}")).identity
                    assert found.context is None or 0 < found.context < 10**9
                    json.dumps(found.to_json())
                table[path] = routes[path]


def _broken(content: Any, value: Any) -> Iterator[Any]:
    """Yield copies of a document in each of which one value, at any depth, is another."""
    yield value
    if isinstance(content, dict):
        for name, inner in content.items():
            yield from ({**content, name: other} for other in _broken(inner, value))
    elif isinstance(content, list):
        for index, inner in enumerate(content):
            yield from ([*content[:index], other, *content[index + 1 :]] for other in _broken(inner, value))


# --- Servers that want to keep us, or to break us. ---


@contextmanager
def raw(talk: Callable[[socket.socket, str], None]) -> Iterator[str]:
    """Serve with a function that gets the socket and the path of each request on a connection of its own."""
    stopping = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                path = connection.recv(65536).split(b" ")[1].decode()
                if path == "/v1/models":
                    body = json.dumps(servers.listed("m")).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                else:
                    talk(connection, path)
            except (OSError, IndexError):
                pass

    def accept() -> None:
        while not stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()


def answer(status: str, body: bytes, *headers: str) -> Callable[[socket.socket, str], None]:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode()
    return lambda connection, _: connection.sendall(head + body)


def drip(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        time.sleep(0.05)


def hang(connection: socket.socket, _: str) -> None:
    connection.recv(1)


def flood(connection: socket.socket, _: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    while True:
        connection.sendall(b"[" * 2**20)


@pytest.mark.parametrize(
    "talk",
    [
        answer("200 OK", b"<!doctype html><title>Hello</title>"),
        answer("200 OK", b"{"),
        answer("200 OK", b"[" * 100_000),
        answer("200 OK", b"1" * 100_000),
        answer("200 OK", b"null"),
        answer("200 OK", b'{"error": "Unexpected endpoint or method."}'),
        answer("302 Found", b"", "Location: http://192.0.2.1/"),
        answer("401 Unauthorized", b'{"error": "no key"}'),
        answer("500 Internal Server Error", b"\xff\xfe"),
        drip,
        hang,
        flood,
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000),
        lambda connection, _: connection.close(),
    ],
    ids=[
        *("html", "cut", "deep", "number", "null", "error", "redirect", "401", "500", "drip", "hang", "flood"),
        *("headers", "closes"),
    ],
)
def test_identification_gives_up_in_bounded_time(talk: Callable[[socket.socket, str], None]) -> None:
    with raw(talk) as url:
        started = time.monotonic()
        found = find_server(settings_of(f"{url}#m"))
        assert time.monotonic() - started < 5
    assert found.identity == Identity()
    assert (found.settings["model"], found.entry["id"]) == ("m", "m"), "the run goes on"


def test_a_route_that_hangs_does_not_hide_the_others() -> None:
    ended = threading.Event()

    def routes(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        if path == "/props":
            ended.wait(20)
        return (200, servers.OLLAMA[path]) if path in servers.OLLAMA else None

    with servers.running(routes) as server:
        assert find_server(settings_of(f"{server.url}#qwen2.5:0.5b")).identity.name == "Ollama"
        ended.set()


def test_a_document_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        session = EndpointSession(server.url, "m")
        with pytest.raises(EngineError) as caught:
            await session.fetch("/large", 5)
        assert caught.value.code == "answer_too_large"
        assert await session.fetch("/small", 5) == "x"
        await session.close()

    monkeypatch.setattr(session_module, "_MAX_DOCUMENT_BYTES", 2**20)
    with servers.running({"/large": "x" * 2**23, "/small": "x"}) as server:
        run(go())


def test_the_whole_of_it_has_a_limit() -> None:
    async def go() -> None:
        session = EndpointSession(f"{url}/v1", "m")
        started = time.monotonic()
        assert await identify(session, "m", timeout_s=0.3) == Identity()
        assert time.monotonic() - started < 1
        await session.close()

    with raw(hang) as url:
        run(go())


def test_what_was_known_before_the_time_was_up_is_kept() -> None:
    async def go() -> None:
        session = EndpointSession(f"{url}/v1", "m")
        listed = servers.listed("m", owner="vllm", max_model_len=512)["data"]
        assert await identify(session, "m", listed, timeout_s=0.2) == Identity("vLLM", context=512)
        await asyncio.sleep(0)
        await session.close()

    with raw(hang) as url:
        run(go())


# --- Names. ---


@pytest.mark.parametrize(
    ("name", "ids", "expected"),
    [
        ("a", ["a", "A"], "a"),
        ("PHI", ["phi"], "phi"),
        ("phi", ["phi:2", "phi:10", "phi-mini:11"], "phi:10"),
        ("phi:2", ["phi:2", "phi:10"], "phi:2"),
        ("llama3.2", ["llama3.2:1b", "llama3.2:latest"], "llama3.2:latest"),
        ("gpt-oss-20b", ["openai/gpt-oss-20b"], "openai/gpt-oss-20b"),
        ("gpt-oss-20b", ["openai/gpt-oss-20b", "other/gpt-oss-20b"], None),
        ("phi", ["phi-4:1"], None),
        ("phi", ["phi:latest", "phi:3"], "phi:latest"),
        ("ph.", ["phi:3"], None),
        ("x", [], None),
        ("", ["x"], None),
        ("A", ["a", "\u0061"], "a"),
    ],
)
def test_a_name_stands_for_one_id(name: str, ids: list[str], expected: str | None) -> None:
    assert match(name, ids) == expected
