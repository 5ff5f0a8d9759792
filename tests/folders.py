"""Small model folders of every format, written by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
FLOAT = 1
UINT8 = 2

# Protobuf, as onnx.proto has it.


def varint(number: int) -> bytes:
    out = b""
    while True:
        number, low = number >> 7, number & 0x7F
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def part(number: int, value: int | str | bytes) -> bytes:
    """Return one field: a number, a text, or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, sides: list[int], dtype: int = FLOAT, inline: bytes = b"", **stored: str | int) -> bytes:
    """Return an initializer; `location`, `offset` and `length` put its data into another file."""
    out = b"".join(part(1, side) for side in sides) + part(2, dtype) + part(8, name)
    if inline:
        out += part(9, inline)
    for key, value in stored.items():
        out += part(13, part(1, key) + part(2, str(value)))
    return out + (part(14, 1) if stored else b"")


def node(operator: str, *inputs: str, **attributes: int) -> bytes:
    out = b"".join(part(1, each) for each in inputs) + part(2, "out") + part(4, operator)
    return out + b"".join(part(5, part(1, key) + part(3, value)) for key, value in attributes.items())


def cache_input(dtype: int) -> bytes:
    """Return the input for past keys of a layer."""
    return part(1, "past_key_values.0.key") + part(2, part(1, part(1, dtype)))


def graph(nodes: list[bytes], tensors: list[bytes], inputs: list[bytes] = []) -> bytes:  # noqa: B006
    """Return a whole ONNX model."""
    content = b"".join(part(1, each) for each in nodes)
    content += b"".join(part(5, each) for each in tensors)
    content += b"".join(part(11, each) for each in inputs)
    return part(1, 10) + part(7, content) + part(8, part(2, 17))


def tiny_graph() -> bytes:
    """Return a model with a packed matrix (the output's), an embedding table of its own, and a norm's weights."""
    nodes = [
        node("Gather", "embed", "input_ids"),
        node("Mul", "norm", "x"),
        node("MatMulNBits", "x", "head_Q4", "head_scales", K=8, N=16, bits=4, block_size=8),
    ]
    tensors = [
        tensor("embed", [16, 8], location="model.onnx.data", offset=0, length=512),
        tensor("head_Q4", [16, 1, 4], UINT8, location="model.onnx.data", offset=512, length=64),
        tensor("head_scales", [16], location="model.onnx.data", offset=576, length=64),
        tensor("norm", [8], inline=b"\0" * 32),
    ]
    return graph(nodes, tensors, [cache_input(FLOAT)])


# Folders.


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Write files; a dictionary becomes JSON, and None leaves the file out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
            continue
        data = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def genai_config(**changes: Any) -> dict[str, Any]:
    decoder = {
        "filename": "model.onnx",
        "head_size": 4,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
    }
    model = {
        "type": "llama",
        "context_length": 256,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "vocab_size": 16,
        "decoder": decoder,
    }
    return {"model": {**model, **changes}, "search": {"max_length": 256}}


def onnx_folder(folder: Path, **changes: Any) -> Path:
    files = {
        "genai_config.json": genai_config(),
        "model.onnx": tiny_graph(),
        "model.onnx.data": b"\0" * 640,
        "tokenizer.json": {},
        "tokenizer_config.json": {},
        "chat_template.jinja": TEMPLATE,
    }
    return write(folder, {**files, **changes})


def safetensors(*tensors: tuple[str, str, list[int], int]) -> bytes:
    """Return a `.safetensors` file of tensors: name, type, shape and bytes."""
    header, at = {}, 0
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    content = json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + b"\0" * at


def hf_config(**changes: Any) -> dict[str, Any]:
    config = {
        "model_type": "llama",
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "hidden_size": 8,
        "max_position_embeddings": 256,
        "vocab_size": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return {**config, **changes}


EMBEDDING = ("model.embed_tokens.weight", "BF16", [16, 8], 256)
HEAD = ("lm_head.weight", "BF16", [16, 8], 256)
NORM = ("model.norm.weight", "F32", [8], 32)


def hf_folder(folder: Path, **changes: Any) -> Path:
    files = {
        "config.json": hf_config(),
        "model.safetensors": safetensors(EMBEDDING, NORM),
        "tokenizer.json": {},
        "tokenizer_config.json": {"chat_template": TEMPLATE},
    }
    return write(folder, {**files, **changes})


def openvino_folder(folder: Path, **changes: Any) -> Path:
    files = {
        "openvino_model.xml": "<net/>",
        "openvino_model.bin": b"\x80" * 100,
        "openvino_tokenizer.xml": "<net/>",
        "openvino_tokenizer.bin": b"\0" * 10,
        "openvino_detokenizer.xml": "<net/>",
        "openvino_detokenizer.bin": b"\0" * 10,
        "config.json": hf_config(),
        "openvino_config.json": {"quantization_config": {"bits": 4}},
        "tokenizer_config.json": {"chat_template": TEMPLATE},
    }
    return write(folder, {**files, **changes})


FOLDERS = {"onnx-genai": onnx_folder, "safetensors": hf_folder, "openvino": openvino_folder}
