"""Engines by name: entry points of the group `audition.engines.v1`, read without importing any of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points, requires
from pathlib import Path

from audition.engines.reference import Reference, engine_name
from audition.errors import UsageError, nearest
from audition.models.spec import ANY
from audition.paths import logs_dir
from audition.text import one_line

GROUP = "audition.engines.v1"

# Which engine runs a format when nobody names one.
_DEFAULT = {"gguf": "llamacpp", "onnx-genai": "ortgenai", "openvino": "openvino", "safetensors": "transformers"}


@dataclass(frozen=True, slots=True)
class Runner:
    """An engine of ours, and whether it could run here.

    Attributes:
        name: The engine's name.
        formats: What it can load.
        missing: The packages that it needs and that are not installed.
    """

    name: str
    formats: tuple[str, ...]
    missing: tuple[str, ...]


def runners() -> list[Runner]:
    """Return the engines of ours, those of missing packages too; each format's default engine before others.

    No process is started and no engine's package is imported. Adapters of others are not among them: what they can
    load takes a process each to ask.
    """
    ours = [point.name for point in entry_points(group=GROUP) if _is_ours(point)]
    order = sorted(ours, key=lambda name: (name not in _DEFAULT.values(), name))
    return [Runner(name, formats, tuple(missing_packages(name))) for name in order if (formats := _formats(name))]


def missing_packages(engine: str) -> list[str]:
    """Return the packages of the extra that has the engine's name which are not installed."""
    extra = re.compile(rf"extra\s*==\s*['\"]{re.escape(engine)}['\"]")
    try:
        needed = [line for line in requires("audition") or () if extra.search(line)]
    except PackageNotFoundError:
        return []
    names = [match[0] for line in needed if (match := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line))]
    return [name for name in names if not _is_installed(name)]


def engine_names() -> list[str]:
    """Return the names of all registered engines."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def engine_for(format_: str, asked: str | None = None) -> str:
    """Return the engine to run a format with: the one asked for, else the format's default.

    Raises:
        UsageError: No such engine, or nothing runs the format, or the engine that is asked for does not.
    """
    if asked is None:
        name = _DEFAULT.get(format_)
        if name is None:
            raise UsageError(f"no engine here runs the format {format_}")
        return find_engine(name).name
    # What an adapter can load is asked later, in a process of its own.
    formats = formats_of(asked) if _is_ours(find_engine(asked)) else None
    if formats is not None and format_ == ANY:
        raise UsageError(
            f'{asked} needs a model to run, and its entry in models.json has no "source"',
            fix='add "source": "file:path/to/model.gguf"; "weights" are for an engine of your own',
        )
    if formats is not None and format_ not in formats:
        able = [name for name in engine_names() if format_ in (_formats(name) or ())]
        raise UsageError(
            f"{asked} does not run the format {format_}; it runs {', '.join(formats)}",
            fix=f"--engines {able[0]}" if able else None,
        )
    return asked


def formats_of(name: str) -> tuple[str, ...] | None:
    """Return the formats that an engine can load; None where it says nothing, and is given any.

    The module of an engine of ours is imported, its package is not; an adapter's is imported in a process of its own.

    Raises:
        UsageError: There is no such engine, or its module cannot be imported.
        AuditionError: An adapter cannot be imported, in its process.
    """
    point = find_engine(name)
    if not _is_ours(point):
        from audition.engines.host import probe

        formats = probe(name, probe_log(name)).get("formats")
        return None if not formats else tuple(formats)
    try:
        formats = getattr(point.load(), "formats", None)
    except Exception as error:  # an adapter may raise anything
        raise UsageError(
            f"the engine {name} cannot be imported: {type(error).__name__}: {error}", code="engine_unavailable"
        ) from error
    return None if formats is None else tuple(formats)


def probe_log(name: str) -> Path:
    """Return where an engine's process prints while it is asked about itself."""
    return logs_dir() / f"probe-{re.sub(r'[^A-Za-z0-9._-]+', '-', engine_name(name))[:80]}.log"


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _is_ours(point: EntryPoint) -> bool:
    return point.value.startswith("audition.engines.")


def _formats(name: str) -> tuple[str, ...] | None:
    """Return the same of an engine of ours; None for others, and for one that is broken: it was not asked for."""
    if not _is_ours(find_engine(name)):
        return None
    try:
        return formats_of(name)
    except UsageError:
        return None


def find_engine(name: str) -> EntryPoint:
    """Return the entry point of an engine, not yet loaded; of a `Reference`, one that nobody registered.

    Raises:
        UsageError: No engine has that name; the nearest is given. Or a reference takes the name of another engine.
    """
    reference = Reference.parse(name)
    points = {point.name: point for point in reversed(list(entry_points(group=GROUP)))}
    if reference is not None:
        point = points.get(reference.name)
        if point is not None and point.value != reference.value:
            # In every report its figures would pass for those of the engine that is known by this name.
            raise UsageError(
                f"{reference.name} is another engine's name ({point.value}), so {reference.value} cannot have it",
                fix=f"give it a name of its own: my-{reference.name}={reference.value}",
            )
        return EntryPoint(reference.name, reference.value, GROUP)
    if name in points:
        return points[name]
    raise UsageError(f'there is no engine "{one_line(name, 60)}"', fix=_meant(name), code="engine_unavailable")


def _meant(name: str) -> str:
    """Return what a name that no engine has may have been meant to be."""
    from audition.engines.endpoint.local import FOUNDRY, USUAL

    if name.casefold() in USUAL.keys() - {FOUNDRY}:
        return f"{name.casefold()} is a server: --endpoint {name.casefold()}"
    known = engine_names()
    return f"{nearest(name, known) or ''} known engines: {', '.join(known)}; or name a package.module:Class".lstrip()
