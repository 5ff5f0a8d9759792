"""All guards together: unlike each other, about numbers that exist, and documented as they are."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from audition.bench.guards import GUARDS, Evidence, run_guards, run_probes
from audition.bench.guards.base import TIMES, TOKEN_COUNTS, Guard
from audition.bench.plan import SERVER, Settings
from audition.bench.sample import Sample
from audition.summary.metrics import METRICS
from plans import a_sample, a_target

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "guards.md"
GROUPS = {"all times": TIMES, "all token counts": TOKEN_COUNTS}


def test_each_guard_has_a_code_of_its_own_and_marks_what_exists() -> None:
    assert len({guard.code for guard in GUARDS}) == len(GUARDS)
    known = {metric.tag for metric in METRICS} | {"quality"}
    assert {taint for guard in GUARDS for taint in guard.taints} <= known
    for guard in GUARDS:
        assert len(set(guard.taints)) == len(guard.taints), guard.code


def marked(guard: Guard) -> str:
    """Return the cell of the document: groups by their names."""
    left, words = set(guard.taints), []
    for name, group in GROUPS.items():
        if set(group) <= left:
            words.append(name)
            left -= set(group)
    return ", ".join([*words, *(f"`{taint}`" for taint in guard.taints if taint in left)]) or "nothing"


def test_the_document_says_of_each_guard_what_it_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [(code, meaning, marks) for code, meaning, marks, _ in rows] == [
        (f"`{guard.code}`", (guard.__doc__ or "").strip(), marked(guard)) for guard in GUARDS
    ]
    for name, group in GROUPS.items():
        (line,) = re.findall(rf"^\* {name.capitalize()}: (.*)\.$", text, re.MULTILINE)
        assert line == ", ".join(f"`{taint}`" for taint in group)


def evidence(probes: dict[str, Sample]) -> Evidence:
    return Evidence(
        a_target(format=SERVER, settings={"context": 4096, "model": "tiny"}), [], [], [], {}, Settings(), probes
    )


def asked(answer: Any) -> dict[str, Sample]:
    """Return the probes of a server that gives this answer to everything."""
    probes: dict[str, Sample] = {}

    def ask_for(code: str) -> Any:
        async def ask(step: str, prompt: str, **params: Any) -> Sample:
            assert step not in probes
            assert params["max_tokens"] <= 24
            probes[f"{code}/{step}"] = sample = answer(prompt)
            return sample

        return ask

    asyncio.run(run_probes(ask_for, evidence({}).target))
    return probes


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_server_that_does_not_answer_is_asked_little_and_accused_of_nothing(status: str) -> None:
    probes = asked(lambda _: a_sample(status=status, error={"code": "timeout", "message": ""}))
    assert len(probes) <= 6
    assert run_guards(evidence(probes)) == []


def test_answers_of_which_nothing_is_known_accuse_nobody() -> None:
    assert run_guards(evidence(asked(lambda _: a_sample()))) == []


def test_prompts_differ_from_their_first_characters_on_and_from_run_to_run() -> None:
    seen: list[list[str]] = []
    for _ in range(2):
        prompts: list[str] = []
        asked(lambda prompt, prompts=prompts: prompts.append(prompt) or a_sample())  # type: ignore[func-returns-value]
        seen.append(prompts)
    for prompts in seen:
        assert len({prompt[:6] for prompt in prompts}) == len(set(prompts))
    assert set(seen[0]) & set(seen[1]) == {"Hello"}
