"""What a server says when it does not answer: a code of ours, and its own words, bounded."""

from __future__ import annotations

import json
import re
from typing import Any

_CODES = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited"}
# OpenAI and vLLM, llama.cpp, LM Studio.
_TOO_LONG = re.compile(r"context_length|exceed_context|context (length|size|window)|maximum context", re.IGNORECASE)
_READ_BYTES = 2**16


def refused(status: int, body: bytes, location: bytes | None = None) -> tuple[str, str]:
    """Return the code and the message for an answer whose HTTP status is an error; the message is raw and long."""
    words = explained(body)
    if 300 <= status < 400 and location is not None:
        words = f"the server moved to {location[:300].decode('latin-1')}"
    code = _CODES.get(status, f"http_{status}")
    if status in (400, 413, 422, 500) and _TOO_LONG.search(words):
        code = "context_length_exceeded"
    return code, words or f"HTTP status {status} without a reason"


def explained(body: bytes) -> str:
    """Return what the body of a refusal says: OpenAI's error object, FastAPI's detail, or plain text."""
    text = body[:_READ_BYTES].decode(errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    return error_text(content)


def error_text(content: Any) -> str:
    """Return the message in an error of any of the usual shapes, with its code, type and parameter."""
    if isinstance(content, dict):
        inner = next((content[name] for name in ("error", "message", "detail") if content.get(name)), content)
        if inner is not content and isinstance(inner, dict) and isinstance(inner.get("message"), str):
            marks = [str(inner[name]) for name in ("code", "type", "param") if isinstance(inner.get(name), str)]
            return f"{inner['message']} ({', '.join(marks)})" if marks else str(inner["message"])
        content = inner
    if isinstance(content, str):
        return content
    try:
        return json.dumps(content)[:_READ_BYTES]
    except RecursionError:
        return ""
