"""Making targets: a variant on this machine, an engine that runs it, and the settings it gets."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from audition.bench.plan import SERVER, Target, target_id
from audition.engines.endpoint.identify import Identity, count
from audition.engines.memory import memory_needed
from audition.engines.reference import Reference
from audition.engines.server import ENGINE
from audition.errors import AuditionError
from audition.models.fit import DEFAULT_CONTEXT, Need, smaller
from audition.models.gguf import read_gguf_header
from audition.models.spec import ANY, ModelSpec, Variant
from audition.store.installed import Installed
from audition.store.known import known_models
from audition.store.store import Store

UNKNOWN_DEVICE = "unknown"
OPEN_LOOP_PARALLEL = 4
"""Requests that an engine of ours answers at once where they come as they please; llama-server's own default."""


def make_target(
    spec: ModelSpec,
    variant: Variant,
    installed: Installed,
    engine: str,
    description: dict[str, Any],
    context: int | None = None,
    parallel: int = 1,
) -> Target:
    """Return the target that runs an installed variant on an engine.

    Args:
        spec: The model's catalog entry.
        variant: Which of its variants.
        installed: Its files and facts.
        engine: The engine's name, or the reference to an adapter.
        description: What the engine says about itself, for the device; `unknown` where it does not say.
        context: Tokens; None takes 4096, or less where the model was trained for less.
        parallel: The most requests that will be under way at once.
    """
    header = installed.header
    if header.token_bytes is None and variant.format == "gguf":
        # An older version of the program stored the facts without it.
        header = read_gguf_header(installed.weights_path)
    trained = header.context_length or spec.context_length or DEFAULT_CONTEXT
    default = {"context": min(DEFAULT_CONTEXT, trained)}
    settings = {"context": context} if context else dict(default)
    if parallel > 1:
        settings["parallel"] = parallel
    device = str(description.get("device") or UNKNOWN_DEVICE)
    reference = Reference.parse(engine)
    name = engine if reference is None else reference.name
    own = variant.format == ANY
    need = memory_needed(
        header,
        installed.disk_bytes if installed.files else None,
        format=variant.format,
        engine=name,
        context=settings["context"],
        parallel=parallel,
        parameters=spec.parameters,
        quantization=variant.quantization,
    )
    return Target(
        id=target_id(variant.id, name, device, settings, default),
        model=spec.alias,
        variant=variant.id,
        format=installed.format,
        quantization=installed.quantization,
        engine=name,
        device=device,
        settings=settings,
        digest=installed.digest if installed.files else None,
        licence=installed.licence.id,
        licence_class=str(installed.licence.cls),
        disk_bytes=installed.disk_bytes if installed.files else None,
        has_chat_template=None if own else header.has_chat_template,
        instruct=spec.instruct,
        memory_estimate_bytes=None if need is None or need.is_lower_bound else need.total,
        active_bytes=header.token_bytes,
        adapter=None if reference is None else str(reference),
        weights=str(installed.weights_path) if own and installed.files else None,
    )


def make_server_target(settings: dict[str, Any], entry: dict[str, Any], identity: Identity | None = None) -> Target:
    """Return the target that a server is.

    Args:
        settings: `url`, `model`, and where the key is.
        entry: What the server's list says of the model; anything may be missing.
        identity: What its own routes say; None where nobody asked.
    """
    identity = identity or Identity()
    address = urlsplit(settings["url"])
    context = identity.context or count(entry.get("context_length")) or count(entry.get("max_model_len"))
    known = {"context": context} if context else {}
    device = entry.get("device") or identity.device
    name = f"{settings['model']}@{address.netloc}"
    return Target(
        id=f"{name}/{ENGINE}",
        model=settings["model"],
        variant=name,
        format=SERVER,
        quantization=identity.quantization,
        engine=ENGINE,
        device=device.lower()[:40] if isinstance(device, str) and device else UNKNOWN_DEVICE,
        settings={**settings, **known},
        digest=identity.digest,
        licence=None,
        licence_class="unknown",
        disk_bytes=None,
    )


def smaller_variants(target: Target, free: int) -> list[str]:
    """Return the names of the model's other variants that the same engine could load into `free` bytes, the best first.

    Those of the built-in catalog, the person's own, and the store are looked at. The cache of all of them is the
    target's: a quantization changes the weights alone.
    """
    try:
        store = Store()
        spec = known_models(store).get(target.model)
        installed = next((entry for entry in store.recorded() if entry.digest == target.digest), None)
    except AuditionError:  # a catalog that is damaged is reported where it is asked for
        return []
    if spec is None or installed is None:
        return []
    header = installed.header

    def need_of(variant: Variant) -> Need | None:
        return memory_needed(
            header,
            variant.size,
            format=variant.format,
            engine=target.engine,
            context=target.settings.get("context", DEFAULT_CONTEXT),
            parallel=target.settings.get("parallel", 1),
            parameters=spec.parameters,
            quantization=variant.quantization,
        )

    others = [each for each in spec.variants if each.id != target.variant and each.format == target.format]
    return [each.id for each in smaller([each for each in others if each.size is not None], need_of, free)]
