"""What other tools have on this disk, with what it takes and whether it fits, like models of our own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from audition.api.discover import LINKED, Row, make_row
from audition.api.this_machine import ThisMachine
from audition.models.folder import GGUF, format_of
from audition.models.spec import Licence, ModelSpec, Variant, VariantFile
from audition.store import elsewhere
from audition.store.store import Store


@dataclass(frozen=True, slots=True)
class ElsewhereRow:
    """A model of another tool.

    Attributes:
        tool: `ollama`, `lmstudio` or `hf`.
        how_to_link: The command that links it into the store.
    """

    row: Row
    tool: str
    how_to_link: str

    def to_json(self) -> dict[str, Any]:
        """Return the row's keys, and `tool` and `how_to_link`."""
        return {**self.row.to_json(), "tool": self.tool, "how_to_link": self.how_to_link}


def list_elsewhere(
    machine: ThisMachine | None = None, store: Store | None = None
) -> tuple[list[ElsewhereRow], list[str]]:
    """Return what other tools have, and one sentence for each tool whose models cannot be listed.

    No file is hashed or opened, so the estimate rests on its size.

    Args:
        machine: What they are to fit into; None takes this one.
        store: None takes the one in the data folder.
    """
    machine = machine or ThisMachine()
    models, problems = elsewhere.look(store)
    rows = []
    for model in models:
        name = f"{model.tool}:{model.name}"
        files = (VariantFile(model.path.name, model.size),)
        variant = Variant(model.name, format_of(model.path) or GGUF, model.quantization, name, files)
        spec = ModelSpec(model.name, Licence.named(None, source=model.tool), (variant,), origin=model.tool)
        row = make_row(machine, spec, variant)
        row = replace(row, name=name, path=str(model.path), state=LINKED if model.already_linked else row.state)
        rows.append(ElsewhereRow(row, model.tool, model.how_to_link))
    return rows, problems
