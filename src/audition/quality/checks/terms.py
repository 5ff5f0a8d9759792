"""Whole words in text: how text is made comparable, and what counts as the edge of a word.

Rules that hold for every term:

* Both sides are folded: NFKC, case folded, runs of blanks (line breaks too) made one space, typographic
  quotes and dashes made plain, Markdown emphasis (`*`, `_`, backquotes) dropped.
* A term stands free: no letter, digit or underscore of its script touches it. Scripts without spaces between
  words (Han, Kana, Thai, Lao, Khmer, Burmese) have no edges to check, so there a term matches anywhere.
* A number stands free of the rest of a longer number: "5" is not in "25", "5.5", "1,500" or "-5".
* A letter stands free of `+` and `#`: "C" is not in "C++" or "C#".
* A word of the term that ends in one `*` stands for every word that starts so: "retriev*" matches
  "retrieval".
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import regex

SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = rf"[\w--[{SPACELESS}]]"
"""A character of a word, in scripts that put spaces between words (needs `regex.V1`)."""

_UNIFIED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00ad\u200b\u2060\ufeff", None),  # invisible, and models do emit them inside words
    }
)
# A star between digits (2*3, 2**10) or alone between words (SELECT * FROM) is not emphasis.
_STARS = regex.compile(r"((?<=\d)\*{1,2}(?=\d)|(?<=\S[ \t])\*(?=[ \t]))|\*+")
# snake_case keeps its underscores, _emphasis_ loses them.
_UNDERSCORES = regex.compile(r"(?<![^\W_])_++|_++(?![^\W_])")
_DIGIT = regex.compile(r"\d")
_LETTER = regex.compile(r"[^\W\d_]")
_WORDY = regex.compile(WORD, regex.V1)
_EDGELESS = regex.compile(rf"[{SPACELESS}]", regex.V1)


def fold(text: str) -> str:
    """Return `text` in the form in which texts are compared."""
    folded = unicodedata.normalize("NFKC", text.translate(_UNIFIED))
    folded = unicodedata.normalize("NFKC", folded.casefold())
    return " ".join(strip_emphasis(folded).split())


def strip_emphasis(text: str) -> str:
    """Return `text` without Markdown's emphasis marks."""
    return _UNDERSCORES.sub("", _STARS.sub(r"\1", text.replace("`", "")))


@dataclass(frozen=True, slots=True)
class Term:
    """A word or phrase to look for.

    Attributes:
        text: As the person wrote it.
        longer: Matches where only a longer word starts with the term; None where there is no such thing.
    """

    text: str
    pattern: regex.Pattern[str]
    longer: regex.Pattern[str] | None

    @classmethod
    def compile(cls, text: str) -> Term | None:
        """Return the term, or None when nothing is left of it to look for."""
        written = text.split()
        emphasised = text.lstrip().startswith("*")
        parts: list[tuple[str, bool]] = []
        for index, word in enumerate(written):
            if word == "*" and 0 < index < len(written) - 1:
                parts.append(("*", False))
                continue
            starred = word.endswith("*") and not word.endswith("**") and len(word) > 1 and not emphasised
            folded = fold(word[:-1] if starred else word)
            if folded:
                parts.append((folded, starred))
        if not parts:
            return None
        (first, _), (last, open_end) = parts[0], parts[-1]
        body = " ".join(_escape(word) + (rf"{WORD}*+" if starred else "") for word, starred in parts)
        start = _left_edge(first[0]) + body
        pattern = regex.compile(start + ("" if open_end else _right_edge(last[-1])), regex.V1)
        extensible = not open_end and _WORDY.match(last[-1]) and not _DIGIT.match(last[-1])
        return cls(text, pattern, regex.compile(rf"{start}{WORD}++", regex.V1) if extensible else None)


def _escape(word: str) -> str:
    return " ".join(regex.escape(part) for part in word.split(" "))


def _left_edge(first: str) -> str:
    if _EDGELESS.match(first):
        return ""
    edge = rf"(?<!{WORD})"
    if _DIGIT.match(first):
        # Not the decimals of a number, not after a decimal point without a zero, not after a minus sign.
        edge += r"(?<!\d[.,])(?<!(?<![\w.])\.)(?<!(?<!\w)-)"
    return edge


def _right_edge(last: str) -> str:
    if _EDGELESS.match(last):
        return ""
    edge = rf"(?!{WORD})"
    if _DIGIT.match(last):
        edge += r"(?![.,]\d)"
    elif _LETTER.match(last):
        edge += r"(?!\#(?!\d)|\+++(?!\w))"
    elif last == "+":
        edge += r"(?!\+)"
    return edge
