"""The pipe between a run and its engine process: JSON behind a four-byte length, never pickle."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class WireError(Exception):
    """Something is not a frame: what the other side sent, or what was to be sent."""


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write one message and flush it.

    Raises:
        WireError: It is not JSON, or longer than a frame may be; nothing has been written.
    """
    try:
        # ASCII, because a model can emit half of a surrogate pair, and that has no UTF-8.
        payload = json.dumps(message, ensure_ascii=True, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"a message is not JSON: {error}") from error
    if len(payload) > MAX_FRAME:
        raise WireError(f"a message of {len(payload)} bytes is too long")
    stream.write(_LENGTH.pack(len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream.

    Raises:
        WireError: The frame is cut, too long, or not a JSON object.
    """
    head = stream.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise WireError("a frame's length is cut")
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise WireError(f"a frame claims {length} bytes")
    payload = stream.read(length)
    if len(payload) < length:
        raise WireError("a frame is cut")
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError("a frame is not JSON") from error
    if not isinstance(message, dict):
        raise WireError("a frame is not an object")
    return message
