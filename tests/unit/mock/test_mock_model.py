"""The pretended model, without a wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from audition.mock import model
from audition.mock.http import HttpError
from audition.mock.model import _MAX_ANSWERS, Answer, Model
from audition.mock.request import ChatRequest, parse_chat
from audition.mock.script import Script


def request(prompt: str = "one two three", **fields: Any) -> ChatRequest:
    body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}
    return parse_chat(json.dumps(body).encode())


def make(*lies: str, **fields: Any) -> Model:
    return Model(Script(**{"tokens": 24, **fields}, lies=frozenset(lies)))


def text(answer: Answer) -> str:
    return "".join(answer.text.content)


def test_prompt_tokens_are_words_and_a_template() -> None:
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two  three"}]
    assert make().answer(request(messages=messages), 1, 0).prompt_tokens == 8 + 2 + 8 + 3
    assert make("no_template").answer(request(messages=messages), 1, 0).prompt_tokens == 5


def test_answers_are_cut_at_max_tokens_and_are_the_start_of_the_whole_one() -> None:
    whole, cut = make().answer(request(), 1, 0), make().answer(request(max_tokens=10), 1, 0)
    assert (whole.completion_tokens, whole.finish_reason) == (24, "stop")
    assert (cut.completion_tokens, cut.finish_reason) == (10, "length")
    assert text(whole).startswith(text(cut))
    assert make().answer(request(max_tokens=24), 1, 0).finish_reason == "stop"
    assert make().answer(request(max_completion_tokens=3), 1, 0).completion_tokens == 3


def test_reasoning_counts_as_completion() -> None:
    answer = make(reasoning_tokens=10).answer(request(max_tokens=12), 1, 0)
    assert (len(answer.text.reasoning), len(answer.text.content), answer.finish_reason) == (10, 2, "length")
    assert make(reasoning_tokens=10).usage(answer)["completion_tokens_details"] == {"reasoning_tokens": 10}


def test_the_context_is_a_limit() -> None:
    mocked = make(context=30)
    assert mocked.answer(request(max_tokens=19), 1, 0).prompt_tokens == 11
    with pytest.raises(HttpError) as caught:
        mocked.answer(request(max_tokens=20), 1, 0)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    assert "31 tokens (11 in the messages, 20 in the completion)" in caught.value.message
    unasked = mocked.answer(request(), 1, 0)
    assert (unasked.completion_tokens, unasked.finish_reason) == (19, "length")


def test_a_small_context_keeps_the_last_words_only() -> None:
    prompt = " ".join(f"w{i}" for i in range(100))
    answer = make("small_context", "echo", context=80).answer(request(prompt, max_tokens=40), 1, 0)
    assert answer.prompt_tokens == 8 + 20
    assert text(answer).split() == [f"w{i}" for i in range(80, 100)]
    messages = [{"role": "system", "content": "lost " * 30}, {"role": "user", "content": "one two"}]
    assert make("small_context", context=40).answer(request(messages=messages), 1, 0).prompt_tokens == 16 + 10


@pytest.mark.parametrize("lie", ["prompt_cache", "prompt_cache_reported"])
def test_a_prefix_that_was_seen_costs_no_prefill(lie: str) -> None:
    mocked = make(lie, prefill_tps=1000, ttft_ms=0, context=100_000)
    shared = " ".join(f"w{i}" for i in range(500))
    first = mocked.answer(request(shared + " first"), 1, 0)
    again = mocked.answer(request(shared + " again"), 2, 0)
    other = mocked.answer(request("other " + shared), 3, 0)
    assert [answer.cached_tokens for answer in (first, again, other)] == [0, 496, 0]
    assert [round(answer.times_ms[0]) for answer in (first, again, other)] == [509, 13, 509]
    details = mocked.usage(again).get("prompt_tokens_details")
    assert details == ({"cached_tokens": 496} if lie == "prompt_cache_reported" else None)


def test_a_block_is_a_hit_at_its_own_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (" ".join(f"{name}{i}" for i in range(16)) for name in "ab")
    cached = make("prompt_cache_reported", "no_template")
    assert cached.answer(request(f"{first} {second} end"), 1, 0).cached_tokens == 0
    assert cached.answer(request(f"{second} end"), 2, 0).cached_tokens == 0
    # The first block has been dropped, so the second is no prefix of anything.
    monkeypatch.setattr(model, "_MAX_BLOCKS", 1)
    small = make("prompt_cache_reported", "no_template")
    assert [small.answer(request(f"{first} {second} end"), n, 0).cached_tokens for n in (1, 2)] == [0, 0]
    assert len(small._blocks) == 1


def test_without_the_lie_nothing_is_cached() -> None:
    mocked = make(prefill_tps=1000, ttft_ms=0)
    answers = [mocked.answer(request("word " * 500), n, 0) for n in (1, 2)]
    assert answers[0].times_ms == answers[1].times_ms
    assert answers[1].cached_tokens == 0


def test_a_response_cache_answers_identical_requests_only() -> None:
    mocked = make("response_cache")
    chat = request(temperature=1)
    first = mocked.answer(chat, 1, 0)
    mocked.remember(chat, first)
    again = mocked.answer(chat, 2, 0)
    assert again.burst
    assert set(again.times_ms) == {0}
    assert again.text == first.text
    for other in (request(temperature=0.9), request(temperature=1, seed=1), request("else", temperature=1)):
        assert not mocked.answer(other, 3, 0).burst


def test_the_response_cache_is_bounded() -> None:
    mocked = make("response_cache", tokens=1)
    for n in range(_MAX_ANSWERS + 1):
        chat = request(str(n))
        mocked.remember(chat, mocked.answer(chat, n, 0))
    assert not mocked.answer(request("0"), 1, 0).burst
    assert mocked.answer(request("1"), 1, 0).burst


def texts(mocked: Model, *chats: ChatRequest) -> list[str]:
    return [text(mocked.answer(chat, n, 0)) for n, chat in enumerate(chats)]


COLD, COLD_SEEDED = {"temperature": 0}, {"temperature": 0, "seed": 1}
WARM, WARM_SEEDED, WARM_OTHER = {"temperature": 1}, {"temperature": 1, "seed": 1}, {"temperature": 1, "seed": 2}


@pytest.mark.parametrize(
    ("lies", "left", "right", "same"),
    [
        ((), COLD, COLD, True),
        ((), COLD, COLD_SEEDED, True),
        ((), WARM, WARM, False),
        ((), WARM_SEEDED, WARM_SEEDED, True),
        ((), WARM_SEEDED, WARM_OTHER, False),
        ((), WARM_SEEDED, COLD, False),
        (("ignore_temperature",), COLD, COLD, False),
        (("ignore_temperature",), COLD_SEEDED, COLD_SEEDED, False),
        (("ignore_temperature",), WARM_SEEDED, WARM_SEEDED, True),
        (("ignore_seed",), WARM_SEEDED, WARM_SEEDED, False),
        (("ignore_seed",), COLD_SEEDED, COLD_SEEDED, True),
        (("fixed_output",), WARM, WARM, True),
        (("fixed_output",), WARM_SEEDED, WARM_OTHER, True),
        (("fixed_output",), WARM, COLD, True),
    ],
)
def test_what_decides_the_text(lies: tuple[str, ...], left: Any, right: Any, same: bool) -> None:
    first, second = texts(make(*lies), request(**left), request(**right))
    assert (first == second) is same


@pytest.mark.parametrize("lies", [(), ("fixed_output",)])
def test_another_prompt_gives_another_text(lies: tuple[str, ...]) -> None:
    first, second = texts(make(*lies), request("one"), request("two"))
    assert first != second


def test_text_that_cannot_be_encoded_is_a_prompt_like_any() -> None:
    assert make().answer(request("\ud800"), 1, 0).completion_tokens == 24


@pytest.mark.parametrize(("lie", "factor"), [((), 1), (("wrong_usage",), 3), (("zero_usage",), 0)])
def test_usage_and_its_lies(lie: tuple[str, ...], factor: int) -> None:
    mocked = make(*lie)
    assert mocked.usage(mocked.answer(request(), 1, 0)) == {
        "prompt_tokens": 11 * factor,
        "completion_tokens": 24 * factor,
        "total_tokens": 35 * factor,
    }


def test_another_model_is_not_found() -> None:
    make().check(request(model="mock"))
    with pytest.raises(HttpError) as caught:
        make().check(request(model="gpt-5"))
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
