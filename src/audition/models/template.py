"""Chat templates, looked at without running them: what no engine could read."""

from __future__ import annotations

import re

# A comment; a raw section, in which nothing has a meaning; the begin of a statement or of an output.
_OPENING = re.compile(r"\{#|\{%[-+]?\s*raw\s*[-+]?%\}|\{%|\{\{")
_RAW_END = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
# Inside: a string, a bracket, or what may be the end.
_INSIDE = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|['\"]|[-+]?%\}|\}\}|[({\[]|[)}\]]", re.DOTALL)
_WORD = re.compile(r"\{%[-+]?\s*(\w+)")
_BLOCKS = ("if", "for", "macro")
_CLOSES = {")": "(", "]": "[", "}": "{"}


def template_fault(text: str) -> str | None:
    """Return in words why a Jinja template cannot be read; None where nothing is wrong that shows without running it.

    Looked at are the delimiters, the strings and brackets between them, and whether each `if`, `for` and `macro` ends.

    Examples:
        >>> template_fault("{% for m in messages %}{{ m.content }}{% endfor %}") is None
        True
        >>> template_fault("{% for m in messages %}{{ m.content }}")
        'the "for" in line 1 has no "endfor"'
    """
    at = 0
    blocks: list[tuple[str, int]] = []
    while (opening := _OPENING.search(text, at)) is not None:
        start, mark = opening.start(), opening[0]
        if mark == "{#":
            at = text.find("#}", opening.end()) + 2
            if at == 1:
                return f"the {{# in line {_line(text, start)} has no #}}"
            continue
        if mark.endswith("%}"):
            end = _RAW_END.search(text, opening.end())
            if end is None:
                return f'the "raw" in line {_line(text, start)} has no "endraw"'
            at = end.end()
            continue
        closing = _closing(text, opening.end(), "}}" if mark == "{{" else "%}")
        if closing is None:
            return f"the {mark} in line {_line(text, start)} has no {'}}' if mark == '{{' else '%}'}"
        at = closing
        word = _WORD.match(text, opening.start())
        if word is None:
            continue
        if word[1] in _BLOCKS:
            blocks.append((word[1], start))
        elif word[1].removeprefix("end") in _BLOCKS:
            opened = blocks.pop()[0] if blocks else None
            if opened != word[1].removeprefix("end"):
                return f'the "{word[1]}" in line {_line(text, start)} ends nothing that is open there'
    if not blocks:
        return None
    name, start = blocks[-1]
    return f'the "{name}" in line {_line(text, start)} has no "end{name}"'


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _closing(text: str, at: int, end: str) -> int | None:
    """Return where a statement or an output is over; None where it never is."""
    brackets: list[str] = []
    while (found := _INSIDE.search(text, at)) is not None:
        mark, at = found[0], found.end()
        if mark.endswith(end) and not brackets:
            return at
        if mark == "}}":  # the ends of two dictionaries, or of one
            at = found.start() + 1
            mark = "}"
        if mark in "({[":
            brackets.append(mark)
        elif (mark in _CLOSES and (not brackets or brackets.pop() != _CLOSES[mark])) or mark in ("'", '"'):
            return None
    return None
