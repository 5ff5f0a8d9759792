"""What Foundry Local's public catalog lists for this machine, and what a name of it stands for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audition.errors import AuditionError, UsageError, nearest
from audition.models.folder import ONNX
from audition.models.spec import Licence, ModelSpec, Variant
from audition.store.foundry.process import SdkProcess, catalog_url, explained, foundry_dir
from audition.text import one_line

LIST_TIMEOUT_S = 30.0
UNREACHABLE_S = 300.0
"""For so long an unreachable catalog is not asked again: every attempt costs about five seconds."""
PREFIX = "foundry:"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MADE_FOR = re.compile(r"-([A-Za-z0-9]+-(?:cpu|gpu|npu))$", re.IGNORECASE)
_QUANTIZATION = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_MAX_MODELS = 5000
_CHAT_TASKS = frozenset({"chat-completion", "coding"})
_FAILED = re.compile(r"failed to fetch catalog from \S+ (.+)")


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One entry of the catalog: a model made for one kind of device. None is "the catalog does not say".

    Attributes:
        name: What tells it apart, such as `qwen2.5-0.5b-instruct-generic-cpu`.
        alias: What it has in common with its siblings for other devices.
        size: Bytes to download.
        context_length: Tokens.
    """

    name: str
    version: int
    alias: str
    title: str | None
    publisher: str | None
    licence: str | None
    device: str | None
    execution_provider: str | None
    size: int | None
    context_length: int | None
    capabilities: tuple[str, ...]
    quantization: str | None

    @property
    def id(self) -> str:
        """The id that Foundry Local knows it by, `name:version`."""
        return f"{self.name}:{self.version}"

    @property
    def variant(self) -> Variant:
        """What it is in the store: a variant of the model, named after what it was made for, such as `generic-cpu`."""
        made_for = _MADE_FOR.search(self.name)
        return Variant(
            self.alias,
            ONNX,
            self.quantization,
            f"{PREFIX}{self.id}",
            nominal_mb=self.size / 1e6 if self.size else None,
            name=(made_for[1] if made_for else self.name).lower(),
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """The catalog's chat models for this machine's devices.

    Attributes:
        warning: Why this may not be what the catalog says now; None when it was just asked.
    """

    models: tuple[CatalogModel, ...]
    warning: str | None

    def need_any(self) -> None:
        """Check that there is a list at all.

        Raises:
            AuditionError: `no_network`: the catalog could not be read, and there is no copy of it.
        """
        if not self.models and self.warning is not None:
            raise AuditionError(
                self.warning,
                fix="check the network and the proxy settings; models that are downloaded already work without",
                code="no_network",
            )


def list_catalog() -> Listing:
    """Ask the catalog; where it cannot be reached, return the copy of the last time that it could.

    Raises:
        AuditionError: The SDK is not installed, or cannot be used here.
    """
    url = catalog_url()
    reason = _known_unreachable(url)
    models: tuple[CatalogModel, ...] = ()
    if reason is None:
        models, reason = _asked(url)
        if reason is None:
            _marker().unlink(missing_ok=True)
            return Listing(models, None)
        _marker().write_text(f"{url}\n{reason}", encoding="utf-8")
    models = models or _asked(None)[0]
    old = "this is its copy of the last time" if models else "there is no copy of it here"
    return Listing(models, f"the catalog of Foundry Local cannot be read ({reason}); {old}")


def is_catalog_name(name: str) -> bool:
    """Return whether a model's name is meant for Foundry Local's catalog."""
    return name.startswith(PREFIX)


def catalog_spec(name: str) -> ModelSpec:
    """Return the entry of the catalog that `foundry:NAME` stands for.

    Args:
        name: `foundry:` and an alias, `alias:part-of-the-name` (`qwen2.5-0.5b:cuda`), a name, or an id with its
            version. Of several the processor's is taken, which runs everywhere.

    Raises:
        UsageError: The catalog has no such model.
        AuditionError: The catalog cannot be read, and there is no copy of it here.
    """
    wanted = name.removeprefix(PREFIX)
    listing = list_catalog()
    listing.need_any()
    found = _matching(wanted.casefold(), listing.models)
    if found is None:
        known = sorted({word for model in listing.models for word in (model.alias, model.name)})
        raise UsageError(
            f'the catalog of Foundry Local lists no "{one_line(wanted)}" for this machine',
            fix=nearest(wanted, known) or "audition model list --source foundry",
            code="model_not_found",
        )
    return spec_of(found)


def spec_of(model: CatalogModel) -> ModelSpec:
    """Return a model of the catalog as an entry of ours."""
    return ModelSpec(
        alias=model.alias,
        licence=Licence.named(model.licence, source="Foundry Local catalog"),
        variants=(model.variant,),
        origin="Foundry Local catalog",
        description=model.title,
        context_length=model.context_length,
        capabilities=model.capabilities,
        engine="foundry",
    )


def _asked(url: str | None) -> tuple[tuple[CatalogModel, ...], str | None]:
    """Return the models that the SDK knows of, and why the catalog could not be read.

    Args:
        url: The catalog; None takes the copy on the disk.
    """
    with SdkProcess("list", url) as process:
        try:
            answer = process.answer(LIST_TIMEOUT_S)
        except TimeoutError as error:
            return (), str(error)
        if answer is None or "error" in answer:
            why = explained(str(answer["error"])) if answer else process.last_words()
            raise AuditionError(f"the Foundry Local SDK cannot be used here: {why}", code="source_unavailable")
        failed = _FAILED.search(process.log())
    return tuple(_models(answer.get("models"))), explained(failed[1]) if failed and url else None


def _models(entries: Any) -> Iterator[CatalogModel]:
    """Yield the entries whose names are names; all of it is text from elsewhere."""
    for entry in entries[:_MAX_MODELS] if isinstance(entries, list) else ():
        name, version, alias, quantization = (entry.get(key) for key in ("name", "version", "alias", "quantization"))
        named = _matches(_NAME, name) and _matches(_NAME, alias) and isinstance(version, int) and version >= 0
        if not named or entry.get("task") not in _CHAT_TASKS:
            continue
        yield CatalogModel(
            name=name,
            version=version,
            alias=alias,
            title=_text(entry.get("title")),
            publisher=_text(entry.get("publisher")),
            licence=_text(entry.get("licence")),
            device=_text(entry.get("device")),
            execution_provider=_text(entry.get("execution_provider")),
            size=_count(entry.get("size_mib"), 2**20),
            context_length=_count(entry.get("context_length"), 1),
            capabilities=tuple(filter(None, (_text(entry.get("capabilities")) or "").split(","))),
            quantization=quantization if _matches(_QUANTIZATION, quantization) else None,
        )


def _matching(wanted: str, models: tuple[CatalogModel, ...]) -> CatalogModel | None:
    alias, _, part = wanted.partition(":")
    exact = [model for model in models if wanted in (model.id.casefold(), model.name.casefold())]
    siblings = [model for model in models if model.alias.casefold() == alias and part in model.name.casefold()]
    return min(
        exact or siblings,
        key=lambda model: ((model.device or "").casefold() != "cpu", -model.version, model.name),
        default=None,
    )


def _known_unreachable(url: str) -> str | None:
    """Return why the catalog could not be read some minutes ago; None when it is to be asked."""
    try:
        age_s = time.time() - _marker().stat().st_mtime
        failed, _, reason = _marker().read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return one_line(reason) if failed == url and 0 <= age_s < UNREACHABLE_S else None


def _marker() -> Path:
    return foundry_dir() / "catalog-unreachable"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: object) -> str | None:
    return one_line(value, 120) or None if isinstance(value, str) else None


def _count(value: object, unit: int) -> int | None:
    return value * unit if isinstance(value, int) and 0 < value < 10**9 else None
