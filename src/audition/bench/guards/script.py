"""Which script is a text written in, and did anybody ask for it?"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_LETTERS = 20
"""Fewer letters may be a name or a quotation."""
_LOOK_AT = 4000
# Japanese mixes three, and Chinese shares one of them with it.
_FAMILIES = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}
# Words, or how they begin, that ask for a language with another script, in the languages that prompts often come in.
_ASKS = re.compile(
    r"\b(?:translat|transcri|transliterat|übersetz|tradu|перев|language|script|alphabet|unicode"
    r"|arab|armeni|bengal|bulgar|burm|cantones|chines|chino\b|chinois|cyrill|devanagari|farsi|georgi|greek|griech"
    r"|gujarat|hangul|hebr|hindi|hiragana|japan|japon|jidd|yiddish|kanji|kannad|katakana|kazakh|khmer|korea|kyrill"
    r"|macedon|malayal|mandarin|marath|mongol|nepal|pashto|persian|persisch|punjab|russ|ruso\b|sanskrit|serb|sinhal"
    r"|tamil|telugu|thai|ukrain|urdu|vedic)",
    re.IGNORECASE,
)


def scripts(text: str) -> Counter[str]:
    """Return how many letters of each script stand in the text, in its first 4,000 characters."""
    found: Counter[str] = Counter()
    for character, times in Counter(text[:_LOOK_AT]).items():
        if character.isalpha():
            script = unicodedata.name(character, "UNKNOWN").split(" ", 1)[0]
            found[_FAMILIES.get(script, script)] += times
    return found


def is_foreign(answer: str, asked: str, expected: str = "") -> bool:
    """Return whether an answer is mostly in a script that neither what was asked nor what is expected has or names.

    Latin letters are never foreign: code, names and formulas have them everywhere.

    Args:
        answer: What the model said, without its reasoning.
        asked: All messages.
        expected: The reference and the checks, as text.
    """
    prompt, reply = scripts(asked), scripts(answer)
    letters = sum(reply.values())
    if letters < _LETTERS or not prompt or _ASKS.search(asked):
        return False
    home, most = prompt.most_common(1)[0]
    if most <= 0.9 * sum(prompt.values()):
        return False
    known = {home, "LATIN", *scripts(expected)}
    # Letters of mathematics and forms of Latin letters have names of their own.
    foreign = {script: n for script, n in reply.items() if script not in known and script not in _NO_SCRIPT}
    return sum(foreign.values()) > 0.6 * letters


_NO_SCRIPT = frozenset({"UNKNOWN", "MATHEMATICAL", "FULLWIDTH", "HALFWIDTH", "MODIFIER", "DOUBLE-STRUCK", "SCRIPT"})
