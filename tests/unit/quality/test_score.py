from __future__ import annotations

from typing import Any

import pytest

from audition.bench.plan import Case
from audition.errors import UsageError
from audition.quality.cases import parse_suite
from audition.quality.score import FAILURES, CaseScore, score_answer, self_test

SLOW = {"regex": "(x+x+)+y"}
ENDLESS = "x" * 5000


def case(*expect: Any) -> Case:
    return Case("c", ({"role": "user", "content": "How much?"},), expect=expect)


def score(*expect: Any, text: str = "a b", status: str = "ok", finish: str | None = "stop") -> CaseScore:
    return score_answer(case(*expect), status=status, text=text, finish_reason=finish)


def test_the_score_is_the_weighted_mean_of_the_checks() -> None:
    result = score("a", {"contains": "x", "weight": 3})
    assert (result.status, result.score, result.passed, result.failure) == ("scored", 0.25, False, None)
    assert [(check.score, check.weight) for check in result.checks] == [(1.0, 1.0), (0.0, 3.0)]


def test_a_case_passes_when_every_check_does() -> None:
    assert score("a", "b").passed is True
    assert score("a", {"contains": "x", "weight": 1e-12}).passed is False


def test_huge_weights_do_not_overflow() -> None:
    assert score({"contains": "a", "weight": 1e308}, {"contains": "x", "weight": 1e308}).score == 0.5


def test_a_failed_gate_makes_the_case_0() -> None:
    result = score("a", {"contains": "x", "gate": True})
    assert (result.score, result.passed) == (0.0, False)
    assert result.checks[0].score == 1.0
    assert score("x", {"contains": "a", "gate": True}).score == 0.5


def test_what_was_checked_is_recorded() -> None:
    spec = {"contains": "a", "gate": True, "weight": 2}
    (check,) = score(spec).checks
    assert (check.check, check.version, check.spec, check.weight, check.gate) == ("contains", 1, spec, 2.0, True)
    assert (check.status, check.score, check.passed, check.reason) == ("scored", 1.0, True, 'found "a"')


@pytest.mark.parametrize(
    ("given", "failure"),
    [
        ({"status": "failed", "text": ""}, "failed"),
        ({"status": "timeout", "text": "a b"}, "timeout"),
        ({"status": "truncated"}, "truncated"),
        ({"finish": "length"}, "truncated"),
        ({"text": ""}, "empty_answer"),
        ({"text": " \n"}, "empty_answer"),
        ({"text": "<think>a b</think>"}, "empty_answer"),
        ({"text": "<think>a b"}, "unclosed_reasoning"),
        ({"text": "<think>a b", "status": "truncated", "finish": "length"}, "unclosed_reasoning"),
    ],
)
def test_a_failure_of_the_model_is_0_on_every_check(given: dict[str, str], failure: str) -> None:
    result = score("a", {"not": "x"}, {"words": 5}, {"rubric": "tone"}, **given)
    assert (result.status, result.score, result.passed, result.failure) == ("scored", 0.0, False, failure)
    assert [check.score for check in result.checks] == [0.0] * 4
    assert {check.reason for check in result.checks} == {FAILURES[failure]}


def test_reasoning_is_stripped_before_the_checks() -> None:
    assert score({"not": "secret"}, "a", text="<think>secret</think> a").passed is True
    assert score({"regex": "^a$"}, text="<think>x</think>\n a \n").passed is True


def test_no_checks_is_unscored_even_when_the_model_failed() -> None:
    result = score()
    assert (result.status, result.score, result.passed, result.failure) == ("unscored", None, None, None)
    failed = score(status="timeout")
    assert (failed.status, failed.score, failed.failure) == ("unscored", None, "timeout")


def test_an_unscored_check_is_left_out_of_the_mean() -> None:
    result = score("a", "x", {"rubric": "tone", "weight": 100})
    assert (result.status, result.score) == ("scored", 0.5)
    assert result.checks[2].status == "unscored"
    assert score("a", {"rubric": "tone"}).passed is True


