"""Who a server is, by the routes that only its kind has: its name and build, and what it says of the model.

Asked once, before anything is timed, within a few seconds, and never a reason to fail: what a server does not tell, or
tells in another shape, is None.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from audition.engines.endpoint.session import EndpointSession
from audition.engines.protocol import EngineError
from audition.text import one_line

UNKNOWN = "OpenAI-compatible server"
FOUNDRY = "Foundry Local"
FOUNDRY_2, FOUNDRY_0 = "2.x", "0.x"

_TIMEOUT_S = 3.0
_ROUTE_TIMEOUT_S = 1.0
_MAX_ENTRIES = 1000
_LIKELY_CONTEXT = range(1, 10**9)

Fetch = Callable[..., Awaitable[Any]]
"""Takes a route from the server's root, and a body for POST; returns the JSON of a good answer, else None."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server says of itself and of one model. None is "it does not say"; all text is printable and short.

    Attributes:
        name: The product, such as `llama.cpp`.
        version: Its version or build.
        api: Which of its interfaces answered, where there are several.
        model: The model as the server's own routes call it: a file's name, a repository.
        family: The model's architecture.
        quantization: In the server's own words.
        digest: SHA-256 of the weights.
        context: Tokens that one request may have, as the model is loaded now.
        slots: Requests that are answered side by side.
        device: Where the model runs.
    """

    name: str = UNKNOWN
    version: str | None = None
    api: str | None = None
    model: str | None = None
    family: str | None = None
    quantization: str | None = None
    digest: str | None = None
    context: int | None = None
    slots: int | None = None
    device: str | None = None

    @property
    def package(self) -> str:
        """Name and version, as an engine names its package."""
        version = self.version or (f"({self.api} API)" if self.api else "")
        return f"{self.name} {version}".strip()

    def to_json(self) -> dict[str, Any]:
        """Return the record of `host.json`."""
        return {"package": self.package, **asdict(self)}


_Probe = Callable[[Fetch, str, Mapping[str, Any]], Awaitable[Identity | None]]


async def identify(
    session: EndpointSession, model: str, listed: Sequence[Mapping[str, Any]] = (), timeout_s: float = _TIMEOUT_S
) -> Identity:
    """Return who a server is; within `timeout_s`, and whatever it does.

    Args:
        session: Not yet in use.
        model: Whose facts are wanted, as the server's list calls it; "" asks for none.
        listed: What the server lists as its models, which often says who it is.
        timeout_s: For everything together.
    """
    entry = next((entry for entry in listed if entry.get("id") == model), {})
    name = _claimed([entry] if entry else listed[:_MAX_ENTRIES])
    found = Identity(name or UNKNOWN, model=_file(entry.get("root")), context=count(entry.get("max_model_len")))

    async def fetch(path: str, body: dict[str, Any] | None = None) -> Any:
        with contextlib.suppress(EngineError):
            return await session.fetch(path, min(_ROUTE_TIMEOUT_S, timeout_s), body=body)
        return None

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            if name == _VLLM:
                return replace(found, version=words(_object(await fetch("/version")).get("version")))
            for probe in _PROBES.get(name, ()):
                if known := await probe(fetch, model, entry):
                    return known
    return found


def _claimed(listed: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the one name that servers are known to write into `owned_by` of the models that they list."""
    names = {_OWNERS.get(owner) if isinstance(owner := one.get("owned_by"), str) else None for one in listed}
    return names.pop() if len(names) == 1 else None


def match(name: str, ids: Iterable[str]) -> str | None:
    """Return the one of a server's ids that a person means by a name.

    That is the same, or but for its case; without a version (the highest is taken), Ollama's `:latest`, or the
    publisher before a slash.

    Examples:
        >>> match("Phi-4-mini", ["phi-4-mini:2", "phi-4-mini:10"])
        'phi-4-mini:10'
        >>> match("llama3.2", ["llama3.2:1b", "llama3.2:latest"])
        'llama3.2:latest'
    """
    known = list(ids)
    if not name or name in known:
        return name or None
    wanted = name.casefold()
    folded = {id_: id_.casefold() for id_ in known}
    versions = {id_: re.fullmatch(re.escape(wanted) + r":(\d{1,9})", text) for id_, text in folded.items()}
    numbered = sorted((int(found[1]), id_) for id_, found in versions.items() if found)
    for fits in (
        [id_ for id_, text in folded.items() if text == wanted],
        [id_ for id_, text in folded.items() if text == f"{wanted}:latest"],
        [id_ for _, id_ in numbered[-1:]],
        [id_ for id_, text in folded.items() if text.rpartition("/")[2] == wanted],
    ):
        if len(fits) == 1:
            return fits[0]
    return None


def words(value: Any, limit: int = 100) -> str | None:
    """Return hostile text as one short line; None for what is none, or empty."""
    return one_line(value, limit) or None if isinstance(value, str) else None


