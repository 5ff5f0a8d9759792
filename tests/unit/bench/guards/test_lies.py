"""Every lie that the mock server can tell is found, and an honest server is accused of nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding, NotKnown, not_known, run_guards, run_probes
from audition.bench.guards.base import Ask, has_answer
from audition.bench.plan import Settings, Target
from audition.bench.requests import marked
from audition.bench.sample import Place, Sample, measured
from audition.bench.targets import make_server_target
from audition.engines.protocol import Session
from audition.engines.server import connect
from audition.mock.faults import FAILURES, LIES
from audition.mock.process import MockServer
from audition.mock.script import Script
from plans import a_case, a_load

QUICK: dict[str, Any] = {"ttft_ms": 12.0, "itl_ms": 1.0, "tokens": 48, "context": 2048}
CASES = {
    name: a_case(name, prompt)
    for name, prompt in {
        "red": "Which house on the hill has the red door, and who lives there?",
        "green": "Describe a walk through the green valley in a few sentences.",
        "blue": "Why is the sky over the harbour so blue this morning?",
    }.items()
}
MOST_PROBES = 25
TIMEOUT_S = 5.0


class Listened:
    """What a server said to the probes and to the measured requests."""

    def __init__(self, target: Target, settings: Settings) -> None:
        self.target, self.settings = target, settings
        self.probes: dict[str, Sample] = {}
        self.times: Counter[str] = Counter()
        self.samples: list[Sample] = []

    async def to(self, session: Session, times: int) -> None:
        await run_probes(lambda code: self._ask_for(session, code), self.target)
        for repeat in range(times):
            for case in CASES.values():
                mark = f"{repeat}{case.id}" if self.settings.prompt_cache == "avoid" else None
                params = {"max_tokens": 120, "temperature": 0.2, "seed": 1}
                reply = await session.ask(marked(case.messages, mark), params, TIMEOUT_S)
                place = Place(self.target.id, case.id, "b001", 1, "measured", repeat=repeat)
                self.samples.append(measured(reply(), place, asked={**params, **({"mark": mark} if mark else {})}))

    def _ask_for(self, session: Session, code: str) -> Ask:
        async def ask(
            step: str, prompt: str, *, max_tokens: int = 16, temperature: float = 0.0, seed: int | None = 0
        ) -> Sample:
            params = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
            reply = await session.ask([{"role": "user", "content": prompt}], params, TIMEOUT_S)
            name = f"{code}/{step}"
            self.times[name] += 1
            assert self.times[name] == 1 or (self.times[name] == 2 and not has_answer(self.probes[name]))
            place = Place(self.target.id, name, "p001", 0, "probe", repeat=self.times[name] - 1)
            self.probes[name] = measured(reply(), place, asked=params)
            return self.probes[name]

        return ask

    @property
    def evidence(self) -> Evidence:
        loads = [a_load(target=self.target.id, device=None)]
        return Evidence(self.target, self.samples, [], loads, CASES, self.settings, self.probes)

    def findings(self) -> dict[str, Finding]:
        # How late this process was is a fact about the machine that runs the tests, and no accusation of the server.
        return {finding.code: finding for finding in run_guards(self.evidence) if finding.code != "client_lag"}

    def not_known(self) -> list[NotKnown]:
        return not_known(self.evidence, run_guards(self.evidence))


def listen(*lies: str, times: int = 1, settings: Settings | None = None, **script: Any) -> Listened:
    told = Script(**{**QUICK, **script, "lies": frozenset(lies)})
    with MockServer(told) as server:
        entry = {"context_length": told.context, "device": "gpu" if "cpu_fallback" in lies else None}
        target = make_server_target({"url": server.url, "model": "mock"}, entry)
        listened = Listened(target, settings or Settings())

        async def talk() -> None:
            session = connect(target.settings)
            try:
                await listened.to(session, times)
            finally:
                await session.close()

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as loop:
            loop.run(talk())
    return listened


PREFILL: dict[str, Any] = {"prefill_tps": 4000.0}
EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "ignore_temperature": ("temperature_ignored", {}),
    "ignore_seed": ("seed_ignored", {}),
    "fixed_output": ("temperature_ignored", {}),
    "ignore_max_tokens": ("max_tokens_ignored", {}),
    "no_usage": ("usage_missing", {}),
    "wrong_usage": ("usage_implausible", {}),
    "zero_usage": ("usage_implausible", {}),
    "wrong_finish_reason": ("finish_reason_wrong", {}),
    "small_context": ("context_too_small", {}),
    "prompt_cache": ("prompt_cached_silently", PREFILL),
    "prompt_cache_reported": ("cached_prompt", PREFILL | {"settings": Settings(prompt_cache="keep"), "times": 2}),
    "response_cache": ("response_cached", {}),
    "wrong_model": ("wrong_model", {}),
    "cpu_fallback": ("device_fallback", {}),
    "buffered": ("buffered_stream", {}),
    "no_template": ("template_not_applied", {}),
    "empty": ("empty_output", {}),
    "echo": ("prompt_echo", {}),
    "loop": ("repetition_loop", {}),
    "special_tokens": ("special_tokens", {}),
    "unclosed_reasoning": ("unclosed_reasoning", {}),
    "wrong_script": ("wrong_script", {}),
    "rejects_stream_options": ("usage_missing", {}),
    "rejects_seed": ("seed_ignored", {}),
}
BESIDES = {
    # Without a seed the temperature cannot be told from chance, and nothing repeats.
    "fixed_output": {"seed_ignored"},
    "ignore_temperature": {"seed_ignored"},
    # What is the same whatever is asked does not depend on the temperature either.
    "echo": {"temperature_ignored", "unusable_answers"},
    "loop": {"unusable_answers"},
    "empty": {"unusable_answers"},
    "special_tokens": {"unusable_answers"},
    "unclosed_reasoning": {"unusable_answers"},
    # An answer that was remembered was not cut or counted anew; its long prompts are remembered as well.
    "response_cache": {"prompt_cached_silently"},
}


def test_every_lie_has_its_guard() -> None:
    assert set(EXPECTED) == set(LIES)


@pytest.mark.parametrize("lie", EXPECTED)
def test_a_lie_is_found(lie: str) -> None:
    code, script = EXPECTED[lie]
    listened = listen(lie, **script)
    found = listened.findings()
    assert code in found
    assert set(found) - {code} <= BESIDES.get(lie, set()), found
    assert len(listened.probes) <= MOST_PROBES


HONEST: dict[str, dict[str, Any]] = {
    "plain": {},
    "jitter": {"jitter": 0.5},
    "much jitter": {"jitter": 0.9, "ttft_ms": 40.0, "itl_ms": 2.0},
    "reasoning": {"reasoning_tokens": 20},
    "slow": {"ttft_ms": 120.0, "itl_ms": 6.0},
    "fast": {"ttft_ms": 2.0, "itl_ms": 0.3},
    "stalls": {"stall_ms": 60.0, "stall_every": 20},
    "prefill": {"prefill_tps": 4000.0},
    "pings": {"keepalive": True, "role_delay_ms": 5.0},
    "small": {"context": 512},
    "a device": {"device": "cpu"},
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_server_is_accused_of_nothing(name: str) -> None:
    listened = listen(**HONEST[name])
    assert listened.findings() == {}
    assert listened.not_known() == []
    assert len(listened.probes) <= 15
    assert set(listened.times.values()) == {1}


def test_pieces_of_several_tokens_mark_the_gaps_only() -> None:
    (finding,) = listen(tokens_per_chunk=3).findings().values()
    assert (finding.code, finding.taints) == ("chunks_are_not_tokens", ("itl",))


def test_an_honest_server_that_is_not_streamed_is_accused_of_nothing() -> None:
    settings = Settings(stream=False)
    assert listen(settings=settings).findings() == {}


def test_caches_that_the_measured_prompts_avoid_mark_nothing() -> None:
    found = listen("prompt_cache", **PREFILL).findings()["prompt_cached_silently"]
    assert found.taints == ()
    assert "made to differ" in found.sentence
    kept = listen("prompt_cache", **PREFILL, settings=Settings(prompt_cache="keep")).findings()[
        "prompt_cached_silently"
    ]
    assert "ttft" in kept.taints


def test_a_server_that_becomes_slower_is_found() -> None:
    found = listen(times=16, drift=60.0, ttft_ms=8.0, itl_ms=0.3).findings()
    assert found["drift"].sentence.startswith("latency rises by ")


@pytest.mark.parametrize("kind", sorted(set(FAILURES) - {"hang", "hang_midway", "no_done"}))
def test_a_failing_server_is_only_said_to_fail(kind: str) -> None:
    found = listen(failures={kind: 3}).findings()
    assert set(found) <= {"failing_requests"}
    everything = listen(failures={kind: 1}).findings()
    assert set(everything) == {"failing_requests"}
    assert everything["failing_requests"].disqualifies


@pytest.mark.parametrize("kind", ["http_500", "cut"])
@pytest.mark.parametrize("lie", ["prompt_cache", "response_cache", "ignore_seed", "fixed_output", "small_context"])
def test_a_question_that_failed_is_asked_again_so_that_the_lie_is_found(lie: str, kind: str) -> None:
    code, script = EXPECTED[lie]
    listened = listen(lie, **script, failures={kind: 4})
    assert code in listened.findings()
    assert listened.not_known() == []
    assert 2 in listened.times.values()


def test_what_still_failed_is_not_known() -> None:
    listened = listen(failures={"http_500": 1})
    listened.samples = listen().samples
    assert listened.not_known() == [
        NotKnown(code, "http_500")
        for code in (
            *("context_too_small", "template_not_applied", "response_cached", "prompt_cached_silently"),
            *("max_tokens_ignored", "temperature_ignored", "seed_ignored"),
        )
    ]
    assert max(listened.times.values()) == 2
    listened.samples = []
    assert listened.not_known() == [], "the run says itself that nothing was answered"
