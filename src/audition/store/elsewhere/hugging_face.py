"""The cache of huggingface_hub: `models--OWNER--REPO/{refs,snapshots,blobs}`.

A snapshot's files are links to blobs, whose names are what the hub says of them: the SHA-256 of large files, the SHA-1
that git has of small ones. Where the system knows no such links they are the files themselves, and nothing is promised.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from audition.errors import AuditionError, UsageError
from audition.models.catalog import alias_of
from audition.models.folder import GGUF, format_of, open_folder
from audition.models.gguf_split import split_names, whole_name
from audition.models.hub_name import is_repository, parse_hub_name
from audition.store.elsewhere.base import MOST_ENTRIES, Elsewhere, Original, entries, ggufs, size_of, unknown
from audition.store.hub.quantizations import nearness, quantization_of
from audition.text import one_line

TOOL = "hf"
_TITLE = "The Hugging Face cache"
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def roots() -> list[Path]:
    """Return where huggingface_hub keeps its cache, by the same variables."""
    told = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if told:
        return [Path(os.path.expandvars(told)).expanduser()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = os.environ.get("HF_HOME") or str(cache / "huggingface")
    return [Path(os.path.expandvars(home)).expanduser() / "hub"]


def found() -> Iterator[Elsewhere]:
    """Yield the GGUF files and the folders that could be models, of each repository's newest snapshot."""
    for repository, folder in _repositories().items():
        try:
            snapshot = _snapshot(folder, None)
            models = _models(snapshot) if snapshot else {}
        except (OSError, AuditionError):
            continue
        for variant, path in models.items():
            name = f"{repository}:{variant}" if variant else repository
            try:
                size = sum(each.stat().st_size for each in path.iterdir()) if path.is_dir() else size_of(path)
            except OSError:
                size = None
            how = f"audition model import --link {TOOL}:{name}"
            yield Elsewhere(TOOL, name, path, size, how, quantization_of(variant))


def locate(name: str) -> Original:
    """Return `OWNER/REPO[:QUANT][@REVISION]` of what is in the cache; without a quantization, the usual one.

    Raises:
        UsageError: It is not there, or a link leads out of the repository's folder.
    """
    wanted = parse_hub_name(f"hf:{name}")
    repositories = _repositories()
    match = next((each for each in repositories if each.casefold() == wanted.repository.casefold()), None)
    if match is None:
        raise unknown(_TITLE, name, list(repositories), roots()[0])
    folder = repositories[match]
    snapshot = _snapshot(folder, wanted.revision)
    models = _models(snapshot) if snapshot else {}
    by_name = {each.casefold(): each for each in models}
    if wanted.variant is not None and wanted.variant.casefold() in by_name:
        variant = by_name[wanted.variant.casefold()]
    elif wanted.variant is None and models:
        variant = min(models, key=lambda each: (nearness(each or None), each))
    else:
        has = ", ".join(one_line(each, 80) for each in list(models)[:20] if each)
        raise UsageError(
            f"the Hugging Face cache has no such model: {one_line(name, 100)}",
            fix=f"it has of {match}: {has}" if has else f"audition model download hf:{match}",
            code="model_not_found",
        )
    path = models[variant]
    return Original(
        path=path,
        alias=alias_of(Path(f"{match.rpartition('/')[2]}.x" if path.is_dir() else whole_name(path.name))),
        provenance={
            "linked_from": str(path),
            "tool": TOOL,
            "name": f"{match}:{variant}" if variant else match,
            "revision": snapshot.name if snapshot else "",
        },
        promised=_promised(folder, path),
    )


def _repositories() -> dict[str, Path]:
    out = {}
    for root in roots():
        for folder in entries(root):
            kind, _, name = folder.name.partition("--")
            name = name.replace("--", "/")
            if kind == "models" and is_repository(name):
                out[name] = folder
    return out


def _snapshot(folder: Path, revision: str | None) -> Path | None:
    """Return the snapshot of a branch, tag or commit; of the default branch, or else the newest one."""
    ref = folder / "refs" / (revision or "main")
    if revision is None or ".." not in Path(revision).parts:
        try:
            with ref.open(encoding="ascii", errors="replace") as stream:
                commit = stream.read(200).strip()
        except OSError:
            commit = revision or ""
        if _COMMIT.fullmatch(commit) and (folder / "snapshots" / commit).is_dir():
            return folder / "snapshots" / commit
    if revision is not None:
        return None
    all_ = [each for each in entries(folder / "snapshots") if _COMMIT.fullmatch(each.name) and each.is_dir()]
    return max(all_, key=lambda each: each.stat().st_mtime, default=None)


def _models(snapshot: Path) -> dict[str, Path]:
    """Return the models of a snapshot, by quantization or else by the file's name; a folder's name is empty."""
    models: dict[str, Path] = {}
    for path in ggufs(snapshot, depth=2):
        stem = Path(whole_name(path.name)).stem
        name = quantization_of(stem) or quantization_of(path.parent.name) or stem
        models[stem if name in models else name] = path
    if not models and format_of(snapshot) not in (None, GGUF):
        models[""] = snapshot
    return models


def _promised(folder: Path, path: Path) -> dict[str, str]:
    """Return what the cache says of a model's files, by name.

    Raises:
        UsageError: One of them is a link that leads out of the repository's folder.
    """
    if path.is_dir():
        files = [path / name for name in open_folder(path, format_of(path) or GGUF).files]
    else:
        files = [path.with_name(name) for name in split_names(path.name)[:MOST_ENTRIES]]
    promised = {}
    for file in files:
        real = Path(os.path.realpath(file))
        if not real.is_relative_to(os.path.realpath(folder)):
            raise UsageError(
                f"{one_line(file.name)} in {folder} is a link that leads out of it",
                fix="download it again, with the program that has this cache",
                code="cannot_link",
            )
        if real.parent.name == "blobs" and _DIGEST.fullmatch(real.name):
            promised[file.name] = real.name
    return promised
