"""Caches: what was remembered instead of computed is found, and a server that is merely uneven is not accused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.cache import CachedPrompt, PromptCachedSilently, ResponseCached
from audition.bench.plan import Settings
from audition.bench.sample import Sample
from plans import a_sample, a_target

MARKED = [a_sample(asked={"mark": "0a1b"})]
UNMARKED = [a_sample(asked={"max_tokens": 9})]


def check(
    guard: Guard, samples: Sequence[Sample] = (), probes: dict[str, Sample] | None = None, **host: Any
) -> Finding | None:
    return guard.check(Evidence(a_target(), samples, [], [], {}, Settings(), probes or {}, host))


def found(*args: Any, **more: Any) -> Finding:
    finding = check(*args, **more)
    assert finding is not None
    return finding


@pytest.mark.parametrize("cached", [0, None])
def test_a_prompt_that_was_computed_is_no_finding(cached: int | None) -> None:
    assert check(CachedPrompt(), [a_sample(cached_tokens=cached)]) is None
    assert check(CachedPrompt()) is None


def test_prompts_from_a_cache_are_counted_and_mark_the_times() -> None:
    finding = found(CachedPrompt(), [a_sample(cached_tokens=count) for count in (0, 12, None, 1)])
    assert (finding.affected, finding.of) == (2, 4)
    assert {"ttft", "latency", "prefill_tps"} <= set(finding.taints)


def pairs(*times: tuple[float | None, float | None], **repeat: Any) -> dict[str, Sample]:
    probes = {}
    for n, (fresh_ms, repeat_ms) in enumerate(times, start=1):
        probes[f"prompt_cached_silently/fresh_{n}"] = a_sample(ttft_ms=fresh_ms)
        probes[f"prompt_cached_silently/repeat_{n}"] = a_sample(ttft_ms=repeat_ms, **repeat)
    return probes


QUICKER = [(80.0, 20.0), (75.0, 22.0), (90.0, 19.0), (81.0, 25.0)]


def test_repeats_that_are_always_quicker_are_found_without_any_usage() -> None:
    finding = found(PromptCachedSilently(), UNMARKED, pairs(*QUICKER))
    assert "TTFT is 81 ms, and 22 ms when" in finding.sentence
    assert {"ttft", "latency", "prefill_tps"} <= set(finding.taints)


def test_prompts_that_were_made_to_differ_are_not_marked() -> None:
    finding = found(PromptCachedSilently(), MARKED, pairs(*QUICKER))
    assert finding.taints == ()
    assert "made to differ" in finding.sentence
    assert found(PromptCachedSilently(), [*MARKED, *UNMARKED], pairs(*QUICKER)).taints


@pytest.mark.parametrize(
    "probes",
    [
        pairs(*QUICKER[:3], (80.0, 79.0)),
        pairs(*QUICKER[:3]),
        pairs((3.0, 1.5), (3.1, 1.4), (3.0, 1.2), (2.9, 1.5)),
        pairs(*QUICKER[:3], (80.0, None)),
        pairs(*QUICKER[:3], (80.0, 50.0)),
        pairs(*QUICKER, cached_tokens=200),
        pairs(*QUICKER, status="failed"),
        {},
    ],
    ids=["one differs", "not all asked", "noise", "no text", "not by much", "it says so", "failed", "nothing"],
)
def test_repeats_that_prove_nothing_are_no_finding(probes: dict[str, Sample]) -> None:
    assert check(PromptCachedSilently(), UNMARKED, probes) is None


def test_a_difference_below_the_noise_floor_is_no_finding() -> None:
    floor = {"ttft_ms": {"p50": 1.0, "max": 25.0}}
    assert check(PromptCachedSilently(), UNMARKED, pairs(*QUICKER), noise_floor=floor) is None
    assert check(PromptCachedSilently(), UNMARKED, pairs(*QUICKER), noise_floor={"reason": "none"}) is not None


@pytest.mark.parametrize(("repeat_ms", "requests"), [(78.0, 2), (10.0, 8)])
def test_pairs_are_asked_as_long_as_they_show_something(repeat_ms: float, requests: int) -> None:
    prompts: list[str] = []

    async def ask(step: str, prompt: str, **_: Any) -> Sample:
        prompts.append(prompt)
        return a_sample(ttft_ms=80.0 if step.startswith("fresh") else repeat_ms)

    asyncio.run(PromptCachedSilently().probe(ask, a_target()))
    assert len(prompts) == requests
    assert prompts[0] == prompts[1]
    assert len({prompt[:6] for prompt in prompts}) == requests / 2
    assert all(150 <= len(prompt.split()) <= 250 for prompt in prompts)


STORY = "Once there was a teacher who lived near the river."
OTHER = "The old harbour was quiet when the first ship came."


def took(text: str, span_ms: float, ttft_ms: float = 50.0, pieces: int = 11) -> Sample:
    step = span_ms / (pieces - 1) if pieces > 1 else 0.0
    times = tuple(ttft_ms + step * n for n in range(pieces))
    return a_sample(
        text=text, ttft_ms=ttft_ms, latency_ms=times[-1] + (0 if pieces > 1 else span_ms), chunk_times_ms=times
    )


def asked(again: Sample, once: Sample | None = None, **more: Sample) -> dict[str, Sample]:
    probes = {
        "seed_ignored/once": once or took(STORY, 200.0),
        "seed_ignored/again": again,
        "temperature_ignored/zero": took(OTHER, 210.0),
        "temperature_ignored/zero_again": took(OTHER, 205.0),
        "temperature_ignored/hot_1": took(STORY[::-1], 190.0),
    }
    return probes | {f"temperature_ignored/{step}": sample for step, sample in more.items()}


@pytest.mark.parametrize("again", [took(STORY, 0.0, ttft_ms=1.0), took(STORY, 8.0)], ids=["one burst", "quick"])
def test_an_answer_that_comes_again_at_once_is_found(again: Sample) -> None:
    finding = found(ResponseCached(), UNMARKED, asked(again))
    assert {"ttft", "latency", "throughput"} <= set(finding.taints)
    assert found(ResponseCached(), MARKED, asked(again)).taints == ()


def test_a_cache_that_looks_at_the_prompt_alone_is_found_at_temperature_0() -> None:
    probes = asked(took(STORY, 200.0), zero_again=took(OTHER, 0.0, ttft_ms=1.0))
    assert check(ResponseCached(), UNMARKED, probes) is not None


@pytest.mark.parametrize(
    "probes",
    [
        asked(took(STORY, 190.0)),
        asked(took(STORY, 60.0)),
        asked(took(OTHER, 5.0)),
        asked(took("Yes.", 0.0, ttft_ms=1.0), took("Yes.", 200.0)),
        asked(took(STORY, 8.0), took(STORY, 2000.0), hot_1=took(STORY[::-1], 30.0)),
        asked(took(STORY, 0.0, pieces=1), took(STORY, 0.0, ttft_ms=90.0, pieces=1)),
        {"seed_ignored/once": took(STORY, 200.0), "seed_ignored/again": took(STORY, 5.0)},
        asked(a_sample(status="failed", text=STORY)),
        {},
    ],
    ids=[
        *("as before", "a bit quicker", "another text", "too short", "others are quick too", "held back"),
        *("nothing to compare", "failed", "nothing"),
    ],
)
def test_an_answer_that_was_generated_again_is_no_finding(probes: dict[str, Sample]) -> None:
    assert check(ResponseCached(), UNMARKED, probes) is None