def test_a_case_with_only_unscored_checks_is_unscored() -> None:
    result = score({"rubric": "tone"}, SLOW, text=ENDLESS)
    assert (result.status, result.score, result.passed) == ("unscored", None, None)
    assert result.checks[0].reason == "needs a judge or manual ratings"


def test_an_unscored_gate_leaves_open_whether_the_case_passes() -> None:
    gate = {"rubric": "tone", "gate": True}
    assert (score("a", gate).score, score("a", gate).passed) == (1.0, None)
    assert score("x", gate).passed is False


def test_an_unknown_end_of_the_request_says_nothing_about_the_model() -> None:
    result = score("x", status="cancelled")
    assert (result.status, result.score, result.failure) == ("unscored", None, None)
    assert "cancelled" in result.checks[0].reason


def test_a_check_that_cannot_be_read_names_the_case() -> None:
    with pytest.raises(UsageError, match=r"case c: expect\[1\]"):
        score("a", {"contian": "b"})


def problems(*cases: dict[str, Any]) -> list[str]:
    return self_test(parse_suite(list(cases), "f"))


CAPITAL = {"id": "capital", "prompt": "Capital of France?", "expect": "Paris", "reference": "It is Paris."}
VAT = {"id": "vat", "prompt": "19 % of 100?", "expect": 19, "reference": "It is 19."}


def test_a_suite_that_can_tell_has_no_problems() -> None:
    assert problems(CAPITAL, {**VAT, "prompt": "19 % of 100.0?"}) == []


def test_a_reference_must_pass() -> None:
    (problem,) = problems({**CAPITAL, "reference": "It is Lyon."})
    assert problem == 'case capital: its own reference fails (no "Paris")'


def test_the_echoed_prompt_must_fail() -> None:
    (problem,) = problems({**CAPITAL, "prompt": "Is Paris the capital of France?"})
    assert problem == "case capital: the echoed prompt passes: this case cannot tell models apart"


def test_not_knowing_must_fail() -> None:
    found = problems({"id": "n", "prompt": "Is this it, really?", "expect": {"not": "really"}, "reference": "Yes."})
    assert found == ['case n: the answer "I don\'t know." passes: this case cannot tell models apart']


def test_a_case_with_only_limits_is_reported() -> None:
    found = problems({"id": "short", "prompt": "Be brief.", "expect": {"words": {"max": 9}}})
    assert [line.split(" passes")[0] for line in found] == [
        "case short: the echoed prompt",
        'case short: the answer "I don\'t know."',
    ]


def test_other_references_must_fail() -> None:
    greedy = {"id": "greedy", "prompt": "Which?", "expect": {"contains": "it is"}, "reference": "It is so."}
    (problem,) = problems(greedy, CAPITAL, VAT)
    assert problem == "case greedy: it accepts the reference of other cases (capital, vat)"
    others = [
        {**CAPITAL, "id": f"o{n}", "expect": ["Paris", str(n)], "reference": f"It is Paris {n}"} for n in range(5)
    ]
    assert "(o0, o1, o2 and 2 more)" in problems(greedy, *others)[0]


def test_the_same_reference_or_the_same_expectation_elsewhere_is_no_problem() -> None:
    same_text = {
        "id": "b",
        "prompt": "Which town?",
        "expect": {"regex": "is Paris", "flags": "i"},
        "reference": "it is PARIS.",
    }
    same_expect = {"id": "d", "prompt": "Which town?", "expect": "Paris", "reference": "Paris of course"}
    assert problems(CAPITAL, same_text) == []
    assert problems(CAPITAL, same_expect) == []


def test_cases_without_checks_and_rubrics_alone_are_passed_over() -> None:
    rubric = {"id": "r", "prompt": "x", "expect": {"rubric": "tone"}, "reference": "y"}
    suite = parse_suite({"rubrics": {"tone": {"1": "a"}}, "cases": ["just a prompt", rubric]}, "f")
    assert self_test(suite) == []
