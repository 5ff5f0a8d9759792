"""Each failure, over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from mock_client import Reply, chat, served

from audition.mock.faults import FAILURES, STREAM_ONLY


def half(reply: Reply) -> bool:
    return len(reply.parts()) == 12 and not reply.done


def bad_lines(reply: Reply) -> list[str]:
    return [line for line in reply.lines if not line.startswith("data: {") and line != "data: [DONE]"]


def unparsable(reply: Reply) -> list[str]:
    out = []
    for line in reply.lines:
        try:
            json.loads(line.removeprefix("data: "))
        except ValueError:
            out.append(line)
    return [line for line in out if line != "data: [DONE]"]


STREAMED: dict[str, Callable[[Reply], bool]] = {
    "http_500": lambda r: r.status == 500 and r.json["error"]["type"] == "server_error",
    "http_429": lambda r: r.status == 429 and r.headers["retry-after"] == "1" and "error" in r.json,
    "hang": lambda r: r.error == "waited" and r.status == 0,
    "hang_midway": lambda r: r.error == "waited" and half(r),
    "cut": lambda r: r.error == "IncompleteRead" and half(r),
    "reset": lambda r: r.error == "ConnectionResetError" and half(r),
    "no_done": lambda r: r.error is None and r.finish_reason == "stop" and r.usage is not None and not r.done,
    "error_event": lambda r: r.done and len(r.parts()) == 12 and "error" in r.events[-1] and r.finish_reason is None,
    "broken_json": lambda r: r.done and len(unparsable(r)) == 1 and unparsable(r)[0].startswith("data: {"),
    "broken_sse": lambda r: r.done and len(unparsable(r)) == 3 and len(bad_lines(r)) == 2,
    "not_sse": lambda r: r.status == 200 and r.headers["content-type"] == "text/html" and b"<p>" in r.body,
    "empty_stream": lambda r: r.status == 200 and r.lines == ["data: [DONE]"],
}

WHOLE: dict[str, Callable[[Reply], bool]] = {
    **STREAMED,
    "hang_midway": lambda r: r.error == "waited" and unparsable(r) == r.lines,
    "cut": lambda r: r.error == "IncompleteRead" and unparsable(r) == r.lines,
    "reset": lambda r: r.error == "ConnectionResetError",
    "error_event": lambda r: r.status == 200 and set(r.json) == {"error"},
    "broken_json": lambda r: r.status == 200 and r.error is None and unparsable(r) == r.lines != [],
    "empty_stream": lambda r: r.status == 200 and r.body == b"",
}


def test_every_failure_is_tested() -> None:
    assert set(STREAMED) == set(FAILURES) == set(WHOLE)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_stream_fails_as_it_says_every_second_time(kind: str) -> None:
    # Tokens come 1 ms apart, so that a reset cannot overtake what was sent before it.
    with served(failures={kind: 2}, itl_ms=1) as url:
        good, bad, again = (chat(url, timeout=0.3 if "hang" in kind else 5) for _ in range(3))
    assert STREAMED[kind](bad)
    for reply in (good, again):
        assert (reply.error, reply.status, reply.done, len(reply.parts())) == (None, 200, True, 24)
        assert not STREAMED[kind](reply)


@pytest.mark.parametrize("kind", FAILURES)
def test_an_answer_without_streaming_fails_as_it_says(kind: str) -> None:
    with served(failures={kind: 1}) as url:
        reply = chat(url, stream=False, stream_options=..., timeout=0.3 if "hang" in kind else 5)
    if kind in STREAM_ONLY:
        assert reply.json["choices"][0]["message"]["content"]
    else:
        assert WHOLE[kind](reply)


def test_noise_between_events_leaves_the_events_whole() -> None:
    with served(failures={"broken_sse": 2}) as url:
        clean, noisy = chat(url), chat(url)
    assert "a line that is no field" in noisy.lines
    noisy.body = noisy.body.replace(b'data: {"choices": [{"index": 0, "del\n\n', b"")
    assert noisy.text == clean.text


@pytest.mark.parametrize("kind", ["cut", "error_event", "broken_json"])
def test_midway_of_one_token_and_of_none(kind: str) -> None:
    with served(failures={kind: 1}, tokens=1) as url:
        assert len(chat(url).body.split(b'"content": "')) >= 3
    with served(failures={kind: 1}, lies=("empty",)) as url:
        assert chat(url).status == 200
