from __future__ import annotations

import time
from typing import Any

import pytest

from audition.quality.checks import Answer, Outcome, build_check, matches
from audition.quality.checks.readings import numbers
from audition.quality.checks.sentences import count_sentences
from audition.quality.checks.words import count_words


def outcome(spec: Any, text: str) -> Outcome:
    return build_check(spec, "prompts.json: cases[0].expect").check.score(Answer(text))


CONTAINS = [
    # whole words, any case, any spacing
    ("Paris", "The capital is PARIS.", True),
    ("Paris", "A Parisian café.", False),
    ("Paris", "Paris's river", True),
    ("New York", "new\n   york", True),
    ("New York", "New Yorkers", False),
    ("it's", "it\u2019s", True),
    ("state-of-the-art", "state\u2011of\u2011the\u2011art", True),
    # digits that belong to a longer number
    ("5", "It is 5.", True),
    ("5", "5, of course", True),
    ("5", "x=5", True),
    ("5", "3-5", True),
    ("5", "5%", True),
    ("5", "25", False),
    ("5", "55", False),
    ("5", "5.5", False),
    ("5", "1,500", False),
    ("5", "0,5", False),
    ("5", " .5", False),
    ("5", "-5", False),
    ("5", "\u22125 degrees", False),
    ("500", "1,500", False),
    ("4,500", "about 4,500.", True),
    ("4,500", "14,500", False),
    ("4,500", "4,500,000", False),
    ("4,500", "4,500.25", False),
    # terms that begin or end in punctuation
    ("$5", "It costs $5.", True),
    ("$5", "It costs $55", False),
    ("$5", "It costs $5.50", False),
    ("C++", "I prefer C++, really.", True),
    ("C++", "C+", False),
    ("C+", "a C++", False),
    ("C", "I prefer C++", False),
    ("C", "I prefer C#.", False),
    ("C", "I prefer C.", True),
    ("A", "An A+", False),
    (".NET", "Use .NET!", True),
    (".NET", "ASP.NET", False),
    ("e.g.", "fruit, e.g. apples", True),
    # scripts
    ("straße", "STRASSE", True),
    ("café", "LE CAFE\u0301", True),
    ("cafe", "café", False),
    ("Москва", "Это москва.", True),
    ("Москв", "Это москва.", False),
    ("दिल", "दिल्ली", False),
    ("दिल्ली", "राजधानी दिल्ली है", True),
    ("巴黎", "法国的首都是巴黎。", True),
    ("巴黎", "Paris巴黎Paris", True),
    ("5", "共5个", True),
    ("Paris", "答案是Paris。", True),
    ("fine", "\ufb01ne", True),
    ("\uff15", "5", True),
    # Markdown and invisible characters
    ("Paris", "It is **Paris**.", True),
    ("Paris", "**P**aris", True),
    ("Paris", "`P`aris", True),
    ("Paris", "_Paris_ and `Paris`", True),
    ("**Paris**", "Paris", True),
    ("New York", "**New** _York_", True),
    ("hello", "he\u00adl\u200blo", True),
    ("snake_case", "call snake_case()", True),
    ("snake_case", "snakecase", False),
    ("2*3", "2*3 = 6", True),
    ("SELECT * FROM", "`SELECT * FROM t`", True),
    # a trailing star
    ("retriev*", "Retrieval Augmented Generation", True),
    ("retriev*", "it retrieves", True),
    ("retriev*", "it is retriev", True),
    ("retriev*", "unretrieved", False),
    ("augment* gener*", "retrieval augmented generation", True),
    ("augment* gener*", "augmented by generation", False),
    ("*Paris*", "Parisian", False),
]


@pytest.mark.parametrize(("term", "text", "there"), CONTAINS)
def test_contains_finds_whole_words_only(term: str, text: str, there: bool) -> None:
    result = outcome(term, text)
    assert (result.score, result.passed) == ((1.0, True) if there else (0.0, False)), result.reason


