"""Is it the model, the device and the template that were asked for: each guard speaks when it has to, and only then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.endpoint import (
    DeviceFallback,
    MissingChatTemplate,
    TemplateNotApplied,
    WrongModel,
    same_model,
)
from audition.bench.plan import SERVER, Settings
from audition.bench.sample import Sample
from plans import a_load, a_sample, a_target


def check(guard: Guard, *samples: Sample, target: Any = None, devices: tuple[str | None, ...] = (), **more: Any) -> Any:
    loads = [a_load(device=device) for device in devices]
    return guard.check(Evidence(target or a_target(), samples, [], loads, {}, Settings(), **more))


def found(*args: Any, **more: Any) -> Finding:
    finding = check(*args, **more)
    assert finding is not None
    return finding  # type: ignore[no-any-return]


@pytest.mark.parametrize("known", [True, None])
def test_a_chat_template_that_is_there_or_not_known_is_no_finding(known: bool | None) -> None:
    assert check(MissingChatTemplate(), target=a_target(has_chat_template=known)) is None


def test_a_missing_chat_template_is_said_with_what_the_engine_did() -> None:
    finding = found(MissingChatTemplate(), target=a_target("llamacpp", has_chat_template=False))
    assert (finding.code, finding.taints, finding.disqualifies) == ("missing_chat_template", ("quality",), False)
    assert "llamacpp fell back" in finding.sentence
    assert "base model" not in finding.sentence
    base = found(MissingChatTemplate(), target=a_target(has_chat_template=False, instruct=False))
    assert "base model that was never taught to answer" in base.sentence


def one_word(prompt_tokens: int | None, **fields: Any) -> dict[str, Sample]:
    return {"template_not_applied/word": a_sample(phase="probe", prompt_tokens=prompt_tokens, **fields)}


def test_a_prompt_of_one_word_has_to_leave_room_for_a_template() -> None:
    assert "1 tokens" in found(TemplateNotApplied(), probes=one_word(1)).sentence
    assert check(TemplateNotApplied(), probes=one_word(2)) is not None, "with a token that begins every text"


@pytest.mark.parametrize(
    "probes", [one_word(9), one_word(None), one_word(0), one_word(1, cached_tokens=8), one_word(1, status="failed"), {}]
)
def test_a_template_that_is_there_or_not_known_is_no_finding(probes: dict[str, Sample]) -> None:
    assert check(TemplateNotApplied(), probes=probes) is None


@pytest.mark.parametrize(("format_", "asked"), [(SERVER, ["word"]), ("gguf", [])])
def test_only_a_server_is_asked_for_its_template(format_: str, asked: list[str]) -> None:
    steps = []

    async def ask(step: str, prompt: str, **_: Any) -> Sample:
        steps.append(step)
        return a_sample()

    asyncio.run(TemplateNotApplied().probe(ask, a_target(format=format_)))
    assert steps == asked


def named(*names: str | None) -> list[Sample]:
    return [a_sample(wire={"model": name}) for name in names]


def asked_for(model: str) -> Any:
    return a_target(settings={"model": model})


def test_another_model_marks_everything_and_is_named() -> None:
    finding = found(WrongModel(), *named("tiny", "huge", "huge", None), target=asked_for("tiny"))
    assert (finding.affected, finding.of) == (2, 3)
    assert '"huge"' in finding.sentence
    assert '"tiny"' in finding.sentence
    assert {"quality", "ttft", "latency", "throughput"} <= set(finding.taints)


@pytest.mark.parametrize(("others", "disqualifies"), [(1, False), (2, False), (3, True), (4, True)])
def test_most_answers_of_another_model_are_not_the_target(others: int, disqualifies: bool) -> None:
    names = ["huge"] * others + ["tiny"] * (4 - others) + [None] * 4
    finding = found(WrongModel(), *named(*names), target=asked_for("tiny"))
    assert finding.disqualifies is disqualifies
    assert ("what was measured is not the target; if" in finding.sentence) is disqualifies


def test_a_hostile_name_is_shown_as_one_short_line() -> None:
    sentence = found(WrongModel(), *named("\x1b[2J" + "a\n" * 5000), target=asked_for("tiny")).sentence
    assert len(sentence) < 300
    assert sentence.isprintable()


@pytest.mark.parametrize("target", [asked_for(""), a_target(settings={}), asked_for("tiny")])
def test_a_model_that_is_not_named_is_not_accused(target: Any) -> None:
    assert check(WrongModel(), *named(None), a_sample(), target=target) is None


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("tiny", "TINY"),
        ("tiny", "/models/tiny.gguf"),
        ("tiny.gguf", r"C:\models\Tiny"),
        ("org/tiny", "tiny:latest"),
        ("tiny:latest", "tiny"),
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("qwen2.5-0.5b", "Qwen2.5-0.5B-Instruct-Q4_K_M.gguf"),
        ("phi-3.5-mini", "Phi-3.5-mini-instruct-generic-cpu"),
        ("smollm2-135m-instruct-q4_1", "smollm2-135m"),
        ("tiny", "tiny-bf16"),
        ("tiny", "tiny-4bit"),
    ],
)
def test_names_that_mean_one_model(asked: str, name: str) -> None:
    assert same_model(asked, name)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("gpt-4", "gpt-4-mini"),
        ("llama-3", "llama-3.2"),
        ("qwen2.5-0.5b", "qwen2.5-1.5b"),
        ("tiny", "tinyllama"),
        ("mock", "another-model"),
        ("llama3:8b", "llama3:70b"),
    ],
)
def test_names_that_mean_two_models(asked: str, name: str) -> None:
    assert not same_model(asked, name)


def test_a_fall_back_to_the_cpu_is_said() -> None:
    finding = found(DeviceFallback(), target=a_target(device="gpu"), devices=("cpu",))
    assert finding.sentence == "asked for gpu, runs on cpu"
    assert {"ttft", "decode_tps", "energy_per_token"} <= set(finding.taints)
    assert found(DeviceFallback(), a_sample(wire={"device": "CPU"}), target=a_target(device="cuda:0"))
    sometimes = found(DeviceFallback(), target=a_target(device="gpu"), devices=("cuda0", "cpu"))
    assert sometimes.sentence == "asked for gpu, runs at times on cpu"


@pytest.mark.parametrize(
    ("asked", "told"),
    [("gpu", "CUDA0"), ("vulkan0", "metal"), ("cpu", "cpu"), ("gpu", None), ("gpu", "unknown"), ("unknown", "cpu")],
)
def test_a_device_that_is_right_or_not_known_is_no_finding(asked: str, told: str | None) -> None:
    assert (
        check(DeviceFallback(), a_sample(wire={"device": told}), target=a_target(device=asked), devices=(told,)) is None
    )
