"""The folder doctor: every fault has a sentence of its own, and a way out."""

from __future__ import annotations

import pytest

import folders
from audition.models.folder_check import check_folder, refuse_bad
from audition.models.header import ModelFileError
from folders import FOLDERS, POINTER, genai_config, hf_config, hf_folder, onnx_folder, openvino_folder, write
from ggufs import write_gguf


@pytest.mark.parametrize("format_", FOLDERS)
def test_a_whole_folder_has_no_problems(tmp_path, format_):
    assert check_folder(FOLDERS[format_](tmp_path / "m")) == []


UNREADABLE = [
    ({"tokenizer.json": b'{"model": {'}, "tokenizer.json is not valid JSON"),
    ({"tokenizer.json": b"[]"}, "tokenizer.json is no JSON object"),
    ({"tokenizer_config.json": b"<html>"}, "tokenizer_config.json is not valid JSON"),
    ({"special_tokens_map.json": b"\xff\xfe{"}, "special_tokens_map.json is not valid JSON"),
    ({"chat_template.jinja": "{% for m in messages %}{{ m"}, "chat template cannot be read: the {{ in line 1"),
]


@pytest.mark.parametrize("format_", FOLDERS)
@pytest.mark.parametrize(("change", "said"), UNREADABLE, ids=[said for _, said in UNREADABLE])
def test_what_engines_read_can_be_read(tmp_path, format_, change, said):
    problems = check_folder(FOLDERS[format_](tmp_path / "m", **change))
    assert [problem.fatal for problem in problems if said in problem.message] == [True]
    with pytest.raises(ModelFileError) as caught:
        refuse_bad(tmp_path / "m")
    assert said in caught.value.message


def test_a_tokenizer_may_be_larger_than_other_files(tmp_path):
    large = b'{"model": "' + b"x" * (17 * 2**20) + b'"}'
    assert check_folder(hf_folder(tmp_path / "m", **{"tokenizer.json": large})) == []


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b""), lambda path: path.mkdir(), lambda path: None])
def test_a_path_is_said_once(tmp_path, make):
    make(tmp_path / "m.gguf")
    with pytest.raises(ModelFileError) as caught:
        refuse_bad(tmp_path / "m.gguf")
    assert caught.value.message.count("m.gguf") == 1


def test_a_pointer_is_no_model_file_but_shows_where_it_is(tmp_path):
    (tmp_path / "m.gguf").write_bytes(POINTER)
    (problem,) = check_folder(tmp_path / "m.gguf")
    assert problem.message.endswith("m.gguf is a Git LFS pointer, not the file itself")
    assert "git lfs pull" in problem.fix


def test_a_gguf_file_is_looked_at_as_well(tmp_path):
    assert check_folder(write_gguf(tmp_path / "m.gguf")) == []
    (tmp_path / "m.gguf").write_bytes(b"no")
    (problem,) = check_folder(tmp_path / "m.gguf")
    assert "not a GGUF" in problem.message


def elsewhere(location):
    return {"model.onnx": folders.graph([], [folders.tensor("a", [4], location=location)])}


def decoder(filename):
    return {"genai_config.json": genai_config(decoder={"filename": filename})}


# The folder, what is done to it, and what is said.
ONNX_FAULTS = [
    ({"genai_config.json": None}, "no genai_config.json", True),
    ({"genai_config.json": b"{"}, "genai_config.json is not valid JSON", True),
    ({"genai_config.json": {"model": {"eos_token_id": 1}}}, "names no model file", True),
    (decoder("gone.onnx"), "gone.onnx, which its genai_config.json names, is missing", True),
    (decoder("../../etc/passwd"), '"../../etc/passwd", which is no file of this folder', True),
    (decoder("sub/model.onnx"), '"sub/model.onnx", which is no file of this folder', True),
    ({"model.onnx": b"nonsense"}, "model.onnx is damaged", True),
    ({"model.onnx": POINTER}, "model.onnx is a Git LFS pointer", True),
    ({"model.onnx.data": POINTER}, "model.onnx.data is a Git LFS pointer", True),
    ({"model.onnx.data": None}, "model.onnx.data, which holds the weights of model.onnx, is missing", True),
    ({"model.onnx.data": b"\0" * 639}, "truncated: model.onnx needs 640 bytes, it has 639", True),
    (elsewhere("/etc/passwd"), '"/etc/passwd", which is no file of this folder', True),
    (elsewhere("../x"), '"../x", which is no file of this folder', True),
    (elsewhere(""), '"", which is no file of this folder', True),
    ({"model.onnx": folders.graph([], [])}, "model.onnx holds no weights", True),
    ({"tokenizer.json": None}, "no tokenizer", True),
    ({"tokenizer_config.json": None}, "no tokenizer_config.json", True),
    ({"chat_template.jinja": None}, "no chat template", False),
    ({"genai_config.json": genai_config(eos_token_id=None)}, "no token that ends an answer", True),
    ({"genai_config.json": genai_config(eos_token_id=[])}, "no token that ends an answer", True),
    ({"genai_config.json": genai_config(context_length="many")}, "no number of tokens", True),
    ({"genai_config.json": genai_config(context_length=100)}, "allows 256 tokens", False),
    ({"download.tmp": b"x"}, "download.tmp is left over from a download", True),
    ({"model.onnx.data.incomplete": b"x"}, "left over from a download", True),
    ({"inference_model.json": {"PromptTemplate": {}}}, 'no "Name"', False),
    ({"inference_model.json": b"{"}, 'no "Name"', False),
    ({"run.sh": "rm -rf /"}, "run.sh is a program; it is left out", False),
]


