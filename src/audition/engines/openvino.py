"""OpenVINO GenAI: GGUF files as they are, and folders in OpenVINO's own format."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from audition.engines.native import check_gguf, reason
from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.tokens import CHATML, SAMPLING, answer, check_messages, room, seed_for

_DEVICE = "CPU"


class OpenVINO:
    """One model in OpenVINO GenAI."""

    formats = ("gguf", "openvino")
    requires = "openvino-genai"
    device = "cpu"

    def __init__(self) -> None:
        # Importing OpenVINO makes a client id in the home folder and reports to a server, unless a file there says no.
        # Without that package it has a stand-in that does nothing.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino_genai

        self._library = openvino_genai
        self._pipeline: Any = None

    def describe(self) -> dict[str, Any]:
        """Return the package's version, and the devices that OpenVINO sees; models run on the processor."""
        import openvino

        core = openvino.Core()
        return {
            "package": f"openvino-genai {version('openvino-genai')}",
            "device": self.device,
            "devices": [
                {"name": name, "description": core.get_property(name, "FULL_DEVICE_NAME")}
                for name in core.available_devices
            ],
            "sampling": SAMPLING,
        }

    def load(self, weights_path: str, *, context: int) -> None:
        """Load a GGUF file, or a folder with `openvino_model.xml`.

        Args:
            weights_path: The file or the folder.
            context: Tokens of context.

        Raises:
            EngineError: OpenVINO would not take it.
        """
        path = Path(weights_path)
        if not path.is_dir():
            check_gguf(path)
        try:
            with tempfile.TemporaryDirectory(prefix="audition-") as folder:
                place = path if path.is_dir() else _with_suffix(path, Path(folder))
                self._pipeline = self._library.LLMPipeline(str(place), _DEVICE, **self._without_memory(context))
            self._tokenizer = self._pipeline.get_tokenizer()
            self._tokenizer.encode("x")
        except EngineError:
            raise
        except Exception as error:
            self.unload()
            raise EngineError(f"OpenVINO could not load it: {reason(error)}", code="load_failed") from error
        self._bare = not self._tokenizer.chat_template
        if self._bare:
            self._tokenizer.set_chat_template(CHATML)
        self._context = context

    def _without_memory(self, context: int) -> dict[str, Any]:
        """Return the properties with which no prompt is kept for the next one: OpenVINO does so by default."""
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return {"ATTENTION_BACKEND": "SDPA"}  # the other one is for these processors only, and it alone keeps any
        scheduler = self._library.SchedulerConfig()
        scheduler.enable_prefix_caching = False
        scheduler.max_num_batched_tokens = max(256, context)  # the whole prompt in one go, as by default
        return {"scheduler_config": scheduler}

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        """Answer messages with the model's chat template, or with ChatML where it has none.

        Raises:
            EngineError: There is nothing to answer, or the prompt does not fit into the context.
        """
        pipeline, library = self._pipeline, self._library
        if pipeline is None:
            raise EngineError("no model is loaded", code="engine_error")
        check_messages(messages)
        prompt = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        # Tokens and not text: text would be given the template, or its first special token, a second time.
        inputs = self._tokenizer.encode(prompt, add_special_tokens=self._bare)
        tokens = inputs.input_ids.data[0].tolist()
        config = self._config(room(len(tokens), max_tokens, self._context), temperature, seed)

        def generate(call: Callable[[int], bool]) -> dict[str, float]:
            return _timings(pipeline.generate(inputs, config, _streamer(library, call)))

        ends = {config.eos_token_id, *config.stop_token_ids}
        yield from answer(generate, self._tokenizer.decode, prompt=tokens, ends=ends)

    def _config(self, max_tokens: int, temperature: float, seed: int | None) -> Any:
        """Return the settings of one answer: of the model's own only the tokens that end one."""
        own, config = self._pipeline.get_generation_config(), self._library.GenerationConfig()
        config.eos_token_id, config.stop_token_ids = own.eos_token_id, own.stop_token_ids
        config.apply_chat_template = False
        config.max_new_tokens = max_tokens
        config.repetition_penalty = SAMPLING["repetition_penalty"]
        if temperature > 0:
            config.do_sample = True
            config.temperature = temperature
            config.top_k, config.top_p, config.min_p = SAMPLING["top_k"], SAMPLING["top_p"], SAMPLING["min_p"]
            config.rng_seed = seed_for(seed)
        return config

    def unload(self) -> None:
        """Free the model."""
        self._tokenizer = None
        self._pipeline = None


def _streamer(library: Any, call: Callable[[int], bool]) -> Any:
    """Return an object that passes tokens on as they come, not text, which would be held back until a word is whole."""
    running, cancel = library.StreamingStatus.RUNNING, library.StreamingStatus.CANCEL

    class Streamer(library.StreamerBase):  # type: ignore[misc]
        def write(self, token: Any) -> Any:
            # An exception in here would end the process.
            stop = False
            for one in token if isinstance(token, list) else [token]:
                stop = call(one)
            return cancel if stop else running

        def end(self) -> None:
            pass

    return Streamer()


def _timings(result: Any) -> dict[str, float]:
    metrics = result.perf_metrics
    return {"ttft_ms": metrics.get_ttft().mean, "tpot_ms": metrics.get_tpot().mean}


def _with_suffix(file: Path, folder: Path) -> Path:
    """Return a name for the file that OpenVINO takes for a GGUF file's: the store's have none."""
    if file.suffix == ".gguf":
        return file
    place = folder / "model.gguf"
    try:
        place.symlink_to(file.resolve())
    except OSError:  # Windows lets only some people make symbolic links
        try:
            os.link(file, place)
        except OSError as error:
            raise EngineError(f"no link to the model can be made in {folder}", code="load_failed") from error
    return place
