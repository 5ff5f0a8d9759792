"""Models by name: what a name stands for, and how it gets here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from audition.api.pins import goes_by_lock
from audition.engines.reference import engine_name, reference_to
from audition.engines.registry import formats_of
from audition.errors import AuditionError, UsageError
from audition.models.catalog import Catalog, adhoc_spec, aliases_in, web_spec
from audition.models.folder_check import refuse_bad
from audition.models.hub_name import is_hub_name
from audition.models.spec import ANY, Licence, ModelSpec, Variant
from audition.models.web_name import is_web_name
from audition.paths import expanded
from audition.store.blobs import Progress, no_progress
from audition.store.foundry.catalog import catalog_spec, is_catalog_name
from audition.store.hub.spec import hub_spec
from audition.store.installed import Installed
from audition.store.known import known_models
from audition.store.lock import explained
from audition.store.own import own_weights
from audition.store.store import Store

Engines = Sequence[str | type] | Mapping[str, str | type]
"""Engines by name, adapters by their class or its place."""


@goes_by_lock
def find_model(name: str, catalog: Catalog | None = None) -> tuple[ModelSpec, Variant]:
    """Return the entry and the variant that a name stands for.

    It is an alias, `alias:quant`, a file's or folder's path, `foundry:name` for what Foundry Local's catalog lists,
    `hf:owner/repo[:QUANT][@revision]` for a repository on Hugging Face, which is asked only for what is not here, or
    `https://host/model.gguf#sha256=HEX`.

    Raises:
        UsageError: Nothing has that name; the nearest ones are given.
        AuditionError: It is elsewhere, and cannot be asked for there.
    """
    if not name.strip():
        raise UsageError("the model's name is empty", fix="smollm2-135m, or what `audition model list` shows")
    if is_catalog_name(name):
        spec = catalog_spec(name)
        return spec, spec.variants[0]
    if is_web_name(name):
        spec = web_spec(name)
        return spec, spec.variants[0]
    catalog = known_models(Store()) if catalog is None else catalog
    if is_hub_name(name):
        spec = hub_spec(name, Store(), catalog)
        return spec, spec.variants[0]
    looks_like_a_path = name.lower().endswith(".gguf") or "/" in name or "\\" in name
    if name not in catalog and (looks_like_a_path or Path(name).exists()):
        path = expanded(name)
        if not path.exists():
            raise UsageError(
                f"there is no file {name}", fix="give a model's name, or the path of a .gguf file or a model's folder"
            )
        spec = adhoc_spec(path)
        return spec, spec.variants[0]
    variant = catalog.resolve(name)
    return catalog[variant.model], variant


def find_models(names: Sequence[str], engines: Engines = ()) -> list[tuple[ModelSpec, Variant]]:
    """Return what a list of names stands for; a name that ends in `.json` is a `models.json`, all of it.

    Args:
        names: The models.
        engines: With engines, each model comes once for each of them, in the first variant that it can run: installed
            ones before others, then in the catalog's order. The entry's `engine` is that engine. An adapter is named
            by its class or by `package.module:Class`; a mapping gives it a name.

    Raises:
        UsageError: A name is unknown, the list is empty, a model is named twice, or an engine can run no variant.
    """
    files = [Path(name) for name in names if name.lower().endswith(".json")]
    store = Store()
    catalog = known_models(store, *files)
    wanted: list[str] = []
    for name in names:
        wanted += aliases_in(Path(name)) if Path(name) in files else [name]
    found = [find_model(name, catalog) for name in wanted]
    if not found:
        raise UsageError("no model is named", fix="--models smollm2-135m,gemma-3-270m")
    if engines:
        pairs = [(spec, variant, name) for (spec, variant), name in zip(found, wanted, strict=True)]
        runs = {engine: formats_of(engine) for engine in _references(engines)}
        found = [_for_engine(store, *pair, engine, formats) for pair in pairs for engine, formats in runs.items()]
    ids = [(variant.id, spec.engine) for spec, variant in found]
    twice = next((id_ for id_, engine in ids if ids.count((id_, engine)) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice", fix="name each model once; --rounds repeats the measurement")
    return found


def _references(engines: Engines) -> list[str]:
    named = engines.items() if isinstance(engines, Mapping) else [(None, engine) for engine in engines]
    return [reference_to(engine, name) for name, engine in named]


def _for_engine(
    store: Store, spec: ModelSpec, variant: Variant, name: str, engine: str, formats: tuple[str, ...] | None
) -> tuple[ModelSpec, Variant]:
    """Return the entry for one engine, and the variant that it is to run."""
    one = ":" in name.removeprefix("hf:")
    candidates = (variant,) if one else spec.variants
    able = [each for each in candidates if formats is None or each.format in (ANY, *formats)]
    if not able:
        if variant.source.startswith("file:"):
            refuse_bad(Path(variant.source.removeprefix("file:")))  # before a conversion of it is advised
        runs, called = " and ".join(formats or ()), engine_name(engine)
        convertible = any(each.format in ("gguf", "safetensors") for each in spec.variants)
        can_convert = convertible and "onnx-genai" in (formats or ())
        raise UsageError(
            f"{variant.id if one else spec.alias} has no variant that {called} can run (it runs {runs})",
            fix=f"audition model import {name} --to onnx-genai" if can_convert else f"leave {called} out of --engines",
            code="no_such_variant",
        )
    here = [each for each in able if store.find(each) is not None]
    return replace(spec, engine=engine), (here or able)[0]


def install(
    spec: ModelSpec, variant: Variant, store: Store | None = None, progress: Progress = no_progress
) -> Installed:
    """Return the installed variant, downloading it first when it is not here.

    Raises:
        AuditionError: It cannot be had, with the cause and the fix.
    """
    if variant.format == ANY:
        return own_weights(variant, spec.licence, progress)
    store = store or Store()
    try:
        return store.ensure(variant, spec.licence, progress)
    except AuditionError as error:
        told = explained(error, variant, store)
        if told is error:
            raise
        raise told from error


def import_model(
    what: str,
    *,
    to: str | None = None,
    precision: str = "int4",
    name: str | None = None,
    licence: str | None = None,
    progress: Progress = no_progress,
) -> Installed:
    """Take a model of one's own into the store, converted first if that is asked.

    Args:
        what: The path of a `.gguf` file or of a model's folder; to convert, also the name of a model.
        to: `onnx-genai` converts; None takes it as it is.
        precision: Of a conversion: `int4`, `int8`, `fp16` or `fp32`.
        name: What it shall be called, `alias` or `alias:variant`; None keeps the name it has.
        licence: An identifier; None takes what its files or the catalog say.
        progress: Told of every step.

    Raises:
        UsageError: There is nothing of that name, or the new name is taken.
        AuditionError: It is no model that could be loaded, something is not installed, or the conversion failed.
    """
    from audition.convert import importing, onnx

    store = Store()
    terms = Licence.named(licence, source="import")
    spec, variant = find_model(what)
    is_path = variant.source.startswith("file:") and spec.origin == str(expanded(what))
    if to is None:
        if not is_path:
            raise UsageError(
                f"{what} is in the catalog, so there is nothing to import",
                fix=f"audition model download {what}, or convert it: audition model import {what} --to onnx-genai",
            )
        return importing.import_path(store, expanded(what), name=name, licence=terms, progress=progress)
    if to != "onnx-genai":
        raise UsageError(f'there is no conversion to "{to}"', fix="--to onnx-genai")
    if is_path:
        original = importing.original_at(expanded(what), terms, progress)
    else:
        if ":" not in what:
            variant = next((each for each in spec.variants if each.format in importing.CONVERTIBLE), variant)
        if store.find(variant) is None:
            onnx.need_tools()  # rather than after a download
        original = importing.original_of(install(spec, variant, store, progress))
        original = replace(original, licence=terms if licence else original.licence)
    log = store.root.parent / "logs" / "convert.log"
    return importing.import_onnx(store, original, precision, name=name, log=log, progress=progress)
