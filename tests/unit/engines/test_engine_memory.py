"""What a model takes in memory once an engine has loaded it, by the facts there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.engines.memory import LlamaCpp, Load, memory_needed
from audition.models.fit import Need
from audition.models.gguf import read_gguf_facts, read_gguf_header
from audition.models.header import KvFacts, ModelHeader
from audition.models.shape import Shape
from ggufs import tiny_metadata, write_gguf

WEIGHTS = 5 * 10**9


@pytest.fixture
def header(tmp_path: Path) -> ModelHeader:
    metadata = tiny_metadata(llama__block_count=8, llama__feed_forward_length=128)
    return read_gguf_header(write_gguf(tmp_path / "model.gguf", metadata=metadata))


def needed(known: ModelHeader | Shape | None, weights: int | None = WEIGHTS, **facts: Any) -> Need:
    need = memory_needed(known, weights, **{"format": "gguf", "engine": None, "context": 4096, **facts})
    assert need is not None
    return need


def test_the_parts_add_up(header: ModelHeader) -> None:
    need = needed(header)
    assert (need.weights, need.kv_cache, need.basis) == (WEIGHTS, 8 * 2 * 16 * 4096 * 2, "header")
    assert need.total == need.weights + (need.kv_cache or 0) + need.working
    assert not need.is_lower_bound


def test_llama_cpp_rounds_the_context_up(header: ModelHeader) -> None:
    assert needed(header, context=4000).kv_cache == needed(header, context=4096).kv_cache
    assert needed(header, context=4000, engine="ortgenai", format="onnx-genai").kv_cache == 8 * 2 * 16 * 4000 * 2


def test_the_buffers_of_llama_cpp_are_those_in_its_log() -> None:
    """SmolLM2: 15.14, 18.64 and 22.64 MiB at 512, 4,096 and 8,192 tokens, and 0.19 MiB of logits."""
    facts = KvFacts(block_count=30, head_count=9, head_count_kv=3, embedding_length=576)
    smollm = ModelHeader(
        version=3, architecture="llama", name=None, licence=None, parameters=134_515_008, quantization="Q4_1",
        context_length=8192, has_chat_template=True, chat_template_sha256=None, kv=facts, bos_token_id=1,
        eos_token_id=2, vocab_size=49152, tensor_bytes=96_571_392, data_offset=0, feed_forward_length=1536,
    )  # fmt: skip
    for context, logged in ((512, 15.14), (4096, 18.64), (8192, 22.64)):
        load = Load(smollm.shape, 98_362_432, None, "gguf", context, 1)
        beside = LlamaCpp.PROCESS + LlamaCpp.TOKEN * 49152
        assert (LlamaCpp().working(load) - beside) / 2**20 == pytest.approx(logged + 0.19, rel=0.02)
        assert LlamaCpp().kv_cache(load) == context / 512 * 11.25 * 2**20


def test_transformers_holds_four_bytes_a_parameter(header: ModelHeader) -> None:
    billion = needed(header, 700_000_000, engine="transformers", parameters=10**9)
    assert header.parameters is not None
    own = needed(header, 700_000_000, engine="transformers")
    assert own.weights == 700_000_000 + 4 * header.parameters, "the file's own number comes first"
    assert billion.kv_cache == 2 * (needed(header, engine="llamacpp").kv_cache or 0)
    folder = memory_needed(None, 2 * 10**9, format="safetensors", engine="transformers", context=512, parameters=10**9)
    assert folder is not None and folder.weights == 4 * 10**9


def test_onnx_genai_makes_logits_of_the_whole_prompt(header: ModelHeader) -> None:
    short, long = (
        needed(header, engine="ortgenai", format="onnx-genai", context=context).working for context in (1000, 3000)
    )
    assert long - short == 2000 * 4 * (5 + 3 * 128 + 5 * 32)


@pytest.mark.parametrize("engine", ["llamacpp", "ortgenai", "foundry", "openvino", "transformers", "own", None])
def test_every_engine_takes_something_to_work_in(header: ModelHeader, engine: str | None) -> None:
    assert needed(header, engine=engine).working > 50 * 10**6
    assert needed(header, engine=engine).total > WEIGHTS


def test_what_the_estimate_rests_on_is_told(header: ModelHeader, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with path.open("rb") as stream:
        leading = read_gguf_facts(stream, path.stat().st_size, "x", leading=True)
    assert needed(leading).basis == "leading header"
    assert needed(leading).kv_cache == needed(header).kv_cache
    assert needed(None).basis == "file size"
    assert needed(header, None).weights == header.tensor_bytes
    from_parameters = needed(None, None, parameters=8 * 10**9, quantization="q8_0")
    assert (from_parameters.basis, from_parameters.weights) == ("parameters x bits", 8_500_000_000)
    assert needed(leading, None, parameters=10**9, quantization="F16").weights == 2 * 10**9


def test_the_catalogs_shape_stands_in_for_a_header_that_nobody_read(header: ModelHeader) -> None:
    for engine in ("llamacpp", "ortgenai", "openvino", "transformers", None):
        read, told = (needed(facts, engine=engine, parameters=header.parameters) for facts in (header, header.shape))
        assert replace(told, basis="header") == read
        assert told.basis == "catalog"


def test_a_shape_without_a_cache_leaves_it_open() -> None:
    need = needed(Shape(KvFacts(embedding_length=576)))
    assert (need.kv_cache, need.basis) == (None, "file size")


def test_a_cache_that_is_not_known_makes_it_a_lower_bound() -> None:
    need = needed(None)
    assert (need.kv_cache, need.is_lower_bound) == (None, True)
    assert need.total == WEIGHTS + need.working


@pytest.mark.parametrize(
    "facts", [{}, {"parameters": 10**9}, {"quantization": "Q4_0"}, {"parameters": 10**9, "quantization": "new"}]
)
def test_without_any_size_nothing_is_known(facts: dict[str, Any]) -> None:
    assert memory_needed(None, None, format="gguf", engine=None, context=512, **facts) is None
