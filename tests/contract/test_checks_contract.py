"""Every registered check keeps the same promises."""

from __future__ import annotations

import re
import time

import pytest

from audition.quality.checks import CHECKS, Answer, Check, build_check

BIG = 1_000_000
HOSTILE = {
    "empty": "",
    "blank": " \n\t",
    "big word": "a" * BIG,
    "big text": "The total is 1,234.5 of 42. " * (BIG // 28),
    "big digits": "1" * BIG,
    "big list": "1,1" * (BIG // 3),
    "big stops": "." * BIG,
    "big marks": "*_`" * (BIG // 3),
    "big markers": "1. a\n2. b\n" * (BIG // 10),
    "big signs": "-5" * (BIG // 2),
    "big closers": "x." + ")" * BIG,
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\x1b[2J",
    "surrogates": "\ud800 5 \udfff a\udc80b",
    "right to left": "\u202e5 سيرب \u2067abc\u2069 باريس",
    "combining": "e" + "\u0301" * 10_000,
    "ligatures": "\ufdfa" * 10_000,
    "nul": "\x00" * 1000,
}


def by_name(check: type[Check]) -> str:
    return check.name


@pytest.fixture(params=CHECKS, ids=by_name)
def kind(request: pytest.FixtureRequest) -> type[Check]:
    return request.param


def test_names_are_unique_and_sorted_into_the_tuple() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    classes = [check.__name__ for check in CHECKS]
    assert classes == sorted(classes)


def test_it_has_a_name_a_version_and_says_what_it_is(kind: type[Check]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.name)
    assert kind.version >= 1
    assert kind.__doc__


def test_it_builds_from_its_example(kind: type[Check]) -> None:
    built = build_check(kind.example.spec, "f")
    assert type(built.check) is kind
    assert built.label == built.check.describe() != ""


def test_its_example_passes_and_fails_as_it_says(kind: type[Check]) -> None:
    check = build_check(kind.example.spec, "f").check
    for text, expected in ((kind.example.passes, True), (kind.example.fails, False)):
        if text is None:
            assert check.score(Answer("any")).status == "unscored"
        else:
            assert check.score(Answer(text)).passed is expected


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_it_never_raises_and_stays_within_bounds(kind: type[Check], text: str) -> None:
    begin = time.monotonic()
    outcome = build_check(kind.example.spec, "f").check.score(Answer(text, prompt=text))
    # Generous: it tells work that grows with the square of the text (minutes here) from work that does not.
    assert time.monotonic() - begin < 20
    assert outcome.reason
    if outcome.status == "unscored":
        assert outcome.score is None
        assert outcome.passed is None
    else:
        assert outcome.score is not None
        assert 0.0 <= outcome.score <= 1.0
        assert outcome.passed is (outcome.score == 1.0)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_its_reason_is_fit_to_be_shown(kind: type[Check], text: str) -> None:
    reason = build_check(kind.example.spec, "f").check.score(Answer(text)).reason
    assert len(reason) < 1000
    assert reason.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", reason)


def test_the_same_answer_gets_the_same_outcome(kind: type[Check]) -> None:
    check = build_check(kind.example.spec, "f").check
    answer = Answer(kind.example.passes or "any")
    assert check.score(answer) == check.score(answer)
