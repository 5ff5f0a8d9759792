from __future__ import annotations

import re
from random import Random

import pytest

from audition.bench.guards.degenerate import has_special_tokens, loops
from audition.mock.text import write


@pytest.mark.parametrize("tokens", [1, 2, 16, 64, 700])
def test_a_token_is_a_word_and_the_text_looks_like_an_answer(tokens: int) -> None:
    for seed in range(30):
        text = "".join(write(Random(seed), tokens, 0, (), "").content)
        assert len(text.split()) == tokens
        assert text.endswith(".")
        assert text[0].isupper()
        assert not loops(text)
        assert not has_special_tokens(text)


def test_the_same_state_gives_the_same_text_and_another_does_not() -> None:
    texts = ["".join(write(Random(seed), 64, 8, (), "").content) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_reasoning_is_apart() -> None:
    text = write(Random(1), 5, 7, {"empty"}, "")
    assert (len(text.reasoning), text.content) == (7, [])


@pytest.mark.parametrize("tokens", [1, 24])
def test_special_tokens_stand_in_the_text(tokens: int) -> None:
    text = write(Random(1), tokens, 0, {"special_tokens"}, "")
    assert len(text.content) == tokens
    assert has_special_tokens("".join(text.content))


def test_a_loop_is_one() -> None:
    assert loops("".join(write(Random(1), 64, 0, {"loop"}, "").content))


def test_an_echo_is_the_prompt() -> None:
    assert "".join(write(Random(1), 2, 0, {"echo"}, "so this\n is it").content) == "so this is it"


def test_other_scripts_have_no_latin_letter() -> None:
    texts = ["".join(write(Random(seed), 24, 0, {"wrong_script"}, "").content) for seed in range(20)]
    assert not any(re.search("[A-Za-z]", text) for text in texts)
    assert {bool(re.search("[\u4e00-\u9fff]", text)) for text in texts} == {True, False}


def test_reasoning_that_is_never_closed() -> None:
    text = "".join(write(Random(1), 24, 0, {"unclosed_reasoning"}, "").content)
    assert text.startswith("<think>")
    assert "</think>" not in text
