"""What a model's own files say of it, read before any of it is downloaded."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from audition.models.folder import GGUF, MAX_JSON_BYTES, Folder, is_text
from audition.models.folder_header import read_folder_header
from audition.models.header import ModelFileError, ModelHeader
from audition.models.spec import Variant
from audition.store.hub import client
from audition.store.hub.repository import Repository

_CONFIGS = ("config.json", "genai_config.json", "generation_config.json", "openvino_config.json")


def header_of(repository: Repository, variant: Variant) -> ModelHeader:
    """Return the facts that a variant's files state, by fetching the first piece of a GGUF file or a folder's JSON.

    What only the weights themselves tell (of a GGUF file what comes after the tokenizer) is None.

    Args:
        repository: Where it is.
        variant: One of `variants_of(repository)`.

    Raises:
        AuditionError: The hub cannot be asked, or what it has is no model.
    """
    from audition.store.transfer.remote_file import RemoteFile

    client.refuse_offline(repository.name)
    if variant.format == GGUF:
        from audition.models.gguf import read_gguf_facts

        file = variant.files[0]
        location = client.location_of(repository.name, repository.commit, file.parts[0])
        with RemoteFile(location) as stream:
            return read_gguf_facts(stream, file.size or 0, file.name, leading=True)
    with tempfile.TemporaryDirectory(prefix="audition-header-") as name:
        folder = Path(name)
        configs = [file for file in variant.files if file.name in _CONFIGS]
        for file in configs:
            if (file.size or 0) > MAX_JSON_BYTES:
                raise ModelFileError(f"{file.name} is larger than {MAX_JSON_BYTES // 2**20} MB")
            location = client.location_of(repository.name, repository.commit, file.parts[0])
            with RemoteFile(location) as stream:
                (folder / file.name).write_bytes(stream.read(MAX_JSON_BYTES))
        names = tuple(file.name for file in configs if is_text(file.name))
        header = read_folder_header(Folder(folder, variant.format, names, {}, {}))
    return replace(header, parameters=header.parameters or repository.parameters)
