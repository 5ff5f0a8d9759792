"""When each token is due."""

from __future__ import annotations

from random import Random

from audition.mock.script import Script

_MINUTE_MS = 60_000.0


def schedule(script: Script, count: int, prefill_tokens: int, elapsed_ms: float, rng: Random) -> list[float]:
    """Return when each of `count` tokens is due, milliseconds after the request came: absolute, so nothing adds up.

    An answer without tokens still has one entry: when its end is known.

    Args:
        script: Gives the delays.
        count: Tokens of the answer, reasoning included.
        prefill_tokens: Prompt tokens that have to be computed, those from a cache left out.
        elapsed_ms: Since the server started, for the drift.
        rng: Of the jitter.
    """
    prefill_ms = prefill_tokens / script.prefill_tps * 1000 if script.prefill_tps else 0.0
    at, times = 0.0, []
    for index in range(max(1, count)):
        delay = script.ttft_ms + prefill_ms if index == 0 else script.itl_ms
        if script.stall_every is not None and (index + 1) % script.stall_every == 0:
            delay += script.stall_ms
        if script.jitter:
            delay *= 1 + script.jitter * rng.uniform(-1, 1)
        at += delay * (1 + script.drift * (elapsed_ms + at) / _MINUTE_MS)
        times.append(at)
    return times
