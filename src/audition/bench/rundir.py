"""The run directory: what a run leaves behind, safe against a kill at any moment.

`plan.json` and `host.json` are written once; `samples.jsonl`, `loads.jsonl` and, where the plan adapts,
`blocks.jsonl` only grow, a line at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from audition.bench.plan import Plan
from audition.bench.sample import Load, Sample
from audition.bench.schedule import Added, Schedule
from audition.errors import AuditionError, UsageError, nearest
from audition.jsonfile import read_json, write_json
from audition.paths import runs_dir

_LOCK = ".lock"
Record = TypeVar("Record")


class RunDir:
    """One run's directory, for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples_path = path / "samples.jsonl"
        self.loads_path = path / "loads.jsonl"
        self.blocks_path = path / "blocks.jsonl"

    @classmethod
    def create(cls, path: Path, plan: Plan, host: dict[str, Any]) -> RunDir:
        """Make a new run directory with its plan and its host.

        Raises:
            UsageError: The directory holds something already.
        """
        cls.refuse_used(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_json(path / "host.json", host)
            # The plan comes last: a folder with a plan is a run.
            write_json(path / "plan.json", plan.to_json())
        except OSError as error:
            raise write_error(error, path) from error
        return cls(path)

    @staticmethod
    def refuse_used(path: Path) -> None:
        """Refuse a folder that holds something already; worth asking before a long download.

        Raises:
            UsageError: With what to do instead.
        """
        if (path / "plan.json").exists():
            other = "name another folder with --out"
            if _is_finished(RunDir(path)):
                raise UsageError(f"{path} holds a finished run already", fix=other, code="in_use")
            raise UsageError(
                f"{path} holds a run already, which is not finished",
                fix=f"go on with it: audition bench --resume '{path}', or {other}",
                code="in_use",
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path} is not an empty folder", fix="name a new folder with --out", code="in_use")

    @classmethod
    def open(cls, name: str) -> RunDir:
        """Return a run by its path, by its name in the data folder, or by `latest`.

        Raises:
            UsageError: There is no such run.
        """
        stored = {path.parent.name: path.parent for path in runs_dir().glob("*/plan.json")}
        path = Path(name).expanduser()
        if (path / "plan.json").is_file():
            return cls(path)
        if name == "latest" and stored:
            return cls(max(stored.values(), key=lambda run: (run / "plan.json").stat().st_mtime_ns))
        if name in stored:
            return cls(stored[name])
        make = "make one first: audition bench, or audition demo"
        if name == "latest":
            raise UsageError(
                f'there is no run "latest": {runs_dir()} holds none',
                fix=f"name a run that was made with --out by its folder, or {make}",
                code="run_not_found",
            )
        fix = nearest(name, list(stored)) or f"name its folder, or {make}"
        raise UsageError(f'there is no run "{name}"', fix=fix, code="run_not_found")

    @property
    def plan(self) -> Plan:
        """The plan."""
        return Plan.from_json(read_json(self.path / "plan.json"))

    @property
    def host(self) -> dict[str, Any]:
        """The machine and the engines that the run was made with."""
        data = read_json(self.path / "host.json")
        # Older runs have no servers.
        if not isinstance(data, dict) or not all(
            isinstance(data.get(k), dict) for k in ("machine", "engines", "models", *({"servers"} & data.keys()))
        ):
            raise AuditionError(f"{self.path / 'host.json'} is damaged", fix="restore it", code="bad_run")
        return data

    def samples(self) -> list[Sample]:
        """Return every complete sample."""
        return list(_records(self.samples_path, Sample.from_json))

    def loads(self) -> list[Load]:
        """Return every complete load."""
        return list(_records(self.loads_path, Load.from_json))

    def added(self) -> list[Added]:
        """Return what an adaptive plan added to its blocks."""
        return list(_records(self.blocks_path, Added.from_json))

    @contextmanager
    def writing(self) -> Iterator[RunWriter]:
        """Hold the run for writing; what a kill left half written is dropped first.

        Raises:
            UsageError: Another process is writing to it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"{self.path} is in use by another run", fix="wait for it to end, or name another folder with --out",
                code="in_use",
            ) from None  # fmt: skip
        except OSError as error:
            raise write_error(error, self.path) from error
        # The lock file stays: between its release and its removal another process could take it.
        try:
            yield RunWriter(self)
        finally:
            lock.release()


class RunWriter:
    """The one process that may add to a run.

    Attributes:
        torn: The files whose last line was half written and has been dropped.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        paths = (run.samples_path, run.loads_path, run.blocks_path)
        self.torn = [path.name for path in paths if _drop_torn_line(path)]

    def add_sample(self, sample: Sample) -> None:
        """Append one sample."""
        self._append(self.run.samples_path, sample.to_json())

    def add_load(self, load: Load) -> None:
        """Append one load."""
        self._append(self.run.loads_path, load.to_json())

    def update_host(self, host: dict[str, Any]) -> None:
        """Write `host.json` again, with what was measured since."""
        try:
            write_json(self.run.path / "host.json", host)
        except OSError as error:
            raise write_error(error, self.run.path) from error

    def add_blocks(self, added: Added) -> None:
        """Append what the schedule decided."""
        self._append(self.run.blocks_path, added.to_json())

    def _append(self, path: Path, record: dict[str, Any]) -> None:
        # One write of one whole line: a kill leaves the line there, or not, or (rarely) torn, never mixed up.
        # ASCII, because a model can emit half of a surrogate pair.
        line = (json.dumps(record, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            try:
                written = os.write(handle, line)
            finally:
                os.close(handle)
            if written < len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise write_error(error, self.run.path) from error


def _is_finished(run: RunDir) -> bool:
    """Return whether nothing of a run is left to do; one that cannot be read is not finished."""
    try:
        schedule, samples, loads = Schedule(run.plan, run.added()), run.samples(), run.loads()
    except AuditionError:
        return False
    return not schedule.left(samples, loads) and schedule.more(samples, loads) is None


def new_run_path(name: str) -> Path:
    """Return a fresh path in the data folder's runs, such as `20261122-141503-demo`."""
    stem = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{name}"
    path, number = runs_dir() / stem, 1
    while path.exists():
        number += 1
        path = runs_dir() / f"{stem}-{number}"
    return path


def write_error(error: OSError, path: Path) -> AuditionError:
    """Turn a failed write to a run directory into a sentence; a run that was under way can go on later."""
    from audition.store.blobs import disk_error

    problem = disk_error(error, path)
    if (path / "plan.json").exists():
        problem.fix = f"then go on where it stopped: audition bench --resume '{path}'"
        if problem.code == "disk_full":
            problem.fix = f"free some space, {problem.fix}"
    else:
        problem.fix = "name another folder with --out"
    return problem


def _records(path: Path, parse: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    """Yield the complete lines of a `.jsonl` file; the last one counts only when its line break is there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise AuditionError(f"cannot read {path}: {error.strerror}", code="bad_run") from error
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            record = parse(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AuditionError(
                f"{path}, line {number}, is damaged ({error})",
                fix="restore the file, or delete that line to have its request asked again with --resume",
                code="bad_run",
            ) from error
        yield record


def _drop_torn_line(path: Path) -> bool:
    """Cut the file after its last complete line; return whether anything was cut."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return False
    os.truncate(path, whole)
    return True
