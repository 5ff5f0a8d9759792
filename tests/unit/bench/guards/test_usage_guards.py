"""Token counts: those that cannot be right are found, and odd ones that may be are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.usage import UsageImplausible, UsageMissing
from audition.bench.plan import Settings
from audition.bench.sample import Sample
from plans import a_case, a_sample, a_target

TEXT = "the old harbour was quiet when the first ship came in with salt and fish "  # 73 characters, 15 words
LONG_PROMPT = "Tell me about the harbour. " * 20  # 540 characters


def check(guard: Guard, samples: Sequence[Sample] = (), probes: dict[str, Sample] | None = None) -> Finding | None:
    cases = {"red": a_case("red", LONG_PROMPT)}
    return guard.check(Evidence(a_target(), samples, [], [], cases, Settings(), probes or {}))


def found(*args: Any) -> Finding:
    finding = check(*args)
    assert finding is not None
    return finding


def counted(tokens: int | None, *, pieces: int = 15, limit: int = 64, text: str = TEXT, **more: Any) -> Sample:
    times = tuple(float(n) for n in range(pieces))
    facts: dict[str, Any] = {"prompt_tokens": 120, "wire": {"notes": []}, "token_source": "usage", **more}
    return a_sample(text=text, completion_tokens=tokens, chunk_times_ms=times, asked={"max_tokens": limit}, **facts)


@pytest.mark.parametrize(
    "missing", [counted(None), counted(15, token_source="estimate"), counted(15, wire={"notes": ["no_usage"]})]
)
def test_missing_counts_are_counted(missing: Sample) -> None:
    finding = found(UsageMissing(), [missing, counted(15)])
    assert (finding.affected, finding.of) == (1, 2)
    assert {"decode_tps", "throughput", "energy_per_token"} <= set(finding.taints)
    assert "ttft" not in finding.taints


def test_counts_that_are_there_are_no_finding() -> None:
    assert check(UsageMissing(), [counted(15), counted(0, text="")]) is None
    assert check(UsageMissing(), [counted(None, wire=None)]) is None, "an engine of ours; the metrics say so"
    assert check(UsageMissing(), [a_sample(status="failed", wire={})]) is None
    assert check(UsageMissing(), [], {"seed_ignored/once": counted(None)}) is not None, "before anything is measured"


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (counted(0), "0 tokens"),
        (counted(45, limit=15), "more tokens than their limit"),
        (counted(9), "fewer tokens than pieces"),
        (counted(150, limit=500, pieces=1), "length of their text"),
        (counted(8, limit=500, pieces=1, text=TEXT * 2), "length of their text"),
        (counted(15, prompt_tokens=20), "fewer prompt tokens"),
    ],
)
def test_a_count_that_cannot_be_right_is_found(sample: Sample, words: str) -> None:
    finding = found(UsageImplausible(), [sample] * 2)
    assert words in finding.sentence
    assert (finding.affected, finding.of) == (2, 2)


@pytest.mark.parametrize(
    "sample",
    [
        counted(15),
        counted(16, limit=15),
        counted(13),
        counted(16, pieces=4),
        counted(64, pieces=64, text="1 " * 20),
        counted(60, pieces=2, text="老师在图书馆看书" * 5),
        counted(8, pieces=8, text=TEXT * 2),
        counted(3, pieces=1, text="Supercalifragilisticexpialidocious, really and truly so!"),
        counted(15, prompt_tokens=10, cached_tokens=110),
        counted(None),
        counted(0, text=""),
        counted(40, limit=15, pieces=40, text=TEXT * 3),
    ],
    ids=[
        *("exact", "its end counts", "an event had two pieces", "pieces of four", "pieces confirm it", "signs"),
        *("long tokens", "too short to tell", "the cached ones apart", "no count", "no text", "the limit is ignored"),
    ],
)
def test_a_count_that_may_be_right_is_no_finding(sample: Sample) -> None:
    assert check(UsageImplausible(), [sample] * 4) is None


def test_one_odd_answer_among_many_is_no_finding() -> None:
    assert check(UsageImplausible(), [counted(9), *[counted(15)] * 15]) is None
    assert check(UsageImplausible(), [counted(9), counted(9), *[counted(15)] * 15]) is not None


def lengths(short: int | None, medium: int | None) -> dict[str, Sample]:
    tokens = {"short": short, "medium": medium}
    return {f"context_too_small/{step}": counted(15, prompt_tokens=n, case="probe") for step, n in tokens.items()}


def test_prompt_tokens_have_to_grow_with_the_prompt() -> None:
    assert "do not grow" in found(UsageImplausible(), [], lengths(40, 41)).sentence
    assert "do not grow" in found(UsageImplausible(), [], lengths(0, 0)).sentence
    for short, medium in ((40, 200), (40, None), (None, 200)):
        assert check(UsageImplausible(), [], lengths(short, medium)) is None
