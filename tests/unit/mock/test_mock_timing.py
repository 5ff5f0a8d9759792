from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from audition.mock.script import Script
from audition.mock.timing import schedule


def times(script: Script, count: int = 4, prefill_tokens: int = 0, elapsed_ms: float = 0) -> list[float]:
    return schedule(script, count, prefill_tokens, elapsed_ms, Random(1))


def test_the_first_token_and_the_gaps() -> None:
    assert times(Script(ttft_ms=50, itl_ms=10)) == [50, 60, 70, 80]


def test_an_answer_without_tokens_still_takes_its_time() -> None:
    assert times(Script(ttft_ms=50), count=0) == [50]


def test_prefill_is_added_to_the_first_token() -> None:
    assert times(Script(ttft_ms=50, itl_ms=10, prefill_tps=1000), prefill_tokens=300) == [350, 360, 370, 380]


def test_every_nth_token_stalls() -> None:
    script = Script(ttft_ms=50, itl_ms=10, stall_ms=100, stall_every=2)
    assert times(script, count=5) == [50, 160, 170, 280, 290]


def test_drift_slows_with_the_minutes() -> None:
    script = Script(ttft_ms=50, itl_ms=10, drift=0.5)
    assert times(script, elapsed_ms=0)[0] == pytest.approx(50)
    assert times(script, elapsed_ms=120_000)[0] == pytest.approx(100)
    slow = times(Script(ttft_ms=0, itl_ms=1000, drift=0.5), count=121)
    assert slow[1] - slow[0] == pytest.approx(1000)
    assert slow[-1] - slow[-2] == pytest.approx(1000 * (1 + 0.5 * slow[-2] / 60_000))


def test_jitter_stays_in_its_bounds_and_is_seeded() -> None:
    script = Script(ttft_ms=50, itl_ms=10, jitter=0.2)
    first, second = times(script, count=500), times(script, count=500)
    gaps = [b - a for a, b in pairwise(first)]
    assert first == second
    assert 8 <= min(gaps) < 8.2
    assert 11.8 < max(gaps) <= 12
