"""Ollama's models: JSON manifests by name, and blobs by SHA-256.

`manifests-v2/HOST/NAMESPACE/NAME/TAG` comes before `manifests/...`; a manifest may be a list of others, one for each
engine. Source: `manifest/manifest.go` and `manifest/paths.go` of github.com/ollama/ollama.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audition.errors import AuditionError, UsageError
from audition.models.spec import Licence
from audition.store.elsewhere.base import Elsewhere, Original, entries, unknown
from audition.text import one_line

TOOL = "ollama"
_TITLE = "Ollama"

_HOSTS = ("registry.ollama.ai", "ollama.com")
_MOST_BYTES = 4 * 2**20
_MOST_LAYERS = 1000
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_MODEL, _PROJECTOR, _ADAPTER, _LICENCE = (
    f"application/vnd.ollama.image.{kind}" for kind in ("model", "projector", "adapter", "license")
)

# How the texts of licences begin that models come with; anything else stays unknown.
_TEXTS = (
    (r"apache license\s+version 2\.0", "Apache-2.0"),
    (r"mit license\b", "MIT"),
    (r"gemma terms of use", "gemma"),
    (r"(?:meta )?llama (3(?:\.[123])?) community license agreement", r"llama\1"),
)


def roots() -> list[Path]:
    """Return where Ollama may keep models: where its own variable says, else at home or in the service's home."""
    told = os.environ.get("OLLAMA_MODELS")
    if told:
        return [Path(told)]
    return [Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]


def found() -> Iterator[Elsewhere]:
    """Yield the models that are one GGUF file; others, such as those for another engine, are passed over."""
    for root in roots():
        for name, manifest in _named(root).items():
            try:
                layers, config = _layers(root, manifest)
                blob, _ = _weights(root, layers, name)
                size = blob.stat().st_size
            except (OSError, AuditionError):
                continue
            told = config.get("file_type")
            quantization = one_line(told, 40) if isinstance(told, str) and told else None
            how = f"audition model import --link {TOOL}:{name}"
            yield Elsewhere(TOOL, name, blob, size, how, quantization)


def locate(name: str) -> Original:
    """Return the model that Ollama calls `name`, as `NAME`, `NAME:TAG` or with a namespace and a host before it.

    Raises:
        UsageError: It has no such model, or one that is no single GGUF file.
    """
    known: dict[str, tuple[Path, Path]] = {}
    for root in reversed(roots()):
        known |= {short: (root, manifest) for short, manifest in _named(root).items()}
    wanted = _short(_parts(name))
    match = next((short for short in known if short.casefold() == wanted.casefold()), None)
    if match is None:
        raise unknown(_TITLE, name, list(known), roots()[0])
    root, manifest = known[match]
    layers, _ = _layers(root, manifest)
    blob, digest = _weights(root, layers, match)
    alias = re.sub(r"[^A-Za-z0-9._-]+", "-", match.rsplit("/", 1)[-1].removesuffix(":latest")).lower()
    return Original(
        path=blob,
        alias=alias,
        provenance={"linked_from": str(blob), "tool": TOOL, "name": match},
        file_name=f"{alias}.gguf",
        promised={f"{alias}.gguf": digest},
        licence=_licence(root, layers),
    )


def _named(root: Path) -> dict[str, Path]:
    """Return the manifests by the shortest name that Ollama itself shows."""
    named: dict[str, Path] = {}
    for folder in (root / "manifests-v2", root / "manifests"):
        for host in entries(folder):
            for namespace in entries(host):
                for model in entries(namespace):
                    for tag in entries(model):
                        parts = (host.name, namespace.name, model.name, tag.name)
                        if all(_PART.fullmatch(part) for part in parts):
                            named.setdefault(_short(parts), tag)
    return named


def _parts(name: str) -> tuple[str, str, str, str]:
    *before, last = name.split("/")
    model, _, tag = last.partition(":")
    host, namespace = [*[""] * (2 - len(before)), *before][:2]
    parts = (host or _HOSTS[0], namespace or "library", model, tag or "latest")
    if len(before) > 2 or not all(_PART.fullmatch(part) for part in parts):
        raise UsageError(f'"{one_line(name, 100)}" is no name of Ollama\'s', fix="write ollama:NAME or ollama:NAME:TAG")
    return parts


