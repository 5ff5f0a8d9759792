"""The body of a chat request, read strictly where the mock server uses it; other fields are ignored."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from audition.mock.http import HttpError


class Message(NamedTuple):
    """One message of the prompt; `content` is its text."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a chat request asks for.

    Attributes:
        model: The name asked for; None: none was given.
        temperature: 1 when the request does not say, as OpenAI has it.
        fields: The names of all fields of the body.
    """

    messages: tuple[Message, ...]
    model: str | None
    max_tokens: int | None
    temperature: float
    seed: int | None
    stream: bool
    include_usage: bool
    fields: frozenset[str]


def parse_chat(body: bytes) -> ChatRequest:
    """Read the body of a chat request.

    Raises:
        HttpError: 400, with the field that is wrong.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "the body is not valid JSON, or is nested too deeply") from error
    if not isinstance(data, dict):
        raise HttpError(400, "the body must be a JSON object")
    stream, model = data.get("stream") or False, data.get("model")
    options = data.get("stream_options") or {}
    _need(isinstance(stream, bool), "stream", "must be true or false")
    _need(model is None or isinstance(model, str), "model", "must be a string")
    _need(isinstance(options, dict), "stream_options", "must be an object")
    temperature = data.get("temperature")
    if temperature is None:
        temperature = 1.0
    _need(_is_number(temperature) and 0 <= temperature <= 100, "temperature", "must be a number from 0 to 100")
    return ChatRequest(
        messages=_messages(data.get("messages")),
        model=model,
        max_tokens=_integer(data, "max_completion_tokens", 1) or _integer(data, "max_tokens", 1),
        temperature=float(temperature),
        seed=_integer(data, "seed", -(2**63)),
        stream=stream,
        include_usage=options.get("include_usage") is True,
        fields=frozenset(data),
    )


def _messages(data: Any) -> tuple[Message, ...]:
    _need(isinstance(data, list) and len(data) > 0, "messages", "must be a list with at least one message")
    messages = []
    for item in data:
        _need(isinstance(item, dict) and isinstance(item.get("role"), str), "messages", "must each have a role")
        messages.append(Message(item["role"], _content(item.get("content"))))
    return tuple(messages)


def _content(content: Any) -> str:
    """Return the text of a message, which may come in parts; an assistant's message may have none."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        texts = [text for text in parts if isinstance(text, str)]
        _need(len(texts) == len(content), "messages", "must have content that is text")
        return "".join(texts)
    _need(isinstance(content, str), "messages", "must have content that is text")
    return str(content)


def _integer(data: dict[str, Any], name: str, low: int) -> int | None:
    value = data.get(name)
    fits = value is None or (isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**64)
    _need(fits, name, f"must be a whole number, at least {low}")
    return value


def _is_number(value: Any) -> bool:
    # Integers of any length are numbers; only a float can be infinite or none.
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    )


def _need(condition: bool, field: str, what: str) -> None:
    if not condition:
        raise HttpError(400, f"{field} {what}", param=field)
