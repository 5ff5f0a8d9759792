"""Times of a request, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from metric_records import each_case, estimate, readings

from audition.bench.plan import Settings
from handmade import sample

INF = math.inf


@pytest.mark.parametrize(("tag", "field"), [("ttft", "ttft_ms"), ("ttfa", "ttfa_ms"), ("latency", "latency_ms")])
def test_times_are_the_median_over_requests(tag: str, field: str) -> None:
    found = estimate(tag, [sample(**{field: value}) for value in (90.0, 300.0, 100.0)])
    assert (found.statistic, found.value, found.n, found.failed, found.tail) == ("median", 100.0, 3, 0, "p95")


def test_time_to_the_answer_is_not_time_to_the_reasoning() -> None:
    thinking = sample(ttft_ms=50.0, ttfa_ms=900.0, reasoning="hm")
    assert estimate("ttft", [thinking]).value == 50.0
    assert estimate("ttfa", [thinking]).value == 900.0
    assert estimate("ttfa", [sample(ttft_ms=50.0, ttfa_ms=None)]).reason == "no answer text came"


@pytest.mark.parametrize(
    ("fields", "settings", "reason"),
    [
        ({}, Settings(), "no text came"),
        ({}, Settings(stream=False), "the answer was not streamed"),
        ({"wire": {"notes": ["not_streamed"]}}, Settings(), "the answer was not streamed"),
    ],
)
def test_without_a_first_text_there_is_a_reason(fields: dict, settings: Settings, reason: str) -> None:  # type: ignore[type-arg]
    found = estimate("ttft", [sample(ttft_ms=None, **fields)], settings=settings)
    assert (found.value, found.n, found.reason, found.left_out) == (None, 0, reason, {reason: 1})


def test_the_interval_is_about_new_prompts_when_there_is_one_load() -> None:
    found = estimate("latency", each_case(latency_ms=(5, 1, 4, 2, 3, 6)))
    assert (found.value, found.n) == (3.5, 6)
    assert (found.low, found.high) == (pytest.approx(1, abs=0.1), pytest.approx(6, abs=0.1))
    assert (found.cases, found.loads, found.scope) == (6, 1, "new prompts of this kind, this load only")


def test_with_several_loads_it_is_about_new_loads_too() -> None:
    rows = [
        sample(case=f"c{case}", block=f"b{load}", latency_ms=100.0 * case + load)
        for case in range(1, 9)
        for load in range(3)
    ]
    found = estimate("latency", rows)
    assert (found.cases, found.loads, found.scope) == (8, 3, "new prompts of this kind and new loads")
    # Repeats of a case are alike: 24 requests to 8 prompts are not 24 prompts.
    alone = estimate("latency", [row for row in rows if row.block == "b0"])
    assert None not in (found.low, found.high, alone.low, alone.high)
    assert found.high - found.low > 0.5 * (alone.high - alone.low)  # type: ignore[operator]


def test_a_block_that_was_resumed_is_two_loads() -> None:
    rows = [sample(case=f"c{i}", attempt=1 + i % 2) for i in range(8)]
    assert estimate("latency", rows).loads == 2


def test_five_requests_have_a_median_but_no_interval_and_say_why() -> None:
    found = estimate("latency", each_case(latency_ms=(5, 1, 4, 2, 3)))
    assert (found.value, found.low, found.high, found.scope) == (3, None, None, None)
    assert found.interval_reason


@pytest.mark.parametrize("tag", ["ttft", "latency"])
def test_a_failed_request_counts_as_infinitely_slow(tag: str) -> None:
    found = estimate(tag, [*(sample() for _ in range(3)), *(sample("failed") for _ in range(2)), sample("timeout")])
    assert (found.value, found.n, found.failed) == (INF, 6, 3)
    found = estimate(tag, [*(sample(case=f"c{i}") for i in range(4)), sample("failed"), sample("timeout")])
    assert (found.value, found.n, found.failed) == (sample().ttft_ms if tag == "ttft" else 250, 6, 2)


def test_a_partial_answer_of_a_failed_request_is_not_counted_as_its_latency() -> None:
    found = estimate("ttft", [sample(), sample(), sample("timeout", ttft_ms=1.0), sample("timeout", ttft_ms=1.0)])
    assert (found.value, found.failed) == (INF, 2)


def test_a_cut_answer_is_a_complete_measurement() -> None:
    found = estimate("latency", [sample("truncated", latency_ms=400.0), sample(latency_ms=200.0)])
    assert (found.value, found.failed) == (300.0, 0)


def test_time_to_answer_is_of_whole_answers_only() -> None:
    rows = [sample(latency_ms=200.0), sample("truncated", latency_ms=900.0), sample("failed"), sample("timeout")]
    found = estimate("time_to_answer", rows)
    assert (found.value, found.n, found.failed) == (200.0, 1, 0)
    assert found.left_out == {
        "cut at the token limit": 1,
        "the request failed (engine_died)": 1,
        "the request timed out": 1,
    }
    assert estimate("time_to_answer", rows[1:]).reason == "cut at the token limit"


def test_when_every_request_failed_there_is_no_figure() -> None:
    found = estimate("latency", [sample("failed")] * 3)
    assert (found.value, found.n, found.failed, found.reason) == (None, 3, 3, "every request failed")
    found = estimate("latency")
    assert (found.value, found.n, found.reason) == (None, 0, "nothing was measured")


@pytest.mark.parametrize(("n", "missing"), [(1, 58), (18, 41), (36, 23), (58, 1)])
def test_too_few_requests_have_no_p95_and_are_told_how_many_are_missing(n: int, missing: int) -> None:
    found = estimate("latency", each_case(latency_ms=range(1, n + 1)))
    assert (found.p95, found.p99) == (None, None)
    assert found.p95_reason == f"n = {n} is too small: at least {missing} more requests are needed"
    assert found.p99_reason == f"n = {n} is too small: at least {299 - n} more requests are needed"


def test_from_59_requests_on_there_is_a_p95_and_from_72_its_upper_end() -> None:
    found = estimate("latency", each_case(latency_ms=range(1, 60)))
    # Type 7: position 0.95 * 58 = 55.1 from 0.
    assert found.p95 == pytest.approx(56.1)
    assert (found.p95_high, found.p95_reason) == (None, None)
    found = estimate("latency", each_case(latency_ms=range(1, 73)))
    assert found.p95_high == 72
    assert found.p95_low is not None
    assert found.p95_low < found.p95  # type: ignore[operator]


def test_from_299_requests_on_there_is_a_p99_and_from_368_its_upper_end() -> None:
    found = estimate("latency", each_case(latency_ms=range(1, 300)))
    assert found.p99 == pytest.approx(1 + 0.99 * 298)
    assert (found.p99_high, found.p99_reason) == (None, None)
    assert estimate("latency", each_case(latency_ms=range(1, 369))).p99_high == 368


def test_failures_fill_the_sample_of_a_p95_and_are_its_value() -> None:
    found = estimate("latency", [*each_case(latency_ms=range(1, 56)), *([sample("failed")] * 4)])
    assert (found.n, found.p95) == (59, INF)


def test_the_first_request_is_kept_apart() -> None:
    first = [sample(phase="first", latency_ms=9000.0), sample(phase="first", latency_ms=7000.0)]
    measured = each_case(latency_ms=(200, 210, 220))
    found = estimate("first_request", measured, first)
    assert (found.value, found.n, found.p95_reason) == (8000.0, 2, None)
    assert found.interval_reason == "n = 2 is too small: at least 4 more loads are needed"
    assert estimate("latency", measured, first).value == 210
    assert estimate("first_request", measured).reason == "nothing was measured"


def test_six_loads_have_an_interval_of_the_first_request() -> None:
    found = estimate("first_request", [], [sample(phase="first", block=f"b{i}", latency_ms=i) for i in range(1, 7)])
    assert (found.low, found.high, found.scope, found.loads) == (1, 6, "new loads", 6)


def test_a_first_request_that_failed_is_infinitely_slow_too() -> None:
    first = [sample(phase="first"), *([sample("timeout", phase="first")] * 2)]
    found = estimate("first_request", [], first)
    assert (found.value, found.n, found.failed) == (INF, 3, 2)
    found = estimate("first_request", [], first[1:])
    assert (found.value, found.n, found.failed, found.reason) == (None, 2, 2, "every request failed")


def test_queueing_is_known_in_the_open_loop_alone() -> None:
    assert estimate("queue", [sample(queue_ms=q) for q in (0.0, 3.0, 50.0)]).value == 3.0
    # No wait at all is a measurement; no schedule is none.
    assert estimate("queue", [sample(queue_ms=0.0)]).value == 0.0
    assert estimate("queue", [sample()]).reason == "closed loop: requests have no schedule"


def test_connecting_is_reported_apart() -> None:
    rows = [sample(wire={"connect_ms": 4.0}), sample(wire={"connect_ms": None}), sample(wire={"connect_ms": 6.0})]
    found = estimate("connect_time", rows)
    assert (found.value, found.n, found.left_out) == (5.0, 2, {"an open connection was used again": 1})
    assert estimate("connect_time", [sample()]).reason == "no connection: the engine runs in a process of its own"


def test_used_and_left_out_are_all_there_is() -> None:
    rows = [sample(), sample("failed"), sample("truncated"), sample("timeout"), sample(ttft_ms=None)]
    for tag in ("ttft", "time_to_answer", "decode_tps"):
        found = readings(tag, rows)
        assert len(found.used) + len(found.left_out) == len(rows)
        assert estimate(tag, rows).n == len(found.used)
        assert sum(estimate(tag, rows).left_out.values()) == len(found.left_out)
