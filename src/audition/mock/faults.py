"""What the mock server can do wrong: each name with the line that documents it everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "http_500": "HTTP 500 with an error object, at once",
        "http_429": "HTTP 429 with an error object and Retry-After, at once",
        "hang": "the request is accepted and never answered",
        "hang_midway": "half of the answer comes, then nothing more; the connection stays open",
        "cut": "half of the answer comes, then the connection is closed",
        "reset": "half of the answer comes, then the connection is reset (RST)",
        "no_done": "the stream ends properly, without [DONE] (streams only)",
        "error_event": "an error object midway in a 200 stream, then [DONE]; without streaming, as the 200 body",
        "broken_json": "one event midway is cut JSON; without streaming, the body is",
        "broken_sse": "lines midway that are no event, and half an event (streams only)",
        "not_sse": "HTTP 200 with a text/html page",
        "empty_stream": "HTTP 200 and [DONE] at once; without streaming, an empty body",
    }
)
"""Things that clients meet and must survive. Midway is after half of the events that carry text."""

STREAM_ONLY = frozenset({"no_done", "broken_sse"})
"""Failures that an answer without streaming cannot show."""

LIES: Mapping[str, str] = MappingProxyType(
    {
        "ignore_temperature": "random text even at temperature 0, whatever the seed",
        "ignore_seed": "random text though a seed is given (above temperature 0)",
        "fixed_output": "the same text whatever temperature and seed",
        "ignore_max_tokens": "answers with all its tokens whatever max_tokens says, and finish_reason stop",
        "no_usage": "no usage though it was asked for",
        "wrong_usage": "usage reports three times the tokens",
        "zero_usage": "usage reports 0",
        "wrong_finish_reason": "finish_reason stop though the answer was cut at max_tokens",
        "small_context": "silently keeps only the last context / 4 words of the prompt, and counts only those",
        "prompt_cache": "silently skips the prefill delay of a prefix that it has seen (needs prefill_tps)",
        "prompt_cache_reported": "the same, and usage.prompt_tokens_details.cached_tokens says so",
        "response_cache": "an identical request is answered at once, in one burst, with the earlier text",
        "wrong_model": "answers name another model",
        "cpu_fallback": "/v1/models says device gpu (or the scripted one), every answer says cpu",
        "buffered": "all events that carry text come at the very end, in one write",
        "no_template": "prompt tokens without the chat template's overhead",
        "empty": "answers without text",
        "echo": "answers with the last message of the prompt",
        "loop": "answers that repeat one phrase",
        "special_tokens": "chat template markers such as <|im_end|> stand in the text",
        "unclosed_reasoning": "the text opens <think> and never closes it",
        "wrong_script": "answers in Chinese or Cyrillic to any prompt",
        "rejects_stream_options": "HTTP 400 that names stream_options when the request has it",
        "rejects_seed": "HTTP 400 that names seed when the request has it",
    }
)
"""Ways in which a server answers and is not what it claims to be."""

EXCLUSIVE: tuple[frozenset[str], ...] = (
    frozenset({"no_usage", "wrong_usage", "zero_usage"}),
    frozenset({"empty", "echo", "loop", "wrong_script"}),
    frozenset({"fixed_output", "ignore_temperature"}),
    frozenset({"fixed_output", "ignore_seed"}),
    frozenset({"ignore_max_tokens", "wrong_finish_reason"}),
)
"""Lies of which only one can be told at a time."""
