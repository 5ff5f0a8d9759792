"""`audition model list --source foundry`: the public catalog of Foundry Local."""

from __future__ import annotations

from typing import Any


def list_foundry(*, downloaded: bool, as_json: bool) -> None:
    """Print what the catalog lists for this machine's devices, and what of it is in the store."""
    from rich.table import Table
    from rich.text import Text

    from audition.cli import output
    from audition.models.spec import Licence
    from audition.report.figures import UNKNOWN, size
    from audition.store.foundry.catalog import PREFIX, list_catalog
    from audition.store.store import Store

    store = Store()
    listing = list_catalog()
    rows: list[dict[str, Any]] = []
    for model in sorted(listing.models, key=lambda model: (model.alias, model.id)):
        licence = Licence.named(model.licence, source="Foundry Local catalog")
        row: dict[str, Any] = {
            "name": f"{PREFIX}{model.variant.id}",
            "id": model.id,
            "alias": model.alias,
            "title": model.title,
            "publisher": model.publisher,
            "licence": licence.id,
            "licence_class": str(licence.cls),
            "device": model.device,
            "execution_provider": model.execution_provider,
            "size": model.size,
            "context_length": model.context_length,
            "capabilities": list(model.capabilities),
            "quantization": model.quantization,
            "downloaded": store.find(model.variant) is not None,
        }
        if row["downloaded"] or not downloaded:
            rows.append(row)
    if as_json:
        output.print_json(rows)
    elif rows:
        table = Table("Model", "Id", "Device", "Downloaded", "Size", "Licence", "Publisher", header_style="bold")
        for row in rows:
            cells = (
                row["name"],
                row["id"],
                row["device"] or UNKNOWN,
                "yes" if row["downloaded"] else "no",
                size(row["size"]) if row["size"] else UNKNOWN,
                f"{row['licence'] or 'not stated'} ({row['licence_class']})",
                row["publisher"] or UNKNOWN,
            )
            table.add_row(*(Text(str(cell)) for cell in cells))
        output.stdout().print(table)
    elif listing.warning is None:
        output.stdout().print(
            "Nothing is downloaded." if downloaded else "The catalog lists no chat model for this machine."
        )
    if listing.warning:
        output.stderr().print(f"warning: {listing.warning}", soft_wrap=True)
