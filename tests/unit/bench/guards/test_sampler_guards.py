"""Temperature, seed, the limit of tokens, the reason of the end: each guard speaks when it has to, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.failures import FailingRequests, Truncation
from audition.bench.guards.sampler import (
    FinishReasonWrong,
    MaxTokensIgnored,
    NotRepeatable,
    SeedIgnored,
    TemperatureIgnored,
)
from audition.bench.plan import Settings
from audition.bench.sample import Sample
from plans import a_case, a_sample, a_target

STORY = "Once there was a teacher who lived near the river."
OTHER = "The old harbour was quiet when the first ship came in."


def check(
    guard: Guard,
    samples: Sequence[Sample] = (),
    probes: dict[str, Sample] | None = None,
    first: Sequence[Sample] = (),
    **settings: Any,
) -> Finding | None:
    cases = {name: a_case(name) for name in ("red", "green", "blue")}
    return guard.check(Evidence(a_target(), samples, first, [], cases, Settings(**settings), probes or {}))


def found(*args: Any, **more: Any) -> Finding:
    finding = check(*args, **more)
    assert finding is not None
    return finding


def probes(guard: Guard, **texts: str | None) -> dict[str, Sample]:
    """Return a probe's samples; a text of None is a request that failed."""
    return {
        f"{guard.code}/{step}": a_sample(phase="probe", status="failed" if text is None else "ok", text=text or "")
        for step, text in texts.items()
    }


def asked_by(guard: Guard, answer: Callable[[str], Sample]) -> list[str]:
    """Return the steps that a guard asks of a target that answers so."""
    steps: list[str] = []

    async def ask(step: str, prompt: str, **_: Any) -> Sample:
        steps.append(step)
        return answer(step)

    asyncio.run(guard.probe(ask, a_target()))
    return steps


def temperature(zero: str | None, again: str | None, *hot: str | None) -> dict[str, Sample]:
    texts = {"zero": zero, "zero_again": again, **{f"hot_{n}": text for n, text in enumerate(hot, start=1)}}
    return probes(TemperatureIgnored(), **texts)


def test_answers_at_temperature_0_have_to_repeat() -> None:
    assert "do not repeat" in found(TemperatureIgnored(), probes=temperature(STORY, OTHER, STORY)).sentence


def test_a_high_temperature_has_to_change_something() -> None:
    finding = found(TemperatureIgnored(), probes=temperature(STORY, STORY, STORY, STORY, STORY))
    assert finding.sentence.startswith("temperature is ignored")
    assert finding.taints == ("quality",)


@pytest.mark.parametrize(
    "answers",
    [
        (STORY, STORY, OTHER),
        (STORY, STORY, STORY, STORY, OTHER),
        (STORY, STORY, STORY, STORY, None),
        (STORY, None, STORY, STORY),
        (None, None),
        ("Yes.", "Yes.", "Yes.", "Yes.", "Yes."),
        ("", "", "", "", ""),
        (),
    ],
)
def test_a_temperature_that_may_be_honoured_is_no_finding(answers: tuple[str | None, ...]) -> None:
    steps = temperature(*answers) if answers else {}
    assert check(TemperatureIgnored(), probes=steps) is None


def test_a_high_temperature_is_asked_until_it_changes_something() -> None:
    guard = TemperatureIgnored()
    assert asked_by(guard, lambda step: a_sample(text=step[:3])) == ["zero", "zero_again", "hot_1"]
    assert asked_by(guard, lambda _: a_sample(text="a")) == ["zero", "zero_again", "hot_1", "hot_2", "hot_3"]
    assert asked_by(guard, lambda _: a_sample(status="failed")) == ["zero"]


def test_the_same_seed_has_to_give_the_same_text() -> None:
    assert found(SeedIgnored(), probes=probes(SeedIgnored(), once=STORY, again=OTHER)).taints == ("quality",)


@pytest.mark.parametrize("again", [STORY, None])
def test_a_seed_that_may_be_honoured_is_no_finding(again: str | None) -> None:
    assert check(SeedIgnored(), probes=probes(SeedIgnored(), once=STORY, again=again)) is None
    assert check(SeedIgnored()) is None


def test_a_server_that_takes_no_seed_is_not_said_to_ignore_it() -> None:
    finding = found(SeedIgnored(), [a_sample(wire={"notes": ["no_seed"]})])
    assert "does not take a seed" in finding.sentence


def limited(text: str, *, tokens: int | None, limit: int = 8, pieces: int | None = None, **more: Any) -> Sample:
    times = tuple(float(n) for n in range(len(text.split()) if pieces is None else pieces))
    facts: dict[str, Any] = {"finish_reason": "stop", "prompt_tokens": 20, "wire": {}, **more}
    return a_sample(text=text, asked={"max_tokens": limit}, completion_tokens=tokens, chunk_times_ms=times, **facts)


SENTENCE = "the sea is deep and blue and very wide and full of fish and salt"  # 15 words


