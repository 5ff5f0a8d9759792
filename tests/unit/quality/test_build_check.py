"""How what a person writes under `expect` becomes a check, and how it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from audition.errors import UsageError
from audition.quality.checks import BuiltCheck, Context, build_check


def test_gate_and_weight_are_read() -> None:
    built = build_check({"contains": "a", "gate": True, "weight": 2}, "f")
    assert (built.gate, built.weight, built.check.name) == (True, 2.0, "contains")
    assert built.spec == {"contains": "a", "gate": True, "weight": 2}
    plain = build_check("a", "f")
    assert (plain.gate, plain.weight) == (False, 1.0)


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("Paris", 'contains "Paris"'),
        (["a", "b"], 'contains "a" and "b"'),
        ({"contains_any": ["a", "b"]}, 'contains "a" or "b"'),
        (42, "the last number is 42"),
        ({"number": 23.8, "abs_tol": 0.01, "which": "any"}, "any number is 23.8 ± 0.01"),
        ({"number": 100, "rel_tol": 0.05}, "the last number is 100 ± 5 %"),
        ({"words": 1}, "at most 1 word"),
        ({"sentences": {"min": 2, "max": 2}}, "2 sentences"),
        ({"words": {"min": 10}}, "at least 10 words"),
        ({"regex": "^a", "flags": "i"}, "matches /^a/i"),
        ({"not": "a"}, 'not (contains "a")'),
        (["a", 1], 'all of: contains "a"; the last number is 1'),
        ({"rubric": "tone"}, 'rubric "tone"'),
    ],
)
def test_the_label_says_how_a_specification_was_read(spec: Any, label: str) -> None:
    assert build_check(spec, "f").label == label


FAULTS: list[tuple[Any, str, str]] = [
    # not a check at all
    (None, "not null", ""),
    (True, "not true", ""),
    (float("inf"), "not Infinity", ""),
    ({}, "must name a check", "contains"),
    ([], "empty", ""),
    ({"contain": "a"}, 'unknown check "contain"', '"contains"'),
    ({"regexp": "a"}, 'unknown check "regexp"', '"regex"'),
    ({"zzz": "a"}, 'unknown check "zzz"', "known checks: "),
    ({"contains": "a", "words": 5}, "two checks", "a list"),
    # gate and weight
    ({"contains": "a", "gate": 1}, '"gate"', ""),
    ({"contains": "a", "weight": 0}, '"weight"', ""),
    ({"contains": "a", "weight": True}, '"weight"', ""),
    ({"contains": "a", "weight": "2"}, '"weight"', ""),
    ({"not": {"contains": "a", "gate": True}}, "belong to an entry", ""),
    ({"contains": "a", "gat": True}, 'unknown argument "gat"', '"gate"'),
    # contains
    ("", "nothing to look for", ""),
    ("  ", "nothing to look for", ""),
    ("**", "nothing to look for", ""),
    ({"contains": []}, "empty", ""),
    ({"contains": ["a", ""]}, "nothing to look for", ""),
    ({"contains": 5}, "not for a number", "number"),
    ({"contains_any": [None]}, "not for null", ""),
    # number
    ({"number": "5"}, "not text", "without quotes"),
    ({"number": True}, "not true or false", ""),
    ({"number": 10**400}, "finite", ""),
    ({"number": {"abs_tol": 1}}, "finite number", ""),
    ({"number": 5, "abs_tol": -1}, '"abs_tol"', ""),
    ({"number": 5, "rel_tol": "1"}, '"rel_tol"', ""),
    ({"number": 5, "which": "lsat"}, '"lsat"', '"last"'),
    ({"number": 5, "abstol": 1}, 'unknown argument "abstol"', '"abs_tol"'),
    ({"number": {"value": 5, "abs_tol": 1}, "abs_tol": 2}, "twice", ""),
    # limits
    ({"words": {}}, 'needs "min"', ""),
    ({"words": {"max": 2, "min": 3}}, '"min" is greater', ""),
    ({"words": {"max": 2.5}}, "2.5", ""),
    ({"words": {"max": 0}}, "at least 1", ""),
    ({"words": True}, "whole number", ""),
    ({"sentences": {"maximum": 2}}, 'unknown argument "maximum"', '"max"'),
    # regex
    ({"regex": "(a"}, "position 2", "look at: (a"),
    ({"regex": "[z-a]"}, "position 4", ""),
    ({"regex": ""}, "empty", ""),
    ({"regex": 5}, "not a number", ""),
    ({"regex": "a", "flags": "q"}, '"flags"', "i, m, s, x"),
    ({"regex": "(" * 5000}, "too deeply", ""),
    # inside other checks
    ({"not": {"contian": "a"}}, ".not: unknown check", '"contains"'),
    ({"not": "a", "why": 1}, 'no argument "why"', ""),
    (["a", {"words": "x"}], "[1]: words: ", ""),
    ({"all": "a"}, "list of checks", ""),
    ({"rubric": 5}, "name of a rubric", ""),
]


@pytest.mark.parametrize(("spec", "sentence", "fix"), FAULTS)
def test_a_wrong_specification_is_a_usage_error_that_names_its_place(spec: Any, sentence: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_check(spec, "prompts.json: cases[3].expect[1]")
    assert caught.value.exit_code == 2
    assert caught.value.message.startswith("prompts.json: cases[3].expect[1]")
    assert sentence in caught.value.message
    assert fix in (caught.value.fix or "")


def test_endless_nesting_is_a_usage_error() -> None:
    spec: Any = "a"
    for _ in range(900):
        spec = {"not": spec}
    with pytest.raises(UsageError, match="too deeply"):
        build_check(spec, "f")


def test_rubrics_are_verified_only_where_they_are_known() -> None:
    assert build_check({"rubric": "clarity"}, "f").check.name == "rubric"
    assert build_check({"rubric": "clarity"}, "f", {"clarity": {}}).check.name == "rubric"
    with pytest.raises(UsageError) as caught:
        build_check({"rubric": "clarty"}, "f", {"clarity": {}})
    assert caught.value.fix == 'did you mean "clarity"?'
    with pytest.raises(UsageError, match="no rubric"):
        build_check({"not": {"rubric": "clarity"}}, "f", {})


def test_the_types_are_exported() -> None:
    assert isinstance(build_check("a", "f"), BuiltCheck)
    assert Context("f", lambda spec, step: build_check(spec, step).check).rubrics is None