def test_a_failed_contains_names_the_starred_form_when_a_longer_word_is_there() -> None:
    reason = outcome("retriev", "Retrieval").reason
    assert '"retrieval"' in reason
    assert '"retriev*"' in reason
    assert "*" not in outcome("retriev", "nothing of the kind").reason
    assert "*" not in outcome("5", "5.5").reason


def test_contains_with_a_list_needs_all_and_names_what_is_missing() -> None:
    assert outcome({"contains": ["a", "b"]}, "b a").passed
    missing = outcome({"contains": ["a", "b", "c"]}, "b")
    assert missing.score == 0.0
    assert '"a"' in missing.reason
    assert '"c"' in missing.reason
    assert '"b"' not in missing.reason


def test_contains_any_needs_one() -> None:
    assert outcome({"contains_any": ["x", "b"]}, "a b").passed
    assert outcome({"contains_any": ["x", "y"]}, "a b").passed is False
    assert outcome({"contains_any": "b"}, "a b").passed


NUMBERS = [
    ("", []),
    ("none at all", []),
    # separators
    ("1,234", [1234]),
    ("1,234,567.89", [1234567.89]),
    ("1 234", [1234]),
    ("1\u202f234,5", [1234.5]),
    ("12'345", [12345]),
    ("12,34,567", [1234567]),
    ("1.234,5", [1234.5]),
    ("1.234.567", [1234567]),
    ("1.234", [1.234]),
    ("3,14", [3.14]),
    ("3,14159", [3.14159]),
    ("0,125", [0.125]),
    ("1234,567", [1234.567]),
    ("1,2,3", [1, 2, 3]),
    ("(1, 2)", [1, 2]),
    ("1.5,2.5", [1.5, 2.5]),
    ("2024 100", [2024, 100]),
    ("3 100,000", [3, 100000]),
    # the end of a sentence
    ("It is 42.", [42]),
    ("It is 42.\nNext", [42]),
    ("It is 3.5.", [3.5]),
    ("42...", [42]),
    # signs
    ("-5 +6 \u22127 \u20138", [-5, 6, -7, -8]),
    ("-$5 and $-6", [-5, -6]),
    ("(-5)", [-5]),
    ("-.5", [-0.5]),
    ("3-5, 3\u20135, 3 - 5", [3, 5, 3, 5, 3, 5]),
    ("(2)-5", [2, 5]),
    ("the answer\u201442", [42]),
    ("2024-05-01 10:30", [2024, 5, 1, 10, 30]),
    # currency, percent, units
    ("$5 €6.50 7 € R$8", [5, 6.5, 7, 8]),
    ("45% or 45 %", [45, 45]),
    ("5kg, 10ms, 1.5GB", [5, 10, 1.5]),
    ("共5个", [5]),
    # exponents
    ("1.5e3 2E-2", [1500, 0.02]),
    ("6.02 \u00d7 10^23", [6.02e23]),
    ("6.02\u00d710²³", [6.02e23]),
    (r"6.02 \times 10^{-3}", [6.02e-3]),
    ("10^6 and 10⁻³", [1e6, 1e-3]),
    ("2^10 = 1024", [2, 1024]),
    ("5² is 25", [5, 25]),
    ("5 x 3", [5, 3]),
    ("1,2,3e2", [1, 2, 300]),
    ("1e999", []),
    ("9" * 400, []),
    # names and versions
    ("H2O, x2, GPT-4, Qwen2.5, COVID-19, v2.0, x_1", []),
    ("3.11.7 and 192.168.1.1", []),
    # Markdown
    ("**42** and `43` and _44_", [42, 43, 44]),
    ("* 5\n* 6", [5, 6]),
    (r"\boxed{42}", [42]),
    # list markers
    ("1. Paris\n2. London\n3) Rome", []),
    ("1. 10\n2. 20", [10, 20]),
    ("  **1.** a\n  **2.** b", []),
    ("42. That is the answer.", [42]),
    ("1. That is the answer.", [1]),
    ("2. b\n3. c", [2, 3]),
    ("1. a\n1980. b\n2. c", [1980]),
    # other digits
    ("٤٢", [42]),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_numbers_are_read_from_text(text: str, expected: list[float]) -> None:
    assert numbers(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spec", "text", "equal"),
    [
        (42, "6 x 7 = 42", True),
        (42, "42 = 6 x 7", False),
        (42.0, "42", True),
        (0, "0.0", True),
        (0, "0.001", False),
        (1000000, "1,000,000", True),
        (0.3, "0.30000000000000004", True),
        (1, "1.000001", False),
        ({"number": 42, "which": "first"}, "42 = 6 x 7", True),
        ({"number": 42, "which": "first"}, "6 x 7 = 42", False),
        ({"number": 42, "which": "any"}, "6 x 42 x 7", True),
        ({"number": 42, "which": "any"}, "6 x 7", False),
        ({"number": 42, "which": "only"}, "It is 42, yes 42.0", True),
        ({"number": 42, "which": "only"}, "41 or 42", False),
        ({"number": 23.80, "abs_tol": 0.01}, "23.81", True),
        ({"number": 23.80, "abs_tol": 0.01}, "23.79", True),
        ({"number": 23.80, "abs_tol": 0.01}, "23.811", False),
        ({"number": {"value": 100, "rel_tol": 0.05}}, "105", True),
        ({"number": {"value": -100, "rel_tol": 0.05}}, "-95", True),
        ({"number": {"value": 100, "rel_tol": 0.05}}, "105.1", False),
        ({"number": 1.0, "rel_tol": 0}, "1.0000000001", False),
        (5, "no number", False),
        (-5, "It is \u22125 °C.", True),
        (5, "It is -5 °C.", False),
    ],
)
def test_number_compares_by_value(spec: Any, text: str, equal: bool) -> None:
    assert outcome(spec, text).passed is equal


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("...", 0),
        ("Hello. World.", 2),
        ("no stop at the end", 1),
        ("One. two without a capital", 2),
        ("We take plan b. Then we rest.", 2),
        ("The answer is B. It is Paris.", 2),
        ("Really?! No!! Yes.", 3),
        ("Dr. Smith met Mr. and Mrs. Jones. They left.", 2),
        ("Use a tool, e.g. a saw, i.e. something sharp.", 1),
        ("The U.S. Army came.", 1),
        ("He lives in the U.S. It is big.", 2),
        ("J. R. R. Tolkien wrote it. J.K. Rowling did not.", 2),
        ("Pi is 3.14. Python is not.", 2),
        ("Version 2.0 is out at example.com now.", 1),
        ("See Fig. 3 and No. 5.", 1),
        ("No. It is not.", 2),
        ("At 5 p.m. we left. We saw cats, dogs, etc. Then it rained.", 3),
        ("Cats, dogs, etc. and so on.", 1),
        ("It took 5 ms. The next took 6.", 2),
        ("Wait... what? Well\u2026 maybe.", 2),
        ("Wait... What?", 2),
        ("\u201cWhy?\u201d he asked.", 1),
        ('He said "go." Then he left.', 2),
        ("(Really.) Yes.", 2),
        ("A fact.[1] Another.[2][3]", 2),
        ("**Note.** Text here.", 2),
        ("**Dr.** Smith", 1),
        ("- apples\n- pears", 2),
        ("1. Apples are red. Or green.\n2. Pears", 3),
        ("One\n\nTwo\n---\n", 2),
        ("Great! \U0001f600", 1),
        ("你好。世界\uff01好吗\uff1f", 3),
    ],
)
def test_sentences_are_counted(text: str, count: int) -> None:
    assert count_sentences(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("\U0001f600 - ! * _", 0),
        ("don't stop", 2),
        ("state-of-the-art", 1),
        ("and/or", 2),
        ("word\u2014word, word--word", 4),
        ("3.14 and 1,234", 3),
        ("U.S. law", 2),
        ("**bold** _text_ `code`", 3),
        ("- x\n- y", 2),
        ("naïve cafe\u0301 दिल्ली Москва", 4),
        ("你好世界 is two words", 7),
    ],
)
def test_words_are_counted(text: str, count: int) -> None:
    assert count_words(text) == count


