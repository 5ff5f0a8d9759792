"""What a model takes in memory once an engine has loaded it: weights in the engine's own form, cache, buffers, process.

The shapes of these formulas follow from what the engines do; the sizes of the processes were measured
(`benchmarks/fit.py`) on Linux, with the versions that the package asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from audition.models.fit import Need, bits_per_weight
from audition.models.header import ModelHeader
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
_USUAL = {"gguf": "llamacpp", "onnx-genai": "ortgenai", "openvino": "openvino", "safetensors": "transformers"}


def memory_needed(
    facts: ModelHeader | Shape | None,
    weights_bytes: int | None,
    *,
    format: str,
    engine: str | None,
    context: int,
    parallel: int = 1,
    parameters: int | None = None,
    quantization: str | None = None,
) -> Need | None:
    """Estimate the memory that a model takes once it is loaded and its context is full; None when nothing is known.

    Args:
        facts: What its files state; where they were not read, its shape by the catalog, or None.
        weights_bytes: The bytes of its files; None where nobody knows.
        format: `gguf`, `onnx-genai`, `openvino` or `safetensors`.
        engine: What runs it; None takes the one that suits the format.
        context: Tokens of context for each request.
        parallel: Requests that are answered at once.
        parameters: How many it has, where the header does not tell.
        quantization: Such as `Q4_K_M`, where neither header nor size is known.
    """
    header = facts if isinstance(facts, ModelHeader) else None
    shape = facts.shape if isinstance(facts, ModelHeader) else facts
    found = _stored(header, weights_bytes, parameters, quantization)
    if found is None:
        return None
    stored, basis = found
    count = (header.parameters if header else None) or parameters
    load = Load(shape, stored, count, format, context, parallel)
    take = _ENGINES.get(engine or _USUAL.get(format, ""), Engine())
    cache = take.kv_cache(load)
    if header is None and cache is not None:
        basis = "catalog"
    return Need(take.weights(load), cache, take.working(load), basis)


def _stored(
    header: ModelHeader | None, weights_bytes: int | None, parameters: int | None, quantization: str | None
) -> tuple[int, str] | None:
    """Return the bytes that the weights take on the disk, and what that rests on."""
    if weights_bytes is not None:
        known = "file size" if header is None else "leading header" if header.is_leading else "header"
        return weights_bytes, known
    if header is not None and header.tensor_bytes:
        return header.tensor_bytes, "header"
    count = parameters or (header.parameters if header else None)
    bits = bits_per_weight(quantization or (header.quantization if header else None))
    return None if count is None or bits is None else (math.ceil(count * bits / 8), "parameters x bits")


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS
