"""Several requests at once through the one pipe to an engine process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audition.engines import host, wire
from audition.engines.host import EngineProcess
from audition.engines.protocol import EngineDied, EngineError, Reply

pytestmark = pytest.mark.usefixtures("faulty")

LONG = 60.0
"""Seconds; far more than any of this needs, on any machine."""


@pytest.fixture
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineProcess]:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")
    with EngineProcess(getattr(request, "param", "parallel"), tmp_path / "engine.log") as process:
        process.load(weights, {})
        yield process


async def ask(process: EngineProcess, prompt: str = "hello", timeout_s: float = LONG) -> Reply:
    return (await process.ask([{"role": "user", "content": prompt}], {}, timeout_s))()


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def answer_of(reply: Reply) -> dict[str, Any]:
    """What the engine says of the request and of itself."""
    answer: dict[str, Any] = json.loads(text(reply).lstrip("."))
    return answer


def prompt_of(reply: Reply) -> str:
    return str(answer_of(reply)["prompt"])


def play(work: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(work, LONG)

    asyncio.run(limited())


def test_every_answer_comes_to_its_own_request(process: EngineProcess) -> None:
    """The earlier ones take longer, so that answers come in another order."""
    prompts = [f"{number}: wait {200 - 20 * number} ms" for number in range(10)]
    ended: list[str] = []

    async def one(prompt: str) -> None:
        reply = await ask(process, prompt)
        assert prompt_of(reply) == prompt
        assert reply.sent_ns < reply.chunks[0].at_ns <= reply.chunks[-1].at_ns <= reply.end_ns
        assert reply.finish is not None and not reply.cancelled and reply.failure is None
        ended.append(prompt)

    async def together() -> None:
        await asyncio.gather(*map(one, prompts))

    play(together())
    assert sorted(ended) == sorted(prompts) != ended
    assert process._waiting == {}


def test_a_time_limit_stops_its_own_request_only(process: EngineProcess) -> None:
    async def together() -> None:
        stopped, whole = await asyncio.gather(
            ask(process, "a: wait 60000 ms", timeout_s=0.1), ask(process, "b: wait 400 ms", timeout_s=LONG)
        )
        assert (stopped.cancelled, stopped.finish) == (True, None)
        assert set(text(stopped)) == {"."}, "what it had written is there"
        assert (stopped.end_ns - stopped.sent_ns) / 1e9 < LONG / 2
        assert (whole.cancelled, prompt_of(whole)) == (False, "b: wait 400 ms")

    play(together())


@pytest.mark.parametrize("process", ["parallel", "endless"], indirect=True)
def test_a_request_that_nobody_waits_for_is_stopped(process: EngineProcess) -> None:
    async def together() -> None:
        task = asyncio.ensure_future(ask(process, "wait 60000 ms"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if process.engine == "endless":
            # It takes one at a time, so this one begins only when the first has stopped.
            reply = await ask(process, timeout_s=0.5)
            assert len(reply.chunks) > 5
            return
        deadline = time.monotonic() + LONG
        while answer_of(await ask(process))["now"] > 1:
            assert time.monotonic() < deadline

    play(together())
    assert process._waiting == {}


@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
@pytest.mark.parametrize("how", ["by itself", "from outside"])
def test_when_the_process_dies_all_requests_are_told(process: EngineProcess, how: str) -> None:
    async def together() -> None:
        tasks = [asyncio.ensure_future(ask(process, "wait 60000 ms")) for _ in range(3)]
        await asyncio.sleep(0.05)
        if how == "by itself":
            tasks.append(asyncio.ensure_future(ask(process, "crash")))
        else:
            os.kill(process.pid, signal.SIGKILL)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, EngineDied)
            assert (outcome.code, "log" in str(outcome.fix)) == ("engine_crashed", True)
            assert ("status 7" if how == "by itself" else "SIGKILL") in outcome.message
        with pytest.raises(EngineDied):
            await ask(process)

    play(together())


def test_closing_ends_what_is_under_way(process: EngineProcess) -> None:
    async def together() -> None:
        tasks = [asyncio.ensure_future(ask(process, "wait 60000 ms")) for _ in range(3)]
        await asyncio.sleep(0.05)
        process.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [EngineDied] * 3

    play(together())


@pytest.mark.parametrize("process", ["hangs"], indirect=True)
def test_an_engine_that_does_not_stop_is_ended_for_all(process: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CANCEL_GRACE_S", 0.2)

    async def together() -> None:
        outcomes = await asyncio.gather(
            ask(process, "hang", timeout_s=0.2), ask(process, "hello"), return_exceptions=True
        )
        first, second = outcomes
        assert isinstance(first, EngineDied) and first.code == "engine_hung"
        assert isinstance(second, EngineDied)

    play(together())


def test_a_request_that_is_too_long_for_the_pipe_harms_no_other(
    process: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 1000)

    async def together() -> None:
        good = asyncio.ensure_future(ask(process, "a: wait 100 ms"))
        await asyncio.sleep(0.05)
        with pytest.raises(EngineError, match="too long") as caught:
            await ask(process, "x" * 1000)
        assert caught.value.code == "invalid_request"
        monkeypatch.undo()
        assert prompt_of(await good) == "a: wait 100 ms"
        assert prompt_of(await ask(process, "after")) == "after"

    play(together())
    assert process._waiting == {}


@pytest.mark.parametrize("process", ["steady"], indirect=True)
def test_an_engine_that_takes_one_at_a_time_counts_the_wait(process: EngineProcess) -> None:
    """Four requests at once, each at least 16 ms of work: the last has waited for the first three."""

    async def together() -> None:
        replies = await asyncio.gather(*(ask(process) for _ in range(4)))
        took = sorted((reply.end_ns - reply.sent_ns) / 1e6 for reply in replies)
        assert [spent >= 16 * number for number, spent in enumerate(took, 1)] == [True] * 4
        sent = [reply.sent_ns for reply in replies]
        assert (max(sent) - min(sent)) / 1e6 < 16, "all were sent before the first was answered"

    play(together())


def test_waiting_and_asking_go_together(process: EngineProcess) -> None:
    """`chat` is the same request, for one who has no event loop."""
    reply = process.chat([{"role": "user", "content": "hello"}], {}, LONG)
    assert prompt_of(reply) == "hello"
