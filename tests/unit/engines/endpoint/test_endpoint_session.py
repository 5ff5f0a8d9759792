import asyncio
import json
from typing import Any

import pytest
from endpoint_servers import (
    DONE,
    MESSAGES,
    PARAMS,
    WHOLE,
    Request,
    ask,
    chunked,
    delta,
    event,
    run,
    serving,
    session_for,
    sized,
    text,
)

from audition.engines.endpoint import EndpointSession
from audition.engines.protocol import EngineError
from audition.errors import UsageError


def test_a_request_says_what_is_wanted_and_connections_are_used_again():
    async def scenario() -> None:
        async with serving(WHOLE) as served:
            session = session_for(served, key="sk-s3cret")
            first, second = await ask(session), await ask(session, seed=None)
            await session.close()
            assert text(first) == text(second) == "Hello"
            assert first.wire is not None and first.wire.connect_ms is not None and first.wire.connect_ms > 0
            assert second.wire is not None and second.wire.connect_ms is None
            assert served.connections == 1
            asked, again = served.requests
            assert asked.line == "POST /v1/chat/completions HTTP/1.1"
            assert asked.headers["host"] == f"127.0.0.1:{served.port}"
            assert asked.headers["authorization"] == "Bearer sk-s3cret"
            assert asked.body == {
                "model": "tiny",
                "messages": MESSAGES,
                "max_tokens": 8,
                "temperature": 0.0,
                "seed": 1,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            assert "seed" not in again.body

    run(scenario())


def test_the_time_limit_closes_the_connection():
    async def hang(request: Request, writer: Any) -> None:
        writer.write(chunked(delta(content="x"), end=False))
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with serving(hang, WHOLE) as served:
            session = session_for(served)
            reply = await ask(session, timeout_s=0.1)
            assert reply.cancelled and reply.failure is None and text(reply) == "x"
            assert 0.1 <= (reply.end_ns - reply.sent_ns) / 1e9 < 5
            assert text(await ask(session)) == "Hello"
            await session.close()
            assert served.connections == 2

    run(scenario())


def test_cancelling_closes_the_connection_and_is_passed_on():
    closed = asyncio.Event()

    async def hang(request: Request, writer: Any) -> None:
        try:
            await asyncio.sleep(0)
            await writer.wait_closed()
        finally:
            closed.set()

    async def scenario() -> None:
        async with serving(hang) as served:
            session = session_for(served)
            task = asyncio.create_task(session.ask(MESSAGES, PARAMS, 60))
            while not served.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await session.close()

    run(scenario())


def test_a_long_request_is_sent_whole_while_the_server_reads_slowly():
    async def scenario() -> None:
        async with serving(WHOLE) as served:
            session = session_for(served)
            messages = [{"role": "user", "content": "ä" * 2_000_000}]
            reply = (await session.ask(messages, PARAMS, 10))()
            await session.close()
            assert text(reply) == "Hello"
            assert served.requests[0].body["messages"] == messages

    run(scenario())


def test_an_answer_before_the_request_was_sent_is_taken_and_the_connection_not_used_again():
    async def scenario() -> None:
        over = asyncio.Event()

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(sized(b'{"error": "too long"}', status="413 Too Large"))
            await over.wait()
            writer.transport.abort()

        server = await asyncio.start_server(on_connection, "127.0.0.1", 0, limit=1000)
        session = EndpointSession(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "tiny")
        reply = (await session.ask([{"role": "user", "content": "x" * 8_000_000}], PARAMS, 10))()
        assert reply.failure == ("http_413", "too long")
        assert not session._idle
        over.set()
        server.close()
        await asyncio.sleep(0.01)

    run(scenario())


def refusing(*fields: str, status: str = "400 Bad Request") -> Any:
    """A server that refuses fields one at a time."""

    async def answer(request: Request, writer: Any) -> None:
        for field in fields:
            if field in request.body:
                more = ", use max_completion_tokens" if field == "max_tokens" else ""
                body = {"error": {"message": f"Unsupported parameter: '{field}'{more}", "param": field}}
                writer.write(sized(json.dumps(body).encode(), status=status))
                return
        writer.write(WHOLE)

    return answer


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        (["stream_options"], {"no_stream_options"}),
        (["seed"], {"no_seed"}),
        (["max_tokens"], {"max_completion_tokens"}),
        (["stream_options", "seed", "max_tokens"], {"no_stream_options", "no_seed", "max_completion_tokens"}),
    ],
)
@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable"])
def test_a_field_that_is_refused_is_left_out_from_then_on(fields: list[str], notes: set[str], status: str):
    async def scenario() -> None:
        async with serving(refusing(*fields, status=status)) as served:
            session = session_for(served)
            first, second = await ask(session), await ask(session)
            await session.close()
            for reply in (first, second):
                assert text(reply) == "Hello"
                assert reply.wire is not None and set(reply.wire.notes) == notes
            assert len(served.requests) == len(fields) + 2
            if "max_tokens" in fields:
                assert served.requests[-1].body["max_completion_tokens"] == 8

    run(scenario())


