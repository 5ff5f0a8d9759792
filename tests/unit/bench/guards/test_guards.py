"""All guards together: unlike each other, about numbers that exist, and documented as they are."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.bench.guards import GUARDS, Evidence, not_known, run_guards, run_probes
from audition.bench.guards.base import TIMES, TOKEN_COUNTS, Guard
from audition.bench.plan import SERVER, Settings
from audition.bench.sample import Load, Sample
from audition.summary.metrics import METRICS
from plans import a_case, a_load, a_plan, a_sample, a_target

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
            assert f"{code}/{step}" not in probes
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


def of_levels(**texts: str) -> Evidence:
    """Return what was left of a server that gave a text at each load level."""
    samples = [a_sample(level=level, text=text, repeat=n) for level, text in texts.items() for n in range(3)]
    return Evidence(a_target(), samples, [], [a_load()], {"red": a_case("red", "Go.")}, Settings())


def test_a_finding_names_the_levels_it_concerns() -> None:
    (some,) = [finding for finding in run_guards(of_levels(c1="Yes.", c2="Yes.", c4="")) if not finding.disqualifies]
    assert (some.code, some.levels) == ("empty_output", ("c4",))
    assert [some.concerns(level) for level in ("c1", "c4")] == [False, True]
    for everywhere in (of_levels(c1="", c4=""), of_levels(c1="")):
        found = run_guards(everywhere)
        assert {finding.levels for finding in found} == {()}
        assert all(finding.concerns(level) for finding in found for level in ("c1", "c4"))


TARGET = a_target(format=SERVER, settings={"context": 4096, "model": "tiny"})
ALL_OPEN = [guard.code for guard in GUARDS if guard.questions is not None]


def left_of(probes: dict[str, str | None], end: Load | None = None) -> Evidence:
    """Return what is left of a target whose probes failed with these codes, None for an answer."""
    plan = a_plan([TARGET])
    samples = [a_sample(target=TARGET.id, text="Yes.")]
    for step, code in probes.items():
        status = "ok" if code is None else "failed"
        error = None if code is None else {"code": code, "message": ""}
        facts = {"block": "p001", "round": 0, "phase": "probe", "case": step, "status": status, "error": error}
        samples.append(a_sample(target=TARGET.id, **facts))
    return Evidence.of(plan, TARGET, samples, [] if end is None else [end], {})


def ended(code: str) -> Load:
    error = {"code": code, "message": ""}
    return a_load(target=TARGET.id, block="p001", round=0, status="failed", error=error)


def test_what_the_probes_did_not_come_to_is_not_known() -> None:
    refused = not_known(left_of({}, ended("load_failed")), [])
    assert [(open_.code, open_.reason) for open_ in refused] == [(code, "load_failed") for code in ALL_OPEN]
    first = "context_too_small"
    gave_up = not_known(left_of({f"{first}/short": "timeout"}, ended("gave_up")), [])
    assert {open_.reason for open_ in gave_up} == {"timeout"}, "what it was given up for"
    answered = dict.fromkeys([f"{first}/short", f"{first}/medium", "max_tokens_ignored/eight"])
    died = [open_.code for open_ in not_known(left_of(answered, ended("engine_crashed")), [])]
    assert died == ["response_cached", "max_tokens_ignored", "temperature_ignored", "seed_ignored"]
    assert not_known(left_of(answered), []) == [], "it stopped where there was nothing more to ask"


def test_a_guard_that_does_not_apply_has_no_open_question() -> None:
    evidence = left_of({f"{code}/step": "http_500" for code in ALL_OPEN})
    assert [open_.code for open_ in not_known(evidence, [])] == ALL_OPEN
    for target in (a_target(settings={"context": 4096}), a_target(format=SERVER, settings={"model": "tiny"})):
        codes = {open_.code for open_ in not_known(replace(evidence, target=target), [])}
        kind = "context_too_small" if target.is_server else "template_not_applied"
        assert set(ALL_OPEN) - codes == {kind}


def test_who_found_something_knows() -> None:
    evidence = left_of({"seed_ignored/again": "http_500", "seed_ignored/once": None})
    finding = replace(run_guards(of_levels(c1=""))[0], code="seed_ignored")
    assert [open_.code for open_ in not_known(evidence, [])] == ["response_cached", "seed_ignored"]
    assert [open_.code for open_ in not_known(evidence, [finding])] == ["response_cached"]


def test_of_two_tries_the_last_one_counts() -> None:
    asked_again = left_of({"seed_ignored/once": "http_500"})
    plan = a_plan([TARGET])
    probe = {"target": TARGET.id, "block": "p001", "round": 0, "phase": "probe", "case": "seed_ignored/once"}
    error = {"code": "http_500", "message": ""}
    tries = [a_sample(**probe, repeat=1), a_sample(**probe, status="failed", error=error)]
    evidence = Evidence.of(plan, TARGET, [a_sample(target=TARGET.id), *tries], [], {})
    assert evidence.probes["seed_ignored/once"].status == "ok"
    assert [len(not_known(each, [])) for each in (asked_again, evidence)] == [2, 0]
