"""Quantizations as the names of GGUF files state them."""

from __future__ import annotations

import re

DEFAULT = "Q4_K_M"
ORDER = (
    *(DEFAULT, "UD-Q4_K_XL", "Q4_K_L", "Q4_K_XL", "Q4_K_S", "Q4_K", "IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0", "MXFP4"),
    *("MXFP4_MOE", "Q4", "Q5_K_M", "UD-Q5_K_XL", "Q5_K_L", "Q5_K_S", "Q5_K", "Q5_1", "Q5_0", "Q6_K", "UD-Q6_K_XL"),
    *("Q6_K_L", "Q8_0", "UD-Q8_K_XL", "Q8_K", "Q3_K_L", "Q3_K_M", "UD-Q3_K_XL", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS"),
    *("IQ3_XXS", "BF16", "F16", "F32", "Q2_K_L", "Q2_K", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
)
"""From what is taken first when nobody names one: four bits, which is what most people run, then more bits, then
fewer, the largest files and the coarsest last."""

_NAME = re.compile(
    r"(?:^|(?<=[-._]))(UD-)?(I?Q\d(?:_[0-9A-Z]{1,4}){0,3}|TQ\d_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)(?=$|[-._])",
    re.IGNORECASE,
)


def quantization_of(name: str) -> str | None:
    """Return the quantization that a file's name (without its ending) or a folder's name states.

    Examples:
        >>> quantization_of("qwen2.5-0.5b-instruct-q4_k_m"), quantization_of("Model-UD-Q4_K_XL")
        ('Q4_K_M', 'UD-Q4_K_XL')
        >>> quantization_of("model-fp16"), quantization_of("model") is None
        ('F16', True)
    """
    found = [match[0].upper() for match in _NAME.finditer(name)]
    return re.sub(r"^FP", "F", found[-1]) if found else None


def nearness(quantization: str | None) -> int:
    """Return the place of a quantization in the order; those that are not in it come last."""
    return ORDER.index(quantization) if quantization in ORDER else len(ORDER)
