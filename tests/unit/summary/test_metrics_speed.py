"""Rates of a request, against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from metric_records import each_case, estimate, readings

from audition.bench.plan import Settings
from audition.bench.sample import Sample
from handmade import sample


def test_decode_is_the_tokens_after_the_first_over_the_time_after_the_first() -> None:
    # 11 tokens, from 100 to 200 ms: ten tokens in a tenth of a second.
    assert estimate("decode_tps", [sample()]).value == pytest.approx(100.0)
    # Tokens that share a piece of text still count.
    assert estimate("decode_tps", [sample(chunk_times_ms=(50.0, 550.0))]).value == pytest.approx(20.0)


def test_time_per_token_is_the_inverse_of_each_requests_rate() -> None:
    assert estimate("tpot", [sample()]).value == pytest.approx(10.0)
    rows = [sample(chunk_times_ms=(0.0, ms)) for ms in (10.0, 20.0, 90.0)]
    assert estimate("tpot", rows).value == pytest.approx(2.0)


@pytest.mark.parametrize("tag", ["decode_tps", "tpot"])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"completion_tokens": None}, "nobody counted its tokens"),
        ({"completion_tokens": 1}, "fewer than two tokens were generated"),
        ({"completion_tokens": 0}, "the server counts 0 tokens for a text"),
        ({"completion_tokens": 0, "text": ""}, "fewer than two tokens were generated"),
        ({"chunk_times_ms": ()}, "no text came"),
        ({"chunk_times_ms": (100.0,)}, "all text came at once"),
        ({"chunk_times_ms": (100.0, 100.0)}, "all text came at once"),
        ({"chunk_times_ms": (100.0,), "wire": {"notes": ["not_streamed"]}}, "the answer was not streamed"),
    ],
)
def test_where_there_is_no_rate_it_is_unknown_and_not_0(tag: str, fields: dict[str, Any], reason: str) -> None:
    found = estimate(tag, [sample(**fields)])
    assert (found.value, found.reason) == (None, reason)
    # Nor does it pull down the median of those that have one.
    with_others = estimate(tag, [sample(), sample(**fields)])
    assert with_others.value == estimate(tag, [sample()]).value
    assert (with_others.n, with_others.left_out) == (1, {reason: 1})


def test_a_plan_without_streaming_says_so() -> None:
    found = estimate("decode_tps", [sample(chunk_times_ms=(100.0,))], settings=Settings(stream=False))
    assert found.reason == "the answer was not streamed"


@pytest.mark.parametrize(
    "tag", ["decode_tps", "tpot", "itl", "prefill_tps", "e2e_tps", "chars_per_s", "completion_tokens", "prompt_tokens"]
)
def test_a_failed_request_has_no_speed(tag: str) -> None:
    alone, with_failures = estimate(tag, [sample()]), estimate(tag, [sample(), sample("failed"), sample("timeout")])
    assert alone.value is not None
    assert alone.value == with_failures.value
    assert (with_failures.n, with_failures.failed) == (1, 0)
    assert with_failures.left_out == {"the request failed (engine_died)": 1, "the request timed out": 1}
    assert estimate(tag, [sample("failed")]).reason == "every request failed"


def test_the_bad_tail_of_a_rate_is_the_low_one() -> None:
    rows = each_case(chunk_times_ms=[(0.0, 1e4 / rate) for rate in range(1, 73)], completion_tokens=[11] * 72)
    found = estimate("decode_tps", rows)
    # Type 7: position 0.05 * 71 = 3.55 from 0, that is between rates 4 and 5.
    assert (found.tail, found.p95) == ("p5", pytest.approx(4.55))
    assert found.p95_low == pytest.approx(1.0)
    assert estimate("decode_tps", rows[:36]).p95_reason == ("n = 36 is too small: at least 23 more requests are needed")
    assert estimate("tpot", rows).tail == "p95"


def test_end_to_end_is_tokens_over_the_whole_request() -> None:
    assert estimate("e2e_tps", [sample(completion_tokens=50, latency_ms=2000.0)]).value == 25.0
    assert estimate("e2e_tps", [sample(completion_tokens=0, text="")]).reason == "no token was generated"
    assert estimate("e2e_tps", [sample(completion_tokens=0)]).reason == "the server counts 0 tokens for a text"
    assert estimate("e2e_tps", [sample(completion_tokens=None)]).reason == "nobody counted its tokens"
    assert estimate("e2e_tps", [sample(latency_ms=0.0)]).reason == "no time passed"


def test_prefill_is_what_the_engine_says() -> None:
    assert estimate("prefill_tps", [sample(engine_timings={"prompt_n": 20, "prompt_ms": 80.0})]).value == 250.0


@pytest.mark.parametrize(
    ("timings", "reason"),
    [
        (None, "the engine reports no prefill time"),
        ({}, "the engine reports no prefill time"),
        ({"prompt_n": 20}, "the engine reports no prefill time"),
        ({"prompt_ms": 80.0}, "the engine reports no prefill time"),
        ({"prompt_n": 0, "prompt_ms": 80.0}, "the whole prompt was cached"),
        ({"prompt_n": 20, "prompt_ms": 0.0}, "the engine reports a prefill that cannot be"),
        ({"prompt_n": 20, "prompt_ms": -1.0}, "the engine reports a prefill that cannot be"),
        ({"prompt_n": -20, "prompt_ms": 80.0}, "the engine reports a prefill that cannot be"),
        ({"prompt_n": 20, "prompt_ms": math.nan}, "the engine reports a prefill that cannot be"),
        ({"prompt_n": math.inf, "prompt_ms": 80.0}, "the engine reports a prefill that cannot be"),
        ({"prompt_n": 20, "prompt_ms": 5e-324}, "the engine reports a prefill that cannot be"),
    ],
)
def test_an_engine_that_talks_nonsense_has_no_prefill_rate(timings: dict[str, float] | None, reason: str) -> None:
    found = estimate("prefill_tps", [sample(engine_timings=timings)])
    assert (found.value, found.reason) == (None, reason)


def test_characters_need_nobody_to_count_tokens() -> None:
    # 60 characters in 3 pieces: the last two, 40 of them, came within 100 ms.
    row = sample(text="x" * 40, reasoning="y" * 20, chunk_times_ms=(5.0, 50.0, 105.0), completion_tokens=None)
    assert estimate("chars_per_s", [row]).value == pytest.approx(400.0)
    assert estimate("chars_per_s", [sample(chunk_times_ms=(5.0,))]).reason == "all text came at once"


def test_characters_do_not_depend_on_how_text_is_cut_into_pieces() -> None:
    # The same even stream, one character every 10 ms, sent in 100, 10 or 4 pieces.
    rates = [
        estimate("chars_per_s", [sample(text="x" * 100, chunk_times_ms=tuple(range(0, 1000, step)))]).value
        for step in (10, 100, 250)
    ]
    assert rates == pytest.approx([100.0, 100.0, 100.0])


def test_gaps_of_all_requests_are_in_one_pool() -> None:
    # One request with four gaps of 10 ms and one with a single gap of 100 ms: the median of gaps is 10 ms, the
    # median of the requests' means would be 55 ms.
    rows = [
        sample(case="c1", chunk_times_ms=(0.0, 10.0, 20.0, 30.0, 40.0), completion_tokens=5),
        sample(case="c2", chunk_times_ms=(0.0, 100.0), completion_tokens=2),
    ]
    found = estimate("itl", rows)
    assert (found.statistic, found.value, found.n, found.label) == ("median of gaps", 10.0, 2, None)
    assert found.p95_reason == "5 gaps of 2 requests are too few: at least 54 more gaps are needed"
    assert [reading.values for reading in readings("itl", rows).used] == [(10.0,) * 4, (100.0,)]


def test_percentiles_are_those_of_gaps_and_have_no_interval() -> None:
    # 99 gaps of 1 ms and one stall of 500 ms.
    times = [0.0]
    for gap in [1.0] * 60 + [500.0] + [1.0] * 39:
        times.append(times[-1] + gap)
    rows = [sample(case=f"c{i}", chunk_times_ms=tuple(times), completion_tokens=101) for i in range(6)]
    found = estimate("itl", rows)
    assert (found.value, found.p95) == (1.0, 1.0)
    # 600 gaps, 6 of them stalls: position 0.99 * 599 = 593.01 lies 0.01 of the way to the first stall.
    assert found.p99 == pytest.approx(1.0 + 0.01 * 499)
    assert (found.p95_low, found.p95_high, found.p99_low, found.p99_high) == (None, None, None, None)


@pytest.mark.parametrize(
    ("tokens", "label"),
    [(11, None), (12, None), (10, None), (13, "chunk gap"), (9, "chunk gap"), (None, "chunk gap")],
)
def test_gaps_between_pieces_that_are_no_tokens_are_called_so(tokens: int | None, label: str | None) -> None:
    assert len(sample().chunk_times_ms) == 11
    assert estimate("itl", [sample(completion_tokens=tokens)]).label == label


@pytest.mark.parametrize(
    ("sources", "expected", "label"),
    [
        (["usage", "tokenizer", "usage"], ("tokenizer", "usage"), None),
        (["usage", "chunks"], ("chunks", "usage"), "Decode, tokens estimated"),
        (["estimate"], ("estimate",), "Decode, tokens estimated"),
        ([None], ("unknown",), "Decode, tokens estimated"),
    ],
)
def test_an_estimated_count_of_tokens_is_never_shown_without_saying_so(
    sources: list[str | None], expected: tuple[str, ...], label: str | None
) -> None:
    found = estimate("decode_tps", [sample(token_source=source) for source in sources])
    assert (found.token_source, found.label) == (expected, label)


def test_what_is_not_about_tokens_names_no_source() -> None:
    found = estimate("latency", [sample(token_source="estimate")])
    assert (found.token_source, found.label) == ((), None)


def test_lengths() -> None:
    rows = [sample(completion_tokens=n, prompt_tokens=10 * n) for n in (5, 7, 100)]
    assert estimate("completion_tokens", rows).value == 7.0
    assert estimate("prompt_tokens", rows).value == 70.0
    assert estimate("completion_tokens", [sample(completion_tokens=None)]).reason == "nobody counted its tokens"
    assert estimate("prompt_tokens", [sample(prompt_tokens=None)]).reason == "the engine reports no prompt tokens"


@pytest.mark.parametrize("said", [{"text": "thirty words"}, {"text": "", "reasoning": "thirty words"}])
@pytest.mark.parametrize("tag", ["completion_tokens", "decode_tps", "tpot", "e2e_tps", "throughput"])
def test_a_count_of_0_for_a_text_is_unknown_and_not_0(tag: str, said: dict[str, str]) -> None:
    found = estimate(tag, [sample(completion_tokens=0, **said)])
    assert (found.value, found.reason) == (None, "the server counts 0 tokens for a text")
    # Gaps need no count, but nobody knows whether they are between tokens.
    assert estimate("itl", [sample(completion_tokens=0, **said)]).label == "chunk gap"


def test_an_empty_answer_has_0_tokens() -> None:
    assert estimate("completion_tokens", [sample(completion_tokens=0, text="", chunk_times_ms=())]).value == 0.0


def test_no_prompt_has_0_tokens() -> None:
    found = estimate("prompt_tokens", [sample(prompt_tokens=0)])
    assert (found.value, found.reason) == (None, "the server counts 0 tokens for a prompt")


def test_the_interval_of_gaps_rests_on_requests_and_is_refused_where_others_are() -> None:
    # 300 gaps that are all alike, but of three prompts that differ, asked twice: 6 requests that count for 3.
    def gaps(case: int, block: str) -> Sample:
        times = tuple((10.0 + case + (0.1 if block == "b002" else 0.0)) * i for i in range(51))
        return sample(case=f"c{case}", block=block, chunk_times_ms=times, completion_tokens=51)

    few = [gaps(case, block) for case in range(3) for block in ("b001", "b002")]
    found = estimate("itl", few)
    assert (found.low, found.high, found.scope, found.n) == (None, None, None, 6)
    assert found.interval_reason == estimate("tpot", few).interval_reason
    assert found.interval_reason == "an interval needs about 6 prompts; this figure has 3"
    enough = estimate("itl", [gaps(case, block) for case in range(12) for block in ("b001", "b002")])
    assert enough.low is not None and enough.high is not None and enough.value is not None
    # Over twelve prompts whose gaps take 10 to 21 ms, and not over 1200 gaps that would pin the median down.
    assert enough.low < 14 and enough.high > 17
    assert enough.scope == "new prompts of this kind and new loads"


def test_the_interval_of_gaps_reaches_the_figure_where_long_answers_pull_it_away() -> None:
    short = [sample(case=f"c{i}", chunk_times_ms=(0.0, 10.0, 20.0), completion_tokens=3) for i in range(9)]
    long = sample(case="long", chunk_times_ms=tuple(20.0 * i for i in range(501)), completion_tokens=501)
    found = estimate("itl", [*short, long])
    assert (found.low, found.value, found.high) == (10.0, 20.0, 20.0)


def test_text_that_came_all_at_once_has_no_gaps() -> None:
    # Two pieces that one read brought have one time; a gap of 0 would be an invented one.
    even = [sample(case=f"c{i}", chunk_times_ms=(0.0, 10.0, 20.0), completion_tokens=3) for i in range(9)]
    found = estimate("itl", [*even, sample(case="lump", chunk_times_ms=(5.0, 5.0), completion_tokens=2)])
    assert (found.low, found.value, found.high, found.n) == (10.0, 10.0, 10.0, 9)
    left = readings("itl", [sample(chunk_times_ms=(5.0, 5.0), completion_tokens=2)]).left_out
    assert [reading.reason for reading in left] == ["all text came at once"]
