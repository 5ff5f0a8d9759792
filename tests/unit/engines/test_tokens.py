"""What engines share that work token by token, with a tokenizer of bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.engines.protocol import Chunk, EngineError, Finish
from audition.engines.tokens import TextStream, answer, check_messages, prompt_sha256, room, seed_for

END = 256


def decode(tokens: list[int]) -> str:
    """As tokenizers do it: special tokens are no text, and half a character is a replacement character."""
    return bytes(token for token in tokens if token < END).decode("utf-8", errors="replace")


def collect(tokens: list[int], *, decode: Callable[[list[int]], str] = decode) -> tuple[list[Chunk], Finish]:
    def generate(call: Callable[[int], bool]) -> None:
        for token in tokens:
            call(token)

    *chunks, finish = answer(generate, decode, prompt=[5, 6], ends={END})
    assert isinstance(finish, Finish)
    return [chunk for chunk in chunks if isinstance(chunk, Chunk)], finish


@given(st.text(st.characters(exclude_characters="\N{REPLACEMENT CHARACTER}", codec="utf-8")))
def test_the_pieces_together_are_the_text(text: str) -> None:
    stream = TextStream(decode)
    pieces = [stream.add(token) for token in text.encode()]
    assert "".join(pieces) + stream.end() == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@given(st.lists(st.integers(0, END + 3), max_size=60))
def test_tokens_that_are_no_text_neither_stop_nor_double_it(tokens: list[int]) -> None:
    stream = TextStream(decode)
    pieces = [stream.add(token) for token in tokens]
    text = "".join(pieces) + stream.end()
    assert text.replace("\N{REPLACEMENT CHARACTER}", "") == decode(tokens).replace("\N{REPLACEMENT CHARACTER}", "")


def test_a_character_comes_with_its_last_token() -> None:
    stream = TextStream(decode)
    assert [stream.add(token) for token in "aé🦊".encode()] == ["a", "", "é", "", "", "", "🦊"]


def test_half_a_character_at_the_end_is_no_text() -> None:
    stream = TextStream(decode)
    assert [stream.add(token) for token in "a🦊".encode()[:-1]] == ["a", "", "", ""]
    assert stream.end() == ""


def test_bytes_that_never_become_a_character_are_not_kept_for_ever() -> None:
    longest = 0

    def watched(tokens: list[int]) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return decode(tokens)

    stream = TextStream(watched)
    for _ in range(1000):
        stream.add(0x80)
    assert longest < 20


def test_the_blank_before_a_word_is_kept() -> None:
    """Some tokenizers take the blank off the first word that they decode, wherever it stands in the answer."""
    words = ["▁the", "▁red", "dish", "▁fox"]
    stream = TextStream(lambda tokens: "".join(words[token] for token in tokens).replace("▁", " ").removeprefix(" "))
    assert [stream.add(token) for token in range(4)] == ["the", " red", "dish", " fox"]


def test_an_answer_has_times_text_and_counts() -> None:
    before = time.perf_counter_ns()
    chunks, finish = collect([*b"hey", END])
    assert [chunk.text for chunk in chunks] == ["h", "e", "y"]
    times = [before, *(chunk.at_ns for chunk in chunks), finish.at_ns, time.perf_counter_ns()]
    assert times == sorted(times)
    assert (finish.reason, finish.completion_tokens, finish.token_source) == ("stop", 4, "usage")
    assert (finish.prompt_tokens, finish.cached_tokens) == (2, 0)
    assert finish.prompt_sha256 == prompt_sha256([5, 6])


def test_an_answer_without_its_end_was_cut() -> None:
    assert collect([*b"hey"])[1].reason == "length"
    assert collect([])[1].completion_tokens == 0


def test_the_token_that_ends_an_answer_is_no_text_even_where_it_is_written() -> None:
    chunks, _ = collect([*b"hey", END], decode=lambda tokens: "".join(f"<{token}>" for token in tokens))
    assert "".join(chunk.text for chunk in chunks) == "<104><101><121>"


def test_what_cannot_be_decoded_until_the_end_comes_at_the_end() -> None:
    held = [0x20] * 3
    chunks, _ = collect(held, decode=lambda tokens: "" if len(tokens) < 3 else "abc")
    assert "".join(chunk.text for chunk in chunks) == "abc"


def test_the_library_is_told_to_stop_and_waited_for() -> None:
    seen: list[Any] = []

    def generate(call: Callable[[int], bool]) -> None:
        for number in range(10_000):
            if call(ord("a")):
                seen.append(number)
                return
            time.sleep(0.001)

    items = answer(generate, decode, prompt=[1], ends=())
    next(items)
    items.close()
    assert seen
    assert seen[0] < 1000


def test_a_failure_comes_after_the_text_that_was_there() -> None:
    def generate(call: Callable[[int], bool]) -> None:
        call(ord("a"))
        raise RuntimeError("Exception from src/x.cpp:1:\nCheck 'y' failed\nno memory left\n")

    items = answer(generate, decode, prompt=[1], ends=())
    assert next(items) is not None
    with pytest.raises(EngineError, match="the generation failed: no memory left") as caught:
        next(items)
    assert caught.value.code == "engine_error"


def test_running_out_of_memory_stays_what_it_is() -> None:
    def generate(call: Callable[[int], bool]) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        next(answer(generate, decode, prompt=[1], ends=()))


@pytest.mark.parametrize("tokens", [[1, 22, 333], (1, 22, 333)])
def test_the_hash_is_of_decimal_numbers_and_commas(tokens: Any) -> None:
    assert prompt_sha256(tokens) == hashlib.sha256(b"1,22,333").hexdigest()


def test_the_hash_is_the_same_for_an_array() -> None:
    numpy = pytest.importorskip("numpy")
    assert prompt_sha256(numpy.array([1, 22, 333], dtype=numpy.int32)) == prompt_sha256([1, 22, 333])


def test_an_answer_has_the_room_that_the_prompt_leaves() -> None:
    assert room(10, max_tokens=5, context=100) == 5
    assert room(98, max_tokens=5, context=100) == 2
    for prompt in (100, 101):
        with pytest.raises(EngineError, match=rf"{prompt} tokens, and the context 100") as caught:
            room(prompt, max_tokens=5, context=100)
        assert caught.value.code == "context_length_exceeded"


def test_seeds_have_31_bits_and_none_is_another_one_each_time() -> None:
    assert [seed_for(seed) for seed in (0, 7, 2**31 - 1, 2**31, -1)] == [0, 7, 2**31 - 1, 0, 2**31 - 1]
    assert len({seed_for(None) for _ in range(20)}) > 15


def test_messages_have_to_be_there_and_to_be_text() -> None:
    check_messages([{"role": "user", "content": ""}])
    for messages in ([], [{"role": "user", "content": "a\ud83d"}]):
        with pytest.raises(EngineError) as caught:
            check_messages(messages)
        assert caught.value.code == "invalid_request"
