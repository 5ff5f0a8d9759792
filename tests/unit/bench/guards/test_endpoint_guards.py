"""Guards of the endpoint: each speaks when it has to, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.endpoint import CachedPrompt, MemoryKept, MissingChatTemplate, NotRepeatable, Truncation
from audition.bench.plan import Settings
from audition.bench.sample import Load, Memory, Sample
from plans import MEGABYTE, a_case, a_load, a_sample, a_target


def check(
    guard: Guard, samples: Sequence[Sample] = (), loads: Sequence[Load] = (), target: Any = None, **settings: Any
) -> Finding | None:
    cases = {name: a_case(name) for name in ("red", "green", "blue")}
    return guard.check(Evidence(target or a_target(), samples, [], loads, cases, Settings(**settings)))


def found(*args: Any, **more: Any) -> Finding:
    finding = check(*args, **more)
    assert finding is not None
    return finding


@pytest.mark.parametrize("known", [True, None])
def test_a_chat_template_that_is_there_or_not_known_is_no_finding(known: bool | None) -> None:
    assert check(MissingChatTemplate(), target=a_target(has_chat_template=known)) is None


def test_a_missing_chat_template_is_said_with_what_the_engine_did() -> None:
    finding = found(MissingChatTemplate(), target=a_target("llamacpp", has_chat_template=False))
    assert (finding.code, finding.taints, finding.disqualifies) == ("missing_chat_template", ("quality",), False)
    assert "llamacpp fell back" in finding.sentence
    assert "base model" not in finding.sentence
    base = found(MissingChatTemplate(), target=a_target(has_chat_template=False, instruct=False))
    assert "base model that was never taught to answer" in base.sentence


@pytest.mark.parametrize("cached", [0, None])
def test_a_prompt_that_was_computed_is_no_finding(cached: int | None) -> None:
    assert check(CachedPrompt(), [a_sample(cached_tokens=cached)]) is None
    assert check(CachedPrompt()) is None


def test_prompts_from_a_cache_are_counted_and_mark_the_times() -> None:
    finding = found(CachedPrompt(), [a_sample(cached_tokens=count) for count in (0, 12, None, 1)])
    assert (finding.affected, finding.of) == (2, 4)
    assert {"ttft", "latency", "prefill_tps"} == set(finding.taints)


def test_answers_that_the_limit_cut_are_counted_among_the_answers() -> None:
    statuses = ("ok", "truncated", "failed", "timeout", "truncated", "ok")
    finding = found(Truncation(), [a_sample(status=status) for status in statuses])
    assert (finding.affected, finding.of) == (2, 4)
    assert {"latency", "quality"} == set(finding.taints)
    assert check(Truncation(), [a_sample(status=status) for status in ("ok", "failed", "timeout")]) is None


def rounds(**texts: Sequence[str]) -> list[Sample]:
    return [a_sample(case=case, round=n, text=text) for case, said in texts.items() for n, text in enumerate(said, 1)]


def test_answers_that_change_are_a_finding_in_deterministic_mode_only() -> None:
    samples = rounds(red=("a", "a"), green=("a", "b"), blue=("c", "c"))
    finding = found(NotRepeatable(), samples, deterministic=True)
    assert (finding.affected, finding.of) == (1, 3)
    assert check(NotRepeatable(), samples, deterministic=False) is None


def test_answers_that_repeat_are_no_finding() -> None:
    assert check(NotRepeatable(), rounds(red=("a", "a"), green=("b", "b")), deterministic=True) is None
    assert check(NotRepeatable(), rounds(red=("a",)), deterministic=True) is None


def test_a_failed_round_says_nothing_about_repeating() -> None:
    samples = [*rounds(red=("a", "a")), a_sample(status="timeout", text="half"), a_sample(status="failed", text="")]
    assert check(NotRepeatable(), samples, deterministic=True) is None


def memory(megabytes: int) -> Memory:
    return Memory(megabytes * MEGABYTE)


def a_load_of(baseline: int | None, peak: int | None, after: int | None) -> Load:
    sizes = {"baseline": baseline, "peak": peak, "after_unload": after}
    return a_load(**{name: None if size is None else memory(size) for name, size in sizes.items()})


@pytest.mark.parametrize(
    "loads",
    [
        [],
        [(50, 550, 60)],
        [(50, 550, 300)],
        [(50, 550, 40)],
        [(None, 550, 550), (50, None, 550), (50, 550, None)],
        [(50, 50, 50)],
        [(50, 52, 52)],
    ],
    ids=["nothing", "given back", "half", "less than before", "unknown", "nothing taken", "noise"],
)
def test_memory_that_was_given_back_is_no_finding(loads: list[tuple[int | None, int | None, int | None]]) -> None:
    assert check(MemoryKept(), loads=[a_load_of(*sizes) for sizes in loads]) is None


def test_the_worst_load_counts() -> None:
    finding = found(MemoryKept(), loads=[a_load_of(50, 550, 60), a_load_of(50, 550, 500), a_load_of(50, 550, 350)])
    assert finding.code == "memory_not_given_back"
    assert "90%" in finding.sentence
    assert finding.taints == ("memory_after_unload",)