@pytest.mark.parametrize(("change", "said", "fatal"), ONNX_FAULTS, ids=[said for _, said, _ in ONNX_FAULTS])
def test_what_is_wrong_with_an_onnx_folder_is_said(tmp_path, change, said, fatal):
    problems = check_folder(onnx_folder(tmp_path / "m", **change))
    found = [problem for problem in problems if said in problem.message]
    assert found, problems
    assert found[0].fatal is fatal
    assert all(problem.fix and "\n" not in problem.message and len(problem.message) < 300 for problem in problems)


def test_an_inference_model_with_a_name_is_fine(tmp_path):
    assert check_folder(onnx_folder(tmp_path / "m", **{"inference_model.json": {"Name": "m:1"}})) == []


HF_FAULTS = [
    ({"config.json": None}, "no config.json", True),
    ({"config.json": None, "adapter_config.json": {}}, "an adapter (LoRA)", True),
    ({"model.safetensors": None, "pytorch_model.bin": b"\x80"}, "only there as a pickle (pytorch_model.bin)", True),
    ({"model.safetensors": None}, "no .safetensors file", True),
    ({"model.safetensors": POINTER}, "model.safetensors is a Git LFS pointer", True),
    ({"model.safetensors": folders.safetensors(folders.NORM)[:-1]}, "truncated", True),
    (
        {"model.safetensors.index.json": {"weight_map": {"a": "model-2.safetensors"}}},
        "model-2.safetensors, which its index names, is missing",
        True,
    ),
    ({"model.safetensors.index.json": {"weight_map": {"a": "../x"}}}, "no file of this folder", True),
    ({"tokenizer.json": None}, "no tokenizer", True),
    ({"tokenizer_config.json": {}}, "no chat template", False),
    ({"config.json": hf_config(auto_map={"AutoModel": "evil.Model"})}, "program code of its own (auto_map)", False),
    ({"pytorch_model.bin": b"\x80"}, "may be a pickle, which can run code; it is left out", False),
]


@pytest.mark.parametrize(("change", "said", "fatal"), HF_FAULTS, ids=[said for _, said, _ in HF_FAULTS])
def test_what_is_wrong_with_a_hugging_face_folder_is_said(tmp_path, change, said, fatal):
    problems = check_folder(hf_folder(tmp_path / "m", **change))
    assert [problem.fatal for problem in problems if said in problem.message] == [fatal], problems


OPENVINO_FAULTS = [
    ({"openvino_model.bin": None}, "openvino_model.bin is missing", True),
    ({"openvino_tokenizer.xml": None}, "openvino_tokenizer.xml is missing", True),
    ({"config.json": None}, "no config.json", False),
    ({"tokenizer_config.json": {}}, "no chat template", False),
]


@pytest.mark.parametrize(("change", "said", "fatal"), OPENVINO_FAULTS, ids=[said for _, said, _ in OPENVINO_FAULTS])
def test_what_is_wrong_with_an_openvino_folder_is_said(tmp_path, change, said, fatal):
    problems = check_folder(openvino_folder(tmp_path / "m", **change))
    assert [problem.fatal for problem in problems if said in problem.message] == [fatal], problems


def test_a_template_in_an_openvino_tokenizer_counts(tmp_path):
    tokenizer = '<net><rt_info><chat_template value="{{ m }}"/></rt_info></net>'
    changes = {"tokenizer_config.json": {}, "openvino_tokenizer.xml": tokenizer}
    assert check_folder(openvino_folder(tmp_path / "m", **changes)) == []


def test_a_model_one_folder_further_down_is_pointed_at(tmp_path):
    onnx_folder(tmp_path / "model" / "cpu-int4")
    (problem,) = check_folder(tmp_path / "model")
    assert "cpu-int4" in problem.message
    assert problem.fix == f"name {tmp_path / 'model' / 'cpu-int4'}"


def test_what_is_no_model_at_all_is_told_so(tmp_path):
    assert "nothing at" in check_folder(tmp_path / "gone")[0].message
    assert "holds no model" in check_folder(write(tmp_path / "x", {"notes.txt": "hi"}))[0].message
    assert "no model file" in check_folder(tmp_path / "x" / "notes.txt")[0].message


def test_the_worst_comes_first_and_the_refusal_counts_the_rest(tmp_path):
    folder = onnx_folder(
        tmp_path / "m", **{"chat_template.jinja": None, "tokenizer.json": None, "tokenizer_config.json": None}
    )
    assert [problem.fatal for problem in check_folder(folder)] == [True, True, False]
    with pytest.raises(
        ModelFileError, match=r"cannot be used: it has no tokenizer_config.json \(1 more: audition doctor"
    ) as caught:
        refuse_bad(folder)
    assert caught.value.fix


def test_what_can_be_used_all_the_same_is_returned(tmp_path):
    (problem,) = refuse_bad(onnx_folder(tmp_path / "m", **{"chat_template.jinja": None}))
    assert not problem.fatal
