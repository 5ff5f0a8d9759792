r"""Numbers in text: which runs of characters are numbers, and what they mean.

* A comma followed by exactly three digits (and again, for further groups) separates thousands: "1,234" is
  1234 and "1,234.5" is 1234.5. Any other single comma between digits is a decimal comma: "3,14" is 3.14, and
  so is "0,125", because no group of thousands starts with 0. Commas that fit neither make a list: "1,2,3" is
  three numbers.
* A full stop is the decimal point: "1.234" is 1.234, "42." at the end of a sentence is 42. It separates
  thousands only where it cannot be a decimal point: "1.234,5" and "1.234.567". Other runs with several stops
  (versions, addresses) are no numbers.
* A space, a thin or a no-break space, or an apostrophe followed by exactly three digits separates thousands:
  "1 234".
* Also Indian groups (12,34,567), exponents (1.5e3, 1.5 x 10^3, 1.5 \times 10^{3}, 10^6), a point without a
  zero (.5).
* A sign counts when it touches its number or the number's currency sign, and nothing it could subtract from
  or join stands before it: "-5", "-$5" and "(-5)" are -5, "3-5" and "3 - 5" are 3 and 5. An en dash can be a
  minus sign.
* Currency, percent signs and units are ignored: "$5", "5 %" and "5kg" are 5. Digits that hang on a letter,
  with or without a hyphen, are no numbers: "H2O", "Qwen2.5", "GPT-4". Fractions and number words are not
  read.
* The markers of a numbered list are no numbers: "1." or "1)" at the start of a line, when a later line has
  "2.".
"""

from __future__ import annotations

import math

import regex

from audition.quality.checks.terms import WORD, strip_emphasis

_BLANK = r"[\x20\u00a0\u2009\u202f]"
_SUPERSCRIPTS = str.maketrans(
    "\u207a\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "+-0123456789"
)
_POWER = r"(?:\^\{?(?P<%s>[-+]?\d{1,4})\}?|(?P<%s>[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{1,4}))"
_NUMBER = regex.compile(
    rf"""
    (?<!\d)
    (?P<sign>[-+](?=\p{{Sc}}?\.?\d))? (?P<money>\p{{Sc}})?
    (?P<body>
        \d{{1,3}}(?:{_BLANK}\d{{3}}(?!\d))+(?:[.,]\d{{1,2}}(?!\d)|\.\d++)?(?![.,]?\d)
      | \d++(?:[.,]\d++|['\u2019]\d{{3}}(?!\d))*+
      | (?<![\w.])\.\d++
    )
    (?:
        [eE](?P<exponent>[-+]?\d{{1,4}})(?!{WORD})
      | \s?(?:\u00d7|x|\*|\u00b7|\\times|\\cdot)\s?10{_POWER % ("exponent", "exponent")}
      | {_POWER % ("of_ten", "of_ten")}
    )?
    """,
    regex.VERBOSE | regex.V1,
)
_LETTER = regex.compile(rf"[{WORD}--\d]", regex.V1)
_MARKER = regex.compile(r"^[ \t>#*_]*+(\d{1,3})[.)](?=[*_]*[ \t]+\S)", regex.MULTILINE)
_SINGLE_DASHES = str.maketrans("\u2212\u2010\u2011\u2014\u2015", "---  ")
_JOINING_DASH = regex.compile(r"(?<=\w)\u2013")
_GROUPERS = regex.compile(rf"{_BLANK}|['\u2019]")
_COMMA_GROUPS = regex.compile(r"(?!0)(?:\d{1,3}(?:,\d{3})++|\d{1,2}(?:,\d{2}(?=,))++,\d{3})(?:\.\d+)?")
_DOT_GROUPS = regex.compile(r"(?!0)\d{1,3}(?:(?:\.\d{3}){2,}|(?:\.\d{3})+,\d+)")


def numbers(text: str) -> list[float]:
    """Return the numbers in `text`, in their order."""
    text = _JOINING_DASH.sub(" ", _without_markers(text).translate(_SINGLE_DASHES)).replace("\u2013", "-")
    text = strip_emphasis(text)
    found: list[float] = []
    for match in _NUMBER.finditer(text):
        if _hangs_on_letter(text, match):
            continue
        values = _values(match)
        if values and match["sign"] == "-" and text[match.start() - 1 : match.start()] not in tuple(")]}%"):
            values[0] = -values[0]
        found += [value for value in values if math.isfinite(value)]
    return found


def _without_markers(text: str) -> str:
    """Blank the markers of numbered lists; a marker belongs to a list when its list counts on from 1."""
    ones: list[regex.Match[str]] = []
    listed: list[regex.Match[str]] = []
    seen: set[int] = set()
    for match in _MARKER.finditer(text):
        value = int(match[1])
        if value == 1:
            ones.append(match)
        elif value - 1 in seen or (value == 2 and ones):
            listed.append(match)
            seen.add(value)
    pieces, end = [], 0
    for match in sorted((*ones, *listed), key=regex.Match.start) if listed else ():
        pieces += [text[end : match.start(1)], " "]
        end = match.end()
    return "".join((*pieces, text[end:]))


def _hangs_on_letter(text: str, match: regex.Match[str]) -> bool:
    before = text[match.start() - 1 : match.start()]
    return not match["money"] and match["sign"] != "+" and bool(_LETTER.match(before))


def _values(match: regex.Match[str]) -> list[float]:
    plain = _plain(match["body"])
    if match["of_ten"] and plain == ["10"]:
        return [float("1e" + match["of_ten"].translate(_SUPERSCRIPTS))]
    if match["exponent"] and plain:
        plain[-1] += "e" + match["exponent"].translate(_SUPERSCRIPTS)
    return [float(number) for number in plain]


def _plain(body: str) -> list[str]:
    """Return the numbers of an unbroken run of digits and separators as `float` reads them."""
    compact = _GROUPERS.sub("", body)
    if _COMMA_GROUPS.fullmatch(compact):
        return [compact.replace(",", "")]
    if _DOT_GROUPS.fullmatch(compact):
        return [compact.replace(".", "").replace(",", ".")]
    if compact.count(",") + compact.count(".") <= 1:
        return [compact.replace(",", ".")]
    return [number for part in compact.split(",") for number in _plain(part)] if "," in compact else []
