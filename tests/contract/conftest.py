"""The small real model in the formats of every engine, converted once and kept between sessions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from audition.store.store import Store

_UNPACK = """
import sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

gguf, out = Path(sys.argv[1]), sys.argv[2]
options = {"gguf_file": gguf.name, "local_files_only": True}
model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **options)
model.hf_quantizer = None
del model.config.quantization_config
model.save_pretrained(out)
AutoTokenizer.from_pretrained(str(gguf.parent), **options).save_pretrained(out)
"""


def _kept(folder: Path, make: Callable[[Path], list[str]]) -> Path:
    """Return a folder, made by the command if it is not there yet; half of one is never taken for it."""
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, *make(part)], env=environment, check=True, timeout=600)
        part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def gguf_file(downloaded: Path) -> Path:
    return next(e.weights_path for e in Store(downloaded / "store").installed() if e.id == "smollm2-135m:q4_1")


@pytest.fixture(scope="session")
def safetensors_folder(downloaded: Path, gguf_file: Path) -> Path:
    """What transformers unpacks the GGUF file to: the same numbers, in float32."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed, which unpacks a GGUF file")
    return _kept(downloaded / "converted" / "safetensors", lambda out: ["-c", _UNPACK, str(gguf_file), str(out)])


@pytest.fixture(scope="session")
def onnx_folder(onnx_model: Path) -> Path:
    """The same, converted for ONNX Runtime GenAI by the program itself."""
    return onnx_model
