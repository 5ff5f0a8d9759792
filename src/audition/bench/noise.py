"""The noise floor: what the measuring itself adds on this machine, against a server whose times are known."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audition.engines.protocol import Reply
from audition.engines.server import connect
from audition.errors import AuditionError
from audition.mock.model import TEMPLATE_TOKENS
from audition.mock.process import MockServer
from audition.mock.script import Script

REQUESTS = 20
_SCRIPT = Script(ttft_ms=5.0, itl_ms=2.0, tokens=8)
_TIMEOUT_S = 10.0


async def measure_noise_floor(concurrencies: Sequence[int]) -> dict[str, Any]:
    """Return how far the client's times are from the truth, for `host.json`.

    The mock server notes when it received a request and when it wrote each token, on the clock that the client uses
    too. What the client reports beyond that is its own: waking up, reading, the loopback.

    Args:
        concurrencies: How many requests at a time; each is measured with at least 20 requests.

    Returns:
        `ttft_ms` and `gap_ms` with `p50` and `max` of the differences in milliseconds for the first concurrency,
        `requests`, `stamps` (whose clock readings they are), and `by_concurrency` for all. Where it could not be
        measured: `reason`.
    """
    replies: dict[str, dict[int, Reply]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "truth.jsonl"
            with MockServer(_SCRIPT, log) as server:
                for concurrency in dict.fromkeys(concurrencies):
                    shortest = 1 + sum(map(len, replies.values()))
                    replies[str(concurrency)] = await _ask(server.url, concurrency, shortest)
            # Answers leave before they are logged: the last ones are in the log for certain when the server has ended.
            truth = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        found = {concurrency: _differences(asked, truth) for concurrency, asked in replies.items()}
    except (AuditionError, OSError, ValueError) as error:
        return {"reason": f"the noise floor could not be measured: {error}"}
    return {**next(iter(found.values())), "by_concurrency": found}


async def _ask(url: str, concurrency: int, shortest: int) -> dict[int, Reply]:
    """Return the replies by the length of their prompts in words, which tells them apart in the server's log."""
    session = connect({"url": url, "model": "mock"}, connections=concurrency)
    params = {"max_tokens": _SCRIPT.tokens, "temperature": 0.0, "seed": 0}
    lengths = iter(range(shortest, shortest + max(REQUESTS, 2 * concurrency)))
    replies = {}

    async def worker() -> None:
        for words in lengths:
            messages = [{"role": "user", "content": "word " * words}]
            replies[words] = (await session.ask(messages, params, _TIMEOUT_S))()

    try:
        await session.open(concurrency)
        await asyncio.gather(*(worker() for _ in range(concurrency)))
    finally:
        await session.close()
    return replies


def _differences(replies: dict[int, Reply], truth: Sequence[dict[str, Any]]) -> dict[str, Any]:
    by_length = {entry["prompt_tokens"] - TEMPLATE_TOKENS: entry for entry in truth}
    ttft, gaps = [], []
    stamps = set()
    for words, reply in replies.items():
        entry = by_length.get(words)
        times = [chunk.at_ns for chunk in reply.chunks if chunk.text]
        if entry is None or reply.failure is not None or len(times) != len(entry["written_ns"]):
            continue
        written = entry["written_ns"]
        ttft.append((times[0] - reply.sent_ns - (written[0] - entry["received_ns"])) / 1e6)
        reported = [after - before for before, after in itertools.pairwise(times)]
        real = [after - before for before, after in itertools.pairwise(written)]
        gaps += [abs(a - b) / 1e6 for a, b in zip(reported, real, strict=True)]
        stamps.add(reply.wire.stamps if reply.wire else "process")
    if not ttft or not gaps:
        raise ValueError("no request to the mock server succeeded")
    return {
        "requests": len(ttft),
        "ttft_ms": {"p50": round(statistics.median(ttft), 4), "max": round(max(ttft), 4)},
        "gap_ms": {"p50": round(statistics.median(gaps), 4), "max": round(max(gaps), 4)},
        "stamps": " and ".join(sorted(stamps)),
    }
