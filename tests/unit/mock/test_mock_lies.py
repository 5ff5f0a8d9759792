"""Each lie, over the wire: what a client sees of it, and what it sees without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from mock_client import PROMPT, Reply, chat, send, served

from audition.bench.guards.degenerate import echoes, has_special_tokens, loops
from audition.mock.faults import LIES

LONG = "one two three four five six seven eight nine ten " * 20


def differ(**fields: Any) -> Callable[[str], bool]:
    return lambda url: chat(url, **fields).text != chat(url, **fields).text


def reply_is(check: Callable[[Reply], bool], **fields: Any) -> Callable[[str], bool]:
    return lambda url: check(chat(url, **fields))


def first_ms(reply: Reply) -> float:
    truth = reply.events[-1]["mock"]
    return float(truth["written_ns"][0] - truth["received_ns"]) / 1e6


def second_is_faster(url: str) -> bool:
    messages = [{"role": "user", "content": LONG}]
    return first_ms(chat(url, messages=messages)) > 100 > 50 > first_ms(chat(url, messages=messages))


def cached(url: str) -> bool:
    messages = [{"role": "user", "content": LONG}]
    usages = [chat(url, messages=messages).usage or {} for _ in range(2)]
    return [usage.get("prompt_tokens_details") for usage in usages] == [{"cached_tokens": 0}, {"cached_tokens": 192}]


def answered_in_one_burst(url: str) -> bool:
    first, second = chat(url, temperature=1), chat(url, temperature=1)
    times = [reply.events[-1]["mock"]["written_ns"] for reply in (first, second)]
    counts = [(len(at), len(set(at))) for at in times]
    return first.text == second.text and counts == [(24, 24), (24, 1)]


def computes_on_the_cpu(url: str) -> bool:
    device = send(url, "GET", "/models").json["data"][0].get("device")
    return device == "gpu" and {event["device"] for event in chat(url).events} == {"cpu"}


def bursts(reply: Reply) -> bool:
    truth = reply.events[-1]["mock"]
    return (
        len(truth["written_ns"]) == 24
        and len(set(truth["written_ns"])) == 1
        and truth["written_ns"][0] - truth["received_ns"] > 20e6
    )


def rejects(field: str, **fields: Any) -> Callable[[str], bool]:
    def check(url: str) -> bool:
        reply = chat(url, **fields)
        return reply.status == 400 and reply.json["error"]["param"] == field and field in reply.json["error"]["message"]

    return check


SEEN: dict[str, Callable[[str], bool]] = {
    "ignore_temperature": differ(temperature=0),
    "ignore_seed": differ(temperature=1, seed=1),
    "fixed_output": lambda url: chat(url, temperature=1).text == chat(url, temperature=1, seed=7).text,
    "ignore_max_tokens": reply_is(lambda r: len(r.parts()) == 24 and r.finish_reason == "stop", max_tokens=5),
    "no_usage": reply_is(lambda r: r.usage is None),
    "wrong_usage": reply_is(lambda r: r.usage is not None and r.usage["completion_tokens"] == 3 * len(r.parts())),
    "zero_usage": reply_is(lambda r: r.usage is not None and set(r.usage.values()) == {0}),
    "wrong_finish_reason": reply_is(lambda r: len(r.parts()) == 5 and r.finish_reason == "stop", max_tokens=5),
    "small_context": lambda url: (
        (chat(url, messages=[{"role": "user", "content": LONG}], max_tokens=5).usage or {}).get("prompt_tokens") == 58
    ),
    "prompt_cache": second_is_faster,
    "prompt_cache_reported": cached,
    "response_cache": answered_in_one_burst,
    "wrong_model": reply_is(lambda r: "mock" not in {event["model"] for event in r.events}),
    "cpu_fallback": computes_on_the_cpu,
    "buffered": reply_is(bursts),
    "no_template": reply_is(lambda r: r.usage is not None and r.usage["prompt_tokens"] == len(PROMPT.split())),
    "empty": reply_is(lambda r: r.text == "" and r.done and r.finish_reason == "stop"),
    "echo": reply_is(lambda r: echoes(r.text, PROMPT)),
    "loop": reply_is(lambda r: loops(r.text)),
    "special_tokens": reply_is(lambda r: has_special_tokens(r.text)),
    "unclosed_reasoning": reply_is(lambda r: "<think>" in r.text and "</think>" not in r.text),
    "wrong_script": reply_is(lambda r: r.done and not re.search("[A-Za-z]", r.text)),
    "rejects_stream_options": rejects("stream_options"),
    "rejects_seed": rejects("seed", seed=1),
}

NEEDS: dict[str, dict[str, Any]] = {
    "prompt_cache": {"prefill_tps": 1600},
    "prompt_cache_reported": {"prefill_tps": 100_000},
    "small_context": {"context": 200},
    "buffered": {"itl_ms": 1},
}


def test_every_lie_is_tested() -> None:
    assert set(SEEN) == set(LIES)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_shows_and_its_absence_does_not(lie: str) -> None:
    fields = NEEDS.get(lie, {})
    with served(lies=(lie,), **fields) as url:
        assert SEEN[lie](url)
    with served(**fields) as url:
        assert not SEEN[lie](url)


def test_a_field_that_is_rejected_is_only_rejected_when_it_is_there() -> None:
    with served(lies=("rejects_seed", "rejects_stream_options")) as url:
        assert chat(url, stream_options=...).status == 200
