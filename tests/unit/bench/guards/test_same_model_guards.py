"""Several targets of one model: were they fed the same prompts, and are their answers of one kind?"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.bench.guards import Evidence, Finding, run_guards
from audition.bench.guards.base import Guard
from audition.bench.guards.same_model import EngineDisagrees, PromptsDiffer, agreement, similarity
from audition.bench.plan import Settings
from audition.bench.sample import Sample
from plans import a_case, a_plan, a_sample, a_target

CASES = [f"case{n}" for n in range(10)]
COLD = Settings(temperature=0.0, deterministic=True)


def answers(seed: int, words: int = 40, **facts: Any) -> list[Sample]:
    """Return an answer per case, with words that this seed picks from letters of its own."""
    rng = random.Random(seed)
    alphabet = rng.sample("abcdefghijklmnopqrstuvwxyz", 8)
    made = [["".join(rng.choices(alphabet, k=5)) for _ in range(words)] for _ in CASES]
    return [a_sample(case=case, text=" ".join(text), **facts) for case, text in zip(CASES, made, strict=True)]


def like(samples: Sequence[Sample], share: float, seed: int = 99) -> list[Sample]:
    """Return answers that begin as these, and go on with other words."""
    other = answers(seed)
    mixed = []
    for mine, theirs in zip(samples, other, strict=True):
        words, rest = mine.text.split(), theirs.text.split()
        mixed.append(replace(mine, text=" ".join([*words[: int(share * len(words))], *rest[int(share * len(rest)) :]])))
    return mixed


def check(
    guard: Guard, mine: Sequence[Sample], settings: Settings = COLD, **others: Sequence[Sample]
) -> Finding | None:
    cases = {case: a_case(case) for case in CASES}
    return guard.check(Evidence(a_target(), mine, [], [], cases, settings, others=others))


def fed(sha256: str | None, tokens: int | None = 20, **facts: Any) -> list[Sample]:
    return [a_sample(case=case, text="yes", prompt_sha256=sha256, prompt_tokens=tokens, **facts) for case in CASES]


@pytest.mark.parametrize(
    ("mine", "theirs", "differ"),
    [
        (fed("a"), fed("a"), False),
        (fed("a"), fed("b"), True),
        (fed("a", 20), fed("a", 21), False),  # the hash knows better than a count
        (fed(None, 20), fed("a", 20), False),
        (fed(None, 20), fed("a", 43), True),
        (fed(None, None), fed("a", 43), False),
        (fed(None, 20, asked={"mark": "123"}), fed("a", 43), False),  # made to differ
        (fed(None, 20, cached_tokens=12), fed("a", 43), False),
        (fed("b", status="failed"), fed("a"), False),
    ],
)
def test_other_prompts_are_found_by_hash_or_else_by_count(
    mine: list[Sample], theirs: list[Sample], differ: bool
) -> None:
    for x, y in ((mine, theirs), (theirs, mine)):
        finding = check(PromptsDiffer(), x, other=y)
        assert (finding is not None) == differ


def test_how_many_prompts_differ_is_said_with_an_example_and_what_it_taints() -> None:
    theirs = [*fed("a", 20)[:7], *fed("b", 43)[7:]]
    finding = check(PromptsDiffer(), fed("a", 20), engine2=theirs, engine3=fed("a", 20))
    assert finding is not None
    assert "than engine2 in 3 of 10 cases (case7: 20 tokens against 43)" in finding.sentence
    assert "engine3" not in finding.sentence
    assert (finding.affected, finding.of) == (3, 10)
    assert {"quality", "ttft", "latency", "prefill_tps"} <= set(finding.taints)
    assert not {"decode_tps", "load_time", "peak_memory"} & set(finding.taints)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_engines_whose_answers_part_after_some_words_agree(share: float) -> None:
    mine = answers(1)
    assert check(EngineDisagrees(), mine, other=like(mine, share)) is None
    assert check(EngineDisagrees(), mine, other=like(mine, share), third=like(mine, 0.4)) is None


def test_an_engine_that_answers_like_no_other_is_found() -> None:
    right, noise = answers(1), answers(2)
    finding = check(EngineDisagrees(), noise, one=right, two=like(right, 0.4))
    assert finding is not None
    assert finding.taints == ("quality",)
    assert "one" in finding.sentence
    for mine, other in ((right, like(right, 0.4)), (like(right, 0.4), right)):
        assert check(EngineDisagrees(), mine, one=noise, two=other) is None, "it is not the one that is wrong"


@pytest.mark.parametrize(("others", "found"), [(0.7, True), (0.15, False)])
def test_some_text_in_common_is_too_little_where_others_have_far_more(others: float, found: bool) -> None:
    right = answers(1)
    odd, second = like(right, 0.1, seed=2), like(right, others, seed=3)
    nearest = agreement(odd, right)
    assert nearest is not None
    assert 0.1 < nearest.similarity < 0.2
    finding = check(EngineDisagrees(), odd, one=right, two=second)
    assert (finding is not None) == found
    if finding is not None:
        assert "two others of the same model share 7" in finding.sentence
    assert check(EngineDisagrees(), odd, one=right) is None, "of two, that is not enough to say so"


def test_of_two_that_have_nothing_in_common_nobody_can_tell_which_is_wrong() -> None:
    right, noise = answers(1), answers(2)
    for mine, other in ((right, noise), (noise, right)):
        finding = check(EngineDisagrees(), mine, other=other)
        assert finding is not None
        assert "one of the two" in finding.sentence


def test_two_that_run_the_same_code_are_one_witness() -> None:
    right, noise = answers(1), answers(2)
    finding = check(EngineDisagrees(), right, one=noise, same_again=noise)
    assert finding is not None
    assert "one of the two" in finding.sentence, "two that share a fault do not outvote one that has none"
    assert check(EngineDisagrees(), right, same_again=right) is None


def test_answers_that_chance_made_are_not_compared() -> None:
    assert check(EngineDisagrees(), answers(1), Settings(temperature=0.2), other=answers(2)) is None


def test_short_answers_and_few_cases_accuse_nobody() -> None:
    short = [replace(s, text=s.text[:6]) for s in answers(1)]
    assert check(EngineDisagrees(), short, other=[replace(s, text=s.text[:6]) for s in answers(2)]) is None
    assert check(EngineDisagrees(), answers(1)[:4], other=answers(2)[:4]) is None
    assert check(EngineDisagrees(), answers(1)[:5], other=answers(2)[:5]) is not None


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_noise_here_and_answers_elsewhere_is_not_the_model(temperature: float) -> None:
    settings = replace(COLD, temperature=temperature)
    loops = [replace(s, text="and so on it goes. " * 12) for s in answers(1)]
    finding = check(EngineDisagrees(), loops, settings, fine=answers(1))
    assert finding is not None
    assert finding.sentence.startswith("10 of 10 answers are unusable here and 0 of 10 from the same model in fine")
    assert check(EngineDisagrees(), loops, settings, bad_too=loops) is None
    assert check(EngineDisagrees(), answers(1), settings, bad=loops) is None or temperature == 0


def test_noise_in_a_few_answers_may_be_chance() -> None:
    settings = replace(COLD, temperature=0.7)
    loops = [replace(s, text="and so on it goes. " * 12) for s in answers(1)]
    for few in (1, 2, 4):
        assert check(EngineDisagrees(), loops[:few], settings, fine=answers(1)[:few]) is None
    assert check(EngineDisagrees(), [loops[0], answers(1)[1]], settings, fine=answers(1)[:2]) is None
    assert check(EngineDisagrees(), loops[:5], settings, fine=answers(1)[:5]) is not None
    once_there = [loops[0], *answers(1)[1:]]
    mixed = [answers(1)[0], *loops[1:6], *answers(1)[6:]]
    assert check(EngineDisagrees(), mixed, settings, fine=once_there) is None, "5 here and 1 there"
    again = [replace(s, round=number) for number in range(1, 6) for s in loops[:2]]
    assert check(EngineDisagrees(), again, settings, fine=answers(1)[:2]) is None, "repeats are no new cases"


def test_no_other_target_is_no_finding() -> None:
    for guard in (EngineDisagrees(), PromptsDiffer()):
        assert check(guard, answers(1)) is None
        assert check(guard, answers(1), other=[]) is None
        assert check(guard, [], other=answers(1)) is None
        assert check(guard, answers(1), other=[a_sample(case=c, status="failed") for c in CASES]) is None


def test_only_targets_of_the_same_model_are_others() -> None:
    targets = [a_target("llamacpp"), a_target("openvino"), a_target("llamacpp", model="huge")]
    plan = a_plan(targets, [a_case(case) for case in CASES])
    samples = [replace(s, target=t.id) for t in targets for s in answers(1)]
    samples += [replace(s, target=targets[1].id, phase="warmup") for s in answers(2)]
    evidence = Evidence.of(plan, targets[0], samples, [], {})
    assert list(evidence.others) == [targets[1].id]
    assert {s.phase for s in evidence.others[targets[1].id]} == {"measured"}
    assert not [f for f in run_guards(evidence) if f.code in ("engine_disagrees", "prompts_differ")]


def test_agreement_counts_what_both_answered() -> None:
    a = [a_sample(case="red", text="one two three four"), a_sample(case="green", text="yes"), a_sample(case="blue")]
    b = [a_sample(case="red", text="one two five"), a_sample(case="green", text="yes"), a_sample(case="grey")]
    found = agreement(a, b)
    assert found is not None
    assert (found.cases, found.identical, found.words_alike) == (2, 1, 1.5)
    assert 0.5 < found.similarity < 1
    assert agreement(a, [a_sample(case="grey")]) is None


def test_a_repeat_of_a_case_is_not_counted_again() -> None:
    once, again = a_sample(case="red", text="first"), a_sample(case="red", text="second", round=2)
    found = agreement([once, again], [once, once])
    assert found is not None
    assert (found.cases, found.identical) == (1, 1)


@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_a_share_and_takes_sides_with_nobody(a: str, b: str) -> None:
    found = similarity(a, b)
    assert 0 <= found <= 1
    assert found == similarity(b, a)
    assert similarity(a, a) == 1


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ("Paris is the capital of France.", "paris  is the capital\nof france.", 1, 1),
        ("Paris is the capital of France.", "The capital of France is Paris.", 0.7, 0.9),
        ("東京は日本の首都です。", "日本の首都は東京です。", 0.3, 0.9),
        ("東京は日本の首都です。", "リンゴが好きだと彼女は言った。", 0, 0.15),
        ("", "", 1, 1),
        ("", "Paris is the capital of France.", 0, 0.05),
    ],
)
def test_similarity_of_known_texts(a: str, b: str, low: float, high: float) -> None:
    assert low <= similarity(a, b) <= high


def test_huge_answers_are_compared_at_once() -> None:
    a, b = "a" * 2_000_000, "ab " * 700_000
    start = time.perf_counter()
    assert similarity(a, b) < 1
    assert time.perf_counter() - start < 2
