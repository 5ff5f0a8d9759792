"""Draw a finished run as the terminal shows it: `python docs/picture.py RUN docs/images/demo.svg`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from audition.bench.rundir import RunDir
from audition.pick.decide import read_pick
from audition.report import terminal
from audition.summary.summarize import read_summary


def main() -> None:
    run = RunDir.open(sys.argv[1])
    console = Console(record=True, width=120, file=io.StringIO(), markup=False, highlight=False)
    terminal.show(console, read_summary(run), read_pick(run))
    svg = console.export_svg(title="audition demo")
    # The picture must not ask a font server for anything.
    lines = [line for line in svg.splitlines() if "url(" not in line or "clip-path" in line]
    Path(sys.argv[2]).write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
