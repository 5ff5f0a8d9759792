"""Errors a person meets: what they carry, and the names they suggest."""

import pytest

from audition.errors import AuditionError, UsageError, nearest

MODELS = ["smollm2-135m", "gemma-3-270m", "qwen2.5-0.5b", "mistral-7b"]


def test_an_error_carries_its_sentence_its_fix_and_its_code():
    error = AuditionError("it broke", fix="mend it", code="broken")
    assert (str(error), error.message, error.fix, error.code) == ("it broke", "it broke", "mend it", "broken")


def test_fix_and_code_may_be_left_out():
    error = AuditionError("it broke")
    assert (error.fix, error.code) == (None, "failed")


def test_exit_codes_are_those_the_documentation_promises():
    assert AuditionError("x").exit_code == 1
    assert UsageError("x").exit_code == 2
    assert isinstance(UsageError("x"), AuditionError)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("smolm2-135m", "smollm2-135m"),
        ("SMOLLM2-135M", "smollm2-135m"),
        ("gemma3-270m", "gemma-3-270m"),
        ("qwen-0.5b", "qwen2.5-0.5b"),
        ("mistral", "mistral-7b"),
    ],
)
def test_the_nearest_name_is_suggested(typed, meant):
    sentence = nearest(typed, MODELS)
    assert sentence is not None
    assert sentence.startswith(f'did you mean "{meant}"')
    assert sentence.endswith("?")


def test_several_close_names_are_all_suggested_the_closest_first():
    assert nearest("pick", ["pike", "pock", "zebra"]) == 'did you mean "pock" or "pike"?'


def test_at_most_three_names_are_suggested():
    assert nearest("aaaa", ["aaaa1", "aaaa2", "aaaa3", "aaaa4"]).count('"') == 6


def test_a_suggestion_keeps_the_spelling_of_the_known_name():
    assert nearest("smollm", ["SMOLLM", "Gemma"]) == 'did you mean "SMOLLM"?'


@pytest.mark.parametrize("typed", ["zzz", "", "x" * 10_000, "\x1b[2J"])
def test_nothing_is_suggested_for_a_name_like_no_other(typed):
    assert nearest(typed, MODELS) is None


def test_nothing_is_suggested_when_nothing_is_known():
    assert nearest("anything", ()) is None
