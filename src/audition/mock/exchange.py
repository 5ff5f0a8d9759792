"""One chat request and its answer on the wire, with the time of every write."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from audition.mock.http import Connection, HttpError
from audition.mock.model import Answer
from audition.mock.script import Script

_DONE = b"data: [DONE]\n\n"
_NOISE = b'a line that is no field\n\nevent\n\ndata: {"choices": [{"index": 0, "del\n\n'
_PAGE = b"<!doctype html><title>Welcome</title><p>This is not the page you are looking for."
_FAULT = HttpError(500, "the model failed midway")


@dataclass(slots=True)
class Record:
    """The truth about one chat request: a line of the log. Times are `perf_counter_ns`.

    Attributes:
        request: Its number on this server, from 1.
        written_ns: Taken immediately before each write that carries text.
        end_ns: Immediately before the last write, or when it was over.
        completion_tokens: Those that were meant to be sent, reasoning included.
        cached_tokens: Prompt tokens that cost no prefill, reported or not.
        client_gone: The client, or the server, went away before the answer was complete.
    """

    request: int
    received_ns: int
    written_ns: list[int] = field(default_factory=list)
    end_ns: int | None = None
    status: int = 200
    stream: bool | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    failure: str | None = None
    client_gone: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """One event with text. `at_ms` is when it is due after the request."""

    at_ms: float
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer on its way.

    Attributes:
        created: Unix time, the same in every event.
        usage: What is reported, or None.
        truth: The client asked for the times in-band.
    """

    link: Connection
    script: Script
    answer: Answer
    record: Record
    created: int
    usage: dict[str, object] | None
    truth: bool

    async def stream(self) -> None:
        """Send the answer as server-sent events."""
        if self.record.failure == "empty_stream":
            self._end(self.link.head(200, "text/event-stream", None) + self.link.frame(_DONE) + self.link.end())
            return
        await self._before_text()
        pieces = self._pieces()
        late: list[bytes] | None = [] if self.answer.burst or "buffered" in self.script.lies else None
        for index in range(len(pieces) + 1):
            if self.record.failure is not None and index == (len(pieces) + 1) // 2 and await self._break():
                return
            if index == len(pieces):
                break
            piece = pieces[index]
            # Made before the wait, so that nothing but the write comes after it.
            data = self._event({piece.key: piece.text})
            if late is not None:
                late.append(data)
                continue
            await self._until(piece.at_ms)
            self._write_text(data)
            await self.link.drain()
        if late:
            await self._until(self.answer.times_ms[-1])
            self._write_text(b"".join(late), len(late))
        if not pieces:
            await self._until(self.answer.times_ms[-1])
        await self._finish()

    async def whole(self) -> None:
        """Send the answer as one JSON body."""
        failure = self.record.failure
        if failure == "empty_stream":
            self._end(self.link.head(200, "application/json", 0))
            return
        await self._until(self.answer.times_ms[-1])
        message = {"role": "assistant", "content": "".join(self.answer.text.content)}
        if self.answer.text.reasoning:
            message["reasoning_content"] = "".join(self.answer.text.reasoning)
        choice = {"index": 0, "message": message, "finish_reason": self.answer.finish_reason}
        body: dict[str, Any] = {**self._base("chat.completion"), "choices": [choice]}
        if self.usage is not None:
            body["usage"] = self.usage
        now = time.perf_counter_ns()
        self.record.written_ns.append(now)
        if self.truth:
            body["mock"] = self._truth()
        data = _FAULT.body() if failure == "error_event" else json.dumps(body).encode()
        if failure == "broken_json":
            data = data[: len(data) // 2]
        head = self.link.head(200, "application/json", len(data))
        if failure in ("hang_midway", "cut", "reset"):
            self.link.write(head + data[: len(data) // 2])
            await self._break()
            return
        self._end(head + data)

    async def refuse(self) -> bool:
        """Fail before there is an answer, where the failure is one of that kind; return whether it was."""
        match self.record.failure:
            case "http_500":
                self.record.status = 500
                self.link.respond(500, HttpError(500, "the server had an error").body())
            case "http_429":
                self.record.status = 429
                error = HttpError(429, "rate limit reached", code="rate_limit_exceeded")
                self.link.respond(429, error.body(), extra="retry-after: 1\r\n")
            case "not_sse":
                self.link.respond(200, _PAGE, "text/html")
            case "hang":
                await _never()
            case _:
                return False
        return True

    async def _before_text(self) -> None:
        """Send the head, the role and the comments that keep the connection alive, each when it is due."""
        first_ms = self.answer.times_ms[0]
        events = [(min(self.script.role_delay_ms, first_ms), self._event({"role": "assistant", "content": ""}))]
        if self.script.keepalive and not self.answer.burst:
            events += [(first_ms * part / 3, self.link.frame(b": ping\n\n")) for part in (1, 2)]
        head = self.link.head(200, "text/event-stream", None)
        for at_ms, data in sorted(events, key=lambda event: event[0]):
            await self._until(at_ms)
            self.link.write(head + data)
            head = b""

    def _pieces(self) -> list[Piece]:
        """Return the events with text: each is due when its last token is, and reasoning shares none with content."""
        size, times, pieces, start = self.script.tokens_per_chunk, self.answer.times_ms, [], 0
        for key, tokens in (("reasoning_content", self.answer.text.reasoning), ("content", self.answer.text.content)):
            for index in range(0, len(tokens), size):
                chunk = tokens[index : index + size]
                pieces.append(Piece(times[start + index + len(chunk) - 1], key, "".join(chunk)))
            start += len(tokens)
        return pieces

    async def _break(self) -> bool:
        """Do what the failure does midway; return whether the answer is over."""
        match self.record.failure:
            case "hang_midway":
                await _never()
            case "cut":
                self.link.close()
            case "reset":
                # The client must have read its half: on some systems a reset throws away what it has not.
                await asyncio.sleep(0.02)
                self.link.reset()
            case "error_event":
                data = b"data: " + _FAULT.body() + b"\n\n"
                self._end(self.link.frame(data) + self.link.frame(_DONE) + self.link.end())
            case "broken_json":
                self.link.write(self.link.frame(self._line({"content": " lost"})[:-20] + b"\n\n"))
                return False
            case "broken_sse":
                self.link.write(self.link.frame(_NOISE))
                return False
            case _:
                return False
        return True

    async def _finish(self) -> None:
        last: dict[str, object] = {"mock": self._truth()} if self.truth else {}
        if self.usage is None:
            self.link.write(self._event({}, self.answer.finish_reason, last))
        else:
            self.link.write(self._event({}, self.answer.finish_reason))
            self.link.write(self._event(None, None, {"usage": self.usage, **last}))
        await self.link.drain()
        done = b"" if self.record.failure == "no_done" else self.link.frame(_DONE)
        self._end(done + self.link.end())

    def _event(
        self, delta: dict[str, str] | None, finish_reason: str | None = None, extra: dict[str, object] | None = None
    ) -> bytes:
        return self.link.frame(self._line(delta, finish_reason, extra))

    def _line(
        self, delta: dict[str, str] | None, finish_reason: str | None = None, extra: dict[str, object] | None = None
    ) -> bytes:
        """Return one event; `delta` None is the event with nothing but the usage."""
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
        # As OpenAI has it: where usage was asked for, every event has the key.
        usage = {} if self.usage is None else {"usage": None}
        data = {**self._base("chat.completion.chunk"), "choices": choices, **usage, **(extra or {})}
        return b"data: " + json.dumps(data).encode() + b"\n\n"

    def _base(self, kind: str) -> dict[str, object]:
        lies, device = self.script.lies, self.script.device
        if "cpu_fallback" in lies:
            device = "cpu"
        return {
            "id": f"chatcmpl-{self.record.request}",
            "object": kind,
            "created": self.created,
            "model": "another-model" if "wrong_model" in lies else self.script.model,
            **({} if device is None else {"device": device}),
        }

    def _truth(self) -> dict[str, object]:
        return {"received_ns": self.record.received_ns, "written_ns": self.record.written_ns}

    def _write_text(self, data: bytes, events: int = 1) -> None:
        now = time.perf_counter_ns()
        self.link.write(data)
        self.record.written_ns += [now] * events

    def _end(self, data: bytes) -> None:
        self.record.end_ns = time.perf_counter_ns()
        self.link.write(data)

    async def _until(self, at_ms: float) -> None:
        """Wait until so long after the request; others get their turn even when it is too late already."""
        due_ns = self.record.received_ns + round(at_ms * 1e6)
        await asyncio.sleep(max(0.0, (due_ns - time.perf_counter_ns()) / 1e9))


async def _never() -> None:
    await asyncio.Event().wait()
