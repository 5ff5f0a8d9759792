import itertools
import json
from typing import Any

import pytest
from endpoint_servers import DONE, HELLO, chunked, delta, event, exchange_of, sized, usage
from hypothesis import given
from hypothesis import strategies as st

from audition.engines.endpoint import chat, sse
from audition.engines.endpoint.dialect import Dialect
from audition.engines.protocol import Reply

MS = 1_000_000


def read(*reads: bytes, end: bool = False, key: str | None = None) -> Reply:
    return chat.read(exchange_of(*reads, end=end), Dialect(), key)


def streamed(*events: bytes) -> Reply:
    return read(chunked(*events))


def text(reply: Reply, *, reasoning: bool = False) -> str:
    return "".join(chunk.text for chunk in reply.chunks if chunk.reasoning is reasoning)


def code(reply: Reply) -> str | None:
    return reply.failure[0] if reply.failure else None


def notes(reply: Reply) -> tuple[str, ...]:
    assert reply.wire is not None
    return reply.wire.notes


def test_a_whole_answer():
    head, *chunks, last = [chunked(end=False), *(chunked(part, end=False).partition(b"\r\n\r\n")[2] for part in HELLO),
                           b"0\r\n\r\n"]  # fmt: skip
    reply = read(head, *chunks, last)
    assert [(chunk.text, chunk.at_ns // MS) for chunk in reply.chunks] == [("Hel", 3), ("lo", 4)]
    assert reply.finish is not None
    assert (reply.finish.reason, reply.finish.prompt_tokens, reply.finish.completion_tokens) == ("stop", 9, 2)
    assert (reply.finish.token_source, reply.finish.at_ns, reply.end_ns) == ("usage", 8 * MS, 8 * MS)
    assert reply.failure is None and not reply.cancelled
    assert reply.wire is not None
    assert (reply.wire.status, reply.wire.model, reply.wire.stamps, reply.wire.notes) == (200, "tiny", "kernel", ())
    assert reply.wire.lag_ms == 0.001
    assert reply.wire.shared == 0


def test_text_that_came_in_one_read_is_counted_as_shared():
    reply = streamed(*HELLO)
    assert text(reply) == "Hello"
    assert reply.wire is not None and reply.wire.shared == 1


@given(st.lists(st.integers(0, 1500), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_any_split_gives_the_same_text(cuts: list[int], line_end: str):
    answer = chunked(*(part.replace(b"\n", line_end.encode()) for part in (delta(content="Grüße 😀"), *HELLO)))
    places = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    reply = read(*(answer[a:b] for a, b in itertools.pairwise(places)))
    assert text(reply) == "Grüße 😀Hello"
    assert code(reply) is None


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_told_from_the_answer(name: str):
    reply = streamed(delta(**{name: "Hm."}), delta(content="Yes"), delta("stop"), DONE)
    assert (text(reply, reasoning=True), text(reply)) == ("Hm.", "Yes")


def test_reasoning_under_two_names_is_one_text():
    reply = streamed(delta(reasoning="Hm.", reasoning_content="Hm."), delta("stop"), DONE)
    assert text(reply, reasoning=True) == "Hm."


@pytest.mark.parametrize(
    "silent",
    [
        *(delta(role="assistant"), delta(role="assistant", content=""), delta(content=None), delta(), b": ping\n\n"),
        *(usage(), event({"choices": None}), event({"choices": [None, {"delta": None}]}), event({"type": "ping"})),
        *(b"event: ping\ndata: {}\n\n", b"data:\n\n", b"retry: 5\n\n", b"id: 7\n\n"),
    ],
)
def test_events_without_text_are_no_text(silent: bytes):
    reply = streamed(silent, *HELLO)
    assert len(reply.chunks) == 2
    assert code(reply) is None


def test_a_refusal_is_text_and_a_tool_call_is_not():
    reply = streamed(delta(refusal="No."), delta(tool_calls=[{"index": 0}]), delta("stop"), DONE)
    assert text(reply) == "No."
    assert notes(reply) == ("refusal", "tool_calls", "no_usage")


@pytest.mark.parametrize(
    ("events", "expected", "note"),
    [
        ([delta(content="x"), delta("stop"), usage(), DONE], None, None),
        ([delta("stop"), usage(), DONE], None, None),
        ([delta(content="x"), delta("stop"), usage()], None, "no_done"),
        ([delta(content="x"), delta("stop"), DONE], None, "no_usage"),
        ([delta(content="x"), delta("stop"), usage(), usage(), DONE], None, "usage_twice"),
        ([delta(content="x"), DONE], None, None),
        ([delta(content="x")], "incomplete_stream", None),
        ([delta(content="x"), usage()], "incomplete_stream", None),
        ([DONE], "incomplete_stream", None),
        ([delta(role="assistant"), DONE], "incomplete_stream", None),
        ([], "incomplete_stream", None),
        ([b": ping\n\n"], "incomplete_stream", None),
        ([delta(content="x"), event({"error": {"message": "out of memory"}}), DONE], "error_event", None),
        ([delta(content="x"), event({"error": "out of memory"}), delta("stop"), DONE], "error_event", None),
        ([b"event: error\ndata: out of memory\n\n", DONE], "error_event", None),
        ([b'event: error\ndata: {"message": "out of memory"}\n\n', DONE], "error_event", None),
        ([delta(content="x"), b'data: {"choices": [\n\n', delta("stop"), DONE], "broken_event", None),
        ([b"data: []\n\n", delta("stop"), DONE], "broken_event", None),
        ([b"data: \xff\n\n", delta("stop"), DONE], "broken_event", None),
        ([b"data: " + b"[" * 100_000 + b"\n\n", delta("stop"), DONE], "broken_event", None),
        ([delta(content=["parts"]), delta("stop"), DONE], "broken_event", None),
    ],
)
def test_how_streams_end(events: list[bytes], expected: str | None, note: str | None):
    reply = streamed(*events)
    assert code(reply) == expected
    if expected == "error_event":
        assert reply.failure is not None and "out of memory" in reply.failure[1]
    if note:
        assert note in notes(reply)
    if any(b'"x"' in each for each in events):
        assert text(reply) == "x"  # a failure keeps the text


def test_text_goes_on_after_a_broken_event():
    assert text(streamed(delta(content="a"), b"data: {\n\n", delta(content="b"), delta("stop"), DONE)) == "ab"


def test_a_cut_connection_is_a_failure_with_its_text():
    reply = read(chunked(delta(content="x"), end=False), end=True)
    assert (code(reply), text(reply), reply.finish) == ("connection_lost", "x", None)


def test_a_connection_cut_after_done_took_nothing_away():
    reply = read(chunked(*HELLO, end=False), end=True)
    assert (code(reply), text(reply)) == (None, "Hello")
    assert reply.finish is not None
    assert reply.end_ns == reply.finish.at_ns == 1 * MS
    assert "no_last_chunk" in notes(reply)


UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def test_the_end_of_the_connection_is_the_end_of_a_stream_without_a_length():
    assert code(read(UNTIL_CLOSE + b"".join(HELLO), end=True)) is None
    cut = read(UNTIL_CLOSE + delta(content="x") + b'data: {"cho', end=True)
    assert (code(cut), text(cut)) == ("incomplete_stream", "x")


def test_the_time_limit_leaves_what_had_come():
    exchange = exchange_of(chunked(delta(content="x"), end=False) + b"20\r\ndata: {")
    exchange.expire(50 * MS)
    reply = chat.read(exchange, Dialect())
    assert reply.cancelled and reply.failure is None and reply.finish is None
    assert text(reply) == "x"
    assert reply.end_ns == 50 * MS


def test_the_time_limit_after_done_is_no_failure_of_the_answer():
    exchange = exchange_of(chunked(*HELLO, end=False))
    exchange.expire(50 * MS)
    reply = chat.read(exchange, Dialect())
    assert not reply.cancelled and reply.end_ns == 1 * MS


@pytest.mark.parametrize(
    ("counts", "prompt", "completion", "cached"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}, 5, 2, 3),
        ({"completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}}, None, 2, None),
        ({"prompt_tokens": "5", "completion_tokens": -2, "prompt_tokens_details": []}, None, None, None),
        ({"prompt_tokens": True, "completion_tokens": 10**40, "prompt_tokens_details": None}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_counts_are_whole_numbers_or_unknown(
    counts: dict[str, Any], prompt: int | None, completion: int | None, cached: int | None
):
    finish = streamed(delta(content="x"), delta("stop"), event({"choices": [], "usage": counts}), DONE).finish
    assert finish is not None
    assert (finish.prompt_tokens, finish.completion_tokens, finish.cached_tokens) == (prompt, completion, cached)
    assert finish.token_source == ("usage" if completion is not None else None)


def test_of_cumulative_counts_the_last_one_counts():
    finish = streamed(delta(content="x"), usage(9, 1), usage(9, 2), delta("stop"), usage(9, 3), DONE).finish
    assert finish is not None and finish.completion_tokens == 3


def test_the_engines_own_figures_are_numbers():
    timings = {"prompt_n": 5, "prompt_ms": 1.5, "other": 1, "predicted_ms": float("nan"), "predicted_n": 10**400}
    finish = streamed(delta("stop"), event({"choices": [], "timings": timings}), DONE).finish
    assert finish is not None and finish.engine_timings == {"prompt_n": 5.0, "prompt_ms": 1.5}


def test_model_and_device_are_bounded():
    wire = streamed(event({"model": "m\x1b[2J" + "x" * 999, "device": "cpu", "choices": []}), *HELLO).wire
    assert wire is not None and wire.device == "cpu"
    assert wire.model is not None and len(wire.model) <= 200 and "\x1b" not in wire.model


DOCUMENT = {
    "model": "tiny",
    "choices": [{"message": {"role": "assistant", "content": "Hello", "reasoning": "Hm."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2},
}


def test_an_answer_in_one_document_has_no_time_of_a_first_token():
    reply = read(*(sized(json.dumps(DOCUMENT).encode())[i : i + 50] for i in range(0, 400, 50)))
    assert (text(reply), text(reply, reasoning=True), code(reply)) == ("Hello", "Hm.", None)
    assert {chunk.at_ns for chunk in reply.chunks} == {reply.end_ns}
    assert "not_streamed" in notes(reply)
    assert reply.finish is not None and reply.finish.completion_tokens == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sized(b'{"choices": ['), "broken_event"),
        (sized(b"{}"), "incomplete_stream"),
        (sized(b'{"error": {"message": "busy"}}'), "error_event"),
        (sized(b""), "incomplete_stream"),
        (sized(b"<html>Welcome</html>", kind="text/html"), "not_a_stream"),
        (sized(b"[]"), "not_a_stream"),
        (sized(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n"), "not_a_stream"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "incomplete_stream"),
    ],
)
def test_what_is_no_answer(answer: bytes, expected: str):
    assert code(read(answer)) == expected


def test_events_under_another_content_type_are_read():
    assert text(read(sized(b"\xef\xbb\xbf" + b"".join(HELLO), kind="text/plain"))) == "Hello"


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        ("500 Oops", {"error": {"message": "CUDA error"}}, "http_500", "CUDA error"),
        ("503 Busy", {"error": "loading"}, "http_503", "loading"),
        ("429 Slow", {"error": {"message": "wait"}}, "rate_limited", "wait"),
        ("401 No", {"error": {"message": "no key", "code": "invalid_api_key"}}, "unauthorized", "invalid_api_key"),
        ("403 No", {"detail": "forbidden"}, "unauthorized", "forbidden"),
        ("404 No", {"error": {"message": "no such model"}}, "not_found", "no such model"),
        ("400 No", {"error": {"message": "m", "code": "context_length_exceeded"}}, "context_length_exceeded", "m"),
        ("400 No", {"error": {"message": "m", "type": "exceed_context_size_error"}}, "context_length_exceeded", "m"),
        ("400 No", {"message": "the model's maximum context length is 5"}, "context_length_exceeded", "maximum"),
        ("400 No", {"error": {"message": "bad temperature"}}, "http_400", "bad temperature"),
        ("422 No", {"detail": [{"loc": ["body", "x"], "msg": "not permitted"}]}, "http_422", "not permitted"),
        ("502 Bad", "<html>\n<b>Bad gateway</b>", "http_502", "Bad gateway"),
        ("500 Oops", "", "http_500", "500"),
        ("418 Pot", [[]], "http_418", "[[]]"),
        ("301 Moved", "", "http_301", "https://other/v1"),
    ],
)
def test_a_refusal_has_a_code_and_the_servers_words(status: str, body: Any, expected: str, words: str):
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    reply = read(sized(raw, status=status, headers="Location: https://other/v1\r\n"))
    assert reply.failure is not None
    assert reply.failure[0] == expected
    assert words in reply.failure[1]
    assert reply.finish is None and not reply.chunks
    assert reply.wire is not None and reply.wire.status == int(status[:3])


def test_a_refusal_is_one_bounded_line_without_the_key():
    body = {"error": {"message": "Wrong key sk-s3cret\n\x1b[31m" + "x" * 100_000}}
    reply = read(sized(json.dumps(body).encode(), status="401 No"), key="sk-s3cret")
    assert reply.failure is not None
    message = reply.failure[1]
    assert len(message) <= 500 and "\n" not in message and "\x1b" not in message
    assert "s3cret" not in message and "[key]" in message


def test_a_stream_beyond_all_bounds_is_a_failure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    answer = chunked(delta(content="x" * 200), delta("stop"), DONE)
    assert code(read(answer[:300], answer[300:])) == "answer_too_large"


@given(st.binary(max_size=300))
def test_no_body_raises(body: bytes):
    read(sized(body, kind="text/event-stream"))
    read(sized(b"data: " + body + b"\n\n", kind="text/event-stream"))
    read(sized(b"{" + body))
    read(sized(body, status="400 No"))


NAMES = [
    *("choices", "delta", "message", "content", "usage", "error", "timings", "prompt_n", "finish_reason", "model"),
    *("device", "reasoning", "completion_tokens", "prompt_tokens_details", "cached_tokens", "detail"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=4))
def test_no_json_raises(contents: list[Any]):
    streamed(*(event(content) for content in contents))
    for content in contents:
        read(sized(json.dumps(content).encode()))
        read(sized(json.dumps(content).encode(), status="400 No"))
