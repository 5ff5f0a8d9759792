"""The shape of a `models.lock`, apart because checking it takes pydantic, which most commands do without."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=1000)]


class FilePin(BaseModel):
    """One file."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]+$")]
    size: Annotated[int, Field(ge=0, lt=2**63)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelPin(BaseModel):
    """One name."""

    model_config = ConfigDict(extra="forbid")
    id: Text
    source: Text
    revision: Text | None
    format: Text
    quantization: Annotated[str, Field(max_length=100)] | None
    files: Annotated[list[FilePin], Field(min_length=1, max_length=1000)]


class LockFile(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")
    schema_: int = Field(alias="schema")
    models: dict[str, ModelPin]
