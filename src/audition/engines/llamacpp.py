"""llama.cpp, through the `xllamacpp` wheel: its own server code, in process.

The package opens a loopback HTTP listener that cannot be switched off. It is closed to others with a random key,
no CORS, no web page and no slot inspection; only its health route answers strangers, with `{"status":"ok"}`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import secrets
from collections.abc import Generator, Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from audition.engines.native import called_back
from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.tokens import SAMPLING, check_messages, prompt_sha256, seed_for

_CODES = {
    "exceed_context_size_error": "context_length_exceeded",
    "invalid_request_error": "invalid_request",
}
# Nothing but the temperature touches the model's distribution, whatever the defaults and the file's own wishes are.
_SAMPLING = {
    "samplers": ["temperature"],
    "top_k": SAMPLING["top_k"],
    "top_p": SAMPLING["top_p"],
    "min_p": SAMPLING["min_p"],
    "repeat_penalty": SAMPLING["repetition_penalty"],
    "mirostat": 0,
    "dynatemp_range": 0.0,
}
_PROMPTS = 1024
"""Prompts whose hash is kept."""
_REFUSAL = "error loading model: "


class LlamaCpp:
    """One model in llama.cpp."""

    formats = ("gguf",)
    requires = "xllamacpp"
    concurrent = True

    def __init__(self) -> None:
        import xllamacpp

        self._library = xllamacpp
        self._server: Any = None
        self._key = secrets.token_hex(32)
        self._prompts: dict[bytes, tuple[int, str]] = {}

    @property
    def device(self) -> str | None:
        """`cpu` where there is nothing else; else None: llama.cpp does not tell where it put the weights."""
        return None if _accelerators(self._library.get_device_info()) else "cpu"

    def describe(self) -> dict[str, Any]:
        """Return the package's version, the CPU features it was built with, and the devices it sees."""
        devices = [
            {
                "name": device["name"],
                "description": device["description"],
                "memory_bytes": device["memory_total"],
            }
            for device in self._library.get_device_info()
        ]
        # llama.cpp offloads to the first accelerator it was built for and finds.
        accelerators = _accelerators(devices)
        return {
            "package": f"xllamacpp {version('xllamacpp')}",
            "system_info": self._library.get_system_info().strip(" |"),
            "device": accelerators[0] if accelerators else "cpu",
            "devices": devices,
            "sampling": SAMPLING,
        }

    def load(self, weights_path: str, *, context: int, parallel: int = 1) -> None:
        """Load a GGUF file.

        Args:
            weights_path: The file.
            context: Tokens of context for each request.
            parallel: Requests that are answered at once; each has a context of its own.

        Raises:
            EngineError: llama.cpp would not take it; its log says why.
        """
        params = self._library.CommonParams()
        params.model.path = weights_path
        params.n_ctx = context * parallel
        # By default llama.cpp shrinks the context until it fits: a different target, without a word.
        params.fit_params = False
        params.n_parallel = parallel
        # No reuse of anything between requests: a cached prompt is measured as if prefill were free.
        params.cache_prompt = False
        params.cache_ram_mib = 0
        params.ctx_shift = False
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [self._key]
        params.cors_origins = ""
        params.cors_credentials = False
        params.ui = False
        params.endpoint_slots = False
        try:
            self._server = self._library.Server(params)
        except RuntimeError as error:
            raise EngineError(f"llama.cpp could not load the model ({error})", code="load_failed") from error

    def explain_failure(self, log: str) -> str | None:
        """Return the reason that llama.cpp wrote to its log when a load failed."""
        errors: list[str] = [line.strip() for line in re.findall(r" E \S+: (.+)", log)]
        for number, line in enumerate(errors):
            if line.startswith(_REFUSAL):
                # About some files it only says here that it could not load them, and why in the line before.
                vague = line.startswith(f"{_REFUSAL}llama_model_loader: failed to load model from")
                return errors[number - 1] if vague and number else line.removeprefix(_REFUSAL)
        return errors[0] if errors else None

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        """Answer messages with the model's own chat template (llama.cpp falls back to ChatML where there is none).

        Raises:
            EngineError: The request was refused, for instance because it does not fit into the context.
        """
        check_messages(messages)
        request = {
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed_for(seed),
            **_SAMPLING,
            "cache_prompt": False,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        server = self._server
        if server is None:
            raise EngineError("no model is loaded", code="engine_error")
        events: Generator[tuple[int, dict[str, Any]], None, None] = called_back(
            lambda call: server.handle_chat_completions(request, call)
        )
        finish = Finish(None, 0)
        try:
            for at_ns, event in events:
                if "error" in event:
                    raise _refusal(event["error"])
                yield from _chunks(event, at_ns)
                finish = _finish(event, at_ns, finish)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"llama.cpp failed: {error}", code="engine_error") from error
        finally:
            events.close()
        yield replace(finish, prompt_sha256=self._prompt_sha256(messages, finish.prompt_tokens))

    def _prompt_sha256(self, messages: list[dict[str, str]], fed: int | None) -> str | None:
        """Return the hash of the tokens that these messages are to the model; None if that cannot be told.

        Its own routes are asked, with the key: the package has no function for it. That takes 2 ms, and the times of
        this request are taken by now.

        Args:
            messages: What was asked.
            fed: How many tokens llama.cpp says they were: a prompt of another length is not the one that was fed.
        """
        key = hashlib.sha256(json.dumps(messages).encode("ascii")).digest()
        known = self._prompts.get(key)
        if known is None:
            tokens = self._tokens(messages)
            known = (len(tokens), prompt_sha256(tokens))
            if len(self._prompts) >= _PROMPTS:
                self._prompts.clear()
            self._prompts[key] = known
        count, sha256 = known
        return sha256 if count == fed else None

    def _tokens(self, messages: list[dict[str, str]]) -> list[int]:
        try:
            prompt = self._post("/apply-template", {"messages": messages})["prompt"]
            # As the chat route does it: with the special tokens that the model's file asks for.
            text = {"content": prompt, "add_special": True, "parse_special": True}
            return [int(token) for token in self._post("/tokenize", text)["tokens"]]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return []

    def _post(self, route: str, body: dict[str, Any]) -> Any:
        address = urlsplit(self._server.listening_address)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", route, json.dumps(body), headers)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def unload(self) -> None:
        """Free the model."""
        self._server = None
        self._prompts.clear()