def _short(parts: tuple[str, str, str, str]) -> str:
    host, namespace, model, tag = parts
    if host not in _HOSTS:
        return f"{host}/{namespace}/{model}:{tag}"
    return f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"


def _layers(root: Path, manifest: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the layers of what a manifest names for llama.cpp, and its configuration."""
    data = _read(_inside(root, manifest))
    children = data.get("manifests")
    if isinstance(children, list):
        runs = [each for each in children[:_MOST_LAYERS] if isinstance(each, dict) and each.get("runner") != "mlx"]
        ggufs = [each for each in runs if each.get("format") in (None, "", "gguf")]
        data = ggufs[0] if ggufs else {}
        if "layers" not in data and data.get("digest"):
            data = _read(_blob(root, data["digest"])[0])
    layers = data.get("layers")
    config = data.get("config")
    told: dict[str, Any] = {}
    if isinstance(config, dict) and config.get("digest"):
        try:
            told = _read(_blob(root, config["digest"])[0])
        except (OSError, AuditionError):
            told = {}
    listed = layers[:_MOST_LAYERS] if isinstance(layers, list) else []
    return [each for each in listed if isinstance(each, dict)], told


def _weights(root: Path, layers: list[dict[str, Any]], name: str) -> tuple[Path, str]:
    """Return the one file of weights and its SHA-256."""
    kinds = [layer.get("mediaType") for layer in layers]
    shown = one_line(name, 100)
    if kinds.count(_MODEL) != 1 or _ADAPTER in kinds:
        raise UsageError(
            f"{shown} of Ollama's is not one GGUF file"
            + (": it is an adapter over another model" if _ADAPTER in kinds else ""),
            fix="link one that is",
            code="cannot_link",
        )
    blob, digest = _blob(root, layers[kinds.index(_MODEL)].get("digest"))
    if not blob.is_file():
        raise UsageError(f"{shown} of Ollama's has no weights: {blob} is missing", fix="ollama pull it again")
    return blob, digest


def _blob(root: Path, digest: object) -> tuple[Path, str]:
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise UsageError(f"a manifest in {root} has no proper digest", code="bad_manifest")
    return _inside(root, root / "blobs" / f"sha256-{match[1].lower()}"), match[1].lower()


def _inside(root: Path, path: Path) -> Path:
    """Return the file that a path in Ollama's folder leads to.

    Raises:
        UsageError: It leads out of that folder.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        raise UsageError(f"{one_line(path.name)} in {root} is a link that leads out of it", code="cannot_link")
    return real


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():  # a pipe would never end
        raise UsageError(f"{path} is not there, or no regular file", fix="ollama pull it again", code="bad_manifest")
    with path.open("rb") as stream:
        content = stream.read(_MOST_BYTES + 1)
    try:
        data = json.loads(content) if len(content) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UsageError(f"{path} is damaged", fix="ollama pull the model again", code="bad_manifest")
    return data


def _licence(root: Path, layers: list[dict[str, Any]]) -> Licence | None:
    """Return the licence whose text lies with the model, if it is one text and a known one."""
    texts = [layer for layer in layers if layer.get("mediaType") == _LICENCE]
    found = set()
    for layer in texts[:10]:
        try:
            path, _ = _blob(root, layer.get("digest"))
            if not path.is_file():
                return None
            with path.open("rb") as stream:
                head = stream.read(4096).decode("utf-8", "replace").strip().lower()
        except (OSError, AuditionError):
            return None
        found.add(_identified(head))
    identifier = found.pop() if len(found) == 1 else None
    return Licence.named(identifier, source="licence text at Ollama") if identifier else None


def _identified(head: str) -> str | None:
    for pattern, identifier in _TEXTS:
        match = re.match(rf"(?:the )?{pattern}", head)
        if match:
            return match.expand(identifier)
    return None
