"""A table in terminals of any width: no figure is cut, and what is left out is named."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from audition.report.narrow import Column, NarrowTable

NAMES = ["hf:somebody-with-a-name/A-Model-With-A-Long-Name-GGUF:Q4_K_M", "tiny"]


def columns(**changes):
    made = {
        "name": Column("Name", NAMES),
        "size": Column("Size", ["123 MB", "4.56 GB"], right=True),
        "class": Column("Class", ["permissive", "use-restricted"], rank=1),
        "format": Column("Format", ["gguf", "onnx-genai"], rank=2),
        "wide": Column("Wide", ["x" * 60, "y"], rank=3),
        "last": Column("Last", ["a", "b"], rank=4),
    }
    return list((made | changes).values())


def shown(width, made=None):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(NarrowTable(made or columns()))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 300])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width):
    text = shown(width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "123 MB" in text
    assert "4.56 GB" in text
    assert "…" not in text


def test_where_there_is_room_nothing_is_left_out():
    text = shown(300)
    assert NAMES[0] in text
    assert "Not shown" not in text


def test_columns_are_placed_by_rank_and_the_rest_is_named():
    text = shown(80)
    header = text.splitlines()[0].split()
    assert header == ["Name", "Size", "Class", "Format", "Last"], "a later column fills what a wide one cannot"
    assert "Not shown at this width: wide (--json has all)." in text
    assert "Not shown at this width: class, format, wide, last" in " ".join(shown(42).split())


def test_a_long_name_goes_on_in_the_next_line_after_a_mark():
    lines = shown(60).splitlines()
    first = "".join(line[: line.find("  ")] if "  " in line else line for line in lines[2:5])
    assert first.startswith(NAMES[0])
    assert lines[2].split("  ")[0].endswith(("/", "-", ":"))


def test_a_column_without_anything_is_left_out():
    assert "Class" not in shown(300, columns(**{"class": Column("Class", ["", ""], rank=1)}))


def test_text_of_others_is_shown_as_text():
    hostile = "\x1b[2Jevil\u202e[bold]\nnext"
    text = shown(120, [Column("Name", [hostile]), Column("Size", [Text("1 MB")])])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold] next" in text
