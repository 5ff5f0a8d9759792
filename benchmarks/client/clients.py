"""One client under load, in a process of its own; run.py starts it and reads the JSON that it prints.

    python clients.py NAME URL CONCURRENCY REQUESTS SECONDS DETAIL

Every client gets the same closed loop, takes a time when bytes come, and reads the events after the window has ended.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

PARAMS: dict[str, Any] = {"max_tokens": 128, "temperature": 0.0, "seed": 1}
Answer = tuple[int, list[int]]
"""When the request was sent, and when each token came (perf_counter_ns)."""
Ask = Callable[[int], Awaitable[Callable[[], Answer]]]
Close = Callable[[], Awaitable[None]]


def messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"#{number} Describe the sea in one sentence."}]


def body(number: int) -> dict[str, Any]:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": "tiny", "messages": messages(number), **PARAMS, **options}


def tokens(sent_ns: int, pieces: list[tuple[int, bytes]]) -> Answer:
    """Read a stream line by line, as plain clients do."""
    times, rest = [], b""
    for at_ns, piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    times.append(at_ns)
    return sent_ns, times


async def audition(url: str, concurrency: int) -> tuple[Ask, Close]:
    from audition.engines.endpoint import EndpointSession

    session = EndpointSession(url, "tiny")
    await session.open(concurrency)

    async def ask(number: int) -> Callable[[], Answer]:
        read = await session.ask(messages(number), PARAMS, 60)

        def answer() -> Answer:
            reply = read()
            if reply.failure or reply.finish is None:
                raise SystemExit(f"a request failed: {reply.failure}")
            return reply.sent_ns, [chunk.at_ns for chunk in reply.chunks]

        return answer

    return ask, session.close


async def floor(url: str, concurrency: int) -> tuple[Ask, Close]:
    """The least that Python can do: a bare protocol that keeps the bytes until it sees the last chunk."""
    loop = asyncio.get_running_loop()

    class Bare(asyncio.Protocol):
        transport: asyncio.Transport
        pieces: list[tuple[int, bytes]]
        done: asyncio.Future[None]

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            self.pieces.append((time.perf_counter_ns(), data))
            if data.endswith(b"\r\n0\r\n\r\n"):
                self.done.set_result(None)

    idle = [(await loop.create_connection(Bare, "127.0.0.1", urlsplit(url).port or 0))[1] for _ in range(concurrency)]

    async def ask(number: int) -> Callable[[], Answer]:
        raw = json.dumps(body(number)).encode()
        request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw)
        bare = idle.pop()
        bare.pieces, bare.done = [], loop.create_future()
        sent_ns = time.perf_counter_ns()
        bare.transport.write(request)
        await bare.done
        idle.append(bare)
        pieces = bare.pieces
        return lambda: tokens(sent_ns, pieces)

    async def close() -> None:
        for bare in idle:
            bare.transport.close()

    return ask, close


async def aiohttp(url: str, concurrency: int) -> tuple[Ask, Close]:
    library: Any = importlib.import_module("aiohttp")  # not everybody has it
    client = library.ClientSession(connector=library.TCPConnector(limit=0))

    async def ask(number: int) -> Callable[[], Answer]:
        pieces: list[tuple[int, bytes]] = []
        sent_ns = time.perf_counter_ns()
        async with client.post(f"{url}/chat/completions", json=body(number)) as response:
            async for piece in response.content.iter_any():
                pieces.append((time.perf_counter_ns(), piece))
        return lambda: tokens(sent_ns, pieces)

    return ask, client.close


async def httpx(url: str, concurrency: int) -> tuple[Ask, Close]:
    library: Any = importlib.import_module("httpx")
    limits = library.Limits(max_connections=None, max_keepalive_connections=concurrency)
    client = library.AsyncClient(limits=limits, timeout=60, trust_env=False)

    async def ask(number: int) -> Callable[[], Answer]:
        pieces: list[tuple[int, bytes]] = []
        sent_ns = time.perf_counter_ns()
        async with client.stream("POST", f"{url}/chat/completions", json=body(number)) as response:
            async for piece in response.aiter_raw():
                pieces.append((time.perf_counter_ns(), piece))
        return lambda: tokens(sent_ns, pieces)

    return ask, client.aclose


CLIENTS = {"audition": audition, "floor": floor, "aiohttp": aiohttp, "httpx": httpx}


def peak_bytes() -> int:
    """Peak resident memory. Not `ru_maxrss`: on Linux a child starts with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


async def load(name: str, url: str, concurrency: int, requests: int, seconds: float, detail: bool) -> dict[str, Any]:
    ask, close = await CLIENTS[name](url, concurrency)
    numbers = iter(range(requests))
    readers: list[tuple[int, Callable[[], Answer]]] = []

    async def worker() -> None:
        for number in numbers:
            if time.perf_counter() > wall + seconds:
                return
            readers.append((number, await ask(number)))

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    await close()
    count, answers = 0, []
    for number, read in readers:
        sent_ns, times = read()
        count += len(times)
        if detail:
            answers.append((number, sent_ns, times))
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "wall_with_reading_s": time.perf_counter() - wall,
        "cpu_with_reading_s": time.process_time() - cpu,
        "tokens": count,
        "requests": len(readers),
        "peak_bytes": peak_bytes(),
        "answers": answers,
    }


def main() -> None:
    name, url, concurrency, requests, seconds, detail = sys.argv[1:]
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        print(json.dumps(runner.run(load(name, url, int(concurrency), int(requests), float(seconds), detail == "1"))))


if __name__ == "__main__":
    main()
