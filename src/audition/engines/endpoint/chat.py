"""What a whole answer says: its text with the times, how it ended, and what was odd about it. Pure: bytes in."""

from __future__ import annotations

import json
from typing import Any

from audition.engines.endpoint import sse
from audition.engines.endpoint.dialect import Dialect
from audition.engines.endpoint.http import Exchange
from audition.engines.endpoint.refusal import error_text, refused
from audition.engines.protocol import Chunk, Finish, Reply, Wire
from audition.text import one_line

# Servers name it differently; a server that sends it under two names sends the same text twice.
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TIMINGS = ("prompt_n", "prompt_ms", "predicted_n", "predicted_ms")
_FIELDS = (b"data", b"event", b":", b"id", b"retry")


def read(exchange: Exchange, dialect: Dialect, key: str | None = None) -> Reply:
    """Read an answer.

    Args:
        exchange: What came; nothing more will.
        dialect: What was asked.
        key: Blotted out where a server repeats it in an error.
    """
    answer = _Answer((*dialect.notes, *(("sent_again",) if exchange.sent_again else ())))
    status = exchange.status
    finish = None
    end_ns = exchange.end_ns
    if status is not None and not 200 <= status < 300:
        answer.fail(*refused(status, exchange.body(), exchange.headers.get(b"location")))
    elif status is not None:
        if exchange.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            answer.fail("not_a_stream", "the server compressed its answer, which was not asked for")
        else:
            _read_body(answer, exchange)
        if answer.reason is None and not (answer.done and answer.chunks):
            if exchange.complete:
                answer.fail("incomplete_stream", "the answer stopped without a finish reason")
        elif exchange.complete or answer.done:
            # What a server does with the connection after its last event is no part of the answer.
            end_ns = end_ns if exchange.complete else exchange.reads[-1][0]
            finish = answer.finish(end_ns)
    if exchange.failure is not None and finish is None:
        answer.fail(*exchange.failure)
    code, message = answer.failure or ("", "")
    if key:
        message = message.replace(key, "[key]")
    return Reply(
        exchange.sent_ns,
        end_ns,
        tuple(answer.chunks),
        finish,
        cancelled=exchange.expired and finish is None,
        failure=(code, one_line(message, 500)) if code else None,
        wire=_wire(exchange, answer),
    )


def _wire(exchange: Exchange, answer: _Answer) -> Wire:
    stamped = exchange.stamped and bool(exchange.reads)
    return Wire(
        status=exchange.status,
        model=answer.model,
        device=answer.device,
        stamps="kernel" if stamped else "process",
        lag_ms=round(exchange.lag_ns / 1e6, 3) if stamped else None,
        shared=answer.shared,
        connect_ms=exchange.connect_ms,
        notes=tuple(answer.notes),
    )


def _read_body(answer: _Answer, exchange: Exchange) -> None:
    start = exchange.beginning().removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        # The whole answer as one document: asked for, or by a server that does not stream.
        if exchange.complete:
            answer.take_document(exchange.body(), exchange.end_ns)
        return
    content_type = exchange.headers.get(b"content-type", b"").lower()
    if start and not content_type.startswith(b"text/event-stream") and not start.startswith(_FIELDS):
        answer.fail("not_a_stream", f"the answer is not a stream of events: {start.decode(errors='replace')}")
        return
    try:
        for event in sse.events(exchange.pieces(), whole=exchange.complete and not exchange.by_close):
            answer.take_event(event)
    except sse.TooLargeError as error:
        answer.fail("answer_too_large", str(error))
    if exchange.complete and not answer.events and answer.failure is None:
        answer.fail("incomplete_stream", "the answer holds no event")
    if answer.reason is not None and not answer.done:
        answer.note("no_done")
    elif answer.done and not exchange.complete:
        answer.note("no_last_chunk")


class _Answer:
    """What the events say, gathered one by one; the first failure counts, and the text goes on."""

    def __init__(self, notes: tuple[str, ...]) -> None:
        self.chunks: list[Chunk] = []
        self.failure: tuple[str, str] | None = None
        self.notes: dict[str, None] = dict.fromkeys(notes)
        self.reason: str | None = None
        self.model: str | None = None
        self.device: str | None = None
        self.shared = 0
        self.events = 0
        self.done = False
        self._usage: dict[str, Any] | None = None
        self._timings: dict[str, float] | None = None

    def note(self, note: str) -> None:
        self.notes[note] = None

    def fail(self, code: str, message: str) -> None:
        if self.failure is None:
            self.failure = (code, message)

    def finish(self, end_ns: int) -> Finish:
        usage = self._usage
        if usage is None:
            self.note("no_usage")
            return Finish(self.reason, end_ns, engine_timings=self._timings)
        tokens = _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        return Finish(
            self.reason,
            end_ns,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
            completion_tokens=tokens,
            token_source=None if tokens is None else "usage",
            engine_timings=self._timings,
        )

    def take_event(self, event: sse.Event) -> None:
        self.events += 1
        at_ns, data, kind = event
        try:
            content = json.loads(data.decode())
        except (ValueError, RecursionError):
            self._take_other(data.strip(), kind)
            return
        if not isinstance(content, dict):
            self.fail("broken_event", "an event of the stream is not a JSON object")
        elif content.get("error") or kind == b"error":
            self.fail("error_event", error_text(content))
        else:
            self._take_content(content, at_ns, "delta")

    def _take_other(self, data: bytes, kind: bytes) -> None:
        if data == b"[DONE]":
            self.done = True
        elif kind == b"error":
            self.fail("error_event", data[:4096].decode(errors="replace"))
        elif data:
            self.fail("broken_event", f"an event of the stream is not JSON: {data[:4096].decode(errors='replace')}")

    def take_document(self, body: bytes, at_ns: int) -> None:
        self.note("not_streamed")
        try:
            content = json.loads(body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            self.fail("broken_event", "the answer is not JSON")
            return
        if content.get("error"):
            self.fail("error_event", error_text(content))
        else:
            self._take_content(content, at_ns, "message")

    def _take_content(self, content: dict[str, Any], at_ns: int, part: str) -> None:
        if self.model is None and isinstance(model := content.get("model"), str):
            self.model = one_line(model)
        if self.device is None and isinstance(device := content.get("device"), str):
            self.device = one_line(device)
        choices = content.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._take_choice(choice, at_ns, part)
        if isinstance(usage := content.get("usage"), dict):
            if self._usage is not None:
                self.note("usage_twice")
            self._usage = usage
        if isinstance(timings := content.get("timings"), dict):
            self._timings = {name: float(timings[name]) for name in _TIMINGS if _is_number(timings.get(name))}

    def _take_choice(self, choice: dict[str, Any], at_ns: int, part: str) -> None:
        if isinstance(reason := choice.get("finish_reason"), str):
            self.reason = one_line(reason)
        delta = choice.get(part)
        if not isinstance(delta, dict):
            return
        for name in _REASONING:
            if text := delta.get(name):
                self._take_text(text, at_ns, reasoning=True)
                break
        if text := delta.get("content"):
            self._take_text(text, at_ns)
        if text := delta.get("refusal"):
            self.note("refusal")
            self._take_text(text, at_ns)
        if delta.get("tool_calls"):
            self.note("tool_calls")

    def _take_text(self, text: Any, at_ns: int, *, reasoning: bool = False) -> None:
        if not isinstance(text, str):
            self.fail("broken_event", "the text in an event of the stream is no text")
            return
        if self.chunks and self.chunks[-1].at_ns == at_ns:
            self.shared += 1
        self.chunks.append(Chunk(text, at_ns, reasoning))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -(2**53) < value < 2**53
