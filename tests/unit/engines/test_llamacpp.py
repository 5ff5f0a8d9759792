"""What llama.cpp says of where it runs, and of what it was fed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from audition.engines.llamacpp import LlamaCpp
from audition.engines.tokens import prompt_sha256


@pytest.mark.parametrize(("names", "device"), [(["CPU"], "cpu"), (["CUDA0", "CPU"], None)])
def test_the_device_is_told_only_where_there_is_no_choice(
    names: list[str], device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(get_device_info=lambda: [{"name": name} for name in names])
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    assert LlamaCpp().device == device


@pytest.mark.parametrize(("fed", "told"), [(3, True), (4, False), (None, False)])
def test_a_hash_of_another_prompt_than_the_one_fed_is_none(
    fed: int | None, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace())
    engine = LlamaCpp()
    asked: list[str] = []

    def post(route: str, _: object) -> dict[str, object]:
        asked.append(route)
        return {"prompt": "x"} if route == "/apply-template" else {"tokens": [1, 22, 333]}

    monkeypatch.setattr(engine, "_post", post)
    messages = [{"role": "user", "content": "x"}]
    for _ in range(2):
        assert engine._prompt_sha256(messages, fed) == (prompt_sha256([1, 22, 333]) if told else None)
    assert asked == ["/apply-template", "/tokenize"], "the second time it is known"


@pytest.mark.parametrize("answer", [OSError("gone"), {"error": {}}, {"tokens": None}, [], None])
def test_where_llamacpp_does_not_tell_there_is_no_hash(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace())
    engine = LlamaCpp()

    def post(_: str, __: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(engine, "_post", post)
    assert engine._prompt_sha256([{"role": "user", "content": "x"}], 3) is None
