"""What a GGUF model file states about itself in its header."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audition.models.gguf_layout import Metadata, Tensors, read_layout, read_leading
from audition.models.gguf_source import MAX_HEADER_BYTES, MAX_LEADING_BYTES, GgufError, Seekable, Source
from audition.models.gguf_split import Part, all_tensors, part_paths
from audition.models.gguf_types import FILE_TYPES
from audition.models.header import KvFacts, ModelHeader
from audition.models.spec import Licence
from audition.text import printable

__all__ = ["GgufError", "gguf_parts", "read_gguf_facts", "read_gguf_header", "read_gguf_part"]

_MAX_TEMPLATE_BYTES = 2**20
_FILE_TYPE_GUESSED = 1024  # a flag that llama.cpp adds to a file type
_RWKV_SHIFTS = 2  # tokens of which an RWKV layer keeps the values, where the file does not say


def read_gguf_header(path: Path) -> ModelHeader:
    """Read the facts in a GGUF file's header; the tensor data is not read.

    A first part, `name-00001-of-00003.gguf`, stands for the whole model: the other parts lie beside it.

    Raises:
        GgufError: The file cannot be read, is not a little-endian GGUF file of version 2 or 3, is damaged or
            truncated, claims more than any known model needs, or is a part without the others.
    """
    return _read_model(path)[1]


def gguf_parts(path: Path) -> list[Path]:
    """Return the files that make up the model that a GGUF file is or begins, in their order.

    Raises:
        GgufError: As `read_gguf_header`.
    """
    return _read_model(path)[0]


def read_gguf_part(path: Path) -> None:
    """Look at one file of a model, which may be one part of several: its siblings are not looked for.

    Raises:
        GgufError: As `read_gguf_header`.
    """
    with _opened(path) as source:
        _facts_of_part(source)


def read_gguf_facts(stream: Seekable, size: int, name: str, *, leading: bool = False) -> ModelHeader:
    """Read the facts in the header of an open GGUF file, wherever it lies; of a part, those of this part alone.

    Args:
        stream: The file, seekable. What it raises is passed on.
        size: Its bytes.
        name: What errors call it.
        leading: Stop at the tokenizer's first list, which is megabytes long: what stands before it is in the first
            kilobytes. Nothing is known of the tensors, the chat template and the special tokens then, and of the
            quantization only where it is stated that early.

    Raises:
        GgufError: As `read_gguf_header`.
    """
    source = Source(stream, size, printable(name), MAX_LEADING_BYTES if leading else MAX_HEADER_BYTES)
    if not leading:
        return _facts_of_part(source)
    version, metadata = read_leading(source)
    return _facts(source, version, metadata, None)


def _read_model(path: Path) -> tuple[list[Path], ModelHeader]:
    with _opened(path) as source:
        version, metadata, tensors = read_layout(source)
        parts = [Part.of(metadata, tensors)]
        paths = part_paths(path, parts[0])
        for other in paths[1:]:
            with _opened(other) as part:
                _, stated, held = read_layout(part)
                parts.append(Part.of(stated, held))
        if len(parts) > 1:
            tensors = all_tensors(path, parts)
        return paths, _facts(source, version, metadata, tensors)


@contextmanager
def _opened(path: Path) -> Iterator[Source]:
    """Open a model file; what the system refuses becomes an error for a person."""
    name = printable(str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):  # opening a pipe would wait for its other end
            with path.open("rb") as stream:
                yield Source(stream, os.fstat(stream.fileno()).st_size, name)
                return
    except FileNotFoundError as error:
        raise GgufError(f"there is no model file at {name}", fix="check the path") from error
    except OSError as error:
        raise GgufError(f"cannot read {name}: {error.strerror or error}", fix="check the path") from error
    except ValueError as error:  # a null byte in the path
        raise GgufError(f"cannot read {name}: {error}", fix="check the path") from error
    kind = "a folder, not a model file" if stat.S_ISDIR(mode) else "not a regular file"
    raise GgufError(f"{name} is {kind}", fix="name the .gguf file itself")


def _facts_of_part(source: Source) -> ModelHeader:
    version, metadata, tensors = read_layout(source)
    return _facts(source, version, metadata, tensors, is_later_part=Part.of(metadata, tensors).number > 0)


def _facts(
    source: Source, version: int, metadata: Metadata, tensors: Tensors | None, *, is_later_part: bool = False
) -> ModelHeader:
    """Return the facts; without tensors, those of a beginning."""
    architecture = metadata.text(b"general.architecture")
    if architecture is None and tensors is not None and not is_later_part:
        raise source.damaged("its header does not name the model's architecture")
    own = (architecture or "").encode() + b"."
    template_sha256 = _chat_template_sha256(source, metadata)
    vocab_size = metadata.size(own + b"vocab_size")
    licence = Licence.stated(
        metadata.text(b"general.license"),
        name=metadata.text(b"general.license.name"),
        link=metadata.text(b"general.license.link"),
        source="gguf header",
    )
    experts, used = metadata.size(own + b"expert_count"), metadata.size(own + b"expert_used_count")
    return ModelHeader(
        version=version,
        architecture=architecture,
        name=metadata.text(b"general.name"),
        licence=licence.id,
        parameters=tensors.elements if tensors is not None and tensors.count else None,
        quantization=_quantization(metadata.size(b"general.file_type"), tensors),
        context_length=metadata.size(own + b"context_length"),
        has_chat_template=None if tensors is None and template_sha256 is None else template_sha256 is not None,
        chat_template_sha256=template_sha256,
        kv=_kv(metadata, own),
        bos_token_id=_token(metadata, b"tokenizer.ggml.bos_token_id"),
        eos_token_id=_token(metadata, b"tokenizer.ggml.eos_token_id"),
        vocab_size=metadata.array_length(b"tokenizer.ggml.tokens") if vocab_size is None else vocab_size,
        tensor_bytes=None if tensors is None else tensors.stored_bytes,
        data_offset=None if tensors is None else tensors.data_offset,
        token_bytes=None if tensors is None else _token_bytes(tensors, experts, used),
        licence_link=licence.link,
        feed_forward_length=_feed_forward_length(metadata, own, used),
    )


def _kv(metadata: Metadata, own: bytes) -> KvFacts:
    attention = own + b"attention."
    embedding_length = metadata.size(own + b"embedding_length")
    is_latent = None not in (
        metadata.size(attention + b"key_length_mla"),
        metadata.size(attention + b"value_length_mla"),
    )
    return KvFacts(
        block_count=metadata.size(own + b"block_count"),
        head_count=metadata.sizes(attention + b"head_count"),
        head_count_kv=metadata.sizes(attention + b"head_count_kv"),
        key_length=metadata.size(attention + b"key_length"),
        value_length=metadata.size(attention + b"value_length"),
        embedding_length=embedding_length,
        sliding_window=metadata.size(attention + b"sliding_window"),
        sliding_pattern=metadata.flags(attention + b"sliding_window_pattern"),
        sliding_key_length=metadata.size(attention + b"key_length_swa"),
        sliding_value_length=metadata.size(attention + b"value_length_swa"),
        is_latent=is_latent,
        index_length=metadata.size(attention + b"indexer.key_length"),
        shared_layers=metadata.size(attention + b"shared_kv_layers"),
        attention_interval=metadata.size(own + b"full_attention_interval"),
        state_length=_state_length(metadata, own, embedding_length),
    )


def _state_length(metadata: Metadata, own: bytes, embedding_length: int | None) -> int | None:
    """Return the numbers that a recurrent layer keeps for a sequence, as `n_embd_r` and `n_embd_s` of llama.cpp."""
    kernel = metadata.size(own + b"shortconv.l_cache")
    if kernel is not None and embedding_length is not None:
        return embedding_length * max(0, kernel - 1)
    head = metadata.size(own + b"wkv.head_size")
    if head is not None and embedding_length is not None:
        shifts = metadata.size(own + b"token_shift_count")
        return embedding_length * ((_RWKV_SHIFTS if shifts is None else shifts) + head)
    inner, state = metadata.size(own + b"ssm.inner_size"), metadata.size(own + b"ssm.state_size")
    if inner is None or state is None:
        return None
    groups = metadata.size(own + b"ssm.group_count") or 0
    past = max(0, (metadata.size(own + b"ssm.conv_kernel") or 1) - 1)
    return past * (inner + 2 * groups * state) + inner * state


def _feed_forward_length(metadata: Metadata, own: bytes, used: int | None) -> int | None:
    stated = metadata.sizes(own + b"feed_forward_length")
    widest = max(stated, default=None) if isinstance(stated, tuple) else stated
    expert = metadata.size(own + b"expert_feed_forward_length")
    widths = [width for width in (widest, expert * used if expert and used else None) if width]
    return max(widths, default=None)


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


def _quantization(file_type: int | None, tensors: Tensors | None) -> str | None:
    if file_type is not None and file_type & ~_FILE_TYPE_GUESSED < len(FILE_TYPES):
        return FILE_TYPES[file_type & ~_FILE_TYPE_GUESSED]
    largest = [] if tensors is None else tensors.bytes_by_type.most_common(1)
    return largest[0][0] if largest else None


def _token(metadata: Metadata, key: bytes) -> int | None:
    """Return a token's number; for "none", files say -1 or the unsigned number with the same bits."""
    return next((number for number in metadata.integers(key) if 0 <= number < 2**31), None)
