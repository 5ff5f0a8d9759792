"""A run that was cut anywhere goes on, and ends as it would have."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from audition.api import Silent
from audition.bench.requests import measured_requests, opening
from audition.bench.rundir import RunDir
from audition.bench.runner import Means, run_plan
from audition.bench.schedule import Schedule
from plans import a_plan, a_run, a_target

PLAN = a_plan([a_target(model="one"), a_target(model="two")], rounds=2)
LINES = 4 * (5 + 1)
"""Of every block five samples and then its load."""


@pytest.fixture
def finish(tmp_path: Path, faulty: None) -> Callable[[RunDir], RunDir]:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")

    def finish(run: RunDir) -> RunDir:
        run_plan(run, Means(lambda _: weights, lambda: 2**40), Silent())
        return run

    return finish


@pytest.fixture
def whole(tmp_path: Path, finish: Callable[[RunDir], RunDir]) -> RunDir:
    return finish(a_run(tmp_path / "whole", PLAN))


def in_order(run: RunDir) -> list[tuple[str, bytes]]:
    """Return every line of a whole run with its file, in the order in which they were written."""
    samples = run.samples_path.read_bytes().splitlines(keepends=True)
    loads = run.loads_path.read_bytes().splitlines(keepends=True)
    lines: list[tuple[str, bytes]] = []
    for number, load in enumerate(loads):
        lines += [("samples.jsonl", line) for line in samples[5 * number : 5 * number + 5]]
        lines.append(("loads.jsonl", load))
    assert len(lines) == LINES
    return lines


def cut(run: RunDir, path: Path, lines: list[tuple[str, bytes]]) -> RunDir:
    """Return the run as it was when only these lines had been written."""
    path.mkdir()
    for name in ("plan.json", "host.json"):
        shutil.copy(run.path / name, path / name)
    for name, line in lines:
        with (path / name).open("ab") as stream:
            stream.write(line)
    return RunDir(path)


def content(run: RunDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.samples_path, run.loads_path) if path.exists()}


def assert_whole(run: RunDir, kept: dict[str, bytes]) -> None:
    """All that was planned is there once, and every line that was there before still is, byte for byte."""
    level = PLAN.levels[0]
    planned = {
        (block.id, *asked.id)
        for block in PLAN.blocks
        for asked in [*opening(PLAN), *measured_requests(PLAN, block, level)]
    }
    assert len(planned) == 20
    assert Counter((s.block, s.phase, s.level, s.case, s.repeat) for s in run.samples()) == dict.fromkeys(planned, 1)
    assert {sample.status for sample in run.samples()} == {"ok"}
    assert Counter(load.block for load in run.loads()) == {block.id: 1 for block in PLAN.blocks}
    assert not Schedule(run.plan, []).left(run.samples(), run.loads())
    for name, before in kept.items():
        assert content(run)[name].startswith(before)


@pytest.mark.slow
def test_a_run_that_was_cut_between_two_lines_ends_as_planned(
    whole: RunDir, tmp_path: Path, finish: Callable[[RunDir], RunDir]
) -> None:
    lines = in_order(whole)
    for kept in range(LINES + 1):
        run = cut(whole, tmp_path / f"cut-{kept}", lines[:kept])
        before = content(run)
        assert_whole(finish(run), before)


@pytest.mark.slow
def test_a_run_that_was_cut_inside_a_line_ends_as_planned(
    whole: RunDir, tmp_path: Path, finish: Callable[[RunDir], RunDir]
) -> None:
    lines = in_order(whole)
    rng = random.Random(0)
    for kept, (name, line) in enumerate(lines):
        # Early and late, so that the first byte and all but the line break are among them.
        place = {0: 1, 1: len(line) - 1}.get(kept % 3, rng.randrange(1, len(line)))
        run = cut(whole, tmp_path / f"cut-{kept}", lines[:kept])
        before = content(run)
        with (run.path / name).open("ab") as stream:
            stream.write(line[:place])
        assert_whole(finish(run), before)


@pytest.mark.slow
def test_a_run_that_is_cut_again_and_again_ends_as_planned(
    whole: RunDir, tmp_path: Path, finish: Callable[[RunDir], RunDir]
) -> None:
    """Every time it goes on, it gets one line further before it is cut again."""
    kept = in_order(whole)[:1]
    for number in range(2, 12):
        run = cut(whole, tmp_path / f"cut-{number}", kept)
        before = content(run)
        assert_whole(finish(run), before)
        kept = in_order(run)[:number]
