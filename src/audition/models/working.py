"""What each engine takes beside the weights as they are stored: its process, its buffers, its own form of the weights.

The shapes of these formulas follow from what the engines do; the sizes of the processes were measured
(`benchmarks/fit.py`) on Linux, with the versions that the package asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from audition.models.kv import BATCH, CELLS, cache_bytes
from audition.models.shape import Shape

_FLOAT = 4  # bytes
_UNKNOWN_BUFFERS = 64 * 2**20
"""For buffers whose shape the facts do not tell."""


@dataclass(frozen=True, slots=True)
class Load:
    """One model that is loaded, with its context full.

    Attributes:
        shape: Its layers and vocabulary; None where nobody tells.
        stored: The bytes of its weights on the disk.
        parameters: How many it has; None where that is not known.
        format: Of its files.
        context: Tokens for each request.
        parallel: Requests at once.
    """

    shape: Shape | None
    stored: int
    parameters: int | None
    format: str
    context: int
    parallel: int

    def vocabulary(self) -> int:
        """Return the tokens of its vocabulary; without facts, more than most have."""
        return (self.shape.vocab_size if self.shape else None) or 150_000

    def activations(self, tokens: int) -> int:
        """Return the bytes of what stands between the steps of a layer while `tokens` are computed at once.

        Measured in llama.cpp's own log: three rows as wide as the feed-forward part, and five of the embedding.
        """
        embedding = self.shape.kv.embedding_length if self.shape else None
        if self.shape is None or embedding is None:
            return _UNKNOWN_BUFFERS
        return tokens * _FLOAT * (3 * (self.shape.feed_forward_length or 4 * embedding) + 5 * embedding)

    def cache(self, *, width: float | None = None, batch: int | None = None, context: int | None = None) -> int | None:
        """Return the bytes of the key-value cache; None when the facts do not tell."""
        shape, tokens = self.shape, context or self.context
        if shape is None:
            return None
        return cache_bytes(shape.kv, shape.architecture, tokens, parallel=self.parallel, width=width, batch=batch)


class Engine:
    """An engine that is not known: it holds the weights as they are stored."""

    PROCESS = 128 * 10**6

    def weights(self, load: Load) -> int:
        """Return the bytes that the weights take."""
        return load.stored

    def kv_cache(self, load: Load) -> int | None:
        """Return the bytes that the key-value cache takes; None when the facts do not tell."""
        return load.cache()

    def working(self, load: Load) -> int:
        """Return the bytes of all the rest."""
        return self.PROCESS + load.activations(min(load.context, BATCH))


class LlamaCpp(Engine):
    """llama.cpp: the file is mapped, a batch of tokens is computed at once.

    Weights that it re-arranges for the processor are copied. The system takes the pages of the file back then, when
    memory is short, so the copy is not counted.
    """

    PROCESS = 60 * 10**6
    TOKEN = 300
    """Bytes for a token of the vocabulary: its text and where to find it."""

    def kv_cache(self, load: Load) -> int | None:
        """Count windows, and the rounding."""
        return load.cache(batch=BATCH, context=_padded(load.context))

    def working(self, load: Load) -> int:
        """Add what a batch and the vocabulary take."""
        tokens = _padded(load.context)
        batch = min(tokens, BATCH)
        mask = batch * tokens * 2  # which token sees which, in half precision
        logits = load.vocabulary() * _FLOAT * load.parallel
        return self.PROCESS + load.activations(batch) + mask + logits + load.vocabulary() * self.TOKEN


class OrtGenAI(Engine):
    """ONNX Runtime GenAI: weights are packed anew beside the file's; a whole prompt is computed at once.

    Every token of the prompt gets its logits.
    """

    PROCESS = 75 * 10**6

    def weights(self, load: Load) -> int:
        """Count them twice."""
        return 2 * load.stored

    def working(self, load: Load) -> int:
        """Add what the whole prompt takes, with its logits."""
        logits = load.context * load.vocabulary() * _FLOAT
        return self.PROCESS + load.activations(load.context) + logits


class OpenVino(Engine):
    """OpenVINO GenAI: a whole prompt is computed at once; weights are compiled into a form of its own.

    A GGUF file is unpacked first, to a little more than two bytes a parameter.
    """

    PROCESS = 160 * 10**6
    UNPACKED = 2.25

    def weights(self, load: Load) -> int:
        """Count the form that they are compiled into."""
        if load.format != "gguf":
            return 2 * load.stored
        if load.parameters is None:
            return 3 * load.stored
        return max(load.stored, math.ceil(self.UNPACKED * load.parameters))

    def working(self, load: Load) -> int:
        """Add what the whole prompt takes."""
        return self.PROCESS + load.activations(load.context)


class Transformers(Engine):
    """transformers on the processor: weights and cache are float32, a whole prompt is computed at once.

    A GGUF file is unpacked and stays mapped; what unpacking its largest tensor takes meanwhile is given back. On a
    graphics processor the numbers are smaller.
    """

    PROCESS = 250 * 10**6
    GENERATING = 180 * 10**6
    """What is imported when the first answer begins."""
    UNPACKING = 2.7
    """Copies of the largest tensor."""
    KEPT = 2.5
    """How many times as much stands between PyTorch's steps as between llama.cpp's."""
    MASK = 5
    """Bytes for each pair of tokens, that say which sees which."""

    def weights(self, load: Load) -> int:
        """Count four bytes for each parameter."""
        mapped = load.stored if load.format == "gguf" else 0
        return load.stored if load.parameters is None else mapped + load.parameters * _FLOAT

    def kv_cache(self, load: Load) -> int | None:
        """Count four bytes for each number."""
        return load.cache(width=_FLOAT)

    def working(self, load: Load) -> int:
        """Add the larger of unpacking and computing."""
        embedding = (load.shape.kv.embedding_length if load.shape else None) or 0
        largest = load.vocabulary() * embedding * _FLOAT if load.format == "gguf" else 0
        computing = math.ceil(self.KEPT * load.activations(load.context)) + self.MASK * load.context**2
        return self.PROCESS + max(math.ceil(self.UNPACKING * largest), self.GENERATING + computing)


_ENGINES: dict[str, Engine] = {
    "llamacpp": LlamaCpp(),
    "ortgenai": OrtGenAI(),
    "foundry": OrtGenAI(),
    "openvino": OpenVino(),
    "transformers": Transformers(),
}


def of(engine: str | None) -> Engine:
    """Return what an engine takes, by its name."""
    return _ENGINES.get(engine or "", Engine())


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS
