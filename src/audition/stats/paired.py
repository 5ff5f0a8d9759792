"""Two targets on the same cases: is one better, or is it chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_EXACT_UP_TO = 16
_DRAWS = 20_000
_TIE = 1e-6
"""Sums this close, in parts of the largest difference, are equal: thirds do not add up exactly."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The mean difference over cases, and how often chance alone gives one as large.

    Attributes:
        p: Two-sided; never 0.
        n: Cases.
        discordant: Cases on which the two differ at all; the others say nothing.
    """

    difference: float
    p: float
    n: int
    discordant: int


def sign_flip_test(differences: Sequence[float], rng: np.random.Generator) -> PairedTest:
    """Test whether paired differences are centred on zero (Fisher's randomisation test).

    Under the null hypothesis each difference could as well have the other sign. All sign patterns are tried up to 16
    discordant cases, 20,000 random ones beyond.

    Args:
        differences: One per case, shape (n,).
        rng: Draws the patterns when there are too many.

    Raises:
        ValueError: There are no differences, or one is not a finite number.
    """
    import numpy as np

    values = np.asarray(differences, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("a test needs at least one case, and finite differences")
    # Sorted, so that the random patterns give the same p whatever order the cases came in.
    moving = np.sort(values[values != 0])
    mean = math.fsum(values) / values.size
    if moving.size == 0:
        return PairedTest(0.0, 1.0, values.size, 0)
    observed = abs(moving.sum()) - _TIE * np.abs(moving).max()
    if moving.size <= _EXACT_UP_TO:
        patterns = (np.arange(2**moving.size)[:, None] >> np.arange(moving.size)) & 1
        sums = np.abs((1 - 2 * patterns) @ moving)
        p = float((sums >= observed).mean())
    else:
        signs = rng.choice((-1.0, 1.0), size=(_DRAWS, moving.size))
        p = (1 + int((np.abs(signs @ moving) >= observed).sum())) / (_DRAWS + 1)
    return PairedTest(mean, p, values.size, int(moving.size))
