"""The GGUF header reader: the facts it finds, and the sentence with which it refuses a file."""

import hashlib
import io
import json
import os
import re
from pathlib import Path

import pytest

from audition.models.gguf import GgufError, read_gguf_header
from audition.models.gguf_layout import Source, read_layout
from audition.models.gguf_types import FILE_TYPES, TENSOR_TYPES
from audition.models.header import KvFacts, ModelFileError, ModelHeader
from ggufs import Tensor, Value, array_claim, tiny_metadata, write_gguf

TEMPLATE_SHA256 = hashlib.sha256(b"{{ messages }}").hexdigest()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def read(path, **arguments):
    return read_gguf_header(write_gguf(path, **arguments))


def refusal(path):
    with pytest.raises(GgufError) as caught:
        read_gguf_header(path)
    assert caught.value.code == "bad_model_file"
    assert caught.value.fix
    assert "\n" not in caught.value.message
    return caught.value.message


# What it reads.


@pytest.mark.parametrize("version", [2, 3])
def test_all_facts_of_a_small_model(path, version):
    assert read(path, version=version) == ModelHeader(
        version=version,
        architecture="llama",
        name="Tiny",
        licence="mit",
        parameters=128,
        quantization="Q4_0",
        context_length=512,
        has_chat_template=True,
        chat_template_sha256=TEMPLATE_SHA256,
        kv=KvFacts(block_count=2, head_count=4, head_count_kv=2, embedding_length=32),
        bos_token_id=0,
        eos_token_id=1,
        vocab_size=5,
        tensor_bytes=512,
        data_offset=path.stat().st_size - 512,
        token_bytes=512,
    )


def test_facts_that_are_not_stated_are_none(path):
    header = read(path, metadata={"general.architecture": "llama"}, tensors=[])
    assert header == ModelHeader(
        version=3,
        architecture="llama",
        name=None,
        licence=None,
        parameters=None,
        quantization=None,
        context_length=None,
        has_chat_template=False,
        chat_template_sha256=None,
        kv=KvFacts(),
        bos_token_id=None,
        eos_token_id=None,
        vocab_size=None,
        tensor_bytes=0,
        data_offset=path.stat().st_size,
    )


def test_facts_may_stand_in_any_order(path):
    metadata = tiny_metadata()
    assert read(path, metadata=dict(reversed(metadata.items()))).kv == read(path, metadata=metadata).kv


@pytest.mark.parametrize("kind", ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"])
def test_every_integer_type_can_state_a_size(path, kind):
    assert read(path, metadata=tiny_metadata(llama__context_length=Value(kind, 77))).context_length == 77


@pytest.mark.parametrize(
    ("stated", "read_as"),
    [
        ("x" * 300, "x" * 199 + "…"),
        ("a\x1b[31m\u202eb", "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b"),
        ("two\nlines", "two lines"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        ("é" * 5000, "é" * 199 + "…"),
        ("", None),
        (5, None),
        (["a", "b"], None),
    ],
)
def test_texts_are_bounded_and_printable(path, stated, read_as):
    header = read(path, metadata=tiny_metadata(general__name=stated, general__license=stated))
    assert (header.name, header.licence) == (read_as, read_as)


@pytest.mark.parametrize(
    ("file_type", "name"),
    [
        (0, "F32"),
        (1, "F16"),
        (3, "Q4_1"),
        (15, "Q4_K_M"),
        (18, "Q6_K"),
        (38, "MXFP4_MOE"),
        (1024 + 7, "Q8_0"),
    ],
)
def test_quantization_is_the_name_of_the_file_type(path, file_type, name):
    assert read(path, metadata=tiny_metadata(general__file_type=file_type)).quantization == name


@pytest.mark.parametrize("file_type", [None, 999])
def test_without_a_known_file_type_quantization_is_the_type_of_most_bytes(path, file_type):
    tensors = [Tensor("a", (64,), 0), Tensor("b", (256, 4), 12), Tensor("c", (64,), 0)]
    header = read(path, metadata=tiny_metadata(general__file_type=file_type), tensors=tensors)
    assert header.quantization == "Q4_K"
    assert header.parameters == 64 + 1024 + 64
    assert header.tensor_bytes == 256 + 4 * 144 + 256


@pytest.mark.parametrize(
    ("shape", "elements"),
    [((), 1), ((3,), 3), ((2, 3), 6), ((2, 3, 4), 24), ((2, 3, 4, 5), 120), ((0, 7), 0)],
)
def test_tensors_have_up_to_four_dimensions(path, shape, elements):
    header = read(path, tensors=[Tensor(shape=shape)])
    assert (header.parameters, header.tensor_bytes) == (elements, 4 * elements)


def test_an_unknown_tensor_type_counts_all_bytes_after_the_header(path):
    header = read(path, tensors=[Tensor("a"), Tensor("b", (10,), kind=99, size=1000)])
    assert header.parameters == 138
    assert header.tensor_bytes == path.stat().st_size - header.data_offset


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_tensor_data_starts_at_the_stated_alignment(path, alignment):
    header = read(path, metadata=tiny_metadata(general__alignment=alignment), alignment=alignment)
    assert header.data_offset == path.stat().st_size - max(512, alignment)
    assert header.data_offset % alignment == 0


def test_the_default_chat_template_comes_first(path):
    metadata = tiny_metadata() | {"tokenizer.chat_template.a": "A", "tokenizer.chat_templates": ["a"]}
    assert read(path, metadata=metadata).chat_template_sha256 == TEMPLATE_SHA256


def test_a_named_chat_template_counts(path):
    metadata = tiny_metadata(tokenizer__chat_template="")
    metadata |= {f"tokenizer.chat_template.{name}": text for name, text in {"z": "Z", "b": "B", "a": ""}.items()}
    header = read(path, metadata=metadata)
    assert header.has_chat_template
    assert header.chat_template_sha256 == hashlib.sha256(b"B").hexdigest()


@pytest.mark.parametrize("template", [None, "", 7, ["a"]])
def test_no_chat_template(path, template):
    metadata = tiny_metadata(tokenizer__chat_template=template) | {"tokenizer.chat_templates": ["a"]}
    header = read(path, metadata=metadata)
    assert not header.has_chat_template
    assert header.chat_template_sha256 is None


def test_the_stated_vocabulary_size_comes_first(path):
    assert read(path, metadata=tiny_metadata(llama__vocab_size=9)).vocab_size == 9


@pytest.mark.parametrize("none", [-1, 2**32 - 1, Value("i64", -1), None])
def test_a_token_that_there_is_not(path, none):
    metadata = tiny_metadata(tokenizer__ggml__bos_token_id=none, tokenizer__ggml__eos_token_id=none)
    header = read(path, metadata=metadata)
    assert (header.bos_token_id, header.eos_token_id) == (None, None)


@pytest.mark.parametrize("length", [0, 1, 8, 65_520, 65_536, 200_000])
def test_lists_of_strings_longer_than_a_window(path, length):
    tokens = ["x" * length, "", "y", *["token"] * 30_000, "z" * length]
    metadata = {"tokenizer.ggml.tokens": tokens} | tiny_metadata(tokenizer__ggml__tokens=None)
    header = read(path, metadata=metadata)
    assert (header.vocab_size, header.context_length, header.parameters) == (30_004, 512, 128)


# The key-value cache.


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"head_count_kv": 2, "block_count": 3, "head_count": 4, "embedding_length": 32},
            2 * 3 * (8 + 8) * 10 * 2,
        ),
        ({"head_count_kv": 2, "block_count": 3, "key_length": 5, "value_length": 6}, 2 * 3 * 11 * 10 * 2),
        ({"head_count_kv": (0, 2, 4), "key_length": 5, "value_length": 6}, 6 * 11 * 10 * 2),
        ({"head_count": 4, "block_count": 3, "embedding_length": 32}, 4 * 3 * 16 * 10 * 2),
        ({"head_count": (4, 8), "embedding_length": 32}, 12 * 16 * 10 * 2),
        (
            {"head_count_kv": 2, "block_count": 3, "key_length": 5, "head_count": 4, "embedding_length": 32},
            1560,
        ),
        (
            {"head_count_kv": 1, "block_count": 2, "key_length": 4, "value_length": 4, "sliding_window": 1},
            2 * 8 * 10 * 2,
        ),
        ({"head_count": 0, "block_count": 3}, 0),
        ({"head_count_kv": 2, "block_count": 3}, None),
        ({"head_count_kv": 2, "key_length": 5, "value_length": 6}, None),
        ({"head_count": 0, "head_count_kv": 1, "block_count": 1, "embedding_length": 8}, None),
        ({}, None),
    ],
)
def test_kv_cache_bytes(path, facts, expected):
    header = read(path)
    header = ModelHeader.from_json(header.to_json() | {"kv": facts})
    assert header.kv_cache_bytes(10) == expected


def test_kv_cache_bytes_of_another_cache_type(path):
    assert read(path).kv_cache_bytes(1, 34 / 32) == 68  # 2 layers of 2 heads with 8 + 8 elements


def test_numbers_per_layer(path):
    metadata = tiny_metadata(
        llama__attention__head_count_kv=[0, 2],
        llama__attention__head_count=[Value("i32", 4), Value("i32", 8)],
    )
    kv = read(path, metadata=metadata).kv
    assert (kv.head_count_kv, kv.head_count) == ((0, 2), (4, 8))


# The round trip through a manifest.


@pytest.mark.parametrize("heads", [2, [2, 0], None])
def test_json_round_trip(path, heads):
    header = read(path, metadata=tiny_metadata(llama__attention__head_count_kv=heads))
    assert ModelHeader.from_json(json.loads(json.dumps(header.to_json()))) == header


@pytest.mark.parametrize("change", [{"version": "three"}, {"kv": None}, {"tensor_bytes": 1.5}])
def test_damaged_json_is_refused(path, change):
    facts = read(path).to_json() | change
    with pytest.raises(ModelFileError, match=f"stored facts.*{next(iter(change))}"):
        ModelHeader.from_json(facts)
    with pytest.raises(ModelFileError, match="architecture"):
        ModelHeader.from_json({"version": 3})


# What it refuses.

REFUSED = {
    "has the key .* twice": {"metadata": [("general.architecture", "llama"), ("a", 1), ("a", 2)]},
    "has an empty key": {"metadata": [("", 1)]},
    "does not name the model's architecture": {"metadata": {"general.name": "x"}},
    "unknown type 13$": {"metadata": {"a": Value(13)}},
    "unknown type 13 in an array": {"metadata": {"a": array_claim(13, 0)}},
    "unknown type 9 in an array": {"metadata": {"a": [[1], [2]]}},
    "name of 65,536 bytes": {"metadata": {"a" * 65_536: 1}},
    "text of 16,777,217 bytes": {"metadata": {"a": bytes(2**24 + 1)}},
    "template has more than 1 MB": {"metadata": tiny_metadata(tokenizer__chat_template="x" * (2**20 + 1))},
    "context_length.* wrong type": {"metadata": tiny_metadata(llama__context_length="512")},
    "block_count.* wrong type": {"metadata": tiny_metadata(llama__block_count=2.0)},
    "embedding_length.* length": {"metadata": tiny_metadata(llama__embedding_length=[1, 2])},
    "head_count.* length": {"metadata": tiny_metadata(llama__attention__head_count=[1] * 4097)},
    "impossible value -2": {"metadata": tiny_metadata(llama__block_count=-2)},
    "impossible value 4294967296": {"metadata": tiny_metadata(llama__block_count=2**32)},
    "alignment is 0": {"metadata": tiny_metadata(general__alignment=0)},
    "alignment is 48": {"metadata": tiny_metadata(general__alignment=48)},
    "alignment is 2097152": {"metadata": tiny_metadata(general__alignment=2**21)},
    'tensor "a" twice': {"tensors": [Tensor("a"), Tensor("a")]},
    "5 dimensions": {"tensors": [Tensor(shape=(1, 1, 1, 1, 1))]},
    "impossible shape": {"tensors": [Tensor(shape=(33,), kind=2)]},
    "impossible shape or": {"tensors": [Tensor(shape=(), kind=2)]},
    "impossible .* offset": {"tensors": [Tensor(offset=8)]},
    "an impossible shape": {"tensors": [Tensor(shape=(2**32, 2**31), size=0)]},
    "by its header it needs .* bytes, the file has": {"tensors": [Tensor(size=64)]},
    "is truncated": {"tensors": [Tensor(kind=99, offset=3200)], "size": 1200},
    "is not a GGUF model file": {"magic": b"GGML"},
    "is a big-endian GGUF file": {"byte_order": ">"},
    "version 1; only versions 2 and 3": {"version": 1},
    "version 4; only versions 2 and 3": {"version": 4},
    "version 0; only versions 2 and 3": {"version": 0},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_refused(path, sentence):
    write_gguf(path, **REFUSED[sentence])
    assert re.search(sentence, refusal(path))


def test_every_truncation_is_refused(path):
    whole = write_gguf(path).read_bytes()
    end = len(whole)
    for size in range(end):
        path.write_bytes(whole[:size])
        sentence = refusal(path)
        assert ("is empty" if size == 0 else "not a GGUF" if size < 4 else "is truncated") in sentence
    assert f"needs {end:,} bytes, the file has {size:,}" in sentence


def test_padding_after_the_last_tensor_may_be_missing(path):
    write_gguf(path, tensors=[Tensor(shape=(3,))])
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 32 + 12)
    assert read_gguf_header(path).tensor_bytes == 12


def test_a_long_key_is_read(path):
    assert read(path, metadata=tiny_metadata(**{"k" * 65_535: 1})).vocab_size == 5


def test_a_key_is_shown_short_and_printable(path):
    write_gguf(path, metadata=[("\x1b" + "k" * 500, 1)] * 2)
    sentence = refusal(path)
    assert "\x1b" not in sentence
    assert len(sentence) < 250 + len(str(path))


def test_a_file_that_shrinks_while_it_is_read(path):
    content = write_gguf(path).read_bytes()
    for size in (2, 20, 100, 400):
        with pytest.raises(GgufError, match="truncated"):
            read_layout(Source(io.BytesIO(content[:size]), len(content), "it"))


def test_a_missing_file(path):
    assert refusal(path) == f"there is no model file at {path}"


def test_a_folder(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a model file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(path):
    os.mkfifo(path)
    assert refusal(path) == f"{path} is not a regular file"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_an_unreadable_file(path, monkeypatch, error):
    write_gguf(path)

    def fail(*_arguments):
        raise error

    monkeypatch.setattr(Path, "open", fail)
    assert refusal(path) == f"cannot read {path}: {error.strerror}"


def test_odd_paths():
    assert "null byte" in refusal(Path("a\0b"))
    assert "\x1b" not in refusal(Path("a\x1bb"))
    assert "cannot read" in refusal(Path("x" * 5000))


# The tables.


def test_tables_agree_with_the_gguf_package():
    constants = pytest.importorskip("gguf").constants
    for kind, sizes in constants.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # there the package is wrong (40 bytes); ggml has 36, and no file has the type
            assert TENSOR_TYPES[kind] == (kind.name, *sizes)
    for file_type in constants.LlamaFileType:
        if file_type.name != "GUESSED":
            assert file_type.name == ("ALL_" if file_type == 0 else "MOSTLY_") + FILE_TYPES[file_type]


def test_the_writer_agrees_with_the_gguf_package(path):
    package = pytest.importorskip("gguf")
    reader = package.GGUFReader(write_gguf(path))
    assert reader.data_offset == read_gguf_header(path).data_offset
    assert reader.get_field("tokenizer.ggml.tokens").contents() == ["<s>", "</s>", "a", "b", ""]
    assert reader.get_field("llama.block_count").contents() == 2
    assert [tuple(map(int, tensor.shape)) for tensor in reader.tensors] == [(32, 4)]
