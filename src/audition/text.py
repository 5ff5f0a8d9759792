"""Text from models, headers and files is hostile: what a terminal or a page may see of it.

A model can emit escape sequences that repaint the terminal, and bidirectional controls that make a line read
differently from what it says. Run files keep the raw text; every place that shows it goes through here.
"""

from __future__ import annotations

import re

# C0 and C1 controls except tab and newline, DEL, zero-width and bidirectional controls, line separators, BOM,
# lone surrogates (which cannot be encoded at all).
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """Return `text` with every control character replaced by a visible question mark box (U+FFFD)."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str, limit: int = 200) -> str:
    """Return `text` as one printable line of at most `limit` characters, cut with an ellipsis."""
    flat = " ".join(printable(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"
