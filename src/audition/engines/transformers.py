"""Hugging Face transformers on PyTorch: safetensors folders, and GGUF files, which it unpacks to full precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from audition.engines.native import check_gguf, reason
from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.tokens import CHATML, SAMPLING, answer, check_messages, room, seed_for


class Transformers:
    """One model in PyTorch."""

    formats = ("safetensors", "gguf")
    requires = "transformers"

    def __init__(self) -> None:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        self._torch, self._library = torch, transformers
        self._model: Any = None
        self._tokenizer: Any = None

    @property
    def device(self) -> str:
        """The graphics processor where PyTorch can use one, else `cpu`."""
        if self._torch.cuda.is_available():
            return "cuda"
        return "mps" if self._torch.backends.mps.is_available() else "cpu"

    def describe(self) -> dict[str, Any]:
        """Return the packages' versions and the devices."""
        cuda = self._torch.cuda
        return {
            "package": f"transformers {version('transformers')}, torch {self._torch.__version__}",
            "device": self.device,
            "devices": [{"name": "cpu"}]
            + [{"name": f"cuda:{n}", "description": cuda.get_device_name(n)} for n in range(cuda.device_count())],
            "sampling": SAMPLING,
        }

    def load(self, weights_path: str, *, context: int) -> None:
        """Load a folder with safetensors, or a GGUF file.

        Numbers are float32 on the processor; on a graphics processor they are what the folder says. A GGUF file is
        unpacked to these: its quantization changes what the numbers are, not the memory that they take.

        Args:
            weights_path: The folder or the file.
            context: Tokens of context.

        Raises:
            EngineError: transformers would not take it.
        """
        path = Path(weights_path)
        # Nothing from the network, no code out of a model's folder, no pickles.
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        folder = path if path.is_dir() else path.parent
        if not path.is_dir():
            check_gguf(path)
            options["gguf_file"] = path.name
        try:
            self._tokenizer = self._library.AutoTokenizer.from_pretrained(str(folder), **options)
            self._model = self._library.AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=self._torch.float32 if self.device == "cpu" else "auto",
                use_safetensors=True,
                **options,
            )
            self._model.to(self.device).eval()
        except ImportError:
            raise
        except Exception as error:
            self.unload()
            raise EngineError(f"transformers could not load it: {reason(error)}", code="load_failed") from error
        own = self._model.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else self._tokenizer.eos_token_id
        self._ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        # What a file wishes besides would be taken for every setting that a request leaves open.
        self._model.generation_config = self._library.GenerationConfig()
        self._context = context

    def chat(
        self, messages: list[dict[str, str]], *, max_tokens: int, temperature: float, seed: int | None
    ) -> Iterator[Chunk | Finish]:
        """Answer messages with the model's chat template, or with ChatML where it has none.

        Raises:
            EngineError: There is nothing to answer, or the prompt does not fit into the context.
        """
        if self._model is None:
            raise EngineError("no model is loaded", code="engine_error")
        check_messages(messages)
        inputs = self._inputs(messages)
        tokens = inputs["input_ids"][0].tolist()
        config = self._config(room(len(tokens), max_tokens, self._context), temperature)
        if seed is not None or temperature > 0:
            self._torch.manual_seed(seed_for(seed))

        def generate(call: Callable[[int], bool]) -> None:
            streamer = _Streamer(call)
            with self._torch.inference_mode():
                self._model.generate(
                    **inputs,
                    generation_config=config,
                    streamer=streamer,
                    stopping_criteria=[lambda ids, _: self._torch.full((len(ids),), streamer.stopped)],
                )

        yield from answer(generate, self._decode, prompt=tokens, ends=self._ends)

    def _inputs(self, messages: list[dict[str, str]]) -> Any:
        """Return the prompt's tokens, where the model will look for them."""
        bare = not self._tokenizer.chat_template
        prompt = self._tokenizer.apply_chat_template(
            messages, chat_template=CHATML if bare else None, add_generation_prompt=True, tokenize=False
        )
        # What a chat template writes has its special tokens in it; other text begins with the model's own.
        inputs = self._tokenizer(prompt, add_special_tokens=bare, return_tensors="pt", return_token_type_ids=False)
        return inputs.to(self._model.device)

    def _config(self, max_tokens: int, temperature: float) -> Any:
        options: dict[str, Any] = {
            "max_new_tokens": max_tokens,
            "do_sample": temperature > 0,
            "repetition_penalty": SAMPLING["repetition_penalty"],
            "eos_token_id": self._ends or None,
            "pad_token_id": self._ends[0] if self._ends else 0,
        }
        if temperature > 0:
            options |= {"temperature": temperature, **{name: SAMPLING[name] for name in ("top_k", "top_p", "min_p")}}
        return self._library.GenerationConfig(**options)

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def unload(self) -> None:
        """Free the model."""
        self._tokenizer = None
        self._model = None
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()


class _Streamer:
    """Passes tokens on as `generate` finds them; the first that it is handed are the prompt's."""

    def __init__(self, call: Callable[[int], bool]) -> None:
        self._call = call
        self._begun = False
        self.stopped = False

    def put(self, tokens: Any) -> None:
        if self._begun:
            for token in tokens.flatten().tolist():
                self.stopped = self._call(token)
        self._begun = True

    def end(self) -> None:
        pass
