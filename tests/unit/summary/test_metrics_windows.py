"""Throughput and request rate, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from metric_records import estimate, sent

from audition.bench.plan import Level, Settings
from audition.summary.metrics import Estimate
from handmade import load, sample


def test_throughput_is_all_tokens_over_the_window() -> None:
    # Two at a time: 100 tokens from 0 to 1000 ms, 300 from 500 to 2000 ms.
    rows = [
        sent(sample(completion_tokens=100), 0, 1000),
        sent(sample(completion_tokens=300, case="c2"), 500, 1500),
    ]
    found = estimate("throughput", rows)
    assert (found.statistic, found.value, found.n, found.cases, found.loads) == ("ratio of sums", 200.0, 2, 2, 1)
    assert estimate("request_rate", rows).value == 1.0


def test_it_is_a_ratio_of_sums_and_no_mean_of_ratios() -> None:
    # 100 tokens in 1 s in one load and 10 in 9 s in another: 11 tokens/s, while the mean of 100 and 1.1 is 50.6.
    rows = [
        sent(sample(completion_tokens=100), 5000, 1000),
        sent(sample(completion_tokens=10, block="b002"), 90_000, 9000),
    ]
    found = estimate("throughput", rows)
    assert (found.value, found.loads) == (11.0, 2)
    assert estimate("request_rate", rows).value == pytest.approx(0.2)


def test_a_resumed_block_has_two_windows_and_not_the_night_between_them() -> None:
    rows = [sent(sample(), 0, 1000), sent(sample(attempt=2, case="c2"), 9e7, 1000)]
    assert estimate("throughput", rows).value == 11.0


def test_time_between_requests_is_in_the_window() -> None:
    rows = [sent(sample(), 0, 1000), sent(sample(case="c2"), 1200, 1000)]
    assert estimate("throughput", rows).value == 10.0


def test_in_the_open_loop_time_and_window_count_from_the_schedule() -> None:
    # Sent at 0 and at 1000, the second 400 ms late: it ended at 1000 - 400 + 1400 = 2000.
    rows = [sent(sample(), 0, 1000, queue_ms=0.0), sent(sample(case="c2"), 1000, 1400, queue_ms=400.0)]
    assert estimate("throughput", rows).value == 11.0
    # The first was due 200 ms before it was sent: 2.2 s in all.
    rows[0] = sent(sample(), 0, 1200, queue_ms=200.0)
    assert estimate("throughput", rows).value == 10.0


def open_loop(at_ms: list[float], duration_s: float | None, **fields: Any) -> dict[str, Estimate]:
    """Return the rates of requests that came at these moments and took 100 ms each."""
    rows = [sent(sample(case=f"c{i}"), at, 100, queue_ms=0.0, **fields) for i, at in enumerate(at_ms)]
    level = Level.open(2.0, duration_s)
    return {tag: estimate(tag, rows, [], [load()], level=level) for tag in ("arrival_rate", "request_rate")}


def test_a_window_lasts_as_long_as_its_level_states() -> None:
    # Eight came in the first second of four, and the server was idle afterwards: it completed 2 a second, not 8.
    rates = open_loop([125.0 * i for i in range(8)], 4.0)
    assert (rates["arrival_rate"].value, rates["request_rate"].value) == (2.0, 2.0)
    # A server that is slower than that is given the time that its last answer took.
    assert open_loop([0.0, 7900.0], 4.0)["request_rate"].value == 0.25


def test_the_closed_loop_too_lasts_as_long_as_its_level_states() -> None:
    level = Level.closed(1, 4.0)
    assert estimate("request_rate", [sent(sample(), 0, 1000)], [], [load()], level=level).value == 0.25
    # Broken off, or given up: it was not asked for so long.
    assert estimate("request_rate", [sent(sample(), 0, 1000)], [], [], level=level).value == 1.0
    assert estimate("request_rate", [sent(sample(), 0, 1000)], [], [load("failed")], level=level).value == 1.0


def test_the_loads_of_a_resumed_block_share_its_duration() -> None:
    rows = [sent(sample(), 0, 1000, queue_ms=0.0), sent(sample(attempt=2, case="c2"), 9e7, 1000, queue_ms=0.0)]
    level, loads = Level.open(2.0, 4.0), [load(attempt=2)]
    assert estimate("request_rate", rows, [], loads, level=level).value == 0.5
    assert estimate("arrival_rate", rows, [], loads, level=level).value == 0.5
    # Nobody counted one of them: what is left does not fill the four seconds.
    rows[0] = replace(rows[0], completion_tokens=None)
    assert estimate("throughput", rows, [], loads, level=level).value is None


def test_a_load_to_which_no_request_came_took_its_time_too() -> None:
    rows, level = [sent(sample(), 0, 1000, queue_ms=0.0)], Level.open(0.1, 4.0)
    rates = [
        estimate(tag, rows, [], [load(), load(block="b002")], level=level).value
        for tag in ("request_rate", "arrival_rate")
    ]
    assert rates == [0.125, 0.125]


def test_arrivals_without_a_duration_are_those_after_the_first_over_their_time() -> None:
    # Three gaps in 1.5 s; how long the answers took does not matter.
    assert open_loop([0.0, 100.0, 200.0, 1500.0], None)["arrival_rate"].value == 2.0
    assert open_loop([0.0], None)["arrival_rate"].reason == "one request has no rate"
    found = estimate("arrival_rate", [sent(sample(), 0, 1000)])
    assert (found.value, found.reason) == (None, "closed loop: requests have no schedule")
    lost = estimate("arrival_rate", [sent(sample(), 0, 9), sample("failed")], level=Level.open(2.0))
    assert lost.left_out == {"it was never sent": 1}


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_failed_requests_time_counts_and_its_tokens_do_not(status: str) -> None:
    rows = [sent(sample(), 0, 1000), sent(sample(status, completion_tokens=500), 1000, 1200)]
    found = estimate("throughput", rows)
    assert (found.value, found.n, found.failed) == (5.0, 2, 1)
    assert estimate("request_rate", rows).value == pytest.approx(1 / 2.2)


def test_what_was_never_sent_takes_no_time() -> None:
    found = estimate("throughput", [sent(sample(), 0, 1000), sample("failed", case="c2")])
    assert (found.value, found.n, found.failed, found.left_out) == (11.0, 1, 0, {"it was never sent": 1})


def test_a_window_with_an_uncounted_answer_is_left_out_as_a_whole() -> None:
    rows = [
        sent(sample(), 0, 1000),
        sent(sample(completion_tokens=None, case="c2"), 500, 1000),
        sent(sample(block="b002"), 0, 500),
    ]
    found = estimate("throughput", rows)
    assert (found.value, found.n) == (22.0, 1)
    assert found.left_out == {
        "nobody counted its tokens": 1,
        "nobody counted the tokens of another answer in its window": 1,
    }
    assert estimate("throughput", rows[1:2]).reason == "nobody counted its tokens"
    # Requests need no tokens.
    assert estimate("request_rate", rows).value == pytest.approx(3 / 2.0)


@pytest.mark.parametrize("tag", ["throughput", "request_rate"])
def test_nothing_done_is_no_rate_of_zero(tag: str) -> None:
    assert estimate(tag, [sent(sample("failed"), 0, 1000)]).reason == "every request failed"
    assert estimate(tag, [sent(sample("failed"), 0, 1000)]).value is None
    assert estimate(tag, [sent(sample(), 0, 0)]).reason == "no time passed"
    assert estimate(tag).reason == "nothing was measured"
    empty = sent(sample(completion_tokens=0, text=""), 0, 10)
    assert estimate("throughput", [empty]).reason == "no token was generated"


def test_targets_asked_in_turn_have_no_window() -> None:
    found = estimate("throughput", [sent(sample(), 0, 1000)], settings=Settings(interleave=True))
    assert (found.value, found.reason) == (None, "targets were asked in turn: none has a window of its own")


def test_estimated_tokens_are_labelled() -> None:
    found = estimate("throughput", [sent(sample(token_source="estimate"), 0, 1000)])
    assert (found.label, found.token_source) == ("Throughput, tokens estimated", ("estimate",))


def test_how_often_requests_fail() -> None:
    rows = [*[sample()] * 7, sample("truncated"), sample("failed"), sample("timeout")]
    found = estimate("failure_rate", rows)
    # Wilson's interval of 2 in 10: JASA 22, 1927.
    assert (found.statistic, found.value, found.n, found.failed) == ("rate", 20.0, 10, 2)
    assert (found.low, found.high) == (pytest.approx(5.668, abs=1e-3), pytest.approx(50.984, abs=1e-3))


def test_no_failure_is_a_measurement_and_all_failed_is_one_too() -> None:
    found = estimate("failure_rate", [sample()] * 10)
    assert (found.value, found.low, found.failed) == (0.0, pytest.approx(0.0, abs=1e-9), 0)
    assert found.high == pytest.approx(27.75, abs=0.01)
    found = estimate("failure_rate", [sample("failed")] * 3)
    assert (found.value, found.n, found.failed, found.reason) == (100.0, 3, 3, None)
    assert estimate("failure_rate").reason == "nothing was measured"
