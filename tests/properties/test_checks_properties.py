"""What holds for every specification and every answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.bench.plan import Case
from audition.errors import UsageError
from audition.quality.cases import parse_suite
from audition.quality.checks import CHECKS, Answer, build_check
from audition.quality.checks.readings import numbers
from audition.quality.score import score_answer
from audition.reasoning import split_reasoning

TEXT = st.text(st.characters(exclude_categories=()), max_size=200)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just(10**400)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from([check.name for check in CHECKS])
OPTIONS = st.sampled_from(
    ["gate", "weight", "flags", "which", "abs_tol", "rel_tol", "min", "max", "value", "pattern", "text"]
)
# Mostly right, so that the search gets past the first refusal.
SPECS = st.recursive(
    JSON,
    lambda inner: (
        st.builds(
            lambda name, value, more: {name: value, **more}, NAMES, inner, st.dictionaries(OPTIONS, JSON, max_size=2)
        )
        | st.builds(lambda name, more: {name: more}, NAMES, st.dictionaries(OPTIONS, SCALARS, max_size=3))
        | st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)
PLAUSIBLE = st.text(
    st.sampled_from("0123456789.,-+'eE $%^x*_`\n()[]<>/thinkDr.?!\u2026\u2019\u2212\u2013 "), max_size=80
)
EXAMPLES = st.sampled_from([check.example.spec for check in CHECKS] + ["C++", "retriev*", 5, {"sentences": 2}])


@given(SPECS, TEXT)
@settings(max_examples=400, deadline=None)
def test_any_json_builds_or_is_a_usage_error(spec: Any, text: str) -> None:
    try:
        built = build_check(spec, "f")
    except UsageError as error:
        assert error.message.startswith("f")
        assert error.message.encode()
        return
    assert built.weight > 0
    outcome = built.check.score(Answer(text))
    assert (outcome.score is None) == (outcome.status == "unscored")


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_suite_or_a_usage_error(data: Any) -> None:
    for tree in (data, {"cases": data}, [{"prompt": "a", "expect": data}], [{"prompt": "a", "id": data}]):
        try:
            suite = parse_suite(tree, "f")
        except UsageError as error:
            assert error.message.startswith("f: ")
        else:
            assert suite.cases


@given(EXAMPLES, TEXT | PLAUSIBLE)
@settings(max_examples=400, deadline=None)
def test_any_answer_gets_an_outcome(spec: Any, text: str) -> None:
    outcome = build_check(spec, "f").check.score(Answer(text))
    assert outcome.status == "unscored" or outcome.score in (0.0, 1.0)
    assert outcome.reason.encode()


@given(TEXT | PLAUSIBLE)
def test_not_is_the_opposite(text: str) -> None:
    answer = Answer(text)
    for spec in ("a", 5, {"words": 3}, {"sentences": {"min": 2}}):
        plain = build_check(spec, "f").check.score(answer)
        opposite = build_check({"not": spec}, "f").check.score(answer)
        assert plain.passed is not opposite.passed


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["{:d}", "{:,d}", "It is {:,d}.", "**{:d}**", "€{:d}", "{:d} %"])
)
def test_a_whole_number_is_read_back(value: int, form: str) -> None:
    if form == "€{:d}" and value < 0:
        form = "-€{:d}"
        value = abs(value)
        assert numbers(form.format(value)) == [-value]
        return
    assert numbers(form.format(value)) == [value]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_read_back(value: float) -> None:
    assert numbers(repr(value)) == [value]
    assert build_check(value, "f").check.score(Answer(f"It is {value!r}.")).passed


@given(st.integers(0, 999), st.integers(0, 999))
def test_contains_never_finds_a_number_inside_a_longer_one(part: int, other: int) -> None:
    check = build_check(str(part), "f").check
    for text in (f"{part}{other}", f"{other}{part}", f"{other}.{part}", f"{part}.{other}", f"{other},{part:03d}"):
        if str(part) != text:
            assert check.score(Answer(text)).passed is False


@given(TEXT | PLAUSIBLE)
def test_splitting_reasoning_loses_no_answer(text: str) -> None:
    reasoning, answer, unclosed = split_reasoning(f"<think>x</think>{text}")
    assert answer in text
    assert not (unclosed and answer)
    assert "x" in reasoning


@given(
    st.lists(st.tuples(EXAMPLES, st.booleans(), st.floats(1e-3, 1e3)), max_size=5),
    PLAUSIBLE,
    st.sampled_from(["ok", "failed", "timeout", "truncated", "other"]),
    st.sampled_from(["stop", "length", None]),
)
def test_a_case_score_stays_within_its_checks(
    parts: list[tuple[Any, bool, float]], text: str, status: str, finish: str | None
) -> None:
    expect = tuple(
        {**spec, "gate": gate, "weight": weight} if isinstance(spec, dict) else spec for spec, gate, weight in parts
    )
    case = Case("c", ({"role": "user", "content": "x"},), expect=expect)
    result = score_answer(case, status=status, text=text, finish_reason=finish)
    scores = [check.score for check in result.checks if check.score is not None]
    assert len(result.checks) == len(expect)
    if not scores:
        assert (result.status, result.score, result.passed) == ("unscored", None, None)
        return
    assert result.score is not None
    if any(check.gate and check.passed is False for check in result.checks):
        assert result.score == 0.0
    else:
        assert result.score == pytest.approx(max(min(result.score, max(scores)), min(scores)))
    if result.passed:
        assert result.score >= 1.0 - 1e-9
