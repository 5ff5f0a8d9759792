"""What a run tells of itself while it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from audition.bench.plan import Block
from audition.cli import output
from audition.cli.output import RunProgress
from handmade import load, sample


def test_what_does_not_move_is_not_said_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with output.download_progress() as progress:
        for done, total in ((0, None), (0, None), (2_000_000, None), (3_000_000, 2_000_000_000)):
            progress("unpacking", done, total)
            progress("unpacking", done + 1_000_000, total)  # too soon
            now += 6
    said = capsys.readouterr().err.splitlines()
    assert said == ["unpacking", "unpacking: 2 MB", "unpacking: 3 MB of 2.00 GB"]


def told(statuses: str, capsys: pytest.CaptureFixture[str], block: Block, **fields: Any) -> str:
    """Return the last line about a block whose requests ended so: a dot for an answer, an x for a failure."""
    progress = RunProgress()
    progress.block_started(block, 1, 3)
    for status in statuses:
        progress.sample_added(sample("ok" if status == "." else "failed", block=block.id))
    progress.block_ended(load(block=block.id, **fields))
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("statuses", "said"), [("." * 13, "done"), ("xx" + "." * 11, "2 of 13 failed"), ("xxx", "no answer"), ("", "done")]
)
def test_a_block_says_how_much_of_it_was_answered(statuses: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    probe, measured = Block("p001", 0, "a", ()), Block("b001", 1, "a", ("c1",))
    assert told(statuses, capsys, probe, load_ms=None) == f"[1/3] asking whether it is honest: a: {said}"
    assert told(statuses, capsys, measured, load_ms=300.0) == f"[1/3] round 1: a: {said}, loaded in 300 ms"


def test_a_block_that_ended_early_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "gave_up", "message": "nobody listens"}
    said = told("xx", capsys, Block("p001", 0, "a", ()), status="failed", error=error)
    assert said == "[1/3] asking whether it is honest: a: failed: nobody listens"
