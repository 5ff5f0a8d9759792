"""The report files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audition.bench.rundir import RunDir
from audition.jsonfile import write_text
from audition.pick.decide import Pick
from audition.pick.same_model import SameModel
from audition.report import markdown, table_csv


def write_reports(
    run: RunDir, summary: dict[str, Any], pick: Pick | None, groups: Sequence[SameModel] = ()
) -> list[Path]:
    """Write every report format into the run directory; return the paths."""
    texts = {
        markdown.FILE_NAME: markdown.render(run.plan, run.host, summary, run.samples(), pick, groups),
        table_csv.FILE_NAME: table_csv.render(summary),
    }
    for name, text in texts.items():
        write_text(run.path / name, text)
    return [run.path / name for name in texts]