def test_the_timer_starts_again_with_the_second_try():
    async def slow_no(request: Request, writer: Any) -> None:
        await asyncio.sleep(0.2)
        writer.write(sized(b'{"error": "unknown field stream_options"}', status="400 No"))

    async def scenario() -> None:
        async with serving(slow_no, WHOLE) as served:
            session = session_for(served)
            reply = await ask(session)
            await session.close()
            assert (reply.end_ns - reply.sent_ns) / 1e9 < 0.15

    run(scenario())


def test_a_field_is_left_out_once_and_only_where_that_helped():
    async def scenario() -> None:
        body = b'{"error": "no seed, no stream_options, none at all"}'
        async with serving(sized(body, status="400 No")) as served:
            session = session_for(served)
            reply = await ask(session)
            assert reply.failure is not None and reply.failure[0] == "http_400"
            assert len(served.requests) == 3
            await ask(session)
            await session.close()
            assert "seed" in served.requests[3].body and "stream_options" in served.requests[3].body

    run(scenario())


def test_a_field_is_not_left_out_when_the_second_try_failed_otherwise():
    async def scenario() -> None:
        no, broken = sized(b'{"error": "seed?"}', status="400 No"), sized(b"", status="500 Oops")
        async with serving(no, broken, WHOLE) as served:
            session = session_for(served)
            reply = await ask(session)
            assert reply.failure is not None and reply.failure[0] == "http_500"
            assert text(await ask(session)) == "Hello"
            await session.close()
            assert ["seed" in request.body for request in served.requests] == [True, False, True]

    run(scenario())


def test_another_refusal_is_not_tried_again():
    async def scenario() -> None:
        body = b'{"error": {"message": "seeds: this model\'s maximum context length is 5, reduce max_tokens"}}'
        async with serving(sized(body, status="400 No")) as served:
            session = session_for(served)
            reply = await ask(session)
            await session.close()
            assert reply.failure is not None and reply.failure[0] == "context_length_exceeded"
            assert len(served.requests) == 1

    run(scenario())


def test_without_streaming_the_text_has_the_time_of_the_end():
    document = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}

    async def scenario() -> None:
        async with serving(sized(json.dumps(document).encode())) as served:
            session = session_for(served, stream=False)
            reply = await ask(session)
            await session.close()
            assert served.requests[0].body["stream"] is False
            assert "stream_options" not in served.requests[0].body
            assert [chunk.at_ns for chunk in reply.chunks] == [reply.end_ns]
            assert reply.wire is not None and "not_streamed" in reply.wire.notes

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sized(json.dumps({"data": [{"id": "a", "x": 1}, {"id": 5}, "b", None]}).encode()), [{"id": "a", "x": 1}]),
        (sized(b'{"data": []}'), []),
        (sized(b'{"data": {}}'), "bad_response"),
        (sized(b"<html>"), "bad_response"),
        (sized(b"[" * 100_000), "bad_response"),
        (sized(b'{"error": {"message": "who? sk-s3cret"}}', status="401 No"), "unauthorized"),
        (sized(b"", status="404 No"), "not_found"),
        (b"rubbish", "bad_response"),
    ],
)
def test_the_list_of_models(answer: bytes, expected: Any):
    async def scenario() -> None:
        async with serving(answer) as served:
            session = session_for(served, key="sk-s3cret")
            if isinstance(expected, list):
                assert await session.models() == expected
                assert served.requests[0].line == "GET /v1/models HTTP/1.1"
                assert served.requests[0].headers["authorization"] == "Bearer sk-s3cret"
            else:
                with pytest.raises(EngineError) as caught:
                    await session.models()
                assert caught.value.code == expected
                assert "s3cret" not in str(caught.value)
            await session.close()

    run(scenario())


def test_a_server_that_does_not_list_its_models_in_time():
    async def hang(request: Request, writer: Any) -> None:
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with serving(hang) as served:
            with pytest.raises(EngineError) as caught:
                await session_for(served).models(timeout_s=0.05)
            assert caught.value.code == "timeout"

    run(scenario())


@pytest.mark.parametrize("key", ["", "a\nb", " a", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str):
    with pytest.raises(UsageError) as caught:
        EndpointSession("http://h", "tiny", key=key)
    assert not key.strip() or key not in str(caught.value)


def test_the_key_is_in_no_repr():
    assert "s3cret" not in repr(EndpointSession("http://h", "tiny", key="s3cret"))


def test_many_streams_at_once_stay_apart():
    async def echo(request: Request, writer: Any) -> None:
        word = request.body["messages"][0]["content"]
        for part in word:
            writer.write(chunked(delta(content=part), end=False) if part == word[0] else b"")
            await asyncio.sleep(0)
        piece = event({"choices": [{"delta": {"content": word[1:]}, "finish_reason": "stop"}]}) + DONE
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(piece), piece))

    async def scenario() -> None:
        async with serving(echo) as served:
            session = session_for(served, connections=64)
            words = [f"word number {number}" for number in range(200)]
            replies = await asyncio.gather(
                *(session.ask([{"role": "user", "content": word}], PARAMS, 10) for word in words)
            )
            assert [text(read()) for read in replies] == words
            await session.close()

    run(scenario())
