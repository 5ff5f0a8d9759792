"""What a measuring session says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from audition.bench.rundir import RunDir
from audition.cli import session
from handmade import Made, run


@pytest.mark.parametrize(
    ("classes", "licence"),
    [(("permissive", "use-restricted"), " --licence permissive"), (("permissive", "unknown"), "")],
)
def test_the_command_that_it_suggests_does_not_rule_out_a_server(
    classes: tuple[str, ...], licence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Made(f"m{i}", licence_class=name) for i, name in enumerate(classes)]
    folder = run(*made).write(tmp_path / "run")
    session._show(RunDir(folder), as_json=False)
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Choose under constraints: audition pick '{folder}' --max-latency 2s{licence}"
    )
