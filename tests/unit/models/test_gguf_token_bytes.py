"""The weights that are read for one token."""

import pytest

from audition.models.gguf import read_gguf_header
from audition.models.header import ModelHeader
from ggufs import Tensor, tiny_metadata, write_gguf

EMBEDDING = Tensor("token_embd.weight", (32, 100), 2)
"""3,200 weights in 4 bits: 100 blocks of 18 bytes."""
LAYER = Tensor("blk.0.ffn_down.weight", (32, 10), 8)
"""10 blocks of 34 bytes."""
OUTPUT = Tensor("output.weight", (32, 100), 2)
EXPERTS = Tensor("blk.0.ffn_down_exps.weight", (32, 2, 8), 0)
"""Eight experts of 256 bytes each, in one tensor."""
SHARED = Tensor("blk.0.ffn_down_shexp.weight", (32, 2), 0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def token_bytes(path, *tensors, **facts):
    return read_gguf_header(write_gguf(path, metadata=tiny_metadata(**facts), tensors=list(tensors))).token_bytes


def test_an_embedding_that_is_the_output_too_is_read_for_every_token(path):
    assert token_bytes(path, EMBEDDING, LAYER) == 1800 + 340


def test_an_embedding_that_is_only_looked_up_is_not(path):
    assert token_bytes(path, EMBEDDING, LAYER, OUTPUT) == 340 + 1800
    assert token_bytes(path, OUTPUT, LAYER, EMBEDDING) == 340 + 1800, "whatever their order"
    assert token_bytes(path, LAYER, OUTPUT) == 340 + 1800


@pytest.mark.parametrize(("used", "expected"), [(1, 256), (2, 512), (8, 2048)])
def test_of_a_mixture_only_the_experts_that_a_token_takes_are_read(path, used, expected):
    facts = {"llama__expert_count": 8, "llama__expert_used_count": used}
    assert token_bytes(path, EMBEDDING, LAYER, EXPERTS, **facts) == 1800 + 340 + expected
    shared = token_bytes(path, EMBEDDING, OUTPUT, EXPERTS, SHARED, **facts)
    assert shared == 1800 + 256 + expected, "a shared expert is read for every token"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"llama__expert_count": 8},
        {"llama__expert_used_count": 2},
        {"llama__expert_count": 0, "llama__expert_used_count": 0},
        {"llama__expert_count": 8, "llama__expert_used_count": 0},
        {"llama__expert_count": 8, "llama__expert_used_count": 9},
        {"other__expert_count": 8, "other__expert_used_count": 2},
    ],
)
def test_a_mixture_that_does_not_say_how_many_experts_it_uses_is_unknown(path, facts):
    assert token_bytes(path, EMBEDDING, EXPERTS, **facts) is None


def test_facts_about_experts_that_are_not_there_change_nothing(path):
    assert token_bytes(path, EMBEDDING, LAYER, llama__expert_count=8, llama__expert_used_count=2) == 1800 + 340


def test_with_a_tensor_of_an_unknown_type_nothing_is_known(path):
    assert token_bytes(path, EMBEDDING, Tensor("blk.0.new.weight", (32,), kind=99, size=32)) is None
    assert token_bytes(path, Tensor("token_embd.weight", (32,), kind=99, size=32), LAYER, OUTPUT) is None
    assert token_bytes(path) is None


def test_facts_that_an_older_version_stored_lack_it(path):
    facts = read_gguf_header(write_gguf(path)).to_json()
    del facts["token_bytes"]
    assert ModelHeader.from_json(facts).token_bytes is None
