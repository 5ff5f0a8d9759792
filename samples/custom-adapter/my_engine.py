"""An engine of our own: llama.cpp asked for plain completions, with a chat template that is written here.

Nothing of Audition is imported: two methods are all that it asks for. `formats`, `count_tokens` and `unload` are extra.
"""

from __future__ import annotations

import json
import queue
import secrets
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import xllamacpp

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def rendered(prompt: str) -> str:
    """Return the prompt in the template that SmolLM2 was trained with (ChatML)."""
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"


class MyEngine:
    """SmolLM2 by way of `handle_completions`."""

    formats = ("gguf",)

    def load(self, weights_path: str, context: int = 2048) -> None:
        """Load a GGUF file with so many tokens of context."""
        self.key = secrets.token_hex(16)  # it opens a port on this machine, for us alone
        params = xllamacpp.CommonParams()
        params.model.path = weights_path
        params.n_ctx = context
        params.n_parallel = 1
        params.cache_prompt = False  # a prompt that is remembered would be measured as if reading it were free
        params.cache_ram_mib = 0
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [self.key]
        self.server = xllamacpp.Server(params)

    def generate(
        self, prompt: str, max_tokens: int = 128, temperature: float = 0.0, seed: int | None = None
    ) -> Iterator[str]:
        """Yield the pieces of the answer as llama.cpp makes them."""
        request = {
            "prompt": rendered(prompt),
            "n_predict": max_tokens,
            "temperature": temperature,
            "seed": -1 if seed is None else seed,
            # The distribution of the model itself, as in Audition's own engines.
            **{"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0},
            "cache_prompt": False,
            "stream": True,
        }
        pieces: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
        stopped = threading.Event()

        def take(piece: dict[str, Any]) -> bool:
            pieces.put(piece)
            return stopped.is_set()  # True stops llama.cpp

        def work() -> None:
            try:
                self.server.handle_completions(request, take)
                pieces.put(None)
            except Exception as error:  # noqa: BLE001 - raised below, where it is seen
                pieces.put(error)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                if "error" in piece:
                    raise RuntimeError(piece["error"].get("message", piece["error"]))
                for choice in piece.get("choices", [piece]):
                    yield choice.get("text", choice.get("content", ""))
        finally:
            stopped.set()  # the caller has had enough: it closes this generator
            worker.join()

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has, by llama.cpp's own route for that."""
        connection = HTTPConnection(self.server.listening_address.removeprefix("http://"), timeout=10)
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
            connection.request("POST", "/tokenize", json.dumps({"content": text}), headers)
            return len(json.load(connection.getresponse())["tokens"])
        finally:
            connection.close()

    def unload(self) -> None:
        """Free the model."""
        del self.server
