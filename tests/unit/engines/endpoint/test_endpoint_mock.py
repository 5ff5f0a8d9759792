"""The client against the mock server: known times, every failure, and the answers that look odd."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from audition.engines.endpoint import EndpointSession
from audition.engines.protocol import Reply
from audition.mock.faults import FAILURES
from audition.mock.process import MockServer
from audition.mock.script import Script

MESSAGES = [{"role": "user", "content": "Say hello."}]
PARAMS = {"max_tokens": 12, "temperature": 0.0, "seed": 1}

CODES = {
    "http_500": "http_500",
    "http_429": "rate_limited",
    "cut": "connection_lost",
    "reset": "connection_reset",
    "no_done": None,
    "error_event": "error_event",
    "broken_json": "broken_event",
    "broken_sse": "broken_event",
    "not_sse": "not_a_stream",
    "empty_stream": "incomplete_stream",
}


def replies(
    script: Script, count: int = 1, timeout_s: float = 10, log: Path | None = None, **options: Any
) -> list[Reply]:
    async def scenario(url: str) -> list[Reply]:
        session = EndpointSession(url, script.model, **options)
        read = [await session.ask(MESSAGES, PARAMS, timeout_s) for _ in range(count)]
        await session.close()
        return [each() for each in read]

    with MockServer(script, log) as server, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(scenario(server.url))


def test_times_are_the_servers_own(tmp_path: Path):
    log = tmp_path / "truth.jsonl"
    answers = replies(Script(ttft_ms=40, itl_ms=5, tokens=12), count=3, log=log)
    truths = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(truths) == 3
    for reply, truth in zip(answers, truths, strict=True):
        assert reply.failure is None
        assert len(reply.chunks) == len(truth["written_ns"]) == 12
        assert reply.sent_ns < truth["received_ns"]
        late = [chunk.at_ns - written for chunk, written in zip(reply.chunks, truth["written_ns"], strict=True)]
        # Both clocks are one, so no text can arrive before it was written; the bound is for a busy test machine.
        assert min(late) >= 0
        assert sorted(late)[len(late) // 2] < 5_000_000


def test_every_failure_has_its_code():
    fast = {"ttft_ms": 1, "itl_ms": 1, "tokens": 12}
    for kind in sorted(FAILURES.keys() - {"hang", "hang_midway"}):
        (reply,) = replies(Script(failures={kind: 1}, **fast))
        assert (reply.failure[0] if reply.failure else None) == CODES[kind], kind
        assert not reply.cancelled
        if kind in ("cut", "reset", "error_event", "broken_json", "broken_sse"):
            assert reply.chunks, kind


@pytest.mark.parametrize(("kind", "some"), [("hang", False), ("hang_midway", True)])
def test_a_server_that_hangs_is_stopped_at_the_time_limit(kind: str, some: bool):
    (reply,) = replies(Script(failures={kind: 1}, ttft_ms=1, itl_ms=1), timeout_s=0.5)
    assert reply.cancelled and reply.failure is None
    assert bool(reply.chunks) is some


def test_after_a_failure_the_next_request_is_answered():
    answers = replies(Script(failures={"cut": 2, "http_500": 3}, ttft_ms=1, itl_ms=1), count=6)
    assert [bool(reply.failure) for reply in answers] == [False, True, True, True, False, True]


@pytest.mark.parametrize(
    ("lie", "note"),
    [("rejects_stream_options", "no_stream_options"), ("rejects_seed", "no_seed"), ("no_usage", "no_usage")],
)
def test_servers_that_refuse_a_field(lie: str, note: str):
    for reply in replies(Script(lies=frozenset({lie}), ttft_ms=1, itl_ms=1), count=2):
        assert reply.failure is None and reply.chunks
        assert reply.wire is not None and note in reply.wire.notes


def test_a_key_and_the_names_of_model_and_device():
    script = Script(api_key="k", device="npu", model="tiny", ttft_ms=1, itl_ms=1)
    (reply,) = replies(script, key="k")
    assert reply.wire is not None
    assert (reply.wire.model, reply.wire.device) == ("tiny", "npu")
    (reply,) = replies(script, key="wrong")
    assert reply.failure is not None and reply.failure[0] == "unauthorized"


def test_reasoning_and_a_buffered_answer():
    (reply,) = replies(Script(reasoning_tokens=3, tokens=4, ttft_ms=1, itl_ms=1))
    assert [chunk.reasoning for chunk in reply.chunks] == [True] * 3 + [False] * 4
    (reply,) = replies(Script(lies=frozenset({"buffered"}), tokens=8, ttft_ms=1, itl_ms=1))
    assert reply.wire is not None and reply.wire.shared == 7
