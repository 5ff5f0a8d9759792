"""What the files of a model's folder state about it, in the words of `ModelHeader`."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from audition.models.card import card_licence
from audition.models.folder import (
    GGUF,
    ONNX,
    OPENVINO,
    SAFETENSORS,
    Folder,
    chat_template,
    open_folder,
    read_object,
    section,
)
from audition.models.gguf import read_gguf_header
from audition.models.header import KvFacts, ModelHeader
from audition.models.safetensors import read_tensors
from audition.text import one_line

_LENGTHS = ("max_position_embeddings", "n_positions", "max_sequence_length")


def read_folder_header(folder: Folder) -> ModelHeader:
    """Return the facts that a folder's files state.

    Raises:
        ModelFileError: A file that has to be there is not, or is damaged.
    """
    readers = {ONNX: _onnx_header, SAFETENSORS: _safetensors_header, OPENVINO: _openvino_header}
    return readers[folder.format](folder)


def read_header(path: Path, format_: str) -> ModelHeader:
    """Return the facts that a model's file or folder states.

    Raises:
        ModelFileError: It is not what it has to be.
    """
    return read_gguf_header(path) if format_ == GGUF else read_folder_header(open_folder(path, format_))


def _onnx_header(folder: Folder) -> ModelHeader:
    config = read_object(folder.path / "genai_config.json")
    model = section(config, "model")
    decoder = section(model, "decoder")
    graphs = folder.graphs.values()
    cache_bits = next((graph.cache_bits for graph in graphs if graph.cache_bits), None)
    lookups = sum(graph.lookup_bytes for graph in graphs)
    tensor_bytes = sum(graph.tensor_bytes for graph in graphs)
    widest = max(graphs, key=lambda graph: graph.tensor_bytes, default=None)
    has_experts = any(graph.has_experts for graph in graphs)
    limits = [_count(model, "context_length"), _count(section(config, "search"), "max_length")]
    return _header(
        folder,
        architecture=_text(model, "type"),
        quantization=widest.quantization if widest else None,
        context_length=min((limit for limit in limits if limit), default=None),
        kv=KvFacts(
            block_count=_count(decoder, "num_hidden_layers"),
            head_count=_count(decoder, "num_attention_heads"),
            head_count_kv=_count(decoder, "num_key_value_heads"),
            key_length=_count(decoder, "head_size"),
            value_length=_count(decoder, "head_size"),
            embedding_length=_count(decoder, "hidden_size"),
            element_bytes=cache_bits / 8 if cache_bits else 2.0,
        ),
        tokens=model,
        tensor_bytes=tensor_bytes,
        token_bytes=None if has_experts or not tensor_bytes else tensor_bytes - lookups,
    )


def _safetensors_header(folder: Folder) -> ModelHeader:
    config = _hf_config(folder.path)
    weights = [folder.path / name for name in folder.files if name.endswith(".safetensors")]
    tensors = read_tensors(weights)
    total = tensors.bytes_by_type.total()
    has_experts = any(_count(config, key) for key in ("num_experts", "num_local_experts", "n_routed_experts"))
    width = {"F32": 4.0}.get(tensors.quantization or "", 2.0)
    return _header(
        folder,
        architecture=_text(config, "model_type"),
        parameters=tensors.elements or None,
        quantization=_stated_quantization(config) or tensors.quantization,
        context_length=_first_count(config, *_LENGTHS),
        kv=_hf_kv(config, width),
        feed_forward_length=_first_count(config, "intermediate_size"),
        tokens=config,
        tensor_bytes=total,
        token_bytes=None if has_experts or not total else total - tensors.lookup_bytes,
    )


def _openvino_header(folder: Folder) -> ModelHeader:
    config = _hf_config(folder.path)
    weights = folder.path / "openvino_model.bin"
    stated = section(read_object(folder.path / "openvino_config.json"), "quantization_config")
    bits = _count(stated, "bits")
    dtype = _text(stated, "dtype") or (f"int{bits}" if bits else None) or _text(section(stated, "weight"), "dtype")
    return _header(
        folder,
        architecture=_text(config, "model_type"),
        quantization=dtype.upper() if dtype and re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", dtype) else None,
        context_length=_first_count(config, *_LENGTHS),
        kv=_hf_kv(config, 2.0),
        feed_forward_length=_first_count(config, "intermediate_size"),
        tokens=config,
        tensor_bytes=weights.stat().st_size if weights.is_file() else 0,
        # Whether its embedding table is only looked up stands somewhere in the graph.
        token_bytes=None,
    )


def _header(  # noqa: PLR0913 - the facts that differ by format
    folder: Folder,
    *,
    architecture: str | None,
    quantization: str | None,
    context_length: int | None,
    kv: KvFacts,
    tokens: dict[str, Any],
    tensor_bytes: int,
    token_bytes: int | None,
    parameters: int | None = None,
    feed_forward_length: int | None = None,
) -> ModelHeader:
    template, licence = chat_template(folder.path), card_licence(folder.path)
    return ModelHeader(
        version=None,
        architecture=architecture,
        name=None,
        licence=licence.id,
        parameters=parameters,
        quantization=quantization,
        context_length=context_length,
        has_chat_template=template is not None,
        chat_template_sha256=None if template is None else hashlib.sha256(template).hexdigest(),
        kv=kv,
        bos_token_id=_token(tokens, "bos_token_id"),
        eos_token_id=_token(tokens, "eos_token_id"),
        vocab_size=_count(tokens, "vocab_size"),
        tensor_bytes=tensor_bytes,
        data_offset=None,
        token_bytes=token_bytes,
        licence_link=licence.link,
        feed_forward_length=feed_forward_length,
    )


def _hf_config(path: Path) -> dict[str, Any]:
    """Return `config.json`; of a model that also sees or hears, the part about text lies over the rest."""
    config = read_object(path / "config.json")
    generation = read_object(path / "generation_config.json")
    ids = {key: generation[key] for key in ("bos_token_id", "eos_token_id") if generation.get(key) is not None}
    return {**config, **section(config, "text_config"), **ids}


def _hf_kv(config: dict[str, Any], element_bytes: float) -> KvFacts:
    length = _first_count(config, "head_dim")
    return KvFacts(
        block_count=_first_count(config, "num_hidden_layers", "n_layer", "num_layers"),
        head_count=_first_count(config, "num_attention_heads", "n_head"),
        head_count_kv=_first_count(config, "num_key_value_heads"),
        key_length=length,
        value_length=length,
        embedding_length=_first_count(config, "hidden_size", "n_embd"),
        sliding_window=_first_count(config, "sliding_window"),
        element_bytes=element_bytes,
    )


def _stated_quantization(config: dict[str, Any]) -> str | None:
    """Return what `quantization_config` calls itself, such as `AWQ-4`: packed weights look like plain integers."""
    stated = section(config, "quantization_config")
    method, bits = _text(stated, "quant_method"), _count(stated, "bits")
    if method is None or not re.fullmatch(r"[A-Za-z0-9_.-]{1,30}", method):
        return None
    return f"{method.upper()}-{bits}" if bits else method.upper()


def _text(data: dict[str, Any], key: str) -> str | None:
    text = data.get(key)
    return one_line(text) or None if isinstance(text, str) else None


def _count(data: dict[str, Any], key: str) -> int | None:
    number = data.get(key)
    return number if type(number) is int and 0 < number < 2**32 else None


def _first_count(data: dict[str, Any], *keys: str) -> int | None:
    return next((number for key in keys if (number := _count(data, key)) is not None), None)


def _token(data: dict[str, Any], key: str) -> int | None:
    """Return a token's number; of several, the first."""
    value = data.get(key)
    if isinstance(value, list):
        value = next(iter(value), None)
    return value if type(value) is int and 0 <= value < 2**31 else None
