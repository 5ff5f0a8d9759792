"""ONNX Runtime GenAI: folders with `genai_config.json`, as Foundry Local runs them too."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from audition.engines.native import reason
from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.tokens import CHATML, SAMPLING, check_messages, prompt_sha256, room, seed_for

_CONFIG = "genai_config.json"
_MOST_CONFIG_BYTES = 4 * 2**20
_PROVIDERS = ("cuda", "dml", "openvino", "qnn", "webgpu")
# Settings with which a folder would have a library of its own loaded, or a file read or written elsewhere.
_REACHING_OUT = re.compile(r"librar|path|folder|dir$|directory|profiling|(?<!pro)file")


class OrtGenAI:
    """One model in ONNX Runtime GenAI."""

    formats = ("onnx-genai",)
    requires = "onnxruntime-genai"

    def __init__(self) -> None:
        os.environ["ORT_TELEMETRY_DISABLED"] = os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime_genai

        onnxruntime_genai.disable_telemetry_events()
        self._library = onnxruntime_genai
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def device(self) -> str | None:
        """Where the loaded model runs: the folder's configuration decides."""
        return None if self._model is None else str(self._model.device_type).lower()

    def describe(self) -> dict[str, Any]:
        """Return the package's version, and the execution providers that it was built for; the folder names its own."""
        found = [name for name in _PROVIDERS if getattr(self._library, f"is_{name}_available")()]
        return {
            "package": f"onnxruntime-genai {version('onnxruntime-genai')}",
            "device": "cpu",
            "providers": ["cpu", *found],
            "sampling": SAMPLING,
        }

    def load(self, weights_path: str, *, context: int) -> None:
        """Load a folder.

        Args:
            weights_path: The folder.
            context: Tokens of context; no more than the folder says that the model has.

        Raises:
            EngineError: The folder is incomplete, broken, or reaches out of itself.
        """
        folder = Path(weights_path)
        most = checked_context(folder)
        try:
            self._model = self._library.Model(self._library.Config(str(folder)))
            self._tokenizer = self._library.Tokenizer(self._model)
            self._template = _fallback(self._tokenizer)
        except Exception as error:
            self.unload()
            raise EngineError(f"ONNX Runtime GenAI could not load it: {reason(error)}", code="load_failed") from error
        # What a chat template writes has its special tokens in it; other text begins with the model's own.
        self._tokenizer.update_options(add_special_tokens="false" if self._template is None else "true")
        self._ends = {int(token) for token in self._tokenizer.eos_token_ids}
        self._context = min(context, most)

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        """Answer messages with the folder's chat template, or with ChatML where it has none.

        Raises:
            EngineError: There is nothing to answer, or the prompt does not fit into the context.
        """
        if self._model is None:
            raise EngineError("no model is loaded", code="engine_error")
        check_messages(messages)
        prompt = self._tokenizer.apply_chat_template(
            json.dumps(messages), template_str=self._template, add_generation_prompt=True
        )
        tokens = self._tokenizer.encode(prompt)
        limit = room(len(tokens), max_tokens, self._context)
        params = self._library.GeneratorParams(self._model)
        params.set_search_options(
            **_search(temperature, seed), max_length=len(tokens) + limit, batch_size=1, min_length=0, num_beams=1
        )
        generator = self._library.Generator(self._model, params)
        text = self._tokenizer.create_stream()
        generator.append_tokens(tokens)
        count, ended = 0, False
        while not generator.is_done():
            generator.generate_next_token()
            token = int(generator.get_next_tokens()[0])
            at_ns = time.perf_counter_ns()
            count += 1
            ended = token in self._ends
            if not ended and (piece := text.decode(token)):
                yield Chunk(piece, at_ns)
        end_ns = time.perf_counter_ns()
        yield Finish(
            "stop" if ended else "length",
            end_ns,
            prompt_tokens=len(tokens),
            cached_tokens=0,
            completion_tokens=count,
            token_source="usage",  # noqa: S106 - a label
            prompt_sha256=prompt_sha256(tokens),
        )

    def unload(self) -> None:
        """Free the model."""
        self._tokenizer = None
        self._model = None


def _search(temperature: float, seed: int | None) -> dict[str, Any]:
    """Return the options of the search, all of them: those left out would be the folder's."""
    options = {
        "repetition_penalty": SAMPLING["repetition_penalty"],
        "no_repeat_ngram_size": 0,
        "num_return_sequences": 1,
    }
    if temperature <= 0:
        return {**options, "do_sample": False}
    return {
        **options,
        "do_sample": True,
        "temperature": temperature,
        "top_k": SAMPLING["top_k"],
        "top_p": SAMPLING["top_p"],
        "random_seed": seed_for(seed),
    }


def _fallback(tokenizer: Any) -> str | None:
    """Return the template to use in place of one that the folder lacks; None where it has one."""
    try:
        tokenizer.apply_chat_template(json.dumps([{"role": "user", "content": "x"}]), add_generation_prompt=True)
    except RuntimeError as error:
        if "empty chat template" in str(error).lower():
            return CHATML
        raise
    return None


def checked_context(folder: Path) -> int:
    """Return the context that a folder says its model has, once nothing in its configuration reaches out of it.

    Raises:
        EngineError: It has no configuration, or one that no model needs.
    """
    file = folder / _CONFIG
    try:
        with file.open("rb") as stream:
            config = json.loads(stream.read(_MOST_CONFIG_BYTES + 1))
        model = config["model"]
        context = model["context_length"]
    except OSError as error:
        raise EngineError(f"{folder.name} has no {_CONFIG} that can be read", code="load_failed") from error
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise EngineError(f"{_CONFIG} is no configuration of a model: {error!r:.100}", code="load_failed") from error
    if not isinstance(context, int) or context <= 0:
        raise EngineError(f"{_CONFIG} names no context_length", code="load_failed")
    for key, value in _settings(config):
        if "filename" in key:
            if not isinstance(value, str) or value in ("", ".", "..") or re.search(r"[/\\:\0]", value):
                raise EngineError(f"{_CONFIG} names a file outside of its folder: {value!r:.80}", code="load_failed")
        elif _REACHING_OUT.search(key.lower()):
            raise EngineError(f"{_CONFIG} sets {key!r:.80}, which reaches out of its folder", code="load_failed")
    return context


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of a JSON document with its value, however deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
