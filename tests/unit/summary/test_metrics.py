"""Each metric against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from audition.bench.sample import Load, Memory, Sample
from audition.summary.metrics import METRICS, Estimate, Records, metric
from handmade import load, sample, target

INF = math.inf


def estimate(
    tag: str, measured: Sequence[Sample] = (), first: Sequence[Sample] = (), loads: Sequence[Load] = (), **fields: Any
) -> Estimate:
    return metric(tag).estimate(Records(target(**fields), measured, first, loads))


def latencies(*values: float) -> list[Sample]:
    return [sample(latency_ms=value) for value in values]


def test_ttft_is_the_median_over_requests() -> None:
    found = estimate("ttft", [sample(ttft_ms=value) for value in (90.0, 300.0, 100.0)])
    assert (found.statistic, found.value, found.n, found.failed) == ("median", 100.0, 3, 0)


def test_latency_is_the_median_over_requests_with_its_interval() -> None:
    found = estimate("latency", latencies(5, 1, 4, 2, 3, 6))
    assert (found.value, found.low, found.high, found.n) == (3.5, 1, 6, 6)


def test_five_requests_have_a_median_but_no_interval() -> None:
    found = estimate("latency", latencies(5, 1, 4, 2, 3))
    assert (found.value, found.low, found.high) == (3, None, None)


@pytest.mark.parametrize("tag", ["ttft", "latency"])
def test_a_failed_request_counts_as_infinitely_slow(tag: str) -> None:
    found = estimate(tag, [*(sample() for _ in range(3)), *(sample("failed") for _ in range(2)), sample("timeout")])
    assert (found.value, found.n, found.failed) == (INF, 6, 3)
    found = estimate(tag, [*(sample() for _ in range(4)), sample("failed"), sample("timeout")])
    assert (found.value, found.high, found.n, found.failed) == (sample().ttft_ms if tag == "ttft" else 250, INF, 6, 2)


def test_a_partial_answer_of_a_failed_request_is_not_counted_as_its_latency() -> None:
    found = estimate("ttft", [sample(), sample(), sample("timeout", ttft_ms=1.0), sample("timeout", ttft_ms=1.0)])
    assert (found.value, found.failed) == (INF, 2)


def test_a_cut_answer_is_a_complete_measurement() -> None:
    found = estimate("latency", [sample("truncated", latency_ms=400.0), sample(latency_ms=200.0)])
    assert (found.value, found.failed) == (300.0, 0)


def test_when_every_request_failed_there_is_no_figure() -> None:
    found = estimate("latency", [sample("failed")] * 3)
    assert (found.value, found.n, found.failed, found.reason) == (None, 3, 3, "every request failed")
    found = estimate("latency")
    assert (found.value, found.n, found.reason) == (None, 0, "nothing was measured")


@pytest.mark.parametrize(("n", "missing"), [(1, 58), (18, 41), (58, 1)])
def test_too_few_requests_have_no_p95_and_are_told_how_many_are_missing(n: int, missing: int) -> None:
    found = estimate("latency", latencies(*range(1, n + 1)))
    assert found.p95 is None
    assert found.p95_reason is not None
    assert f"n = {n} " in found.p95_reason
    assert f"at least {missing} more" in found.p95_reason


def test_from_59_requests_on_there_is_a_p95_and_from_72_its_upper_end() -> None:
    found = estimate("latency", latencies(*range(1, 60)))
    # Type 7: position 0.95 * 58 = 55.1 from 0.
    assert found.p95 == pytest.approx(56.1)
    assert (found.p95_high, found.p95_reason) == (None, None)
    assert estimate("latency", latencies(*range(1, 73))).p95_high == 72


def test_failures_fill_the_sample_of_a_p95_and_are_its_value() -> None:
    found = estimate("latency", [*latencies(*range(1, 56)), *([sample("failed")] * 4)])
    assert (found.n, found.p95) == (59, INF)


def test_decode_is_the_tokens_after_the_first_over_the_time_after_the_first() -> None:
    # 11 tokens, from 100 to 200 ms: ten tokens in a tenth of a second.
    assert estimate("decode_tps", [sample()]).value == pytest.approx(100.0)
    # Tokens that share a piece of text still count.
    assert estimate("decode_tps", [sample(chunk_times_ms=(50.0, 550.0))]).value == pytest.approx(20.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"completion_tokens": None},
        {"completion_tokens": 1},
        {"completion_tokens": 0},
        {"chunk_times_ms": ()},
        {"chunk_times_ms": (100.0,)},
        {"chunk_times_ms": (100.0, 100.0)},
    ],
)
def test_where_there_is_no_rate_it_is_unknown_and_not_0(fields: dict[str, Any]) -> None:
    found = estimate("decode_tps", [sample(**fields)])
    assert found.value is None
    assert found.reason == "no request has the records that it needs"
    # Nor does it pull down the median of those that have one.
    assert estimate("decode_tps", [sample(), sample(**fields)]).value == pytest.approx(100.0)


@pytest.mark.parametrize("tag", ["decode_tps", "prefill_tps", "completion_tokens", "throughput"])
def test_a_failed_request_has_no_speed(tag: str) -> None:
    alone, with_failures = estimate(tag, [sample()]), estimate(tag, [sample(), sample("failed"), sample("timeout")])
    assert alone.value == with_failures.value
    assert (with_failures.n, with_failures.failed) == (1, 0)


def test_prefill_is_what_the_engine_says() -> None:
    assert estimate("prefill_tps", [sample(engine_timings={"prompt_n": 20, "prompt_ms": 80.0})]).value == 250.0


@pytest.mark.parametrize(
    "timings",
    [
        None,
        {},
        {"prompt_n": 20},
        {"prompt_ms": 80.0},
        {"prompt_n": 0, "prompt_ms": 80.0},
        {"prompt_n": 20, "prompt_ms": 0.0},
        {"prompt_n": 20, "prompt_ms": -1.0},
        {"prompt_n": -20, "prompt_ms": 80.0},
        {"prompt_n": 20, "prompt_ms": math.nan},
        {"prompt_n": math.inf, "prompt_ms": 80.0},
        {"prompt_n": 20, "prompt_ms": 5e-324},
    ],
)
def test_an_engine_that_talks_nonsense_has_no_prefill_rate(timings: dict[str, float] | None) -> None:
    assert estimate("prefill_tps", [sample(engine_timings=timings)]).value is None


def test_throughput_is_a_ratio_of_sums_and_no_mean_of_ratios() -> None:
    # 100 tokens in 1 s and 10 tokens in 9 s: 11 tokens/s, while the mean of 100 and 1.1 would be 50.6.
    found = estimate(
        "throughput",
        [sample(completion_tokens=100, latency_ms=1000.0), sample(completion_tokens=10, latency_ms=9000.0)],
    )
    assert (found.statistic, found.value, found.n) == ("ratio of sums", 11.0, 2)


def test_throughput_takes_tokens_and_time_from_the_same_requests() -> None:
    found = estimate("throughput", [sample(completion_tokens=10, latency_ms=1000.0), sample(completion_tokens=None)])
    assert (found.value, found.n) == (10.0, 1)
    found = estimate("throughput", [sample(completion_tokens=None), sample("failed")])
    assert (found.value, found.reason) == (None, "no request ended with its tokens counted")


def test_answer_length() -> None:
    found = estimate("completion_tokens", [sample(completion_tokens=n) for n in (5, 0, 100)])
    assert found.value == 5.0
    assert estimate("completion_tokens", [sample(completion_tokens=None)]).value is None


def test_load_time_is_the_median_over_the_loads_that_succeeded() -> None:
    found = estimate("load_time", loads=[load(load_ms=300.0), load(load_ms=500.0), load("failed")])
    assert (found.statistic, found.value, found.n, found.p95_reason) == ("median", 400.0, 2, None)
    assert estimate("load_time", loads=[load("failed")]).reason == "no load has it"


def test_the_first_request_is_kept_apart() -> None:
    first = [sample(phase="first", latency_ms=9000.0), sample(phase="first", latency_ms=7000.0)]
    measured = latencies(200, 210, 220)
    found = estimate("first_request", measured, first)
    assert (found.value, found.n, found.p95_reason) == (8000.0, 2, None)
    assert estimate("latency", measured, first).value == 210
    assert estimate("first_request", measured).reason == "no first request succeeded"


def test_a_first_request_that_failed_is_infinitely_slow_too() -> None:
    first = [sample(phase="first"), *([sample("timeout", phase="first")] * 2)]
    found = estimate("first_request", first=first)
    assert (found.value, found.n, found.failed) == (INF, 3, 2)
    found = estimate("first_request", first=first[1:])
    assert (found.value, found.n, found.failed) == (None, 2, 2)


@pytest.mark.parametrize(
    ("tag", "field", "part"),
    [
        ("peak_memory", "peak", "total"),
        ("peak_memory_anonymous", "peak", "anonymous"),
        ("memory_after_unload", "after_unload", "total"),
    ],
)
def test_memory_is_the_largest_of_all_loads(tag: str, field: str, part: str) -> None:
    memories = [Memory(200, 90, 110), Memory(500, 400, 100), Memory(300, 120, 180)]
    found = estimate(tag, loads=[load(**{field: memory}) for memory in memories])
    assert (found.statistic, found.value, found.n) == ("maximum", getattr(memories[1], part), 3)
    found = estimate(tag, loads=[load(**{field: None}), load("failed")])
    assert (found.value, found.reason) == (None, "no load has it")


def test_where_the_system_does_not_tell_anonymous_memory_apart_it_is_unknown() -> None:
    assert estimate("peak_memory_anonymous", loads=[load(peak=Memory(500))]).value is None


def test_disk_is_the_size_in_the_manifest() -> None:
    found = estimate("disk", disk_bytes=98_362_432)
    assert (found.statistic, found.value) == ("constant", 98_362_432)


def test_every_metric_is_tested_here() -> None:
    tested = {"ttft", "latency", "decode_tps", "prefill_tps", "throughput", "completion_tokens", "load_time"}
    tested |= {"first_request", "peak_memory", "peak_memory_anonymous", "memory_after_unload", "disk"}
    assert {m.tag for m in METRICS} == tested
