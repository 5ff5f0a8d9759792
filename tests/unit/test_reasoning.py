from __future__ import annotations

import pytest

from audition.reasoning import TAGS, split_reasoning


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_every_tag_splits_and_its_name_is_case_insensitive(opening: str, closing: str) -> None:
    assert split_reasoning(f"{opening}6 x 7{closing}\n\n42 ") == ("6 x 7", "42", False)
    assert split_reasoning(f"{opening.upper()}6 x 7{closing.upper()} 42") == ("6 x 7", "42", False)


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_reasoning_that_is_never_closed_leaves_no_answer(opening: str, closing: str) -> None:
    assert split_reasoning(f"{opening}so it must be 42") == ("so it must be 42", "", True)
    assert split_reasoning(f"{opening}a{closing} then {opening}b") == ("a then b", "", True)


def test_text_without_tags_is_all_answer() -> None:
    assert split_reasoning("  a < b, think > c  ") == ("", "a < b, think > c", False)


def test_a_closing_tag_alone_counts_because_templates_open_it_in_the_prompt() -> None:
    assert split_reasoning("6 x 7 is 42</think>42") == ("6 x 7 is 42", "42", False)


def test_everything_up_to_the_last_closing_tag_is_reasoning() -> None:
    text = "<think>a</think> no, wait <think>b</think> 42"
    assert split_reasoning(text) == ("a no, wait b", "42", False)


def test_closed_reasoning_without_anything_after_it_is_an_empty_answer() -> None:
    assert split_reasoning("<think>a</think>\n") == ("a", "", False)
    assert split_reasoning("<think></think>") == ("", "", False)
