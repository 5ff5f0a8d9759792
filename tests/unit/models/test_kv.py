"""The key-value cache of the architectures that do not simply keep everything for every layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.models.gguf import read_gguf_header
from audition.models.kv import KvFacts, cache_bytes, sliding_layers
from ggufs import Value, tiny_metadata, write_gguf

PLAIN = KvFacts(block_count=12, head_count=8, head_count_kv=2, key_length=64, value_length=64)
ROW = 2 * (64 + 64) * 2
"""Bytes of one layer for one token."""
WINDOWED = replace(PLAIN, sliding_window=512)


def header_of(tmp_path: Path, architecture: str, **facts: Any) -> Any:
    """Return the header of a file that states facts of its own architecture: `attention__sliding_window=512`."""
    metadata = tiny_metadata(general__architecture=architecture) | {
        f"{architecture}.{key.replace('__', '.')}": value for key, value in facts.items()
    }
    return read_gguf_header(write_gguf(tmp_path / "model.gguf", metadata=metadata))


@pytest.mark.parametrize(
    ("architecture", "full"),
    [("gemma2", 6), ("gemma3", 2), ("gpt-oss", 6), ("cohere2", 3), ("olmo2", 3), ("smallthinker", 3)],
)
def test_layers_with_a_window_keep_the_window_and_a_batch(architecture: str, full: int) -> None:
    expected = (full * 8192 + (12 - full) * 1024) * ROW
    assert cache_bytes(WINDOWED, architecture, 8192) == expected


def test_what_llama_cpp_makes_of_gemma_3() -> None:
    """Its own log: 12 and 15 MiB at 4,096 tokens, 1.5 and 7.5 at 512; 4 times 12 and 15 for four requests."""
    gemma = KvFacts(block_count=18, head_count=4, head_count_kv=1, key_length=256, value_length=256, sliding_window=512)
    assert cache_bytes(gemma, "gemma3", 4096) == (12 + 15) * 2**20
    assert cache_bytes(gemma, "gemma3", 512) == 9 * 2**20
    assert cache_bytes(gemma, "gemma3", 4096, parallel=4) == 4 * (12 + 15) * 2**20


@pytest.mark.parametrize("architecture", ["llama", "phi3", "nobody-knows-it", None])
def test_a_window_that_nobody_is_known_to_use_counts_in_full(architecture: str | None) -> None:
    assert cache_bytes(WINDOWED, architecture, 8192) == 12 * 8192 * ROW


@pytest.mark.parametrize(("architecture", "window"), [("gemma2", 4096), ("smallthinker", 4096), ("llama4", 8192)])
def test_a_window_that_files_leave_to_the_code(architecture: str, window: int) -> None:
    full = 6 if architecture == "gemma2" else 3
    expected = (full * 32768 + (12 - full) * (window + 512)) * ROW
    assert cache_bytes(PLAIN, architecture, 32768) == expected
    assert cache_bytes(replace(PLAIN, sliding_window=0), architecture, 32768) == 12 * 32768 * ROW


def test_an_engine_without_windows_keeps_everything() -> None:
    assert cache_bytes(WINDOWED, "gemma3", 8192, batch=None) == 12 * 8192 * ROW


def test_the_pattern_that_a_file_states_comes_first() -> None:
    assert sliding_layers(replace(WINDOWED, sliding_pattern=3), "gemma2", 6) == (True, True, False, True, True, False)
    stated = (1, 0, 1)
    assert sliding_layers(replace(WINDOWED, sliding_pattern=stated), "gemma3", 3) == (True, False, True)
    assert sliding_layers(replace(WINDOWED, sliding_pattern=stated), "nobody", 4) == (True, False, True, False)
    assert sum(sliding_layers(replace(WINDOWED, sliding_pattern=3), "nobody", 7)) == 4, "the full ones counted up"


def test_a_file_s_pattern_is_read(tmp_path: Path) -> None:
    flags = header_of(tmp_path, "gemma4", attention__sliding_window_pattern=[True, False, True]).kv
    assert flags.sliding_pattern == (1, 0, 1)
    assert header_of(tmp_path, "olmo2", attention__sliding_window_pattern=4).kv.sliding_pattern == 4
    listed = header_of(tmp_path, "x", attention__sliding_window_pattern=[Value("i32", 1), Value("i32", 0)]).kv
    assert listed.sliding_pattern == (1, 0)


def test_windows_with_heads_of_their_own(tmp_path: Path) -> None:
    header = header_of(
        tmp_path,
        "gemma4",
        block_count=4,
        attention__head_count_kv=[2, 2, 2, 1],
        attention__key_length=512,
        attention__value_length=512,
        attention__key_length_swa=256,
        attention__value_length_swa=256,
        attention__sliding_window=512,
        attention__sliding_window_pattern=[True, True, True, False],
        attention__shared_kv_layers=1,
    )
    assert header.kv_cache_bytes(8192) == 3 * 1024 * 2 * 512 * 2, "the last layer uses another one's"
    assert header.kv_cache_bytes(8192, batch=None) == 3 * 8192 * 2 * 512 * 2


def test_a_compressed_cache_keeps_one_row(tmp_path: Path) -> None:
    facts = {"block_count": 27, "attention__head_count_kv": 1, "attention__key_length": 576}
    mla = {"attention__value_length": 512, "attention__key_length_mla": 192, "attention__value_length_mla": 128}
    assert header_of(tmp_path, "deepseek2", **facts, **mla).kv_cache_bytes(1000) == 27 * 576 * 1000 * 2
    index = {"attention__indexer__key_length": 128}
    indexed = header_of(tmp_path, "deepseek32", **facts, **mla, **index)
    assert indexed.kv_cache_bytes(1000) == 27 * (576 + 128) * 1000 * 2


def test_recurrent_layers_keep_a_state_and_no_more(tmp_path: Path) -> None:
    mamba = {"ssm__conv_kernel": 4, "ssm__inner_size": 512, "ssm__state_size": 16, "ssm__group_count": 1}
    state = 3 * (512 + 2 * 16) + 512 * 16
    pure = header_of(tmp_path, "mamba2", block_count=3, attention__head_count=0, **mamba)
    assert pure.kv_cache_bytes(100) == pure.kv_cache_bytes(100_000) == 3 * state * 4
    assert pure.kv_cache_bytes(100, parallel=2) == 2 * 3 * state * 4
    hybrid = header_of(
        tmp_path,
        "jamba",
        attention__head_count_kv=[0, 2, 0],
        attention__key_length=8,
        attention__value_length=8,
        **mamba,
    )
    assert hybrid.kv_cache_bytes(100) == 2 * (8 + 8) * 100 * 2 + 2 * state * 4
    both = header_of(
        tmp_path, "falcon-h1", attention__head_count_kv=2, block_count=2, attention__key_length=8,
        attention__value_length=8, **mamba,
    )  # fmt: skip
    assert both.kv_cache_bytes(100) == 2 * 2 * (8 + 8) * 100 * 2 + 2 * state * 4


def test_every_fourth_layer_has_a_cache_where_the_others_are_recurrent(tmp_path: Path) -> None:
    facts = {"block_count": 8, "attention__head_count_kv": 2, "attention__key_length": 8, "attention__value_length": 8}
    stated = header_of(tmp_path, "own", full_attention_interval=4, **facts)
    assert stated.kv_cache_bytes(100) == 2 * 2 * 16 * 100 * 2
    assert header_of(tmp_path, "qwen3next", **facts).kv_cache_bytes(100) == 2 * 2 * 16 * 100 * 2
    assert header_of(tmp_path, "own", **facts).kv_cache_bytes(100) == 8 * 2 * 16 * 100 * 2


@pytest.mark.parametrize(("facts", "state"), [({"shortconv__l_cache": 3}, 32 * 2), ({"wkv__head_size": 64}, 32 * 66)])
def test_other_states(tmp_path: Path, facts: dict[str, int], state: int) -> None:
    header = header_of(tmp_path, "other", embedding_length=32, **facts)
    assert header.kv.state_length == state


def test_a_claim_of_billions_of_layers_tells_nothing(tmp_path: Path) -> None:
    facts = {"attention__head_count_kv": 2, "attention__key_length": 8, "attention__value_length": 8}
    assert header_of(tmp_path, "llama", block_count=2**32 - 1, **facts).kv_cache_bytes(1) is None
