from __future__ import annotations

import json
from typing import Any

import pytest

from audition.mock.http import HttpError
from audition.mock.request import Message, parse_chat

MESSAGES = [{"role": "user", "content": "hello"}]


def test_defaults_are_those_of_openai() -> None:
    chat = parse_chat(json.dumps({"messages": MESSAGES, "tools": []}).encode())
    assert (chat.max_tokens, chat.temperature, chat.seed, chat.stream, chat.include_usage) == (
        None,
        1.0,
        None,
        False,
        False,
    )


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]
    chat = parse_chat(json.dumps({"messages": messages}).encode())
    assert chat.messages == (Message("user", "ab"), Message("assistant", ""))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"content": "hello"}]}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": "1"}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": [1]}, "stream_options"),
        ({"model": 1}, "model"),
    ],
)
def test_a_wrong_field_is_named(fields: Any, param: str) -> None:
    with pytest.raises(HttpError) as caught:
        parse_chat(json.dumps({"messages": MESSAGES, **fields}).encode())
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe\xfa", b'{"a":' * 100_000, b"[" * 100_000, b'{"n": ' + b"9" * 5000 + b"}"],
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        parse_chat(body)
    assert caught.value.status == 400