@pytest.mark.parametrize(
    ("spec", "text", "within"),
    [
        ({"words": 3}, "one two three", True),
        ({"words": 3}, "one two three four", False),
        ({"words": {"min": 2}}, "one", False),
        ({"words": {"min": 2}}, "one two", True),
        ({"words": {"min": 2, "max": 3}}, "one two three four", False),
        ({"sentences": {"min": 1, "max": 2}}, "A b. C d.", True),
        ({"sentences": {"min": 1, "max": 2}}, "", False),
        ({"sentences": 1, "min": 1}, "A b. C d.", False),
    ],
)
def test_limits_are_inclusive(spec: Any, text: str, within: bool) -> None:
    assert outcome(spec, text).passed is within


def test_limits_say_the_count_and_the_bounds() -> None:
    assert (
        outcome({"sentences": {"max": 2}}, "It is. Or so. Who knows?").reason == "3 sentences, not at most 2 sentences"
    )
    assert outcome({"words": {"min": 2, "max": 3}}, "a").reason == "1 word, not 2 to 3 words"


@pytest.mark.parametrize(
    ("spec", "text", "found"),
    [
        ({"regex": r"^\d+$"}, "42", True),
        ({"regex": r"^\d+$"}, "It is 42", False),
        ({"regex": "paris"}, "Paris", False),
        ({"regex": "paris", "flags": "i"}, "Paris", True),
        ({"regex": {"pattern": "^b$", "flags": "m"}}, "a\nb", True),
        ({"regex": "a.b", "flags": "s"}, "a\nb", True),
        ({"regex": "a b", "flags": "xi"}, "AB", True),
    ],
)
def test_regex_searches_the_raw_answer(spec: Any, text: str, found: bool) -> None:
    assert outcome(spec, text).passed is found