def _accelerators(devices: list[dict[str, Any]]) -> list[str]:
    return [device["name"].lower() for device in devices if device["name"] != "CPU"]


def _chunks(event: dict[str, Any], at_ns: int) -> Iterator[Chunk]:
    """Yield the text of one event; role-only and usage-only events have none."""
    for choice in event.get("choices", ()):
        delta = choice.get("delta", {})
        if delta.get("reasoning_content"):
            yield Chunk(delta["reasoning_content"], at_ns, reasoning=True)
        if delta.get("content"):
            yield Chunk(delta["content"], at_ns)


def _finish(event: dict[str, Any], at_ns: int, so_far: Finish) -> Finish:
    """Add to the end of the stream what this event says about it."""
    reason = next((c["finish_reason"] for c in event.get("choices", ()) if c.get("finish_reason")), so_far.reason)
    usage = event.get("usage")
    if not usage:
        return Finish(reason, at_ns)
    return Finish(
        reason,
        at_ns,
        prompt_tokens=usage.get("prompt_tokens"),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        token_source="usage",  # noqa: S106 - a label
        engine_timings=event.get("timings"),
    )


def _refusal(error: dict[str, Any]) -> EngineError:
    kind = str(error.get("type", ""))
    return EngineError(str(error.get("message", "no reason given")), code=_CODES.get(kind, "engine_error"))
