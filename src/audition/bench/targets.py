"""Making targets: a variant on this machine, an engine that runs it, and the settings it gets."""

from __future__ import annotations

from typing import Any

from audition.bench.plan import Target, target_id
from audition.models.gguf import GgufHeader
from audition.models.spec import ModelSpec, Variant
from audition.store.store import Installed

DEFAULT_CONTEXT = 4096
# llama.cpp's compute buffers and the process itself, measured at 60 to 110 MB on the small models.
WORKING_MEMORY_BYTES = 128 * 2**20


def make_target(
    spec: ModelSpec,
    variant: Variant,
    installed: Installed,
    engine: str,
    description: dict[str, Any],
    context: int | None = None,
) -> Target:
    """Return the target that runs an installed variant on an engine.

    Args:
        spec: The model's catalog entry.
        variant: Which of its variants.
        installed: Its files and facts.
        engine: The engine's name.
        description: What the engine says about itself, for the device.
        context: Tokens; None takes 4096, or less where the model was trained for less.
    """
    header = installed.header
    trained = header.context_length or spec.context_length or DEFAULT_CONTEXT
    default = {"context": min(DEFAULT_CONTEXT, trained)}
    settings = {"context": context} if context else default
    device = str(description.get("device", "cpu"))
    return Target(
        id=target_id(variant.id, engine, device, settings, default),
        model=spec.alias,
        variant=variant.id,
        format=installed.format,
        quantization=installed.quantization,
        engine=engine,
        device=device,
        settings=settings,
        digest=installed.digest,
        licence=installed.licence.id,
        licence_class=str(installed.licence.cls),
        disk_bytes=installed.disk_bytes,
        has_chat_template=header.has_chat_template,
        instruct=spec.instruct,
        memory_estimate_bytes=estimate_memory(installed.disk_bytes, header, settings["context"]),
    )


def estimate_memory(weights_bytes: int, header: GgufHeader, context: int) -> int | None:
    """Return the bytes a load will need: weights + KV cache + working memory; None when the header lacks the facts."""
    kv = header.kv_cache_bytes(context)
    return None if kv is None else weights_bytes + kv + WORKING_MEMORY_BYTES
