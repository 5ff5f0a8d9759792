"""The noise floor: small against a server whose times are known, and a reason where it cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from audition.bench import noise
from audition.bench.noise import REQUESTS, measure_noise_floor
from audition.engines.protocol import Chunk, Reply, Wire
from audition.errors import AuditionError
from audition.mock.model import TEMPLATE_TOKENS
from audition.mock.process import MockServer
from audition.mock.script import Script

TTFT_MS, ITL_MS = noise._SCRIPT.ttft_ms, noise._SCRIPT.itl_ms


def measure(*concurrencies: int) -> dict[str, Any]:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(measure_noise_floor(concurrencies))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the test machine names no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_client_adds_little_to_what_the_server_did() -> None:
    floor = measure(1, 4, 1)
    assert floor["by_concurrency"].keys() == {"1", "4"}
    assert {name: floor[name] for name in floor["by_concurrency"]["1"]} == floor["by_concurrency"]["1"]
    for found in floor["by_concurrency"].values():
        assert found["requests"] == REQUESTS
        assert found["stamps"] in ("kernel", "process", "kernel and process")
        assert -0.5 < found["ttft_ms"]["p50"] < TTFT_MS / 2, "the server's own delay is not in it"
        assert 0 <= found["gap_ms"]["p50"] < ITL_MS / 2
        for figures in (found["ttft_ms"], found["gap_ms"]):
            assert figures["p50"] <= figures["max"]


def test_every_request_is_told_apart_in_the_servers_log(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    differences = noise._differences

    def spy(replies: dict[int, Reply], truth: Sequence[dict[str, Any]]) -> dict[str, Any]:
        seen.extend(replies)
        assert len(truth) == len({entry["prompt_tokens"] for entry in truth}) == 3 * REQUESTS
        return differences(replies, truth)

    monkeypatch.setattr(noise, "_differences", spy)
    monkeypatch.setattr(noise, "_SCRIPT", Script(ttft_ms=0, itl_ms=1, tokens=2))
    measure(1, 2, 4)
    assert len(seen) == len(set(seen)) == 3 * REQUESTS


def test_where_there_is_no_server_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: MockServer) -> MockServer:
        raise AuditionError("the mock server did not start: no port is free", code="mock_not_started")

    monkeypatch.setattr(MockServer, "__enter__", refuse)
    assert measure(1) == {
        "reason": "the noise floor could not be measured: the mock server did not start: no port is free"
    }


def test_a_server_that_cannot_be_started_at_all_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(Path("/nowhere/python")))
    floor = measure(1)
    assert set(floor) == {"reason"}
    assert "nowhere" in floor["reason"]


def test_a_server_that_does_not_answer_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_SCRIPT", Script(ttft_ms=1, itl_ms=0, tokens=3, failures={"http_500": 1}))
    assert measure(1) == {"reason": "the noise floor could not be measured: no request to the mock server succeeded"}


MS = 1_000_000


def a_reply(at_ms: list[float], *, failure: tuple[str, str] | None = None, stamps: str = "kernel") -> Reply:
    """A request that was sent at 1 s, and its pieces of text."""
    chunks = tuple(Chunk("x", 1_000 * MS + round(at * MS)) for at in at_ms)
    return Reply(1_000 * MS, 2_000 * MS, chunks, None, False, failure, Wire(stamps=stamps))


def the_truth(words: int, at_ms: list[float]) -> dict[str, Any]:
    """What the server wrote of such a request, on a clock that began elsewhere."""
    written = [7_000 * MS + round(at * MS) for at in at_ms]
    return {"prompt_tokens": words + TEMPLATE_TOKENS, "received_ns": 7_000 * MS, "written_ns": written}


def test_only_what_the_client_added_is_counted() -> None:
    truth = [the_truth(1, [5.0, 7.0, 9.0]), the_truth(2, [5.0, 7.0, 9.0]), the_truth(3, [5.0, 7.0, 9.0])]
    replies = {
        1: a_reply([5.2, 7.2, 9.2]),
        2: a_reply([5.3, 7.8, 9.3], stamps="process"),
        3: a_reply([9.0, 11.0, 13.0]),
    }
    assert noise._differences(replies, truth) == {
        "requests": 3,
        "ttft_ms": {"p50": 0.3, "max": 4.0},
        "gap_ms": {"p50": pytest.approx(0.0), "max": 0.5},
        "stamps": "kernel and process",
    }


def test_requests_that_cannot_be_compared_are_left_out() -> None:
    truth = [the_truth(words, [5.0, 7.0]) for words in (1, 2, 3)]
    replies = {
        1: a_reply([5.1, 7.1]),
        2: a_reply([5.1, 7.1], failure=("cut", "the stream broke")),
        3: a_reply([5.1]),
        4: a_reply([50.0, 70.0]),
    }
    assert noise._differences(replies, truth)["requests"] == 1
    with pytest.raises(ValueError, match="succeeded"):
        noise._differences({}, truth)
