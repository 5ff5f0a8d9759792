"""A repository's licence, as its card on the hub says it."""

from __future__ import annotations

from typing import Any

from audition.models.spec import Licence

SOURCE = "hub metadata"


def hub_licence(card: Any, tags: tuple[str, ...]) -> Licence:
    """Return the licence that a model card's metadata names, else the one in a tag `license:...`; never a guess.

    Args:
        card: The card's data, a `huggingface_hub.ModelCardData`, or None.
        tags: The repository's tags.
    """
    identifier = _field(card, "license")
    if identifier is None:
        tagged = dict.fromkeys(tag.partition(":")[2] for tag in tags if tag.startswith("license:"))
        identifier = next(iter(tagged)) if len(tagged) == 1 else None
    return Licence.stated(
        identifier, name=_field(card, "license_name"), link=_field(card, "license_link"), source=SOURCE
    )


def _field(card: Any, key: str) -> str | None:
    """Return one text of a card; of a list, the only one: which of several holds is for a person to say."""
    value = getattr(card, key, None)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else None
