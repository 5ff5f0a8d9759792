"""`audition model list --source foundry`: the public catalog of Foundry Local."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audition.api.discover import Filters
    from audition.api.this_machine import ThisMachine


def list_foundry(filters: Filters, machine: ThisMachine, *, as_json: bool) -> None:
    """Print what the catalog lists for this machine's devices, and what of it is in the store.

    Raises:
        AuditionError: The catalog cannot be read, and there is no copy of it here.
    """
    from audition.api.discover import filtered, make_row
    from audition.cli import output
    from audition.cli.discover import say_left_out
    from audition.report.figures import UNKNOWN
    from audition.report.models import legend, models_table
    from audition.report.narrow import Column
    from audition.store.foundry.catalog import list_catalog, spec_of
    from audition.store.store import Store

    store = Store()
    listing = list_catalog()
    listing.need_any()
    models = {}
    for model in sorted(listing.models, key=lambda model: (model.alias, model.id)):
        row = make_row(machine, spec_of(model), model.variant, store.find(model.variant))
        models[id(row)] = (model, row)
    found = filtered((row for _, row in models.values()), filters)
    rows: list[dict[str, Any]] = []
    for row in found.rows:
        model = models[id(row)][0]
        own = {
            "id": model.id,
            "alias": model.alias,
            "title": model.title,
            "publisher": model.publisher,
            "device": model.device,
            "execution_provider": model.execution_provider,
        }
        rows.append({**row.to_json(), **own})
    if as_json:
        output.print_json(rows)
    elif rows:
        own_columns = (
            Column("Device", [row["device"] or UNKNOWN for row in rows], rank=1),
            Column("Id", [row["id"] for row in rows], rank=7),
            Column("Publisher", [row["publisher"] or UNKNOWN for row in rows], rank=8),
        )
        console = output.stdout(wide=True)
        console.print(models_table(rows, own_columns))
        console.print(legend(rows, machine.memory), style="dim", soft_wrap=True)
    else:
        empty = "The catalog lists no chat model for this machine." if not listing.models else "No model is like that."
        output.stdout().print("Nothing is downloaded." if filters.downloaded else empty)
    say_left_out(found)
    if listing.warning:
        output.stderr().print(f"warning: {listing.warning}", soft_wrap=True)
