"""What a GGUF model file states about itself in its header."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from audition.models.gguf_layout import FILE_TYPES, GgufError, Metadata, Source, Tensors, read_layout
from audition.models.header import KvFacts, ModelHeader
from audition.text import printable

__all__ = ["GgufError", "read_gguf_header"]

_MAX_TEMPLATE_BYTES = 2**20
_FILE_TYPE_GUESSED = 1024  # a flag that llama.cpp adds to a file type


def read_gguf_header(path: Path) -> ModelHeader:
    """Read the facts in a GGUF file's header; the tensor data is not read.

    Raises:
        GgufError: The file cannot be read, is not a little-endian GGUF file of version 2 or 3, is damaged or
            truncated, or claims more than any known model needs.
    """
    name = printable(str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):  # opening a pipe would wait for its other end
            with path.open("rb") as stream:
                source = Source(stream, os.fstat(stream.fileno()).st_size, name)
                return _facts(source, *read_layout(source))
    except FileNotFoundError as error:
        raise GgufError(f"there is no model file at {name}", fix="check the path") from error
    except OSError as error:
        raise GgufError(f"cannot read {name}: {error.strerror or error}", fix="check the path") from error
    except ValueError as error:  # a null byte in the path
        raise GgufError(f"cannot read {name}: {error}", fix="check the path") from error
    kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
    raise GgufError(f"{name} is {kind}, not a model file", fix="name the .gguf file itself")


def _facts(source: Source, version: int, metadata: Metadata, tensors: Tensors) -> ModelHeader:
    architecture = metadata.text(b"general.architecture")
    if architecture is None:
        raise source.damaged("its header does not name the model's architecture")
    own = architecture.encode() + b"."
    attention = own + b"attention."
    template_sha256 = _chat_template_sha256(source, metadata)
    vocab_size = metadata.size(own + b"vocab_size")
    tensor_bytes = tensors.bytes_by_type.total()
    if tensors.has_unknown_type:
        tensor_bytes = source.size - tensors.data_offset
    return ModelHeader(
        version=version,
        architecture=architecture,
        name=metadata.text(b"general.name"),
        licence=metadata.text(b"general.license"),
        parameters=tensors.elements if tensors.count else None,
        quantization=_quantization(metadata.size(b"general.file_type"), tensors),
        context_length=metadata.size(own + b"context_length"),
        has_chat_template=template_sha256 is not None,
        chat_template_sha256=template_sha256,
        kv=KvFacts(
            block_count=metadata.size(own + b"block_count"),
            head_count=metadata.sizes(attention + b"head_count"),
            head_count_kv=metadata.sizes(attention + b"head_count_kv"),
            key_length=metadata.size(attention + b"key_length"),
            value_length=metadata.size(attention + b"value_length"),
            embedding_length=metadata.size(own + b"embedding_length"),
            sliding_window=metadata.size(attention + b"sliding_window"),
        ),
        bos_token_id=_token(metadata, b"tokenizer.ggml.bos_token_id"),
        eos_token_id=_token(metadata, b"tokenizer.ggml.eos_token_id"),
        vocab_size=metadata.array_length(b"tokenizer.ggml.tokens") if vocab_size is None else vocab_size,
        tensor_bytes=tensor_bytes,
        data_offset=tensors.data_offset,
        token_bytes=_token_bytes(
            tensors, metadata.size(own + b"expert_count"), metadata.size(own + b"expert_used_count")
        ),
    )


def _token_bytes(tensors: Tensors, experts: int | None, used: int | None) -> int | None:
    if tensors.has_unknown_type or not tensors.count:
        return None
    unused = 0
    if tensors.expert_bytes:
        if not experts or not used or used > experts:
            return None
        unused = tensors.expert_bytes * (experts - used) // experts
    return tensors.bytes_by_type.total() - tensors.lookup_bytes - unused


def _chat_template_sha256(source: Source, metadata: Metadata) -> str | None:
    # `tokenizer.chat_templates` only lists the names, so it does not count as a template.
    for key in (b"tokenizer.chat_template", *metadata.keys(b"tokenizer.chat_template.")):
        template = metadata.raw_text(key, _MAX_TEMPLATE_BYTES + 1)
        if len(template) > _MAX_TEMPLATE_BYTES:
            raise source.damaged(f"its chat template has more than {_MAX_TEMPLATE_BYTES // 2**20} MB")
        if template:
            return hashlib.sha256(template).hexdigest()
    return None


def _quantization(file_type: int | None, tensors: Tensors) -> str | None:
    if file_type is not None and file_type & ~_FILE_TYPE_GUESSED < len(FILE_TYPES):
        return FILE_TYPES[file_type & ~_FILE_TYPE_GUESSED]
    largest = tensors.bytes_by_type.most_common(1)
    return largest[0][0] if largest else None


def _token(metadata: Metadata, key: bytes) -> int | None:
    """Return a token's number; for "none", files say -1 or the unsigned number with the same bits."""
    return next((number for number in metadata.integers(key) if 0 <= number < 2**31), None)
