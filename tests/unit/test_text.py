"""Hostile text: what is left of it once a person may see it."""

import unicodedata

import pytest

from audition.text import one_line, printable

BOX = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "character",
    [
        *map(chr, [*range(9), *range(0x0B, 0x20)]),  # C0 without tab and newline
        *map(chr, range(0x7F, 0xA0)),  # DEL and C1, with the one-byte CSI
        *"\u200b\u200c\u200d\u200e\u200f\u061c",  # zero width, and marks of direction
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # bidirectional embeddings and isolates
        *"\u2028\u2029",  # line and paragraph separators
        *"\u2060\ufeff",  # word joiner, byte order mark
        *"\ud800\udbff\udc00\udfff",  # halves of characters
    ],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_each_hostile_character_becomes_a_box(character):
    assert printable(f"a{character}b") == f"a{BOX}b"


@pytest.mark.parametrize(
    "text",
    ["", "plain", "a\tb\nc\n", "Grüße, 日本語, العربية, हिन्दी", "👍🏽 ½ “quotes” — …", "non\u00a0breaking", "e\u0301"],
)
def test_what_people_write_is_kept(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    "sequence",
    ["\x1b[2J", "\x1b]0;title\x07", "\x1b[31mred\x1b[0m", "\x9b2J", "\x1bP1$r\x1b\\", "\x1b]8;;http://evil\x1b\\"],
)
def test_no_terminal_sequence_survives(sequence):
    shown = printable(f"before{sequence}after")
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\x07" not in shown
    assert shown.startswith("before" + BOX)


def test_windows_line_ends_are_line_ends_and_a_lone_carriage_return_is_not():
    assert printable("a\r\nb") == "a\nb"
    assert printable("safe\rEVIL") == f"safe{BOX}EVIL"


def test_every_character_of_unicode_is_either_encodable_or_replaced():
    shown = printable("".join(map(chr, range(0x110000))))
    shown.encode("utf-8")
    assert {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} == {"\t", "\n"}


def test_printable_text_stays_as_it_is_the_second_time():
    once = printable("\x1b[2J\u202eabc\ud800")
    assert printable(once) == once


def test_one_line_joins_lines_and_runs_of_blanks():
    assert one_line("  a \n\n b\t\tc  ") == "a b c"


def test_one_line_has_no_control_characters():
    assert one_line("a\x1b[31m\nb\u2028c") == f"a{BOX}[31m b{BOX}c"


def test_one_line_is_cut_with_an_ellipsis_only_when_it_is_too_long():
    assert one_line("a" * 200) == "a" * 200
    assert one_line("a" * 201) == "a" * 199 + "…"
    assert one_line("abcdef", 4) == "abc…"


def test_one_line_does_not_end_with_a_blank_before_the_ellipsis():
    assert one_line("abc def", 5) == "abc…"
