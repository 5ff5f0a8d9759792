"""Whether a model fits: the rule that weighs what it needs against the machine."""

from __future__ import annotations

import pytest

from audition.models.fit import Fit, Memory, Need, bits_per_weight, fit, fit_gpu, smaller

GIGABYTE = 2**30


def test_bits_of_a_weight() -> None:
    assert (bits_per_weight("q4_K_m"), bits_per_weight("BF16"), bits_per_weight("x"), bits_per_weight(None)) == (
        4.9, 16, None, None,
    )  # fmt: skip


# Whether it fits.

MACHINE = Memory(total=16 * GIGABYTE, available=10 * GIGABYTE)
MARGIN = 16 * GIGABYTE // 20


def of(total: int, kv: int | None = 0) -> Need:
    return Need(total, kv, 0, "header")


@pytest.mark.parametrize(
    ("total", "answer"),
    [
        (1, Fit.YES),
        (10 * GIGABYTE - MARGIN, Fit.YES),
        (10 * GIGABYTE - MARGIN + 1, Fit.TIGHT),
        (10 * GIGABYTE, Fit.TIGHT),
        (16 * GIGABYTE - MARGIN, Fit.TIGHT),
        (16 * GIGABYTE - MARGIN + 1, Fit.NO),
        (10**15, Fit.NO),
    ],
)
def test_the_rule(total: int, answer: Fit) -> None:
    assert fit(of(total), MACHINE) is answer


@pytest.mark.parametrize(("total", "margin"), [(2, 256 * 2**20), (8, 8 * GIGABYTE // 20), (512, GIGABYTE)])
def test_the_margin_is_a_twentieth_within_bounds(total: int, margin: int) -> None:
    machine = Memory(total * GIGABYTE, total * GIGABYTE)
    assert fit(of(total * GIGABYTE - margin), machine) is Fit.YES
    assert fit(of(total * GIGABYTE - margin + 1), machine) is Fit.NO


def test_what_is_not_known_is_not_guessed() -> None:
    assert fit(None, MACHINE) is Fit.UNKNOWN
    assert fit(of(GIGABYTE, None), MACHINE) is Fit.UNKNOWN
    assert fit(of(17 * GIGABYTE, None), MACHINE) is Fit.NO, "more is needed than what is too much already"


def test_a_gpu_is_apart() -> None:
    assert fit_gpu(of(1), MACHINE) is None
    gpu = Memory(16 * GIGABYTE, 10 * GIGABYTE, gpu_total=8 * GIGABYTE, gpu_free=4 * GIGABYTE)
    assert [fit_gpu(of(size * GIGABYTE), gpu) for size in (1, 5, 9)] == [Fit.YES, Fit.TIGHT, Fit.NO]
    assert fit_gpu(None, gpu) is Fit.UNKNOWN
    assert fit(of(9 * GIGABYTE), gpu) is Fit.YES


def test_smaller_variants_come_with_the_best_first() -> None:
    needs = {"q8": of(8), "q4": of(4), "q2": of(2), "?": None, "bound": of(1, None), "q5": of(5)}
    assert smaller(needs, needs.get, 5) == ["q5", "q4", "q2"]
    assert smaller(needs, needs.get, 1) == []
