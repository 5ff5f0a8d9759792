"""The size of the key-value cache, from the facts that a model's files state.

The rules are llama.cpp's (`llama-hparams.cpp`, `llama-kv-cache*.cpp`, `models/*.cpp`); what a file leaves open is
counted in full, so that the figure is an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

BATCH = 512
"""Tokens that llama.cpp computes at once (`n_ubatch`); a layer with a window keeps those as well."""
CELLS = 256
"""llama.cpp rounds the tokens of a cache up to a multiple of these."""
MAX_LAYERS = 4096
"""No model has as many; a claim of more tells nothing."""
_STATE_WIDTH = 4  # the state of recurrent layers is float32


class _Pattern(NamedTuple):
    """Of every `period` layers one sees the whole context: the last one, or the first; the others have a window.

    `window` is what counts where the file states none.
    """

    period: int
    window: int | None = None
    full_first: bool = False


# What stands in llama.cpp's code of each architecture, because files seldom state it.
_PATTERNS = {
    "afmoe": _Pattern(4),
    "cohere2": _Pattern(4),
    "exaone-moe": _Pattern(4, 128),
    "gemma2": _Pattern(2, 4096),
    "gemma3": _Pattern(6),
    "gemma3n": _Pattern(5),
    "gpt-oss": _Pattern(2),
    "laguna": _Pattern(4, full_first=True),
    "llama4": _Pattern(4, 8192),
    "olmo2": _Pattern(4),
    "plamo3": _Pattern(8),
    "smallthinker": _Pattern(4, 4096, full_first=True),
}
# These state a window that llama.cpp does not use.
_WITHOUT_WINDOW = {"phi3"}
# Every fourth layer has a cache, the others a state, where the file does not say which ones.
_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
_CACHED_LAYERS = {"gemma3n": 20}  # the layers behind these use another one's cache


@dataclass(frozen=True, slots=True)
class KvFacts:
    """What decides the size of the key-value cache, as the file states it; a tuple has a number per layer.

    Attributes:
        block_count: Layers.
        head_count: Heads of attention.
        head_count_kv: Heads with keys and values of their own; 0 for a layer without a cache.
        key_length: Numbers of one head's key.
        value_length: Of its value.
        embedding_length: Of a token between the layers.
        sliding_window: Tokens that a layer with a window sees.
        element_bytes: What one number of the cache takes where the model itself decides that, as an ONNX graph does.
        sliding_pattern: Which layers have the window: a 1 for each that has, or a period.
        sliding_key_length: The key's numbers in a layer with a window, where they are others.
        sliding_value_length: The value's.
        is_latent: Keys and values are one compressed row, so that values take nothing.
        index_length: Numbers that an attention with an index keeps besides.
        shared_layers: How many of the last layers use another one's cache.
        attention_interval: Every how many layers one has a cache; the others have a state.
        state_length: Numbers of the state that a recurrent layer keeps for a sequence.
    """

    block_count: int | None = None
    head_count: int | tuple[int, ...] | None = None
    head_count_kv: int | tuple[int, ...] | None = None
    key_length: int | None = None
    value_length: int | None = None
    embedding_length: int | None = None
    sliding_window: int | None = None
    element_bytes: float = 2.0
    sliding_pattern: int | tuple[int, ...] | None = None
    sliding_key_length: int | None = None
    sliding_value_length: int | None = None
    is_latent: bool = False
    index_length: int | None = None
    shared_layers: int | None = None
    attention_interval: int | None = None
    state_length: int | None = None


def cache_bytes(
    kv: KvFacts,
    architecture: str | None,
    context: int,
    *,
    parallel: int = 1,
    width: float | None = None,
    batch: int | None = BATCH,
) -> int | None:
    """Return an upper bound on the bytes of the key-value cache, or None when the facts do not tell.

    Args:
        kv: The facts.
        architecture: As the file names it; it decides what the file leaves open.
        context: Tokens that it has to hold for each sequence.
        parallel: Sequences.
        width: Bytes of a number: 2 for F16, 34 / 32 for Q8_0; None takes what the model decides, else 2.
        batch: Tokens that a layer with a window keeps beyond it; None counts these layers in full, as engines do
            that know no windows.
    """
    heads = _heads(kv)
    if heads is None:
        return None
    layers = len(heads)
    windowed = sliding_layers(kv, architecture, layers)
    window = window_of(kv, architecture)
    short = context if window is None or batch is None else min(context, _padded(window + batch))
    interval = kv.attention_interval or _INTERVALS.get(architecture or "")
    cached = _CACHED_LAYERS.get(architecture or "", layers)
    if kv.shared_layers:
        cached = max(0, layers - kv.shared_layers)
    keys, values = _lengths(kv)
    elements = states = 0
    for layer, (count, slides) in enumerate(zip(heads, windowed, strict=True)):
        is_attention = count > 0 and layer < cached and (not interval or (layer + 1) % interval == 0)
        if kv.state_length and not (is_attention and (interval or 0 in heads)):
            states += kv.state_length
        if not is_attention:
            continue
        key = kv.sliding_key_length if slides and kv.sliding_key_length is not None else keys
        value = kv.sliding_value_length if slides and kv.sliding_value_length is not None else values
        if key is None or (value is None and not kv.is_latent):
            return None
        row = count * (key + (0 if kv.is_latent else value or 0)) + (kv.index_length or 0)
        elements += row * (short if slides else context)
    each = kv.element_bytes if width is None else width
    return (math.ceil(elements * each) + states * _STATE_WIDTH) * parallel


def sliding_layers(kv: KvFacts, architecture: str | None, layers: int) -> tuple[bool, ...]:
    """Return for each layer whether it sees a window only; False where that cannot be told."""
    known = _PATTERNS.get(architecture or "")
    pattern = kv.sliding_pattern
    if architecture in _WITHOUT_WINDOW or window_of(kv, architecture) is None:
        return (False,) * layers
    if isinstance(pattern, tuple):
        return tuple(layer < len(pattern) and bool(pattern[layer]) for layer in range(layers))
    period = pattern if pattern is not None else known.period if known else 1
    # Of an architecture that is not known the first one counts as full: then there are more of them, never fewer.
    full = 0 if known is None or known.full_first else period - 1
    return tuple(period > 0 and layer % period != full for layer in range(layers))


def window_of(kv: KvFacts, architecture: str | None) -> int | None:
    """Return the tokens that a layer with a window sees; None when there is no window."""
    if kv.sliding_window is not None:
        return kv.sliding_window or None
    known = _PATTERNS.get(architecture or "")
    return None if known is None else known.window


def _heads(kv: KvFacts) -> tuple[int, ...] | None:
    """Return each layer's heads in the cache; as in llama.cpp, `head_count` stands in for what is not stated."""
    per_layer = kv.head_count if kv.head_count_kv is None else kv.head_count_kv
    if per_layer is None or isinstance(per_layer, tuple):
        return per_layer
    # No model has thousands of layers: the memory to list them all would be a file's to choose.
    if kv.block_count is None or kv.block_count > MAX_LAYERS:
        return None
    return (per_layer,) * kv.block_count


def _lengths(kv: KvFacts) -> tuple[int | None, int | None]:
    """Return the numbers of a key and of a value; where they are not stated, the first layer's even share."""
    first = next(iter(kv.head_count), None) if isinstance(kv.head_count, tuple) else kv.head_count
    default = kv.embedding_length // first if kv.embedding_length is not None and first else None
    return (
        default if kv.key_length is None else kv.key_length,
        default if kv.value_length is None else kv.value_length,
    )


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS
