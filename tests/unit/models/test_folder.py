"""Model folders: which files belong to one, and what they state."""

from __future__ import annotations

import os
import sys

import pytest

import folders
from audition.models.folder import format_of, open_folder
from audition.models.folder_header import read_header
from audition.models.header import ModelFileError, ModelHeader
from folders import FOLDERS, TEMPLATE, genai_config, hf_config, hf_folder, onnx_folder, openvino_folder, write
from ggufs import write_gguf

posix = pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own there")


@pytest.mark.parametrize("format_", FOLDERS)
def test_the_format_shows_in_the_files(tmp_path, format_):
    assert format_of(FOLDERS[format_](tmp_path / "m")) == format_


def test_other_things_have_no_format(tmp_path):
    assert format_of(tmp_path) is None
    assert format_of(tmp_path / "nothing") is None
    assert format_of(write(tmp_path / "x", {"a.txt": "hi"}) / "a.txt") is None
    assert format_of(write_gguf(tmp_path / "M.GGUF")) == "gguf"


# What belongs to it.


def test_an_onnx_folder_is_its_graphs_their_weights_and_its_texts(tmp_path):
    folder = onnx_folder(
        tmp_path / "m",
        **{"other.onnx": b"x", "README.md": "hi", "notes.pdf": "x", "custom.so": b"\x7fELF", "code.py": "boom()"},
    )
    found = open_folder(folder, "onnx-genai")
    assert found.files == (
        "README.md",
        "chat_template.jinja",
        "genai_config.json",
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
        "tokenizer_config.json",
    )
    assert found.left_out == {"custom.so": "is a program", "code.py": "is a program"}
    assert found.size == sum((folder / name).stat().st_size for name in found.files)


def test_weights_may_have_any_name_that_the_graph_gives_them(tmp_path):
    named = folders.graph([], [folders.tensor("a", [4], location="weights.bin")])
    folder = onnx_folder(tmp_path / "m", **{"model.onnx": named, "weights.bin": b"\0" * 16, "other.bin": b"\x80"})
    found = open_folder(folder, "onnx-genai")
    assert "weights.bin" in found.files
    assert "model.onnx.data" not in found.files
    assert found.left_out == {"other.bin": "may be a pickle, which can run code"}


def test_pickles_beside_safetensors_are_left_out(tmp_path):
    folder = hf_folder(tmp_path / "m", **{"pytorch_model.bin": b"\x80\x04", "consolidated.safetensors": b"x"})
    found = open_folder(folder, "safetensors")
    assert [name for name in found.files if name.endswith((".bin", ".safetensors"))] == ["model.safetensors"]
    assert list(found.left_out) == ["pytorch_model.bin"]


def test_shards_are_those_in_the_index(tmp_path):
    index = {"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "../../etc/passwd", "d": 7}}
    shards = {f"m-{n}.safetensors": folders.safetensors(folders.NORM) for n in (1, 2, 3)}
    folder = hf_folder(tmp_path / "m", **{"model.safetensors.index.json": index, "model.safetensors": None, **shards})
    found = open_folder(folder, "safetensors").files
    assert [name for name in found if name.endswith(".safetensors")] == ["m-1.safetensors", "m-2.safetensors"]


def test_openvino_weights_are_those_beside_a_graph(tmp_path):
    found = open_folder(openvino_folder(tmp_path / "m", **{"training_args.bin": b"\x80"}), "openvino")
    assert "openvino_model.bin" in found.files
    assert "training_args.bin" in found.left_out


@posix
def test_a_link_that_leads_out_is_refused(tmp_path):
    folder = onnx_folder(tmp_path / "m", **{"tokenizer.json": None})
    (tmp_path / "secret").write_text("{}")
    (folder / "tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelFileError, match=r"tokenizer\.json .* leads out"):
        open_folder(folder, "onnx-genai")


@posix
def test_a_link_within_the_folder_is_a_file(tmp_path):
    folder = onnx_folder(tmp_path / "m")
    (folder / "merges.txt").symlink_to("tokenizer.json")
    assert "merges.txt" in open_folder(folder, "onnx-genai").files


@posix
def test_a_hugging_face_cache_keeps_its_files_behind_links(tmp_path):
    whole = hf_folder(tmp_path / "repo" / "blobs")
    snapshot = tmp_path / "repo" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for path in whole.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert open_folder(snapshot, "safetensors").files == open_folder(whole, "safetensors").files
    (snapshot / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(ModelFileError, match="leads out"):
        open_folder(snapshot, "safetensors")


@posix
def test_pipes_and_odd_names_are_left_out(tmp_path):
    folder = onnx_folder(tmp_path / "m", **{"a b.json": "{}", "-x.json": "{}", ".hidden.json": "{}"})
    os.mkfifo(folder / "pipe.json")
    assert sorted(open_folder(folder, "onnx-genai").left_out) == ["-x.json", "a b.json", "pipe.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="the disk cannot tell them apart")
def test_names_that_other_disks_cannot_tell_apart_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="cannot tell apart"):
        open_folder(onnx_folder(tmp_path / "m", **{"Tokenizer.json": {}}), "onnx-genai")


def test_a_folder_of_thousands_is_no_models(tmp_path):
    folder = write(tmp_path / "m", {f"{n}.txt": "" for n in range(1001)})
    with pytest.raises(ModelFileError, match="over 1,000 entries"):
        open_folder(folder, "safetensors")


def test_a_folder_that_is_not_there_is_told_so(tmp_path):
    for path in (tmp_path / "gone", write_gguf(tmp_path / "m.gguf"), tmp_path / "a\0b"):
        with pytest.raises(ModelFileError):
            open_folder(path, "onnx-genai")


# What its files state.


def test_an_onnx_folder_states_its_facts(tmp_path):
    header = read_header(onnx_folder(tmp_path / "m"), "onnx-genai")
    assert (header.architecture, header.quantization, header.context_length) == ("llama", "INT4", 256)
    assert (header.bos_token_id, header.eos_token_id, header.vocab_size) == (1, 2, 16)
    assert (header.tensor_bytes, header.token_bytes) == (672, 160)
    assert header.parameters is None
    # Three layers of keys and values, four numbers each, of 32 bits as its graph says.
    assert header.kv_cache_bytes(10) == 3 * 2 * 4 * 10 * 4
    assert header.has_chat_template
    assert ModelHeader.from_json(header.to_json()) == header


def test_the_shorter_of_the_two_limits_is_the_context(tmp_path):
    config = {**genai_config(), "search": {"max_length": 100}}
    assert read_header(onnx_folder(tmp_path / "m", **{"genai_config.json": config}), "onnx-genai").context_length == 100


def test_a_hugging_face_folder_states_its_facts(tmp_path):
    header = read_header(hf_folder(tmp_path / "m"), "safetensors")
    assert (header.architecture, header.quantization, header.context_length) == ("llama", "BF16", 256)
    assert (header.parameters, header.tensor_bytes, header.token_bytes) == (136, 288, 288)
    assert header.kv_cache_bytes(10) == 3 * 2 * 4 * 10 * 2
    assert ModelHeader.from_json(header.to_json()) == header


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quant_method": "awq", "bits": 4}, "AWQ-4"),
        ({"quant_method": "fp8"}, "FP8"),
        ({"quant_method": "../x"}, "BF16"),
        ("none", "BF16"),
    ],
)
def test_a_quantisation_that_is_stated_has_its_own_name(tmp_path, config, said):
    folder = hf_folder(tmp_path / "m", **{"config.json": hf_config(quantization_config=config)})
    assert read_header(folder, "safetensors").quantization == said


def test_of_a_model_that_also_sees_the_part_about_text_counts(tmp_path):
    config = {"model_type": "vlm", "text_config": hf_config(model_type="gemma3_text")}
    header = read_header(hf_folder(tmp_path / "m", **{"config.json": config}), "safetensors")
    assert (header.architecture, header.context_length) == ("gemma3_text", 256)


def test_experts_leave_the_bytes_of_a_token_unknown(tmp_path):
    folder = hf_folder(tmp_path / "m", **{"config.json": hf_config(num_local_experts=8)})
    assert read_header(folder, "safetensors").token_bytes is None


def test_an_openvino_folder_states_its_facts(tmp_path):
    header = read_header(openvino_folder(tmp_path / "m"), "openvino")
    assert (header.architecture, header.quantization, header.tensor_bytes) == ("llama", "INT4", 100)
    assert header.token_bytes is None
    assert header.kv_cache_bytes(10) == 3 * 2 * 4 * 10 * 2


@pytest.mark.parametrize("value", [-1, 2**40, True, "9", None, [], {}, 1.5])
def test_impossible_facts_are_unknown(tmp_path, value):
    config = hf_config(max_position_embeddings=value, num_hidden_layers=value, eos_token_id=value)
    header = read_header(hf_folder(tmp_path / "m", **{"config.json": config}), "safetensors")
    assert (header.context_length, header.kv_cache_bytes(10), header.eos_token_id) == (None, None, None)


TEMPLATES = {
    "jinja": {"chat_template.jinja": TEMPLATE},
    "text": {"tokenizer_config.json": {"chat_template": TEMPLATE}},
    "named": {
        "tokenizer_config.json": {
            "chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": TEMPLATE}]
        }
    },
    "json": {"chat_template.json": {"chat_template": TEMPLATE}},
}


@pytest.mark.parametrize("where", TEMPLATES)
def test_the_chat_template_is_found_wherever_it_stands(tmp_path, where):
    bare = {"tokenizer_config.json": {}, "chat_template.jinja": None}
    without = read_header(onnx_folder(tmp_path / "none", **bare), "onnx-genai")
    assert (without.has_chat_template, without.chat_template_sha256) == (False, None)
    first = read_header(write(onnx_folder(tmp_path / "m", **bare), TEMPLATES[where]), "onnx-genai")
    usual = read_header(onnx_folder(tmp_path / "usual"), "onnx-genai")
    assert first.chat_template_sha256 == usual.chat_template_sha256


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        ("---\ntags:\n- x\nlicense: 'mit'\n---\n", "mit"),
        ("license: apache-2.0", None),
        ("---\nlicense: apache-2.0\n", None),
        ("---\nlicense:\n- a\n- b\n---\n", None),
    ],
)
def test_the_licence_comes_from_the_model_card(tmp_path, card, licence):
    assert read_header(hf_folder(tmp_path / "m", **{"README.md": card}), "safetensors").licence == licence


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b" " * 2**25]
)
def test_configurations_that_are_none_are_refused(tmp_path, content):
    folder = hf_folder(tmp_path / "m", **{"config.json": content})
    with pytest.raises(ModelFileError, match=r"config\.json"):
        read_header(folder, "safetensors")
