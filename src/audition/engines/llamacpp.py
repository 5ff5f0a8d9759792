"""llama.cpp, through the `xllamacpp` wheel: its own server code, in process.

The package opens a loopback HTTP listener that cannot be switched off. It is closed to others with a random key,
no CORS, no web page and no slot inspection; only its health route answers strangers, with `{"status":"ok"}`.
"""

from __future__ import annotations

import queue
import re
import secrets
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from audition.engines.protocol import Chunk, EngineError, Finish

_CODES = {
    "exceed_context_size_error": "context_length_exceeded",
    "invalid_request_error": "invalid_request",
}
_RANDOM_SEED = -1
_REFUSAL = "error loading model: "


class LlamaCpp:
    """One model in llama.cpp."""

    requires = "xllamacpp"
    concurrent = True

    def __init__(self) -> None:
        import xllamacpp

        self._library = xllamacpp
        self._server: Any = None

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
        params.api_keys = [secrets.token_hex(32)]
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
        request = {
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": _RANDOM_SEED if seed is None else seed,
            "cache_prompt": False,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        events: queue.SimpleQueue[tuple[int, dict[str, Any] | BaseException | None]] = queue.SimpleQueue()
        stopped = threading.Event()

        def on_event(event: dict[str, Any]) -> bool:
            events.put((time.perf_counter_ns(), event))
            return stopped.is_set()

        def generate() -> None:
            try:
                self._server.handle_chat_completions(request, on_event)
                events.put((time.perf_counter_ns(), None))
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
                events.put((time.perf_counter_ns(), error))

        worker = threading.Thread(target=generate, name="llama.cpp", daemon=True)
        worker.start()
        finish = Finish(None, 0)
        try:
            while True:
                at_ns, event = events.get()
                if event is None:
                    break
                if isinstance(event, BaseException):
                    raise EngineError(f"llama.cpp failed: {event}", code="engine_error") from event
                if "error" in event:
                    raise _refusal(event["error"])
                yield from _chunks(event, at_ns)
                finish = _finish(event, at_ns, finish)
            yield finish
        finally:
            stopped.set()
            worker.join()

    def unload(self) -> None:
        """Free the model."""
        self._server = None


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
