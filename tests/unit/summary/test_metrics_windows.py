"""Throughput and request rate, against numbers worked out by hand."""

from __future__ import annotations

import pytest
from metric_records import estimate, sent

from audition.bench.plan import Settings
from handmade import sample


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


def test_in_the_open_loop_the_time_counts_from_the_schedule_and_the_window_from_what_was_sent() -> None:
    # Sent at 0 and at 1000, the second 400 ms late: it ended at 1000 - 400 + 1400 = 2000.
    rows = [sent(sample(), 0, 1000, queue_ms=0.0), sent(sample(case="c2"), 1000, 1400, queue_ms=400.0)]
    assert estimate("throughput", rows).value == 11.0


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
    assert estimate("throughput", [sent(sample(completion_tokens=0), 0, 10)]).reason == "no token was generated"


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
