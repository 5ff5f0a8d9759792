"""What a folder for ONNX Runtime GenAI may ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audition.engines.ortgenai import checked_context
from audition.engines.protocol import EngineError


def config() -> dict[str, Any]:
    return {
        "model": {
            "context_length": 8192,
            "decoder": {
                "filename": "model.onnx",
                "session_options": {
                    "log_id": "onnxruntime-genai",
                    "provider_options": [{"cuda": {"enable_cuda_graph": "0"}}],
                },
                "inputs": {"past_key_names": "past_key_values.%d.key"},
            },
        },
        "search": {"top_k": 50},
    }


def write(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    document = config()
    change(document)
    (folder / "genai_config.json").write_text(json.dumps(document))
    return folder


def test_the_context_is_read(tmp_path: Path) -> None:
    assert checked_context(write(tmp_path, lambda _: None)) == 8192


def test_an_option_with_a_harmless_name_is_none_of_ours(tmp_path: Path) -> None:
    shapes = {"provider_options": [{"nvtensorrtrtx": {"nv_profile_min_shapes": "1"}}]}
    write(tmp_path, lambda document: document["model"]["decoder"]["session_options"].update(shapes))
    assert checked_context(tmp_path) == 8192


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/model.onnx", "a\\model.onnx", "C:model.onnx", "..", "", 7, None]
)
def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, name: Any) -> None:
    write(tmp_path, lambda document: document["model"]["decoder"].update(filename=name))
    with pytest.raises(EngineError, match="outside of its folder") as caught:
        checked_context(tmp_path)
    assert caught.value.code == "load_failed"


@pytest.mark.parametrize(
    "option",
    [
        {"custom_ops_library": "evil.so"},
        {"ep.context_file_path": "/tmp/x"},
        {"enable_profiling": "/tmp/x"},
        {"session.model_external_initializers_file_folder_path": "/"},
        {"provider_options": [{"qnn": {"backend_path": "evil.so"}}]},
        {"provider_options": [{"x": {"Library_Path": "evil.so"}}]},
        {"provider_options": [{"openvino": {"cache_dir": "/tmp"}}]},
        {"provider_options": [{"vitisai": {"config_file": "/tmp/x"}}]},
    ],
)
def test_a_library_or_a_path_is_refused_wherever_it_stands(tmp_path: Path, option: dict[str, Any]) -> None:
    write(tmp_path, lambda document: document["model"]["decoder"]["session_options"].update(option))
    with pytest.raises(EngineError, match="reaches out of its folder"):
        checked_context(tmp_path)


@pytest.mark.parametrize("length", [0, -1, None, "8192", 1.5])
def test_a_context_that_is_none_is_refused(tmp_path: Path, length: Any) -> None:
    write(tmp_path, lambda document: document["model"].update(context_length=length))
    with pytest.raises(EngineError, match="context_length"):
        checked_context(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"model": []}', "[" * 100_000, "\xff"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "genai_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(EngineError) as caught:
        checked_context(tmp_path)
    assert caught.value.code == "load_failed"


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"has no genai_config\.json"):
        checked_context(tmp_path)
    with pytest.raises(EngineError, match=r"has no genai_config\.json"):
        checked_context(tmp_path / "nothing")


def test_an_endless_one_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "genai_config.json").write_text("[" + "1," * 3_000_000 + "1]")
    with pytest.raises(EngineError) as caught:
        checked_context(tmp_path)
    assert caught.value.code == "load_failed"
