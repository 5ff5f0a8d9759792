"""A real model in three files: taken into the store as one, and loaded by llama.cpp from there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audition.models.gguf import read_gguf_header
from audition.store.store import Store
from cli import audition

pytestmark = [pytest.mark.models]


def split(source: Path, folder: Path, tensors: int) -> Path:
    """Write a model again in files of so many tensors, with the package of the format's own project."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(folder / "smol.gguf", architecture, split_max_tensors=tensors)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0], *field.types[1:2])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("smol-*.gguf"))[0]


def test_llama_cpp_answers_from_all_parts(downloaded: Path, real_models: Path, tmp_path: Path) -> None:
    whole = next(entry for entry in Store(downloaded / "store").installed() if entry.id == "smollm2-135m:q4_1")
    first = split(whole.weights_path, tmp_path, 100)
    assert first.name == "smol-00001-of-00003.gguf"
    header = read_gguf_header(first)
    assert (header.parameters, header.tensor_bytes, header.kv) == (
        whole.header.parameters, whole.header.tensor_bytes, read_gguf_header(whole.weights_path).kv,
    )  # fmt: skip
    (real_models / "store").unlink()
    imported = audition("model", "import", first, "--name", "smol")
    assert imported.returncode == 0, imported.stderr
    ask = ["--prompt", "Name a colour.", "--max-tokens", "12", "--temperature", "0", "--context", "256"]
    parts = audition("run", "smol", *ask)
    assert parts.returncode == 0, parts.stderr
    (real_models / "store").rename(tmp_path / "split-store")
    (real_models / "store").symlink_to(downloaded / "store", target_is_directory=True)
    one = audition("run", "smollm2-135m", *ask)
    assert parts.stdout == one.stdout != "", "the same weights give the same answer"
    for part in sorted(tmp_path.glob("smol-*.gguf"))[1:2]:
        part.unlink()
    missing = audition("run", first, *ask)
    assert missing.returncode != 0
    assert "a part of the model is missing" in missing.stderr
    assert json.loads(audition("model", "list", "--downloaded", "--json").stdout)
