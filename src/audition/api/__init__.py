"""The library: what the command line does, as functions.

```python
from audition import api

run = api.prepare(["smollm2-135m", "gemma-3-270m"], api.load_suite("prompts.json"))
api.resume(run)
print(api.conclude(run).pick.sentence)
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audition.api.discover import Filters, Row, filtered, list_models
    from audition.api.keep import check_lock, link_model, lock_models
    from audition.api.models import Engines, find_model, find_models, import_model, install
    from audition.api.plans import load_suite, make_plan, prepare
    from audition.api.runs import Conclusion, Silent, conclude, resume
    from audition.api.this_machine import ThisMachine

__all__ = [
    "Conclusion",
    "Engines",
    "Filters",
    "Row",
    "Silent",
    "ThisMachine",
    "check_lock",
    "conclude",
    "filtered",
    "find_model",
    "find_models",
    "import_model",
    "install",
    "link_model",
    "list_models",
    "load_suite",
    "lock_models",
    "make_plan",
    "prepare",
    "resume",
]

_MODULES = ("discover", "keep", "models", "pins", "plans", "runs", "this_machine")
# All of it takes a third of a second to import, and most commands need a part of it.
_PLACES = {
    **dict.fromkeys(("Filters", "Row", "filtered", "list_models"), "discover"),
    **dict.fromkeys(("check_lock", "link_model", "lock_models"), "keep"),
    **dict.fromkeys(("Engines", "find_model", "find_models", "import_model", "install"), "models"),
    **dict.fromkeys(("load_suite", "make_plan", "prepare"), "plans"),
    **dict.fromkeys(("Conclusion", "Silent", "conclude", "resume"), "runs"),
    **dict.fromkeys(("ThisMachine",), "this_machine"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
