"""What a GGUF model file states about itself in its header."""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audition.models.gguf_layout import FILE_TYPES, GgufError, Metadata, Source, Tensors, read_layout
from audition.text import printable

__all__ = ["GgufError", "GgufHeader", "KvFacts", "read_gguf_header"]

_MAX_TEMPLATE_BYTES = 2**20
_FILE_TYPE_GUESSED = 1024  # a flag that llama.cpp adds to a file type


@dataclass(frozen=True, slots=True)
class KvFacts:
    """What decides the size of the key-value cache, as the file states it; a tuple has a number per layer."""

    block_count: int | None = None
    head_count: int | tuple[int, ...] | None = None
    head_count_kv: int | tuple[int, ...] | None = None
    key_length: int | None = None
    value_length: int | None = None
    embedding_length: int | None = None
    sliding_window: int | None = None


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The facts in the header of a GGUF file.

    Attributes:
        version: Of the GGUF format, 2 or 3.
        architecture: `general.architecture`, such as `llama`.
        name: `general.name` as one printable line of at most 200 characters.
        licence: `general.license`, likewise.
        parameters: The exact number of elements in all tensors; None when there are no tensors.
        quantization: The name of `general.file_type`, such as `Q4_K_M`; without it, the tensor type with the
            most bytes.
        context_length: The longest context that the model was trained for.
        has_chat_template: Whether the file has a template that is not empty, be it only a named one.
        chat_template_sha256: Of the default template's bytes; without a default, of the first named
            template's in the order of the names.
        kv: What decides the size of the key-value cache.
        bos_token_id: The token that begins a text.
        eos_token_id: The token that ends one.
        vocab_size: The stated one; without it, the number of tokens listed.
        tensor_bytes: The bytes of tensor data that the header claims, without padding. When a tensor has a
            type that this version does not know: all bytes after the header.
        data_offset: Where tensor data starts.
        token_bytes: Bytes of weights that are read for one token: all but an embedding table that is only looked up,
            and of a mixture of experts those that a token takes. None when the header does not tell.
    """

    version: int
    architecture: str
    name: str | None
    licence: str | None
    parameters: int | None
    quantization: str | None
    context_length: int | None
    has_chat_template: bool
    chat_template_sha256: str | None
    kv: KvFacts
    bos_token_id: int | None
    eos_token_id: int | None
    vocab_size: int | None
    tensor_bytes: int
    data_offset: int
    token_bytes: int | None = None

    def kv_cache_bytes(self, context: int, bytes_per_element: float = 2.0) -> int | None:
        """Return an upper bound on the size of the key-value cache, or None when the header does not tell.

        It is the sum over the layers of `head_count_kv * (key_length + value_length) * context *
        bytes_per_element`. Layers with a sliding window count in full, and so do layers that share a cache or
        compress it; the small state of recurrent layers is not counted. As in llama.cpp, `head_count` stands
        in for `head_count_kv`, and `embedding_length / head_count` of the first layer for either length.

        Args:
            context: The number of tokens that the cache has to hold.
            bytes_per_element: 2 for F16; 34 / 32 for Q8_0.
        """
        kv = self.kv
        per_layer = kv.head_count if kv.head_count_kv is None else kv.head_count_kv
        if isinstance(per_layer, int):
            per_layer = None if kv.block_count is None else (per_layer * kv.block_count,)
        if per_layer is None:
            return None
        heads = sum(per_layer)
        if heads == 0:
            return 0
        first = next(iter(kv.head_count), None) if isinstance(kv.head_count, tuple) else kv.head_count
        default = kv.embedding_length // first if kv.embedding_length is not None and first else None
        key_length = default if kv.key_length is None else kv.key_length
        value_length = default if kv.value_length is None else kv.value_length
        if key_length is None or value_length is None:
            return None
        return math.ceil(heads * (key_length + value_length) * context * bytes_per_element)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON values, for a manifest."""
        facts = asdict(self)
        facts["kv"] = {key: list(v) if isinstance(v, tuple) else v for key, v in facts["kv"].items()}
        return facts

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GgufHeader:
        """Return the header that `to_json` was called on.

        Raises:
            GgufError: A fact is missing or has the wrong type.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise GgufError(
                f"the stored facts about a model file are damaged: {where}: {fault['msg']}",
                fix="read the model file again",
            ) from error


def read_gguf_header(path: Path) -> GgufHeader:
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


def _facts(source: Source, version: int, metadata: Metadata, tensors: Tensors) -> GgufHeader:
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
    return GgufHeader(
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
