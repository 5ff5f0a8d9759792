"""Does the text come as it is generated, and was it seen when it came?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from audition.bench.guards.base import TOKEN_TIMES, TTFT, Evidence, Finding, Guard, answered, noted, number, said
from audition.bench.guards.usage import tokens_fit
from audition.bench.sample import Sample

_PIECES = 8
"""An answer with fewer pieces, or tokens, does not show how it was sent."""
_WHOLE = 30
"""Characters that are more than one token, in any language."""
_APART_MS = 4.0
"""Pieces that follow each other faster come together on any busy machine, whoever had to wait for the processor."""
_TOKENS_PER_S = 5000.0
"""No model generates one answer faster: what seems to be faster was sent at once."""


class BufferedStream(Guard):
    """The text is held back and sent at once."""

    code = "buffered_stream"
    taints = (*TTFT, *TOKEN_TIMES, "prefill_tps")
    share = 0.5

    def check(self, evidence: Evidence) -> Finding | None:
        """Look at the answers that are long enough to tell; measured ones where there are any."""
        if not evidence.settings.stream:
            return None
        samples = _telling(answered(evidence.samples)) or _telling(evidence.answers())
        held = sum(map(_is_held_back, samples))
        if not held or held < self.share * len(samples):
            return None
        return self.finding(
            f"{held} of {len(samples)} answers came in bursts and not as they were generated: the first text was held "
            "back, and the times between tokens are not the model's",
            affected=held,
            of=len(samples),
        )


def _telling(samples: Sequence[Sample]) -> list[Sample]:
    return [s for s in samples if not noted(s, "not_streamed") and s.chunk_times_ms and _is_long(s)]


def _is_long(sample: Sample) -> bool:
    pieces = len(sample.chunk_times_ms)
    return pieces >= _PIECES or (pieces == 1 and len(said(sample)) >= _WHOLE)


def _is_held_back(sample: Sample) -> bool:
    """Return whether the server sent text together that it had made piece by piece.

    A client that is late finds pieces together as well, so it does not count where its lag may be the reason.
    """
    times, latency_ms = sample.chunk_times_ms, sample.latency_ms
    if len(times) == 1:
        return True
    span = times[-1] - times[0]
    gap = span / (len(times) - 1)
    lag, shared = number(sample.wire, "lag_ms") or 0.0, number(sample.wire, "shared") or 0.0
    in_bursts = shared >= 0.5 * (len(times) - 1) and gap >= _APART_MS and lag < 2 * gap
    at_the_end = latency_ms is not None and span <= 0.05 * latency_ms and lag < 0.5 * latency_ms
    return in_bursts or (at_the_end and gap * _TOKENS_PER_S < 1000)


class ChunksAreNotTokens(Guard):
    """A piece of the stream holds more than one token, so that gaps are not between tokens."""

    code = "chunks_are_not_tokens"
    taints = ("itl",)
    ratio = 1.15
    pieces = 30
    """What all answers together need; the last token of an answer has no text, and a few have half a character."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare tokens with pieces over all answers whose counts fit their text."""
        samples = [s for s in evidence.answers() if len(s.chunk_times_ms) > 1 and tokens_fit(s)]
        pieces = sum(len(sample.chunk_times_ms) for sample in samples)
        tokens = sum((sample.completion_tokens or 1) - 1 for sample in samples)
        if pieces < self.pieces or tokens <= self.ratio * pieces:
            return None
        return self.finding(
            f"a piece of the stream holds {tokens / pieces:.1f} tokens on average: the gaps are between pieces"
        )


class ClientLag(Guard):
    """The measuring process was late itself."""

    code = "client_lag"
    taints = (*TTFT, "itl")
    least_ms = 2.0
    share = 0.05
    requests = 3
    """A hiccup in one or two requests does not change what is reported."""

    def check(self, evidence: Evidence) -> Finding | None:
        """Compare the lag with the median TTFT.

        Where the kernel stamps what arrives, a late read changes no arrival time, but the next request of a closed
        loop is late by it. Where it does not, nobody knows the lag, and the noise floor stands for it.
        """
        samples = answered(evidence.samples)
        ttfts = [sample.ttft_ms for sample in samples if sample.ttft_ms is not None and sample.wire is not None]
        if not ttfts:
            return None
        limit = max(self.least_ms, self.share * median(ttfts))
        lags = sorted(lag for sample in samples if (lag := number(sample.wire, "lag_ms")) is not None)
        if lags:
            late = sum(lag > limit for lag in lags)
            if late < self.requests or lags[math.ceil(0.99 * len(lags)) - 1] <= limit:
                return None
            return self.finding(
                f"in {late} of {len(lags)} requests text that had arrived waited more than {limit:.1f} ms for the "
                "measuring process: arrival times are the kernel's and hold, but the client may have been the "
                "bottleneck",
                affected=late,
                of=len(lags),
                taints=("throughput", "request_rate"),
            )
        floor = evidence.noise_floor_ms
        if floor is None or floor <= limit:
            return None
        return self.finding(f"on this machine the client itself is off by up to {floor:.1f} ms")