def test_an_answer_beyond_its_limit_is_counted() -> None:
    fine = limited("the sea is deep and blue and very", tokens=8)
    finding = found(MaxTokensIgnored(), [limited(SENTENCE, tokens=15), fine])
    assert (finding.affected, finding.of) == (1, 2)
    assert {"latency", "quality"} <= set(finding.taints)
    assert check(MaxTokensIgnored(), [limited(SENTENCE, tokens=None, limit=7)]), "the words tell as well"


@pytest.mark.parametrize(
    "sample",
    [
        limited("the sea is deep and blue and very", tokens=8),
        limited("the sea is deep and blue and very", tokens=9),
        limited("the sea is deep and blue and very", tokens=24),
        limited("Meeresspiegelanstiegsgeschwindigkeitsmessung ist schwer", tokens=None),
        limited(SENTENCE, tokens=None),
        a_sample(text=SENTENCE, completion_tokens=15),
    ],
    ids=["exact", "with its end", "usage is wrong", "long words", "not surely", "not asked"],
)
def test_an_answer_within_its_limit_is_no_finding(sample: Sample) -> None:
    assert check(MaxTokensIgnored(), [sample]) is None


CUT = [f"the sea is deep and blue number {n}" for n in range(3)]


def test_cut_answers_that_claim_to_have_ended_are_found() -> None:
    finding = found(FinishReasonWrong(), [limited(text, tokens=8) for text in CUT])
    assert (finding.affected, finding.of) == (3, 3)
    assert '"stop"' in finding.sentence


def test_answers_that_end_by_chance_at_the_limit_are_no_finding() -> None:
    cut = [limited(text, tokens=8, finish_reason="length") for text in CUT]
    assert check(FinishReasonWrong(), cut) is None
    assert check(FinishReasonWrong(), [*cut, limited("the sea is deep and blue and wide.", tokens=8)]) is None
    assert check(FinishReasonWrong(), [limited(CUT[0], tokens=8)] * 4) is None, "one text, four times"
    assert check(FinishReasonWrong(), [limited(text, tokens=8, limit=9) for text in CUT]) is None
    assert check(FinishReasonWrong(), [limited(text, tokens=None) for text in CUT]) is None


def test_a_length_that_was_not_reached_is_found() -> None:
    early = limited("the sea is deep", tokens=4, limit=100, finish_reason="length")
    assert '"length"' in found(FinishReasonWrong(), [early]).sentence
    full = limited("the sea is deep", tokens=4, limit=100, finish_reason="length", prompt_tokens=500)
    assert check(FinishReasonWrong(), [full]) is None, "the context of 512 was"
    assert check(FinishReasonWrong(), [limited("the sea is deep", tokens=0, limit=100, finish_reason="length")]) is None


def test_a_server_that_does_not_say_why_it_ended_is_found() -> None:
    silent = limited("the sea", tokens=2, finish_reason=None)
    assert "do not say" in found(FinishReasonWrong(), [silent]).sentence
    own = limited("the sea", tokens=2, finish_reason=None, wire=None)
    assert check(FinishReasonWrong(), [own]) is None, "an adapter may only give text"


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


def test_the_first_request_is_compared_as_well() -> None:
    finding = found(NotRepeatable(), rounds(red=("a",)), first=[a_sample(text="b")], deterministic=True)
    assert (finding.affected, finding.of) == (1, 1)


def test_a_prompt_with_another_mark_is_another_prompt() -> None:
    marks = [a_sample(text=text, asked={"mark": text}) for text in ("a", "b")]
    assert check(NotRepeatable(), marks, deterministic=True) is None
    same = [a_sample(text=text, asked={"mark": "m"}) for text in ("a", "b")]
    assert check(NotRepeatable(), same, deterministic=True) is not None


def test_a_failed_round_says_nothing_about_repeating() -> None:
    samples = [*rounds(red=("a", "a")), a_sample(status="timeout", text="half"), a_sample(status="failed", text="")]
    assert check(NotRepeatable(), samples, deterministic=True) is None


STATUSES = ("ok", "truncated", "failed", "timeout", "truncated", "ok")


def test_answers_that_the_limit_cut_are_counted_among_the_answers() -> None:
    finding = found(Truncation(), [a_sample(status=status) for status in STATUSES])
    assert (finding.affected, finding.of) == (2, 4)
    assert {"latency", "quality"} == set(finding.taints)
    assert check(Truncation(), [a_sample(status=status) for status in ("ok", "failed", "timeout")]) is None


def test_failed_requests_are_named_by_their_codes() -> None:
    errors = ({"code": "http_500", "message": "no"}, None, None, None)
    statuses = ("failed", "timeout", "ok", "ok", "truncated")
    samples = [a_sample(status=s, error=e) for s, e in zip(statuses, (*errors, None), strict=True)]
    finding = found(FailingRequests(), samples)
    assert finding.sentence == "2 of 5 requests failed (http_500 1, timeout 1)"
    assert (finding.affected, finding.of, finding.taints, finding.disqualifies) == (2, 5, (), False)
    assert check(FailingRequests(), samples[2:]) is None
    assert check(FailingRequests()) is None


def test_a_target_of_which_half_the_requests_fail_cannot_be_picked() -> None:
    finding = found(FailingRequests(), [a_sample(status="failed"), a_sample()])
    assert finding.disqualifies
    assert finding.taints == (), "metrics count failures themselves"
