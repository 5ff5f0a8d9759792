"""Whatever a header says: estimates are never negative, grow with the context, and windows never add to them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from audition.engines.memory import memory_needed
from audition.models.fit import Fit, Memory, fit
from audition.models.header import KvFacts, ModelHeader

COUNT = st.one_of(st.none(), st.integers(0, 200), st.sampled_from([2**31, 2**32 - 1]))
LAYERS = st.one_of(COUNT, st.lists(st.integers(0, 64), max_size=40).map(tuple))
ARCHITECTURES = st.sampled_from(
    ["llama", "gemma2", "gemma3", "gemma3n", "gpt-oss", "llama4", "phi3", "qwen3next", "smallthinker", "x", None]
)
ENGINES = st.sampled_from(["llamacpp", "ortgenai", "openvino", "transformers", "foundry", "other", None])
FORMATS = st.sampled_from(["gguf", "onnx-genai", "openvino", "safetensors"])

FACTS = st.builds(
    KvFacts,
    block_count=COUNT,
    head_count=LAYERS,
    head_count_kv=LAYERS,
    key_length=COUNT,
    value_length=COUNT,
    embedding_length=COUNT,
    sliding_window=COUNT,
    sliding_pattern=st.one_of(COUNT, st.lists(st.integers(0, 1), max_size=40).map(tuple)),
    sliding_key_length=st.none(),
    is_latent=st.booleans(),
    index_length=COUNT,
    shared_layers=COUNT,
    attention_interval=COUNT,
    state_length=COUNT,
)
HEADERS = st.builds(
    ModelHeader,
    version=st.just(3),
    architecture=ARCHITECTURES,
    name=st.none(),
    licence=st.none(),
    parameters=st.one_of(st.none(), st.integers(1, 2**50)),
    quantization=st.sampled_from([None, "Q4_K_M", "F16", "new"]),
    context_length=COUNT,
    has_chat_template=st.none(),
    chat_template_sha256=st.none(),
    kv=FACTS,
    bos_token_id=st.none(),
    eos_token_id=st.none(),
    vocab_size=COUNT,
    tensor_bytes=st.one_of(st.none(), st.integers(0, 2**50)),
    data_offset=st.none(),
    feed_forward_length=COUNT,
)
CONTEXTS = st.integers(64, 1_000_000)


@settings(max_examples=300, deadline=None)
@given(HEADERS, st.one_of(st.none(), st.integers(0, 2**50)), FORMATS, ENGINES, CONTEXTS, CONTEXTS, st.integers(1, 16))
def test_an_estimate_is_never_negative_and_grows(header, size, format_, engine, one, other, parallel):
    short, long = sorted((one, other))
    needs = [
        memory_needed(header, size, format=format_, engine=engine, context=context, parallel=count)
        for context, count in ((short, 1), (long, 1), (long, parallel))
    ]
    assert len({need is None for need in needs}) == 1
    for need in needs:
        if need is not None:
            assert min(need.weights, need.working, need.kv_cache or 0) >= 0
            assert need.total >= need.weights
    if needs[0] is not None:
        assert [need.total for need in needs] == sorted(need.total for need in needs)


@settings(max_examples=300, deadline=None)
@given(HEADERS, CONTEXTS, st.integers(1, 4096))
def test_windows_never_take_more_than_none(header, context, batch):
    windowed, full = (header.kv_cache_bytes(context, batch=each) for each in (batch, None))
    assert (windowed is None) == (full is None)
    assert windowed is None or 0 <= windowed <= full


@settings(max_examples=200, deadline=None)
@given(HEADERS, st.integers(0, 2**40), st.integers(1, 2**40), st.floats(0, 1), CONTEXTS)
def test_more_memory_never_fits_less(header, size, total, share, context):
    need = memory_needed(header, size, format="gguf", engine=None, context=context)
    order = [Fit.NO, Fit.TIGHT, Fit.YES]
    small = fit(need, Memory(total, int(total * share)))
    large = fit(need, Memory(2 * total, int(2 * total * share)))
    if Fit.UNKNOWN not in (small, large):
        assert order.index(small) <= order.index(large)
    without = memory_needed(replace(header, kv=KvFacts()), size, format="gguf", engine=None, context=context)
    assert fit(without, Memory(total, total)) in (Fit.UNKNOWN, Fit.NO)
