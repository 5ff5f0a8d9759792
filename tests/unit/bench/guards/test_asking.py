"""Asking once more: where it may help, behind other digits where a cache may know the prompt by now, and only once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from audition.bench.guards.asking import patiently, unlike_others
from audition.bench.sample import Sample
from plans import a_sample

STORY = unlike_others("Tell a story.")


def failed(code: str, status: str = "failed") -> Sample:
    return a_sample(status=status, error={"code": code, "message": "no"})


class Server:
    """Answers its n-th request, from 0, as a function says; writes down what it was asked."""

    def __init__(self, answer: Callable[[int], Sample]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, step: str, prompt: str, **_: Any) -> Sample:
        self.asked.append((step, prompt))
        return self.answer(len(self.asked) - 1)


def talk(server: Server, *questions: tuple[str, str]) -> list[Sample]:
    async def all_of_them() -> list[Sample]:
        ask = patiently(server)
        return [await ask(step, prompt) for step, prompt in questions]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("code", ["http_500", "http_503", "rate_limited", "connection_lost", "incomplete_stream"])
def test_a_failure_that_may_pass_is_tried_once_more(code: str) -> None:
    server = Server(lambda number: failed(code) if number == 0 else a_sample())
    (sample,) = talk(server, ("once", STORY))
    assert (sample.status, len(server.asked)) == ("ok", 2)
    assert len(talk(always := Server(lambda _: failed(code)), ("once", STORY))) == 1
    assert len(always.asked) == 2


@pytest.mark.parametrize(
    "code",
    ["connection_refused", "unauthorized", "context_length_exceeded", "http_400", "not_found", "invalid_request"],
)
def test_a_failure_that_would_come_again_is_not(code: str) -> None:
    server = Server(lambda _: failed(code))
    talk(server, ("once", STORY))
    talk(late := Server(lambda _: failed("timeout", "timeout")), ("once", STORY))
    assert (len(server.asked), len(late.asked)) == (1, 1)


def test_a_new_prompt_is_new_again_and_so_is_what_repeats_it() -> None:
    server = Server(lambda number: failed("http_500") if number == 0 else a_sample())
    talk(server, ("fresh", STORY), ("repeat", STORY))
    (_, first), (_, second), (_, repeat) = server.asked
    assert first == STORY != second == repeat
    assert second.endswith(". Tell a story.") and len(second) == len(first)


def test_a_repeat_stays_one() -> None:
    server = Server(lambda number: failed("http_500") if number == 1 else a_sample())
    talk(server, ("fresh", STORY), ("repeat", STORY))
    assert server.asked == [("fresh", STORY), ("repeat", STORY), ("repeat", STORY)]


def test_a_prompt_without_digits_stays_as_it_is() -> None:
    server = Server(lambda number: failed("http_500") if number == 0 else a_sample())
    talk(server, ("word", "Hello"))
    assert server.asked == [("word", "Hello")] * 2
