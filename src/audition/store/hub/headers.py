"""What a model's own files say of it, read before any of it is downloaded."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from audition.errors import AuditionError
from audition.models.folder import GGUF, MAX_JSON_BYTES, Folder
from audition.models.folder_header import read_folder_header
from audition.models.gguf import read_gguf_facts
from audition.models.header import ModelFileError, ModelHeader
from audition.models.spec import Variant, VariantFile
from audition.store.hub import client
from audition.store.hub.failures import gated
from audition.store.hub.repository import Repository

_CONFIGS = ("config.json", "genai_config.json", "generation_config.json", "openvino_config.json")


def header_of(repository: Repository, variant: Variant) -> ModelHeader:
    """Return the facts that a variant's files state, by fetching the first piece of a GGUF file or a folder's JSON.

    What only the rest of the files tells (the tensors, of a GGUF file also what follows the tokenizer) is None.

    Args:
        repository: Where it is.
        variant: One of `variants_of(repository)`.

    Raises:
        AuditionError: The hub cannot be asked, or what it has is no model.
    """
    client.refuse_offline(repository.name)
    if variant.format == GGUF:
        with _opened(repository, variant.files[0]) as stream:
            return read_gguf_facts(stream, stream.seek(0, io.SEEK_END), variant.files[0].name, leading=True)
    with tempfile.TemporaryDirectory(prefix="audition-header-") as name:
        folder = Path(name)
        configs = [file for file in variant.files if file.name in _CONFIGS]
        for file in configs:
            if (file.size or 0) > MAX_JSON_BYTES:
                raise ModelFileError(f"{file.name} is larger than {MAX_JSON_BYTES // 2**20} MB")
            with _opened(repository, file) as stream:
                (folder / file.name).write_bytes(stream.read(MAX_JSON_BYTES))
        header = read_folder_header(Folder(folder, variant.format, tuple(file.name for file in configs), {}, {}))
    # Neither the weights nor the template were there to be looked at.
    return replace(
        header,
        parameters=header.parameters or repository.parameters,
        tensor_bytes=None,
        token_bytes=None,
        has_chat_template=None,
    )


@contextmanager
def _opened(repository: Repository, file: VariantFile) -> Iterator[BinaryIO]:
    """Open a file of a repository where it lies."""
    from audition.store.transfer.remote_file import RemoteFile

    location = client.location_of(repository.name, repository.commit, *file.parts)
    try:
        with RemoteFile(location) as remote, io.BufferedReader(remote) as stream:
            yield stream
    except AuditionError as error:
        if error.code == "unauthorized" and repository.gated:
            raise gated(repository.name, repository.page) from error
        raise
