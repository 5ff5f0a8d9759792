"""The stream: text that was held back, pieces that are no tokens, and a client that was late itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.stream import BufferedStream, ChunksAreNotTokens, ClientLag
from audition.bench.plan import Settings
from audition.bench.sample import Sample
from plans import a_sample, a_target

TEXT = "the old harbour was quiet when the first ship came in with salt and fish"


def check(guard: Guard, samples: Sequence[Sample], stream: bool = True, **host: Any) -> Finding | None:
    return guard.check(Evidence(a_target(), samples, [], [], {}, Settings(stream=stream), {}, host))


def found(*args: Any, **more: Any) -> Finding:
    finding = check(*args, **more)
    assert finding is not None
    return finding


def streamed(
    span_ms: float = 150.0, *, pieces: int = 16, ttft_ms: float = 50.0, tokens: int | None = None, **wire: Any
) -> Sample:
    times = tuple(ttft_ms + span_ms * n / max(1, pieces - 1) for n in range(pieces))
    return a_sample(
        text=TEXT,
        ttft_ms=ttft_ms,
        latency_ms=times[-1] + 0.5,
        chunk_times_ms=times,
        completion_tokens=pieces if tokens is None else tokens,
        wire=wire,
    )


@pytest.mark.parametrize(
    "held",
    [
        streamed(0.0, ttft_ms=200.0, shared=15),
        streamed(0.2, ttft_ms=200.0),
        streamed(150.0, shared=12),
        streamed(150.0, shared=12, lag_ms=0.2),
        streamed(0.0, pieces=1, ttft_ms=200.0, tokens=16),
    ],
    ids=["one write", "the last moment", "bursts", "bursts and no lag", "one piece"],
)
def test_text_that_was_held_back_is_found(held: Sample) -> None:
    finding = found(BufferedStream(), [held, held, streamed()])
    assert (finding.affected, finding.of) == (2, 3)
    assert {"ttft", "ttfa", "itl", "decode_tps", "tpot"} <= set(finding.taints)
    assert "latency" not in finding.taints


@pytest.mark.parametrize(
    "sample",
    [
        streamed(),
        streamed(shared=3),
        streamed(150.0, shared=12, lag_ms=40.0),
        streamed(0.0, ttft_ms=40.0, shared=15, lag_ms=35.0),
        streamed(45.0, ttft_ms=20.0, shared=12),
        streamed(5.0, ttft_ms=200.0),
        streamed(1.0, ttft_ms=20.0, pieces=3),
        streamed(0.0, pieces=1, tokens=16, notes=["not_streamed"]),
        a_sample(text="Yes.", ttft_ms=9.0, latency_ms=9.1, chunk_times_ms=(9.0,)),
        a_sample(text=TEXT),
    ],
    ids=[
        "even",
        "a few together",
        "we were late",
        "we were late for all",
        "faster than can be told",
        "fast",
        "short",
        "not asked to",
        "one word",
        "no times",
    ],
)
def test_text_that_came_as_it_was_made_is_no_finding(sample: Sample) -> None:
    assert check(BufferedStream(), [sample] * 3) is None


def test_a_few_bursts_are_no_finding() -> None:
    assert check(BufferedStream(), [streamed(0.0, shared=15), *[streamed()] * 2]) is None


def test_a_run_that_does_not_stream_is_not_accused_of_it() -> None:
    assert check(BufferedStream(), [streamed(0.0, shared=15)], stream=False) is None


def test_pieces_of_several_tokens_mark_the_gaps_only() -> None:
    finding = found(ChunksAreNotTokens(), [streamed(pieces=8, tokens=17)] * 5)
    assert finding.taints == ("itl",)
    assert "2.0 tokens" in finding.sentence


@pytest.mark.parametrize(
    "samples",
    [
        [streamed()] * 5,
        [streamed(tokens=18)] * 5,
        [streamed(pieces=2, tokens=3)] * 20,
        [streamed(pieces=8, tokens=16)] * 3,
        [a_sample(text=TEXT, completion_tokens=16)] * 5,
        [streamed(tokens=0)] * 5,
    ],
    ids=["one each", "an end and half a sign", "short answers", "too few", "no pieces", "the count is wrong"],
)
def test_pieces_that_may_be_tokens_are_no_finding(samples: list[Sample]) -> None:
    assert check(ChunksAreNotTokens(), samples) is None


def lags(*values: float | None) -> list[Sample]:
    return [streamed(lag_ms=value) for value in values]


def test_a_late_client_marks_what_its_own_speed_limits() -> None:
    finding = found(ClientLag(), lags(*[0.1] * 20, 4.0, 5.0, 6.0))
    assert finding.taints == ("throughput", "request_rate"), "the kernel's arrival times hold all the same"
    assert (finding.affected, finding.of) == (3, 23)


def test_a_client_that_was_in_time_is_no_finding() -> None:
    assert check(ClientLag(), lags(*[0.1] * 20)) is None
    assert check(ClientLag(), lags(*[0.1] * 20, 90.0, 90.0)) is None, "two hiccups"
    assert check(ClientLag(), lags(*[2.4] * 20)) is None, "below 5 % of the TTFT of 50 ms"
    assert check(ClientLag(), lags(*[0.1] * 997, 9.0, 9.0, 9.0)) is None, "less than one in a hundred"
    assert check(ClientLag(), []) is None
    assert check(ClientLag(), [a_sample(ttft_ms=1.0)]) is None, "an engine of ours has no wire"


def test_without_the_kernels_times_the_noise_floor_counts() -> None:
    noisy, quiet = ({"ttft_ms": {"p50": 0.2, "max": most}} for most in (8.0, 1.0))
    finding = found(ClientLag(), lags(None, None), noise_floor=noisy)
    assert set(finding.taints) == {"ttft", "ttfa", "itl"}
    assert check(ClientLag(), lags(None, None), noise_floor=quiet) is None
    assert check(ClientLag(), lags(None, None)) is None
    assert check(ClientLag(), lags(0.1, 0.1, 0.1), noise_floor=noisy) is None
