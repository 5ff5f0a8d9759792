"""A person's own adapter, named by the place of its class: `[name=]package.module:Class[@folder]`.

One text, so that it goes wherever an engine's name goes: into a catalog entry, a plan, and to the engine's process,
which is the only one that imports it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Self

from audition.errors import UsageError, nearest
from audition.text import one_line

_WORD = r"[A-Za-z_]\w*"
_PATTERN = re.compile(
    rf"(?:(?P<name>[A-Za-z0-9][\w.-]{{0,59}})=)?"
    rf"(?P<value>{_WORD}(?:\.{_WORD}){{0,19}}:{_WORD}(?:\.{_WORD}){{0,19}})"
    rf"(?:@(?P<folder>.+))?",
    re.DOTALL | re.ASCII,
)
_LONGEST = 8_000


@dataclass(frozen=True, slots=True)
class Reference:
    """The place of an adapter's class.

    Attributes:
        name: What the engine is called in targets and reports.
        value: `package.module:Class`.
        folder: Where the module is looked for, after what is installed.
    """

    name: str
    value: str
    folder: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what a text refers to; None for the name of a registered engine.

        Raises:
            UsageError: It is neither.
        """
        if ":" not in text and "=" not in text:
            return None
        match = _PATTERN.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            raise UsageError(
                f'"{one_line(text, 100)}" is no engine: it is neither a name nor the place of a class',
                fix="write package.module:Class, or name=package.module:Class",
            )
        return cls(match["name"] or match["value"], match["value"], match["folder"])

    @property
    def module(self) -> str:
        """The module's name."""
        return self.value.partition(":")[0]

    def __str__(self) -> str:
        name = f"{self.name}=" if self.name != self.value else ""
        return f"{name}{self.value}@{self.folder}" if self.folder else f"{name}{self.value}"


def engine_name(engine: str) -> str:
    """Return what an engine is called: its registered name, or what a reference calls it.

    Examples:
        >>> engine_name("llamacpp"), engine_name("mine=my_engine:Mine@/home/me")
        ('llamacpp', 'mine')
    """
    reference = Reference.parse(engine)
    return engine if reference is None else reference.name


def located(engine: str) -> str:
    """Return an engine's name as a person gave it, with the folder of its module where that is not installed.

    The module is looked for as an import in this process would, and is not imported.

    Raises:
        UsageError: It refers to a class that another process could not import.
    """
    reference = Reference.parse(engine)
    if reference is None or reference.folder is not None:
        return engine
    top = reference.module.partition(".")[0]
    if top == "__main__":
        raise UsageError(
            f"{reference.value} was defined in the program or notebook that runs, and an engine's own process cannot "
            "import it from there",
            fix="put the class into a file of its own, say my_engine.py, and name it my_engine:"
            + reference.value.partition(":")[2],
        )
    here = str(Path.cwd())
    spec = PathFinder.find_spec(top, [*(entry or here for entry in sys.path), here])
    if spec is None:
        raise UsageError(
            f"there is no module {top} for the engine {reference.value}",
            fix=_other_modules(top) or f"put {top}.py into this folder, or install the package that has it",
            code="engine_unavailable",
        )
    if spec.submodule_search_locations is None and reference.module != top:
        raise UsageError(
            f"{reference.module} is no module: {top} is a file, not a package",
            fix=f"write {reference.name + '=' if reference.name != reference.value else ''}"
            f"{top}:{reference.value.partition(':')[2]}",
            code="engine_unavailable",
        )
    origin = next(iter(spec.submodule_search_locations or ()), spec.origin)
    folder = str(Path(origin).parent) if origin and spec.origin not in ("built-in", "frozen") else None
    return str(Reference(reference.name, reference.value, folder))


def reference_to(engine: object, name: str | None = None) -> str:
    """Return the reference to an adapter that a program names by its class or by the place of it.

    Raises:
        UsageError: It is no class, or one that another process could not import.
    """
    if isinstance(engine, type):
        if "<locals>" in engine.__qualname__:
            raise UsageError(
                f"{engine.__qualname__} was defined inside a function, and an engine's own process cannot import it",
                fix="define the class at the top of a module",
            )
        engine = f"{engine.__module__}:{engine.__qualname__}"
    if not isinstance(engine, str):
        raise UsageError(
            f"an engine is named by its class or by package.module:Class, not by {type(engine).__name__}",
            fix="give the class itself",
        )
    if name is None or name == engine:
        return located(engine)
    if ":" not in engine:
        raise UsageError(f"{engine} is called {engine} already, not {one_line(name, 60)}", fix="leave the name out")
    return located(f"{name}={engine}")


def _other_modules(name: str) -> str | None:
    return nearest(name, sorted(path.stem for path in Path.cwd().glob("*.py")))
