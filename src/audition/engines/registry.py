"""Engines by name: entry points of the group `audition.engines.v1`, read without importing any of them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from audition.errors import UsageError, nearest

GROUP = "audition.engines.v1"

# Which engine runs a format when nobody names one.
_DEFAULT = {"gguf": "llamacpp"}


def engine_names() -> list[str]:
    """Return the names of all registered engines."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def engine_for(format_: str, asked: str | None = None) -> str:
    """Return the engine to run a format with: the one asked for, else the format's default.

    Raises:
        UsageError: No such engine, or nothing runs the format.
    """
    name = asked or _DEFAULT.get(format_)
    if name is None:
        raise UsageError(f"no engine here runs the format {format_}")
    find_engine(name)
    return name


def find_engine(name: str) -> EntryPoint:
    """Return the entry point of an engine, not yet loaded.

    Raises:
        UsageError: No engine has that name; the nearest is given.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point
    known = engine_names()
    raise UsageError(
        f'there is no engine "{name}"',
        fix=nearest(name, known) or "known engines: " + ", ".join(known),
        code="engine_unavailable",
    )
