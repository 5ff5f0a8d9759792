"""An iterator out of callbacks, and a sentence out of an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ggufs
from audition.engines.native import called_back, check_gguf, reason
from audition.engines.protocol import EngineError


def test_items_come_in_order_with_the_times_of_their_calls() -> None:
    def run(call: Callable[[str], bool]) -> None:
        for item in "abc":
            assert call(item) is False

    before = time.perf_counter_ns()
    items = list(called_back(run))
    assert [item for _, item in items] == ["a", "b", "c"]
    times = [before, *(at_ns for at_ns, _ in items), time.perf_counter_ns()]
    assert times == sorted(times)


def test_the_time_is_that_of_the_call_and_not_of_the_reading() -> None:
    called: list[int] = []

    def run(call: Callable[[int], bool]) -> None:
        call(1)
        called.append(time.perf_counter_ns())

    items = called_back(run)
    time.sleep(0.05)
    at_ns, _ = next(items)
    assert list(items) == []
    assert at_ns <= called[0]


def test_closing_stops_the_work_and_waits_for_its_end() -> None:
    ended = threading.Event()

    def run(call: Callable[[int], bool]) -> None:
        while not call(1):
            time.sleep(0.001)
        ended.set()

    items = called_back(run)
    next(items)
    items.close()
    assert ended.is_set()


def test_what_the_work_raises_is_raised_after_what_it_gave() -> None:
    def run(call: Callable[[int], bool]) -> None:
        call(1)
        raise KeyboardInterrupt

    items = called_back(run)
    assert next(items)[1] == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no such file", "no such file"),
        ("one of:\n(1) this\n(2) that", "one of: (1) this (2) that"),
        ("Exception from src/core.cpp:84:\nCheck 'p' failed at src/x.cpp:8:\nEmpty weights!\n\n", "Empty weights!"),
        (
            "Check 'exists' failed at /home/x/gguf.cpp:288:\n[load_gguf] Failed to open 'a'\n",
            "[load_gguf] Failed to open 'a'",
        ),
        ("init: /src/frame.cc:74 f() [ONNXRuntimeError] : 1 : FAIL : t.cc:1 out of bounds", "t.cc:1 out of bounds"),
        ("", "ValueError"),
    ],
)
def test_the_reason_is_what_the_library_means(text: str, sentence: str) -> None:
    assert reason(ValueError(text)) == sentence


def test_a_reason_has_an_end() -> None:
    assert len(reason(ValueError("x" * 10_000))) == 300


def test_a_gguf_file_is_looked_at_first(tmp_path: Path) -> None:
    check_gguf(ggufs.write_gguf(tmp_path / "whole.gguf", metadata=ggufs.tiny_metadata()))
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"weights")
    for file in (garbage, tmp_path / "nothing.gguf"):
        with pytest.raises(EngineError) as caught:
            check_gguf(file)
        assert caught.value.code == "load_failed"


def test_a_model_in_parts_is_left_to_llama_cpp(tmp_path: Path) -> None:
    first, *_ = ggufs.write_split(tmp_path, [[ggufs.Tensor("a")], [ggufs.Tensor("b")]])
    with pytest.raises(EngineError, match="is in 2 GGUF files, and only llama"):
        check_gguf(first)
