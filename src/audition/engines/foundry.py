"""Foundry Local, through its own SDK: its native runtime, in process, without its service and without its catalog.

A model's folder is registered in the SDK's local catalog, under a data folder of ours. The public catalog is never
asked, and the SDK is opened so that it opens no connection at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from audition.engines.ortgenai import checked_context
from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.tokens import CHATML, SAMPLING, check_messages, room, seed_for
from audition.models.folder import chat_template, read_object, section
from audition.models.header import ModelFileError
from audition.store.blobs import disk_error, link_or_copy
from audition.store.foundry.process import explained, foundry_dir
from audition.store.foundry.sdk import open_sdk

_NEUTRAL = {
    "repetition_penalty": SAMPLING["repetition_penalty"],
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "length_penalty": 1.0,
    "diversity_penalty": 0.0,
}
"""Settings of the search that a folder can have and the SDK has no option for."""
_HELLO = [{"role": "user", "content": "Hello"}]
_INVALID_ARGUMENT = 3  # the SDK's own error code


class Foundry:
    """One model in Foundry Local's runtime."""

    formats = ("onnx-genai",)
    requires = "foundry-local-sdk"

    def __init__(self) -> None:
        folder = foundry_dir() / "engine"
        try:
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder / "logs"):
                pass
        except OSError as error:
            raise disk_error(error, folder) from error  # which the SDK would say in its own words, and not why
        self._sdk, self._manager = open_sdk(folder)
        self._catalog = self._manager.get_catalog(self._sdk.CatalogType.LOCAL)
        self._model: Any = None
        self._prepared: Path | None = None
        self._context = 0
        self.device: str | None = None

    def describe(self) -> dict[str, Any]:
        """Return the versions of the SDK and its runtimes, and the execution providers it knows besides the CPU's."""
        return {
            "package": f"foundry-local-sdk {version('foundry-local-sdk')}",
            "onnxruntime": version("onnxruntime"),
            "onnxruntime_genai": version("onnxruntime-genai-core"),
            "device": "cpu",
            "execution_providers": [
                {"name": provider.name, "registered": provider.is_registered}
                for provider in self._manager.discover_eps()
            ],
            "sampling": SAMPLING,
        }

    def load(self, weights_path: str, *, context: int) -> None:
        """Register a model's folder and load it.

        Args:
            weights_path: The folder, with a `genai_config.json`.
            context: The most tokens that a prompt and its answer may have.

        Raises:
            EngineError: The SDK would not take it, or it has no chat template.
        """
        sdk, folder = self._sdk, Path(weights_path).absolute()
        checked_context(folder)
        # The same folder has the same id, so that what a killed process left registered is not added to.
        identifier = f"audition-{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}:1"
        try:
            with suppress(sdk.FoundryLocalException):
                self._catalog.unregister_model(identifier)
            self._prepared = _prepared(folder, identifier.removesuffix(":1"))
            with sdk.ModelInfoBuilder() as facts:
                facts.set_string_property("task", "chat-completion")
                self._model = self._catalog.register_model(self._prepared or folder, identifier, facts)
            self._model.load()
            self.device = _device(folder)
            # A chat template that is broken shows only when it is used.
            with sdk.ChatSession(self._model) as session, self._request(_HELLO) as request:
                limit = session.preflight_request(request).context_limit_tokens
        except (sdk.FoundryLocalException, ValueError, OSError, ModelFileError) as error:
            reason = explained(str(error)).replace(identifier, folder.name)
            self.unload()
            raise EngineError(f"Foundry Local could not load the model: {reason}", code="load_failed") from error
        self._context = min(context, limit)

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        """Answer messages with the folder's own chat template.

        Raises:
            EngineError: The request was refused, for instance because it does not fit into the context.
        """
        try:
            yield from self._answer(messages, max_tokens, temperature, seed)
        except self._sdk.FoundryLocalException as error:
            invalid = error.error_code == _INVALID_ARGUMENT
            raise EngineError(
                f"Foundry Local failed: {explained(str(error))}", code="invalid_request" if invalid else "engine_error"
            ) from error

    def unload(self) -> None:
        """Free the model, and forget that it was registered."""
        model, self._model = self._model, None
        prepared, self._prepared = self._prepared, None
        if model is not None:
            with suppress(self._sdk.FoundryLocalException):
                model.unload()
                self._catalog.unregister_model(model.id)
        if prepared is not None:
            shutil.rmtree(prepared, ignore_errors=True)

    def _answer(
        self, messages: list[dict[str, str]], max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        sdk = self._sdk
        if self._model is None:
            raise EngineError("no model is loaded", code="engine_error")
        check_messages(messages)
        # A session keeps the conversation: every request has one of its own.
        with sdk.ChatSession(self._model) as session, self._request(messages) as request:
            prompt_tokens = session.preflight_request(request).prompt_tokens
            search = sdk.SearchOptions(
                temperature=temperature,
                top_p=SAMPLING["top_p"],
                top_k=int(SAMPLING["top_k"]),
                max_output_tokens=room(prompt_tokens, max_tokens, self._context),
                seed=seed_for(seed),
                do_sample=temperature > 0,
            )
            request.set_options(sdk.RequestOptions(search=search))
            session.set_streaming(True)
            # Leaving it early cancels the generation and waits until it has stopped.
            with session.process_streaming_request(request) as stream:
                for item in stream:
                    at_ns = time.perf_counter_ns()
                    if isinstance(item, sdk.TextItem) and item.text:
                        yield Chunk(item.text, at_ns, reasoning=item.type == sdk.TextItemType.REASONING)
                end_ns = time.perf_counter_ns()
                with stream.final_response as response:
                    reason, usage = response.finish_reason, response.get_usage()
        if reason == sdk.FinishReason.ERROR:
            raise EngineError("Foundry Local ended the answer with an error", code="engine_error")
        yield Finish(
            {sdk.FinishReason.STOP: "stop", sdk.FinishReason.LENGTH: "length"}.get(reason),
            end_ns,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=0,
            # The SDK does not count the token that ends an answer; the other engines do, and it takes as long.
            completion_tokens=usage.completion_tokens + (reason == sdk.FinishReason.STOP),
            token_source="usage",  # noqa: S106 - a label
        )

    def _request(self, messages: list[dict[str, str]]) -> Any:
        request = self._sdk.Request()
        for message in messages:
            role = getattr(self._sdk.MessageRole, message["role"].upper(), None)
            if role is None:
                raise EngineError(f'there is no role "{message["role"]}"', code="invalid_request")
            request.add_item(self._sdk.MessageItem(role, message["content"]))
        return request


def _prepared(folder: Path, name: str) -> Path | None:
    """Return a folder with the same weights that asks for nothing but them; None where the folder itself does that.

    A `genai_config.json` can wish for a repetition penalty, for instance, and the SDK has no option against it. A
    folder without a chat template gets the one that it gets on other engines.
    """
    config = read_object(folder / "genai_config.json")
    search = section(config, "search")
    has_wishes = any(search.get(key, value) != value for key, value in _NEUTRAL.items())
    template = chat_template(folder)
    if template is not None and not has_wishes:
        return None
    parent = foundry_dir() / "engine" / "prepared"
    for left in parent.glob("*"):  # by a process that was killed
        pid = left.name.rpartition("-")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    prepared = parent / f"{name}-{os.getpid()}"
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir(parents=True)
    for file in folder.iterdir():
        if file.is_file() and file.name != "genai_config.json":
            link_or_copy(file, prepared / file.name)
    neutral = json.dumps({**config, "search": {**search, **_NEUTRAL}})
    (prepared / "genai_config.json").write_text(neutral, encoding="utf-8")
    if template is None:
        (prepared / "chat_template.jinja").unlink(missing_ok=True)
        (prepared / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return prepared


def _device(folder: Path) -> str:
    """Return the device that a folder's configuration names: the CPU where it names no execution provider."""
    decoder = section(section(read_object(folder / "genai_config.json"), "model"), "decoder")
    providers = section(decoder, "session_options").get("provider_options")
    for provider in providers if isinstance(providers, list) else ():
        if isinstance(provider, dict) and provider:
            return str(next(iter(provider))).lower()[:40]
    return "cpu"
