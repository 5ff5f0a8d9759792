from __future__ import annotations

from typing import Any

import pytest

from audition.errors import UsageError
from audition.mock.faults import EXCLUSIVE, FAILURES, LIES
from audition.mock.script import Script


def test_a_script_survives_json() -> None:
    script = Script(
        ttft_ms=1.5,
        prefill_tps=100,
        stall_ms=9,
        stall_every=3,
        device="npu",
        failures={"cut": 5},
        lies=frozenset(LIES) - frozenset().union(*EXCLUSIVE),
    )
    assert Script.from_json(script.to_json()) == script
    assert Script.from_json("{}") == Script()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"ttft_ms": -1}, "ttft_ms must be a number from 0"),
        ({"ttft_ms": "50"}, "ttft_ms must be a number"),
        ({"ttft_ms": True}, "ttft_ms must be a number"),
        ({"ttft_ms": None}, "ttft_ms must be a number"),
        ({"itl_ms": float("nan")}, "itl_ms must be a number"),
        ({"itl_ms": 10**400}, "itl_ms must be a number"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1"),
        ({"tokens": 1.5}, "tokens must be a whole number"),
        ({"tokens_per_chunk": 0}, "tokens_per_chunk must be a whole number from 1"),
        ({"prefill_tps": 0}, "prefill_tps must be a number from 0.001 to 1,000,000,000, not 0"),
        ({"keepalive": 1}, "keepalive must be true or false"),
        ({"model": ""}, "model must be a text"),
        ({"device": "a\r\nb"}, "device must be a text"),
        ({"stall_ms": 5}, "a stall needs how long it takes and every how many tokens it comes"),
        ({"stall_every": 5}, "a stall needs how long it takes"),
        ({"failures": {"cutt": 1}}, 'no failure called "cutt"'),
        ({"failures": {"cut": 0}}, "failures: cut must be a whole number from 1 to 1,000,000, not 0"),
        ({"failures": ["cut"]}, "failures must be an object"),
        ({"lies": ["emty"]}, 'no lie called "emty"'),
        ({"lies": "empty"}, "lies must be a list"),
        ({"lies": ["empty", "loop"]}, "cannot be told together"),
        ({"lies": ["prompt_cache"]}, "cannot show without a prefill"),
        ({"tttft_ms": 1}, 'unknown key "tttft_ms"'),
        ([], "must be a JSON object"),
    ],
)
def test_what_is_wrong_is_said(fields: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Script.from_mapping(fields)
    assert sentence in caught.value.message


def test_every_fault_can_be_scripted_alone() -> None:
    for lie in LIES:
        assert Script(lies=frozenset({lie}), prefill_tps=10).lies == {lie}
    for kind in FAILURES:
        assert Script(failures={kind: 1}).failure_of(1) == kind


def test_failures_come_every_so_often() -> None:
    script = Script(failures={"cut": 2, "http_500": 3})
    assert [script.failure_of(n) for n in range(1, 7)] == [None, "cut", "http_500", "cut", None, "http_500"]


def test_exclusive_lies_exist() -> None:
    assert frozenset().union(*EXCLUSIVE) <= set(LIES)