def count(value: Any) -> int | None:
    """Return a number of tokens that there can be."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in _LIKELY_CONTEXT else None


def entries(value: Any) -> list[dict[str, Any]]:
    """Return the objects in what should be a list of them."""
    return [entry for entry in value[:_MAX_ENTRIES] if isinstance(entry, dict)] if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _file(value: Any) -> str | None:
    """Return a model's name; of a path the last part alone: folders name the machine's users."""
    text = words(value, 300)
    if text is None:
        return None
    is_path = text.startswith(("/", "~", "\\", ".")) or re.match(r"[A-Za-z]:[\\/]", text)
    return one_line(re.split(r"[/\\]", text.rstrip("/\\"))[-1] if is_path else text, 100) or None


async def _llama_cpp(fetch: Fetch, model: str, entry: Mapping[str, Any]) -> Identity | None:
    props = _object(await fetch("/props"))
    if "build_info" not in props or not {"default_generation_settings", "total_slots", "role"} & props.keys():
        return None
    meta = _object(entry.get("meta"))
    generation = _object(props.get("default_generation_settings"))
    return Identity(
        _LLAMA_CPP,
        words(props["build_info"]),
        model=_file(props.get("model_path")),
        quantization=words(props.get("model_ftype") or meta.get("ftype"), 40),
        # Of one slot: with several, the context that was asked for is divided among them.
        context=count(generation.get("n_ctx")) or count(meta.get("n_ctx")),
        slots=count(props.get("total_slots")),
    )


async def _ollama(fetch: Fetch, model: str, entry: Mapping[str, Any]) -> Identity | None:
    version = _object(await fetch("/api/version")).get("version")
    # Programs in front of Ollama have a route of that name too.
    running = _object(await fetch("/api/ps")).get("models") if isinstance(version, str) else None
    if not isinstance(running, list):
        return None
    shown = _object(await fetch("/api/show", {"model": model})) if model else {}
    details = _object(shown.get("details"))
    loaded = next((one for one in entries(running) if model in (one.get("name"), one.get("model"))), {})
    # Its own digests are of manifests; the blob of the weights is named in the Modelfile.
    modelfile = shown.get("modelfile")
    lines = modelfile[: 2**20].splitlines() if isinstance(modelfile, str) else []
    blobs = [re.search(r"sha256[-:]([0-9a-f]{64})$", line.rstrip()) for line in lines if line.startswith("FROM ")]
    return Identity(
        _OLLAMA,
        words(version),
        model=words(loaded.get("name")) or (model if details else None),
        family=words(details.get("family"), 40),
        quantization=words(details.get("quantization_level"), 40),
        digest=blobs[0][1] if blobs and blobs[0] else None,
        context=count(loaded.get("context_length")),
        device=_ollama_device(loaded),
    )


def _ollama_device(loaded: Mapping[str, Any]) -> str | None:
    size, on_gpu = loaded.get("size"), loaded.get("size_vram")
    if not isinstance(size, int) or not isinstance(on_gpu, int) or size <= 0:
        return None
    return "cpu" if on_gpu == 0 else "gpu" if on_gpu >= size else "gpu and cpu"


async def _lm_studio(fetch: Fetch, model: str, entry: Mapping[str, Any]) -> Identity | None:
    models = entries(_object(await fetch("/api/v1/models")).get("models"))
    if models and all("key" in one and isinstance(one.get("loaded_instances"), list) for one in models):
        for one in models:
            instances = entries(one["loaded_instances"])
            if model == one["key"] or model in [instance.get("id") for instance in instances]:
                config = _object(instances[0].get("config")) if instances else {}
                return Identity(
                    _LM_STUDIO,
                    api="v1",
                    model=words(one["key"]),
                    family=words(one.get("architecture"), 40),
                    quantization=words(_object(one.get("quantization")).get("name"), 40),
                    context=count(config.get("context_length")),
                    slots=count(config.get("parallel")),
                )
        return Identity(_LM_STUDIO, api="v1")
    models = entries(_object(await fetch("/api/v0/models")).get("data"))
    if not models or not all("state" in one and "compatibility_type" in one for one in models):
        return None
    one = next((one for one in models if one.get("id") == model), {})
    return Identity(
        _LM_STUDIO,
        api="v0",
        model=words(one.get("id")),
        family=words(one.get("arch"), 40),
        quantization=words(one.get("quantization"), 40),
        context=count(one.get("loaded_context_length")),
    )


async def _foundry(fetch: Fetch, model: str, entry: Mapping[str, Any]) -> Identity | None:
    if {"endpoints", "modelCachePath", "pid"} <= _object(await fetch("/status")).keys():
        return Identity(FOUNDRY, api=FOUNDRY_2)
    # The reference writes these with a capital letter; its own client reads them without.
    status = {name.casefold() for name in _object(await fetch("/openai/status"))}
    return Identity(FOUNDRY, api=FOUNDRY_0) if {"endpoints", "modeldirpath"} <= status else None


_LLAMA_CPP, _OLLAMA, _LM_STUDIO, _VLLM = "llama.cpp", "Ollama", "LM Studio", "vLLM"
_OWNERS = {"vllm": _VLLM, "sglang": "SGLang", "llamacpp": _LLAMA_CPP, "audition": "Audition"}
# Whom to ask for tell-tale routes, by what is claimed already.
_PROBES: dict[str | None, tuple[_Probe, ...]] = {
    None: (_llama_cpp, _ollama, _lm_studio, _foundry),
    _LLAMA_CPP: (_llama_cpp,),
}
