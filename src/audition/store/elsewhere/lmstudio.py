"""LM Studio's models: `PUBLISHER/REPO/FILE.gguf` in its folder of downloads.

Its home is where `~/.lmstudio-home-pointer` says, else `~/.lmstudio` or, before, `~/.cache/lm-studio`; `settings.json`
in it may name another folder for downloads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from audition.errors import UsageError
from audition.models.catalog import alias_of
from audition.models.gguf_split import whole_name
from audition.store.elsewhere.base import Elsewhere, Original, ggufs, size_of, unknown
from audition.store.hub.quantizations import quantization_of
from audition.text import one_line

TOOL = "lmstudio"
_TITLE = "LM Studio"
_MOST_BYTES = 2**20


def roots() -> list[Path]:
    """Return where LM Studio may keep models."""
    found = []
    for home in _homes():
        found += [home / "models"]
        with suppress(OSError, ValueError, RecursionError):
            with (home / "settings.json").open("rb") as stream:
                settings = json.loads(stream.read(_MOST_BYTES))
            told = settings.get("downloadsFolder") if isinstance(settings, dict) else None
            if isinstance(told, str) and told.strip() and Path(told).is_absolute():
                found.insert(0, Path(told))
    return list(dict.fromkeys(found))


def found() -> Iterator[Elsewhere]:
    """Yield the GGUF files."""
    for name, path in _named().items():
        how = f"audition model import --link '{TOOL}:{name}'"
        yield Elsewhere(TOOL, name, path, size_of(path), how, quantization_of(Path(whole_name(path.name)).stem))


def locate(name: str) -> Original:
    """Return `PUBLISHER/REPO/FILE`, or `PUBLISHER/REPO` where that has one file.

    Raises:
        UsageError: There is no such model, or there are several.
    """
    known = _named()
    wanted = name.casefold()
    match = [each for each in known if each.casefold() == wanted]
    match = match or [each for each in known if each.casefold().rpartition("/")[0] == wanted]
    if not match:
        raise unknown(_TITLE, name, list(known), roots()[0])
    if len(match) > 1:
        files = ", ".join(one_line(each.rpartition("/")[2], 80) for each in match[:10])
        raise UsageError(
            f"{one_line(name, 100)} has {len(match)} files: {files}", fix=f"name one: {TOOL}:{one_line(match[0])}"
        )
    path = known[match[0]]
    return Original(
        path=path,
        alias=alias_of(Path(whole_name(path.name))),
        provenance={"linked_from": str(path), "tool": TOOL, "name": one_line(match[0])},
    )


def _homes() -> list[Path]:
    homes = []
    with suppress(OSError):
        with (Path.home() / ".lmstudio-home-pointer").open(encoding="utf-8", errors="replace") as stream:
            told = stream.read(4096).strip()
        if told and Path(told).is_absolute():
            homes.append(Path(told))
    return [*homes, Path.home() / ".lmstudio", Path.home() / ".cache" / "lm-studio"]


def _named() -> dict[str, Path]:
    """Return the files by `PUBLISHER/REPO/FILE`."""
    named: dict[str, Path] = {}
    for root in roots():
        for path in ggufs(root, depth=2):
            name = path.relative_to(root).as_posix()
            if name.count("/") == 2:
                named.setdefault(name, path)
    return named
