"""Foundry Local over HTTP: aliases, ids and loading, in both of its generations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from audition.engines import server
from audition.engines.endpoint.foundry_rest import _aliases
from audition.engines.protocol import EngineError
from audition.engines.server import connect, find_server, settings_of
from audition.errors import UsageError
from dialect_servers import Foundry0, Foundry2, listed, running

CPU, GPU = "qwen2.5-0.5b-instruct-generic-cpu:4", "qwen2.5-0.5b-instruct-cuda-gpu:4"
CODER = "qwen2.5-coder-0.5b-instruct-generic-cpu:2"


def second() -> Foundry2:
    variants = {"qwen2.5-0.5b": [GPU, CPU], "qwen2.5-coder-0.5b": [CODER], "phi-4": ["Phi-4-generic-cpu:1"]}
    return Foundry2(variants, cached={"qwen2.5-0.5b", "qwen2.5-coder-0.5b"})


def first() -> Foundry0:
    catalog = [
        ("qwen2.5-0.5b-instruct-cuda-gpu:3", "qwen2.5-0.5b", "GPU"),
        ("qwen2.5-0.5b-instruct-generic-cpu:2", "qwen2.5-0.5b", "CPU"),
        ("qwen2.5-0.5b-instruct-generic-cpu:3", "qwen2.5-0.5b", "CPU"),
        ("Phi-4-mini-instruct-generic-cpu:5", "phi-4-mini", "CPU"),
    ]
    return Foundry0(catalog, cached={"qwen2.5-0.5b-instruct-generic-cpu:3"})


def found(service: Any, name: str) -> server.Server:
    with running(service) as it:
        return find_server(settings_of(f"{it.url}#{name}"))


# --- 2.x: only full ids of loaded models are answered, only aliases are loaded. ---


@pytest.mark.parametrize("name", ["qwen2.5-0.5b", "Qwen2.5-0.5B"])
def test_an_alias_is_loaded_and_its_id_is_asked(name: str) -> None:
    service = second()
    it = found(service, name)
    assert it.settings["model"] == GPU, "the variant that the service chose"
    assert it.settings["api"] == "2.x"
    assert it.entry["id"] == it.identity.model == GPU
    assert service.loaded == [GPU]
    assert it.notes[0] == f'"{name}" is "{GPU}" there'
    assert it.notes[1].startswith(f"Foundry Local loaded {GPU} in 0.0 s")
    assert it.to_json()["load_ms"] == it.load_ms
    assert it.load_ms is not None


def test_a_model_that_is_loaded_is_not_loaded_again() -> None:
    service = second()
    service.loaded = [CODER, GPU]
    it = found(service, "qwen2.5-0.5b")
    assert (it.settings["model"], len(it.notes)) == (GPU, 1)
    for name in (GPU, GPU.removesuffix(":4"), GPU.upper()):
        with running(service) as running_service:
            assert find_server(settings_of(f"{running_service.url}#{name}")).settings["model"] == GPU
            assert not [path for path in running_service.paths if "/load/" in path]


@pytest.mark.parametrize("name", [GPU, GPU.removesuffix(":4")])
def test_an_id_is_loaded_by_the_alias_that_begins_it(name: str) -> None:
    service = second()
    it = found(service, name)
    assert (it.settings["model"], service.loaded) == (GPU, [GPU])


def test_a_variant_that_its_alias_does_not_choose_cannot_be_loaded_and_none_is_left_behind() -> None:
    service = second()
    with pytest.raises(EngineError, match="another variant") as caught:
        found(service, CPU)
    assert service.loaded == []
    assert caught.value.fix == f"foundry model load {CPU}"
    service.loaded = [GPU]
    with pytest.raises(EngineError):
        found(service, CPU)
    assert service.loaded == [GPU], "somebody else's"


@pytest.mark.parametrize("name", ["qwen2.5", "Phi-4-generic-gpu", "../status", "a b%20c", "\ud800"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    service = second()
    with pytest.raises(UsageError) as caught:
        found(service, name)
    assert caught.value.code == "model_not_found"
    assert caught.value.fix
    assert service.loaded == []


def test_a_model_that_was_not_downloaded_is_said_with_the_command() -> None:
    with pytest.raises(EngineError, match="Foundry Local cannot load phi-4: Model not cached") as caught:
        found(second(), "phi-4")
    assert (caught.value.code, caught.value.fix) == ("load_failed", "foundry model download phi-4")


def test_an_alias_of_several_loaded_models_is_not_guessed() -> None:
    service = Foundry2({"phi-4": ["other:1"]}, loaded=["other:1", "phi-4-cpu:1", "phi-4-mini-cpu:1"])
    with pytest.raises(UsageError, match="stands for phi-4-cpu:1, phi-4-mini-cpu:1") as caught:
        found(service, "phi-4")
    assert caught.value.fix == "name the model by its id"


def test_a_service_that_lists_no_model_says_so() -> None:
    with running(Foundry2({})) as it, pytest.raises(UsageError, match="it lists none"):
        find_server(settings_of(it.url))
    with pytest.raises(UsageError, match='has no model "phi-4"') as caught:
        found(Foundry2({}), "phi-4")
    assert caught.value.fix == "it has none"


# --- 0.x: a catalog with aliases, loading by id. ---


@pytest.mark.parametrize(
    "name", ["qwen2.5-0.5b", "QWEN2.5-0.5b", "qwen2.5-0.5b-instruct-generic-cpu", "qwen2.5-0.5b-instruct-generic-cpu:3"]
)
def test_in_the_first_generation_a_name_is_found_in_the_catalog(name: str) -> None:
    service = first()
    it = found(service, name)
    assert it.settings["model"] == "qwen2.5-0.5b-instruct-generic-cpu:3", "what is downloaded, not what comes first"
    assert (it.settings["api"], it.identity.device) == ("0.x", "CPU")
    assert service.loaded == ["qwen2.5-0.5b-instruct-generic-cpu:3"]
    assert "loaded" in it.notes[-1]


@pytest.mark.parametrize("name", ["phi-4-mini", "qwen2.5-0.5b-instruct-cuda-gpu"])
def test_in_the_first_generation_what_was_not_downloaded_is_said(name: str) -> None:
    with pytest.raises(EngineError) as caught:
        found(first(), name)
    assert str(caught.value.fix).startswith("foundry model download ")


def test_in_the_first_generation_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="has no model"):
        found(first(), "phi-3")


# --- Both. ---


@pytest.mark.parametrize("make", [second, first])
def test_a_model_that_was_dropped_is_loaded_again_before_a_block(make: Callable[[], Any]) -> None:
    service = make()

    async def again(settings: dict[str, Any]) -> float | None:
        session = connect(settings)
        try:
            return await server.load(session, settings)
        finally:
            await session.close()

    def load(settings: dict[str, Any]) -> float | None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(again(settings))

    with running(service) as it:
        settings = find_server(settings_of(f"{it.url}#qwen2.5-0.5b")).settings
        assert load(settings) is None
        service.loaded.clear()
        taken = load(settings)
        assert taken is not None
        assert taken > 0
        assert service.loaded == [settings["model"]]
        service.loaded.clear()
        service.cached.clear()
        with pytest.raises(EngineError):
            load(settings)


def test_other_servers_are_not_told_to_load_anything() -> None:
    with running({"/v1/models": listed("m")}) as it:
        settings = find_server(settings_of(it.url)).settings
        asked = len(it.asked)

        async def go() -> None:
            assert await server.load(connect(settings), settings) is None

        asyncio.run(go())
        assert len(it.asked) == asked


@pytest.mark.parametrize("answer", [None, {}, {"status": 1}, [1, None, {"name": 1}, "x"], "x", 5])
def test_a_service_that_answers_nonsense_is_refused(answer: Any) -> None:
    def second_(method: str, path: str, body: Any) -> Any:
        fixed = second()(method, path, body)
        return fixed if path in ("/status", "/v1/models") else (200, answer)

    def first_(method: str, path: str, body: Any) -> Any:
        fixed = first()(method, path, body)
        return fixed if path in ("/openai/status", "/v1/models") else (200, answer)

    for service in (second_, first_):
        try:
            found(service, "nothing")
        except (UsageError, EngineError) as error:
            assert len(error.message) < 1000


def test_what_may_be_an_alias_is_tried_from_the_longest() -> None:
    assert _aliases("smollm2:1") == ["smollm2"]
    assert _aliases("a-b-c:2") == ["a-b-c", "a-b", "a"]
    assert len(_aliases("-".join("x" * 100))) == 8
