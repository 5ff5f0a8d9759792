"""The context: a server that reads less than it says is found, by prompts that it can afford."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.context import LONGER, SHORTER, ContextTooSmall
from audition.bench.plan import Settings
from audition.bench.sample import Sample
from plans import a_sample, a_target

TEMPLATE = 10
PER_WORD = 1.5


class Server:
    """Reads so many tokens of a prompt, at so many tokens a second; refuses those beyond another number."""

    def __init__(self, reads: int = 10**9, *, tokens_per_s: float = 2000.0, refuses: int = 10**9) -> None:
        self.reads, self.tokens_per_s, self.refuses = reads, tokens_per_s, refuses
        self.says = "Sure."
        self.usage = True
        self.probes: dict[str, Sample] = {}
        self.words: list[int] = []

    async def ask(self, step: str, prompt: str, **_: Any) -> Sample:
        self.words.append(len(prompt.split()))
        tokens = round(TEMPLATE + PER_WORD * len(prompt.split()))
        if tokens > self.refuses:
            error = {"code": "context_length_exceeded", "message": "too long"}
            sample = a_sample(status="failed", error=error)
        else:
            read = min(tokens, self.reads)
            ttft = 50 + 1000 * read / self.tokens_per_s
            sample = a_sample(ttft_ms=ttft, prompt_tokens=read if self.usage else None, text=self.says)
        self.probes[f"context_too_small/{step}"] = sample
        return sample

    def finding(self, context: object = 4096) -> Finding | None:
        target = a_target(settings={} if context is None else {"context": context})
        asyncio.run(ContextTooSmall().probe(self.ask, target))
        return ContextTooSmall().check(Evidence(target, [], [], [], {}, Settings(), self.probes))


def test_an_honest_context_is_tried_nearly_to_its_end() -> None:
    server = Server()
    assert server.finding() is None
    assert server.words[:2] == [SHORTER, LONGER]
    assert 0.8 * 4096 < TEMPLATE + PER_WORD * server.words[2] < 0.9 * 4096


@pytest.mark.parametrize("context", [None, 0, "4096", 300])
def test_without_a_known_or_a_long_context_no_long_prompt_is_asked(context: object) -> None:
    server = Server()
    assert server.finding(context) is None
    assert len(server.words) == 2


def test_a_prompt_that_is_read_in_part_is_found() -> None:
    finding = Server(reads=1024).finding()
    assert finding is not None
    assert "only 1,024 were read" in finding.sentence
    assert "context of 4,096" in finding.sentence
    assert "too long" not in finding.sentence
    assert {"quality", "ttft"} <= set(finding.taints)


def test_a_refusal_below_the_advertised_size_is_found() -> None:
    finding = Server(refuses=2048).finding()
    assert finding is not None
    assert "refused as too long" in finding.sentence


def test_a_slow_target_is_tried_as_far_as_the_time_allows() -> None:
    slow = Server(tokens_per_s=100.0)
    assert slow.finding() is None
    assert 5.0 < (TEMPLATE + PER_WORD * slow.words[2]) / 100.0 < 11.0
    partly = Server(reads=600, tokens_per_s=100.0).finding()
    assert partly is not None
    assert "full size would have taken too long" in partly.sentence


def test_a_target_that_is_too_slow_is_not_asked_for_long() -> None:
    server = Server(tokens_per_s=10.0)
    assert server.finding() is None
    assert len(server.words) == 2


def test_a_target_that_knows_the_start_has_read_it() -> None:
    server = Server(reads=1024)
    server.says = "Kestrel."
    assert server.finding() is None


def test_without_counts_nothing_is_known() -> None:
    server = Server(reads=1024)
    server.usage = False
    assert server.finding() is None


def test_a_target_that_fails_is_not_asked_on() -> None:
    server = Server(refuses=1)
    assert server.finding() is None
    assert len(server.words) == 1
