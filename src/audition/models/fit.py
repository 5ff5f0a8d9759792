"""Whether a model fits into a machine's memory, told before it is downloaded or loaded.

What it needs is for its engine to say (`engines.memory`); here it is weighed against the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

DEFAULT_CONTEXT = 4096
"""Tokens that a model is loaded for where nobody says; fewer where it was trained for fewer."""

_T = TypeVar("_T")

_LEAST_MARGIN, _MOST_MARGIN = 256 * 2**20, 2**30
# Bits of a weight on average, with the few tensors that stay wider: llama.cpp's own table of its quantizations.
# Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md
_BITS: dict[str, float] = {
    **{"F32": 32, "FP32": 32, "F16": 16, "FP16": 16, "BF16": 16, "Q8_0": 8.5, "INT8": 8.5, "FP8": 8.2},
    **{"Q6_K": 6.6, "Q5_K_M": 5.7, "Q5_K_S": 5.6, "Q5_0": 5.6, "Q5_1": 6.0},
    **{"Q4_K_M": 4.9, "Q4_K_S": 4.7, "Q4_0": 4.7, "Q4_1": 5.1, "IQ4_NL": 4.7, "IQ4_XS": 4.5, "MXFP4": 4.5},
    **{"INT4": 5.0, "MXFP4_MOE": 4.5, "Q3_K_L": 4.3, "Q3_K_M": 4.0, "Q3_K_S": 3.6, "IQ3_M": 3.8, "IQ3_S": 3.7},
    **{"IQ3_XS": 3.5, "IQ3_XXS": 3.3, "Q2_K": 3.2, "Q2_K_S": 3.0, "IQ2_M": 2.9, "IQ2_S": 2.8, "IQ2_XS": 2.6},
    **{"IQ2_XXS": 2.4, "IQ1_M": 2.1, "IQ1_S": 2.0, "TQ2_0": 2.1, "TQ1_0": 1.7},
}


@dataclass(frozen=True, slots=True)
class Need:
    """The memory that a loaded model takes at its peak, in bytes.

    Attributes:
        weights: Of the weights, as the engine holds them.
        kv_cache: Of keys and values at the full context; None when the facts do not tell.
        working: Of everything else: the engine's own process, and the buffers that it computes in.
        basis: What it rests on: `header`, `leading header`, or `catalog` where the cache is from the catalog's entry;
            without a cache, `file size` or `parameters x bits`, which only the weights are from.
    """

    weights: int
    kv_cache: int | None
    working: int
    basis: str

    @property
    def total(self) -> int:
        """All that is known of it."""
        return self.weights + (self.kv_cache or 0) + self.working

    @property
    def is_lower_bound(self) -> bool:
        """Whether more will be needed than `total`: the size of the cache is not known."""
        return self.kv_cache is None


@dataclass(frozen=True, slots=True)
class Memory:
    """A machine's memory in bytes.

    Attributes:
        total: Of the machine, or of the container where that is less.
        available: What a new process could take now.
        gpu_total: Of the GPU with the most free memory; None without one, or where it is not told.
        gpu_free: What is free of it.
    """

    total: int
    available: int
    gpu_total: int | None = None
    gpu_free: int | None = None


class Fit(StrEnum):
    """Whether a model fits."""

    YES = "yes"
    TIGHT = "tight"
    NO = "no"
    UNKNOWN = "unknown"


def fit(need: Need | None, memory: Memory) -> Fit:
    """Return whether a model fits into a machine's memory.

    `yes`: it fits into what is free now, and leaves a margin: a twentieth of the machine, from 256 MB to 1 GB. Below
    that a system begins to write to swap, and the estimate itself may be a few percent off. `tight`: it fits without
    the margin, or once other programs are closed: an empty machine keeps the same margin for the system itself. `no`:
    not even then. `unknown`: nothing is known, or so little that more may be needed than what would fit.

    The GPU is apart (`fit_gpu`): an engine that uses one still needs memory to load through, and says itself whether
    it does.
    """
    if need is None:
        return Fit.UNKNOWN
    return _fit(need, memory.available, memory.total)


def fit_gpu(need: Need | None, memory: Memory) -> Fit | None:
    """Return whether a model fits into the GPU's memory as a whole, by the rule of `fit`; None when no GPU is known."""
    if memory.gpu_total is None or memory.gpu_free is None:
        return None
    return Fit.UNKNOWN if need is None else _fit(need, memory.gpu_free, memory.gpu_total)


def smaller(variants: Iterable[_T], need_of: Callable[[_T], Need | None], free: int) -> list[_T]:
    """Return those of a model's variants that fit into `free` bytes, the largest first: it keeps the most of the model.

    Args:
        variants: Those to choose from.
        need_of: Estimates one; where it cannot tell, or not all, the variant is left out.
        free: Bytes.
    """
    needs = [(need, variant) for variant in variants if (need := need_of(variant)) is not None]
    able = [pair for pair in needs if not pair[0].is_lower_bound and pair[0].total <= free]
    return [variant for _, variant in sorted(able, key=lambda pair: -pair[0].total)]


def bits_per_weight(quantization: str | None) -> float | None:
    """Return the bits that a weight takes on average in a file of that quantization; None when it is not known."""
    return _BITS.get((quantization or "").upper())


def _fit(need: Need, free: int, total: int) -> Fit:
    margin = min(max(total // 20, _LEAST_MARGIN), _MOST_MARGIN)
    if need.total > total - margin:
        return Fit.NO
    if need.is_lower_bound:
        return Fit.UNKNOWN
    return Fit.YES if need.total + margin <= free else Fit.TIGHT
