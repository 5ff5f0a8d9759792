"""A table that gives up its least important columns where the terminal is too narrow for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from audition.text import one_line

_GAP = 2
_LEAST_FIRST = 28
"""Characters that the first column keeps; a longer name in it goes on in the next line before a column goes."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        header: Its name.
        cells: One a row; a plain text, or one with a style.
        rank: Where there is no room for all, the lowest are placed first; 0 always is.
        right: Whether it is aligned to the right, as figures are.
    """

    header: str
    cells: Sequence[str | Text]
    rank: int = 0
    right: bool = False

    @property
    def width(self) -> int:
        """Characters of a terminal that it takes."""
        texts = (self.header, *(cell if isinstance(cell, str) else cell.plain for cell in self.cells))
        return max(cell_len(one_line(text)) for text in texts)


class NarrowTable:
    """Rows in as many columns as there is room for; a line below names those that are not shown."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Take the columns; one in which no row has anything is left out."""
        self._columns = [column for column in columns if any(str(cell) for cell in column.cells)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ranked = sorted(self._columns, key=lambda column: column.rank)
        kept = [column for column in ranked if column.rank == 0]
        room = options.max_width - min(_LEAST_FIRST, kept[0].width) - sum(c.width + _GAP for c in kept[1:])
        for column in ranked[len(kept) :]:
            if column.width + _GAP <= room:
                kept.append(column)
                room -= column.width + _GAP
        dropped = [column for column in self._columns if column not in kept]
        kept = [column for column in self._columns if column in kept]
        yield _table(kept, options.max_width - sum(column.width + _GAP for column in kept[1:]))
        if dropped:
            names = ", ".join(column.header.lower() for column in dropped)
            yield Text(f"Not shown at this width: {names} (--json has all).", style="dim")


def _table(columns: Sequence[Column], first_width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        # Only the first may be broken: a figure cut short is a wrong figure.
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.header, justify=justify, no_wrap=number > 0, overflow="fold")
    for first, *others in zip(*(column.cells for column in columns), strict=True):
        cells = [_text(cell) for cell in others]
        table.add_row(_broken(_text(first), first_width), *cells)
    return table


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(one_line(cell))


def _broken(name: Text, width: int) -> Text:
    """Return a name in lines that are no longer than that, broken after a mark in it where there is one."""
    lines, rest = [], name.plain
    while cell_len(rest) > width > 0:
        piece = set_cell_size(rest, width).rstrip()
        mark = max(piece.rfind(sign) for sign in "/:-") + 1
        cut = mark if mark > width // 2 else len(piece)
        lines.append(rest[:cut])
        rest = rest[cut:]
    return Text("\n".join([*lines, rest]), style=name.style)
