"""Damaged folders: whatever the bytes, there is an answer or one sentence, soon."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import folders
from audition.models.folder_check import check_folder
from audition.models.folder_header import read_header
from audition.models.header import ModelFileError, ModelHeader

BITES = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
ONNX_FILES = st.sampled_from(["model.onnx", "genai_config.json", "tokenizer_config.json"])
HF_FILES = st.sampled_from(["model.safetensors", "config.json", "tokenizer_config.json"])
EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def edited(content: bytes, edits: list[tuple[float, bytes, int]]) -> bytes:
    """Put bytes in and take bytes out at some places."""
    for place, put, take in edits:
        at = int(place * len(content))
        content = content[:at] + put + content[at + take :]
    return content


def looked_at(folder: Path, format_: str) -> None:
    """Look at a folder both ways; neither may raise anything but its own error, or take long."""
    begun = time.monotonic()
    for problem in check_folder(folder):
        assert problem.message
        assert problem.fix
        assert "\n" not in problem.message
    try:
        header = read_header(folder, format_)
    except ModelFileError as error:
        assert "\n" not in error.message
    else:
        assert ModelHeader.from_json(json.loads(json.dumps(header.to_json()))) == header
        header.kv_cache_bytes(4096)
    assert time.monotonic() - begun < 5


@BITES
@given(name=ONNX_FILES, edits=EDITS)
def test_bytes_of_an_onnx_folder(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = folders.onnx_folder(Path(temporary) / "m")
        (folder / name).write_bytes(edited((folder / name).read_bytes(), edits))
        looked_at(folder, "onnx-genai")


@BITES
@given(name=HF_FILES, edits=EDITS)
def test_bytes_of_a_hugging_face_folder(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = folders.hf_folder(Path(temporary) / "m")
        (folder / name).write_bytes(edited((folder / name).read_bytes(), edits))
        looked_at(folder, "safetensors")


@BITES
@given(data=st.data())
def test_values_of_every_configuration(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        format_ = data.draw(st.sampled_from(sorted(folders.FOLDERS)))
        folder = folders.FOLDERS[format_](Path(temporary) / "m")
        path = data.draw(st.sampled_from(sorted(path for path in folder.glob("*.json"))))
        config = json.loads(path.read_text())
        holder = config
        while isinstance(holder, dict) and holder and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(sorted(holder)))
            if not isinstance(holder[key], dict):
                holder[key] = data.draw(VALUES)
                break
            holder = holder[key]
        path.write_text(json.dumps(config))
        looked_at(folder, format_)
        shutil.rmtree(folder)
