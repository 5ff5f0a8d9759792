"""Text that is only text in Markdown, whatever a model, a header or a server wrote."""

from __future__ import annotations

import re

from audition.text import printable

# An underscore inside a word is only an underscore, and a hash sign is markup only where a word would begin.
_MARKUP = re.compile(r"[\\`*{}\[\]<|~&$]|_(?![^\W_])|(?<![^\W_])_|(?<!\S)#")


def cell(text: str) -> str:
    """Return text that is only text in Markdown: one line, no markup, no HTML."""
    flat = " ".join(printable(text).split())
    return _MARKUP.sub(r"\\\g<0>", flat)


def code(text: str) -> str:
    """Return text as a code span, in which nothing is markup."""
    flat = " ".join(printable(text).split()).replace("`", "'")
    return f"`{flat or ' '}`"


def grid(header: list[str], body: list[list[str]]) -> list[str]:
    """Return the lines of a table; every cell is only text."""
    lines = [header, ["---"] * len(header), *body]
    return ["| " + " | ".join(map(cell, line)) + " |" for line in lines]