def test_a_pattern_without_end_is_unscored_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matches, "TIMEOUT_S", 0.05)
    begin = time.monotonic()
    result = outcome({"regex": r"(x+x+)+y"}, "x" * 5000)
    assert time.monotonic() - begin < 5
    assert (result.status, result.score, result.passed) == ("unscored", None, None)
    assert "0.05 s" in result.reason
    assert outcome({"not": {"regex": r"(x+x+)+y"}}, "x" * 5000).status == "unscored"


def test_not_turns_a_verdict_around_and_leaves_unscored_alone() -> None:
    assert outcome({"not": "sorry"}, "Here you are.").score == 1.0
    assert outcome({"not": "sorry"}, "Sorry!").score == 0.0
    assert outcome({"not": ["a", "b"]}, "a").passed
    assert outcome({"not": {"not": 5}}, "5").passed
    assert outcome({"not": {"rubric": "tone"}}, "x").status == "unscored"


def test_a_list_means_all() -> None:
    spec = ["total", 42, {"words": 5}]
    assert outcome(spec, "The total is 42").score == 1.0
    assert outcome(spec, "The total is 41").score == 0.0
    assert outcome(spec, "The grand total of it is 42").score == 0.0
    assert outcome(["a", "b"], "a").score == 0.0
    assert outcome(["a", "b"], "b a").score == 1.0


def test_all_with_an_unscored_part_fails_only_when_another_part_does() -> None:
    assert outcome(["a", {"rubric": "tone"}], "a").status == "unscored"
    assert outcome(["a", {"rubric": "tone"}], "b").score == 0.0


def test_an_outcome_outside_0_to_1_is_a_programming_error() -> None:
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            Outcome.scored(score, "")
    assert Outcome.scored(0.5, "half").passed is False
