"""What the head of a model card (`README.md`) says of a model's licence."""

from __future__ import annotations

import re
from pathlib import Path

from audition.models.spec import Licence

SOURCE = "model card"
_MAX_BYTES = 16_384
_FIELD = re.compile(
    r"^(license|license_name|license_link):[ \t]*([\"']?)([^\s\"'#][^\n\"'#]{0,400}?)\2[ \t]*\r?$", re.M
)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")


def card_licence(folder: Path) -> Licence:
    """Return the licence that a folder's model card states, as its publisher wrote it; `unknown` where it does not.

    Only the plain forms are read, one line each: `license`, `license_name` and `license_link`.
    """
    try:
        with (folder / "README.md").open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        text = ""
    head, ends, _ = text.removeprefix("---").partition("\n---")
    stated = {key: value for key, _, value in _FIELD.findall(head)} if ends and text.startswith("---") else {}
    identifier = stated.get("license", "")
    if not _PLAIN.fullmatch(identifier):
        return Licence.named(None, source=SOURCE)
    return Licence.stated(identifier, name=stated.get("license_name"), link=stated.get("license_link"), source=SOURCE)
