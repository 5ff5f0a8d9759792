"""How a server wants its requests: most take all fields, some refuse one and say so."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Dialect:
    """The fields that a server takes.

    Attributes:
        stream: The answer is asked for piece by piece.
        stream_options: `stream_options` may be sent, which asks for the token counts.
        seed: `seed` may be sent.
        limit: The name of the field that limits the answer.
    """

    stream: bool = True
    stream_options: bool = True
    seed: bool = True
    limit: str = "max_tokens"

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done otherwise than usual; part of `Wire.notes`."""
        notes = []
        if not self.stream_options:
            notes.append("no_stream_options")
        if not self.seed:
            notes.append("no_seed")
        if self.limit != "max_tokens":
            notes.append(self.limit)
        return tuple(notes)

    def body(self, model: str, messages: list[dict[str, str]], params: dict[str, Any]) -> bytes:
        """Return the body of a request; a parameter that is None is left out."""
        request: dict[str, Any] = {"model": model, "messages": messages}
        if (limit := params.get("max_tokens")) is not None:
            request[self.limit] = limit
        if (temperature := params.get("temperature")) is not None:
            request["temperature"] = temperature
        if self.seed and (seed := params.get("seed")) is not None:
            request["seed"] = seed
        request["stream"] = self.stream
        if self.stream and self.stream_options:
            request["stream_options"] = {"include_usage": True}
        return json.dumps(request).encode("ascii")

    def after(self, refusal: str, params: dict[str, Any]) -> Dialect | None:
        """Return what to try when the server refused a request with these words, or None where nothing would help."""
        if self.stream and self.stream_options and "stream_options" in refusal:
            return replace(self, stream_options=False)
        if self.limit == "max_tokens" and "max_completion_tokens" in refusal and params.get("max_tokens") is not None:
            return replace(self, limit="max_completion_tokens")
        if self.seed and params.get("seed") is not None and re.search(r"\bseed\b", refusal):
            return replace(self, seed=False)
        return None
