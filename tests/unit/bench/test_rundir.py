"""The run directory: nobody else's files are touched, and nothing that was recorded is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audition.bench.plan import Block
from audition.bench.rundir import RunDir, new_run_path
from audition.bench.sample import Memory
from audition.bench.schedule import Added
from audition.errors import AuditionError, UsageError
from audition.jsonfile import write_json
from handmade import Made
from handmade import run as run_of
from plans import a_load, a_plan, a_run, a_sample

HOLDER = """
import sys
from pathlib import Path
from audition.bench.rundir import RunDir
with RunDir(Path(sys.argv[1])).writing():
    print("holding", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return a_run(tmp_path / "run")


@contextmanager
def held(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes to the run."""
    arguments = [sys.executable, "-c", HOLDER, str(run.path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        try:
            yield process
        finally:
            process.kill()


A_HOST = {"schema": 1, "machine": {"os": "Linux"}, "engines": {}, "models": {}}


def test_a_damaged_host_is_said(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", a_plan(), {"machine": 5})
    with pytest.raises(AuditionError, match="damaged"):
        _ = run.host


def test_a_new_run_has_its_plan_and_its_host(tmp_path: Path) -> None:
    plan = a_plan()
    run = RunDir.create(tmp_path / "deep" / "run", plan, A_HOST)
    assert RunDir(run.path).plan == plan
    assert run.host == A_HOST
    assert (run.samples(), run.loads()) == ([], [])


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    a_run(tmp_path / "run")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder") as caught:
        a_run(tmp_path)
    assert caught.value.code == "in_use"
    assert "--out" in str(caught.value.fix)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        a_run(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_with_a_run_says_how_to_go_on_with_it(run: RunDir) -> None:
    before = (run.path / "plan.json").read_bytes()
    with pytest.raises(UsageError, match="holds a run already") as caught:
        a_run(run.path, a_plan(seed=5))
    assert f"--resume '{run.path}'" in str(caught.value.fix)
    assert (run.path / "plan.json").read_bytes() == before


def test_a_folder_with_a_finished_run_says_to_choose_another(tmp_path: Path) -> None:
    made = run_of(Made("a"))
    path = made.write(tmp_path / "run")
    with pytest.raises(UsageError, match="holds a finished run already") as caught:
        RunDir.refuse_used(path)
    assert caught.value.fix == "name another folder with --out"
    adaptive = replace(made.plan, settings=replace(made.plan.settings, until_ci=0.05))
    write_json(path / "plan.json", adaptive.to_json())
    with pytest.raises(UsageError, match="which is not finished"):
        RunDir.refuse_used(path)


def test_a_folder_with_a_damaged_run_is_refused_all_the_same(run: RunDir) -> None:
    (run.path / "plan.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a run already"):
        RunDir.refuse_used(run.path)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="everything is writable")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(AuditionError) as caught:
        a_run(tmp_path / "locked" / "run")
    assert caught.value.code == "not_writable"
    assert "--out" in str(caught.value.fix)


def test_a_run_is_found_by_path_by_name_and_as_the_latest(home: Path) -> None:
    older, newer = a_run(home / "runs" / "monday"), a_run(home / "runs" / "tuesday")
    os.utime(older.path / "plan.json", (1, 1))
    (home / "runs" / "no-run").mkdir()
    for name, run in ((str(older.path), older), ("monday", older), ("tuesday", newer), ("latest", newer)):
        assert RunDir.open(name).path == run.path
    with pytest.raises(UsageError, match='no run "tusday"') as caught:
        RunDir.open("tusday")
    assert '"tuesday"' in str(caught.value.fix)


def test_without_a_run_there_is_no_latest(home: Path, tmp_path: Path) -> None:
    # One that was made with --out lies elsewhere.
    a_run(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="latest") as caught:
        RunDir.open("latest")
    assert caught.value.code == "run_not_found"
    assert str(home / "runs") in caught.value.message
    assert "made with --out by its folder" in (caught.value.fix or "")


def test_a_new_path_is_nobody_elses(home: Path) -> None:
    paths = set()
    for _ in range(3):
        path = new_run_path("demo")
        path.mkdir(parents=True)
        paths.add(path)
    assert len(paths) == 3
    assert {path.parent for path in paths} == {home / "runs"}


def test_what_is_added_is_there_for_every_reader_at_once(run: RunDir) -> None:
    load = a_load(peak=Memory(5, 3, 2))
    with run.writing() as writer:
        writer.add_sample(a_sample())
        assert RunDir(run.path).samples() == [a_sample()]
        writer.add_sample(a_sample(case="green", text="half \ud83d and \udfff, 世界\u2028\r\n"))
        writer.add_load(load)
    again = RunDir(run.path)
    assert again.samples() == [a_sample(), a_sample(case="green", text="half \ud83d and \udfff, 世界\u2028\r\n")]
    assert again.loads() == [load]
    assert b"\r" not in run.samples_path.read_bytes()


def test_a_run_that_goes_on_keeps_what_it_has(run: RunDir) -> None:
    with run.writing() as writer:
        writer.add_sample(a_sample())
    before = run.samples_path.read_bytes()
    with run.writing() as writer:
        assert writer.torn == []
        writer.add_sample(a_sample(case="green"))
    assert run.samples_path.read_bytes().startswith(before)
    assert len(run.samples()) == 2


def test_another_process_keeps_a_run_for_itself(run: RunDir) -> None:
    with held(run) as holder:
        with pytest.raises(UsageError, match="in use by another run") as caught, run.writing():
            pass
        assert caught.value.code == "in_use"
        assert run.samples() == [], "reading is free"
        holder.communicate("done\n")
    with run.writing() as writer:
        writer.add_sample(a_sample())


def test_a_process_that_was_killed_leaves_the_run_free(run: RunDir) -> None:
    with held(run) as holder:
        holder.kill()
        holder.wait()
        with run.writing() as writer:
            writer.add_sample(a_sample())


def test_the_lock_is_one_file_for_all(run: RunDir) -> None:
    """A lock file that is removed and made again is two locks: who waited at the old one would write, too."""
    with run.writing():
        waiting = (run.path / ".lock").open()
    with waiting, run.writing():
        assert os.path.samestat(os.fstat(waiting.fileno()), (run.path / ".lock").stat())


def two_lines(run: RunDir) -> tuple[bytes, bytes]:
    with run.writing() as writer:
        writer.add_sample(a_sample())
        writer.add_sample(a_sample(case="green"))
    first, second = run.samples_path.read_bytes().splitlines(keepends=True)
    return first, second


@pytest.mark.parametrize("kept", [1, 50, -1], ids=["a byte", "a part", "all but the line break"])
def test_a_torn_last_line_is_dropped_and_reported(run: RunDir, kept: int) -> None:
    first, second = two_lines(run)
    run.samples_path.write_bytes(first + second[:kept])
    assert run.samples() == [a_sample()], "a reader passes over it"
    assert run.samples_path.read_bytes() == first + second[:kept], "and does not touch it"
    with run.writing() as writer:
        assert writer.torn == ["samples.jsonl"]
        assert run.samples_path.read_bytes() == first
        writer.add_sample(a_sample(case="blue"))
    assert run.samples() == [a_sample(), a_sample(case="blue")]


def test_both_files_can_be_torn(run: RunDir) -> None:
    run.samples_path.write_bytes(b"{")
    run.loads_path.write_bytes(b'{"target"')
    with run.writing() as writer:
        assert writer.torn == ["samples.jsonl", "loads.jsonl"]
    assert run.samples_path.read_bytes() == run.loads_path.read_bytes() == b""


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b'{"case": "red"}', b"\xff\xfe", b"nothing at all", b'{"a": ' * 5000],
    ids=["empty", "cut", "list", "null", "poor", "bytes", "words", "deep"],
)
def test_a_damaged_line_in_the_middle_is_named(run: RunDir, line: bytes) -> None:
    first, second = two_lines(run)
    run.samples_path.write_bytes(first + line + b"\n" + second)
    with pytest.raises(AuditionError, match=r"samples\.jsonl, line 2, is damaged") as caught:
        run.samples()
    assert caught.value.code == "bad_run"
    assert "--resume" in str(caught.value.fix)


def test_a_damaged_load_is_named(run: RunDir) -> None:
    line = json.dumps(a_load().to_json() | {"peak": {"surprise": 1}})
    run.loads_path.write_text(line + "\n")
    with pytest.raises(AuditionError, match=r"loads\.jsonl, line 1, is damaged"):
        run.loads()


def test_a_plan_that_is_no_json_is_named(run: RunDir) -> None:
    (run.path / "plan.json").write_text("{")
    with pytest.raises(UsageError, match=r"plan\.json is not valid JSON"):
        _ = run.plan


def resumable(run: RunDir, caught: AuditionError) -> None:
    """The run goes on where it stopped, once there is space again."""
    assert (caught.code, type(caught)) == ("disk_full", AuditionError)
    assert f"audition bench --resume '{run.path}'" in str(caught.fix)
    assert "free some space" in str(caught.fix)
    with run.writing() as writer:
        writer.add_sample(a_sample(case="green"))
    assert run.samples() == [a_sample(), a_sample(case="green")]


def test_a_full_disk_stops_the_run_and_the_line_is_torn(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with run.writing() as writer:
        writer.add_sample(a_sample())
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda handle, data: write(handle, data[:20]))
            with pytest.raises(AuditionError, match="disk filled up") as caught:
                writer.add_sample(a_sample(case="green"))
    resumable(run, caught.value)


def test_a_full_disk_stops_the_run_and_nothing_is_written(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with run.writing() as writer:
        writer.add_sample(a_sample())
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(AuditionError) as caught:
                writer.add_sample(a_sample(case="green"))
    resumable(run, caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is always full")
def test_a_disk_that_is_really_full(run: RunDir) -> None:
    with run.writing() as writer:
        run.loads_path.symlink_to("/dev/full")
        with pytest.raises(AuditionError) as caught:
            writer.add_load(a_load())
        run.loads_path.unlink()
    assert caught.value.code == "disk_full"


@pytest.mark.skipif(sys.platform == "win32", reason="a folder cannot be opened there at all")
def test_a_run_that_cannot_be_locked_says_so(run: RunDir) -> None:
    (run.path / ".lock").mkdir()
    with pytest.raises(AuditionError) as caught, run.writing():
        pass
    assert str(run.path) in caught.value.message


ADDED = Added((Block("b002", 2, "tiny", ("red", "green")), Block("b003", 2, "other", ("blue",))), "too close to call")
END = Added((), "the budget of 60 s is spent")


def test_what_an_adaptive_plan_decided_is_kept_in_order(run: RunDir) -> None:
    assert run.added() == []
    with run.writing() as writer:
        writer.add_blocks(ADDED)
        assert RunDir(run.path).added() == [ADDED]
        writer.add_blocks(END)
    assert RunDir(run.path).added() == [ADDED, END]
    assert len(run.blocks_path.read_bytes().splitlines()) == 2


def test_a_decision_that_is_half_written_was_not_taken(run: RunDir) -> None:
    with run.writing() as writer:
        writer.add_blocks(ADDED)
        writer.add_blocks(END)
    run.blocks_path.write_bytes(run.blocks_path.read_bytes()[:-3])
    assert run.added() == [ADDED]
    with run.writing() as writer:
        assert writer.torn == ["blocks.jsonl"]
        writer.add_blocks(END)
    assert run.added() == [ADDED, END]


@pytest.mark.parametrize(
    "line", [b"{}", b'{"blocks": 5, "reason": ""}', b'{"blocks": [{"id": "b"}], "reason": ""}', b"no"]
)
def test_a_damaged_decision_is_named(run: RunDir, line: bytes) -> None:
    run.blocks_path.write_bytes(line + b"\n")
    with pytest.raises(AuditionError, match=r"blocks\.jsonl, line 1, is damaged") as caught:
        run.added()
    assert caught.value.code == "bad_run"


def test_the_host_is_written_again_with_what_was_measured_since(run: RunDir) -> None:
    more = {**run.host, "noise_floor": {"ttft_ms": {"p50": 0.1, "max": 0.2}}}
    with run.writing() as writer:
        writer.update_host(more)
        assert RunDir(run.path).host == more, "at once"
    assert run.host == more
    assert not [path for path in run.path.iterdir() if "host" in path.name and path.name != "host.json"]


def test_a_host_that_cannot_be_written_leaves_the_old_one(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = run.host
    with run.writing() as writer:
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(AuditionError) as caught:
            writer.update_host({**before, "noise_floor": {}})
    assert (caught.value.code, f"--resume '{run.path}'" in str(caught.value.fix)) == ("disk_full", True)
    assert run.host == before
