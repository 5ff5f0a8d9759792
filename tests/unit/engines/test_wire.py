"""The pipe: what goes in comes out, and nothing that is not a frame is taken for one."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest

from audition.engines import wire


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def sent(*messages: dict[str, Any]) -> io.BytesIO:
    stream = io.BytesIO()
    for message in messages:
        wire.send(stream, message)
    stream.seek(0)
    return stream


MESSAGES = [
    {},
    {"op": "chat", "messages": [{"role": "user", "content": "Grüße, 世界 🌍\n\t\x00"}], "params": {"seed": 0}},
    {"numbers": [0, -1, 2**63, 0.1, 1e308], "nested": {"none": None, "yes": True}},
    {"cut pairs": "\ud83d", "and": ["\udfff\ud800", {"\ud83d": "\ude00"}]},
    {"long": "x" * 1_000_000},
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: ascii(message)[:20])
def test_a_message_comes_out_as_it_went_in(message: dict[str, Any]) -> None:
    assert wire.receive(sent(message)) == message


def test_messages_come_one_by_one_and_then_none() -> None:
    stream = sent(*MESSAGES)
    assert [wire.receive(stream) for _ in MESSAGES] == MESSAGES
    assert wire.receive(stream) is None
    assert wire.receive(stream) is None


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_cut_length_is_no_end(kept: int) -> None:
    with pytest.raises(wire.WireError, match="length is cut"):
        wire.receive(io.BytesIO(frame(b"{}")[:kept]))


@pytest.mark.parametrize("lost", [1, 5, 8])
def test_a_cut_payload_is_no_message(lost: int) -> None:
    with pytest.raises(wire.WireError, match="cut"):
        wire.receive(io.BytesIO(frame(b'{"a": 1}')[:-lost]))


@pytest.mark.parametrize("length", [wire.MAX_FRAME + 1, 2**32 - 1])
def test_a_huge_length_is_refused_before_anything_is_read(length: int) -> None:
    class NoMore(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size == 4
            return super().read(size)

    with pytest.raises(wire.WireError, match=str(length)):
        wire.receive(NoMore(struct.pack(">I", length) + b"{}"))


@pytest.mark.parametrize("payload", [b"", b"{", b"{'a': 1}", b"\xff\xfe", b"nothing", b"{} {}"])
def test_what_is_not_json_is_refused(payload: bytes) -> None:
    with pytest.raises(wire.WireError, match="not JSON"):
        wire.receive(io.BytesIO(frame(payload)))


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(wire.WireError):
        wire.receive(io.BytesIO(frame(b"[" * 1_000_000)))


@pytest.mark.parametrize("payload", [b"[]", b"1", b"null", b'"op"'])
def test_what_is_not_an_object_is_refused(payload: bytes) -> None:
    with pytest.raises(wire.WireError, match="not an object"):
        wire.receive(io.BytesIO(frame(payload)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", object(), {1, 2}])
def test_what_json_has_no_word_for_is_not_sent(value: object) -> None:
    stream = io.BytesIO()
    with pytest.raises(wire.WireError):
        wire.send(stream, {"value": value})
    assert stream.getvalue() == b""


def test_what_the_other_side_would_refuse_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 100)
    stream = io.BytesIO()
    wire.send(stream, {"a": "x" * 91})
    assert len(stream.getvalue()) == 4 + 100
    with pytest.raises(wire.WireError, match="101 bytes"):
        wire.send(stream, {"a": "x" * 92})
    assert len(stream.getvalue()) == 4 + 100
