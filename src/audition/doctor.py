"""The doctor: what works on this machine and what does not, and why; or what is wrong with one model's files.

Engines are asked in processes of their own, so that one that hangs or crashes is a line of the result. Values of
settings that can hold a secret are never read into it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from audition.bench.machine import describe_machine
from audition.engines.host import probe
from audition.engines.registry import GROUP, engine_for, formats_of, missing_packages
from audition.engines.server import local_servers
from audition.errors import AuditionError, UsageError
from audition.models.folder import format_of
from audition.models.folder_check import check_folder
from audition.models.folder_header import read_header
from audition.models.header import ModelFileError
from audition.paths import home, user_models_file
from audition.store.store import Store
from audition.store.usage import usage
from audition.text import one_line

SCHEMA = 1

ENGINE_TIMEOUT_S = 60.0
SERVERS_TIMEOUT_S = 1.0
LITTLE_MEMORY_BYTES = 10**9
LITTLE_DISK_BYTES = 2 * 10**9

_OURS = "audition.engines."
_DISK = ("not_writable", "disk_full", "disk_error")
_AT_ONCE = 3
"""Engines that are asked at a time: each may take half a gigabyte to import."""
_PREFIXES = ("AUDITION_", "BENCH_", "FOUNDRY_", "HF_", "PIP_", "OMP_")
_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "CUDA_VISIBLE_DEVICES")
_SHOWN = ("AUDITION_HOME", "BENCH_MODELS", "BENCH_ROUNDS", "BENCH_MAX_TOKENS", "BENCH_TEMPERATURE", "HF_HUB_OFFLINE",
          "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES")  # fmt: skip
"""Settings whose value is no secret. An address, a proxy's among them, can have a password in it."""


def diagnose(engine_timeout_s: float = ENGINE_TIMEOUT_S) -> dict[str, Any]:
    """Return what works on this machine; plain data, ready for JSON.

    Args:
        engine_timeout_s: How long each engine may take to be imported and to describe itself.

    Returns:
        `ok` (an engine works or a server answers, and nothing is broken), `problems` (each with `where`, `message`,
        `fix` and `fatal`), `engines`, `machine`, `store`, `settings` and `servers`. `docs/doctor.md` describes all.
    """
    points = {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}
    with (
        tempfile.TemporaryDirectory(prefix="audition-doctor-", ignore_cleanup_errors=True) as logs,
        ThreadPoolExecutor(_AT_ONCE + 1) as pool,
    ):
        answering = pool.submit(_servers)
        with ThreadPoolExecutor(_AT_ONCE) as asking:
            asked = asking.map(lambda point: _engine(point, Path(logs), engine_timeout_s), points.values())
        engines, servers = list(asked), answering.result()
    machine, store = describe_machine(), _store()
    problems = [*_engine_problems(engines), *_machine_problems(machine), *store.pop("problems")]
    can_run = bool(servers) or any(engine["status"] == "ok" for engine in engines)
    if not can_run:
        problems.insert(0, _problem("engines", "nothing can run a model here", _install("llamacpp")))
    return {
        "schema": SCHEMA,
        "ok": not any(problem["fatal"] for problem in problems),
        "problems": problems,
        "engines": engines,
        "machine": machine,
        "store": store,
        "settings": settings(os.environ),
        "servers": servers,
    }


def examine(path: Path) -> dict[str, Any]:
    """Return what is wrong with a model's folder or `.gguf` file, and what its files state; plain data.

    Returns:
        `ok` (no problem is fatal), `path`, `format`, `engine` (the one that runs this format by default), `problems`
        and `facts` (`ModelHeader.to_json`; None where it cannot be read).
    """
    format_ = format_of(path)
    problems = [
        _problem("model", problem.message, problem.fix, fatal=problem.fatal) for problem in check_folder(path, format_)
    ]
    facts = None
    if format_ is not None and not any(problem["fatal"] for problem in problems):
        try:
            facts = read_header(path, format_).to_json()
        except ModelFileError as error:
            problems.append(_problem("model", error.message, error.fix))
    if facts is not None and not facts["has_chat_template"] and not problems:
        fix = "nothing for a base model; of a model that was taught to answer, take a file that has one"
        problems.append(_problem("model", "it has no chat template, so an engine makes one up", fix, fatal=False))
    return {
        "schema": SCHEMA,
        "ok": not any(problem["fatal"] for problem in problems),
        "path": str(path),
        "format": format_,
        "engine": _default_engine(format_),
        "problems": problems,
        "facts": facts,
    }


def settings(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what is set, by name and origin; `value` is None where it could be a secret."""
    found = [
        {"name": name, "from": "environment", "value": one_line(value) if name in _SHOWN else None}
        for name, value in sorted(environ.items())
        if value and (name.startswith(_PREFIXES) or name.upper() in _NAMES)
    ]
    models = user_models_file()
    if models.is_file():
        found.append({"name": models.name, "from": "data folder", "value": str(models)})
    return found


def _engine(point: EntryPoint, logs: Path, timeout_s: float) -> dict[str, Any]:
    """Return what an engine says of itself, or why it does not work: `ok`, `not installed` or `broken`."""
    is_ours = point.value.startswith(_OURS)
    about: dict[str, Any] = {
        "name": point.name,
        "value": point.value,
        "distribution": point.dist.name if point.dist else None,
        # The module of an adapter of somebody else's may be a heavy one.
        "formats": list(formats_of(point.name) or ()) if is_ours else None,
        "status": "ok",
        "message": None,
        "fix": None,
    }
    start = time.monotonic()
    try:
        about |= {"description": probe(point.name, logs / f"{point.name}.log", timeout_s)}
    except AuditionError as error:
        missing = missing_packages(point.name) if is_ours else []
        not_installed = error.code == "engine_unavailable" and (missing or not is_ours)
        about |= {
            "description": None,
            "status": "not installed" if not_installed else "broken",
            "message": f"{' and '.join(missing)} missing" if missing else one_line(error.message, 300),
            # To install it again would not help against a disk that cannot be written.
            "fix": error.fix
            if error.code in _DISK
            else _fix(point, logs / f"{point.name}.log", is_installed=not not_installed),
        }
    return {**about, "seconds": round(time.monotonic() - start, 2)}


def _fix(point: EntryPoint, log: Path, *, is_installed: bool) -> str:
    if not point.value.startswith(_OURS):
        return f"it comes with {point.dist.name if point.dist else point.value}: install that again, or what it needs"
    return _install(point.name, "--force-reinstall " if is_installed else "") + _last_words(log)


def _install(engine: str, options: str = "") -> str:
    return f"{Path(sys.executable).name} -m pip install {options}'audition[{engine}]'"


def _last_words(log: Path) -> str:
    """Return the last line that an engine printed: its log does not outlive the doctor."""
    try:
        lines = log.read_bytes()[-4096:].decode("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f" (it said: {one_line(last, 160)})" if last else ""


def _engine_problems(engines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_problem(e["name"], e["message"], e["fix"]) for e in engines if e["status"] == "broken"]


def _machine_problems(machine: Mapping[str, Any]) -> list[dict[str, Any]]:
    available = machine["memory_available_bytes"]
    if available is None or available >= LITTLE_MEMORY_BYTES:
        return []
    return [_problem("memory", "less than 1 GB of memory is available", "close other programs", fatal=False)]


def _store() -> dict[str, Any]:
    """Return where the store is, what is in it, and what is wrong with it (`problems`)."""
    problems: list[dict[str, Any]] = []
    found: dict[str, Any] = {
        "home": None,
        "from": "AUDITION_HOME" if os.environ.get("AUDITION_HOME") else "default",
        **dict.fromkeys(("models", "bytes", "leftovers", "leftover_bytes", "disk_free_bytes", "disk_total_bytes")),
        "problems": problems,
    }
    try:
        folder = home()
        found["home"] = str(folder)
        exists = next(path for path in (folder, *folder.parents) if path.exists())
        if not exists.is_dir() or not os.access(exists, os.W_OK):
            fix = "give yourself the right to, or set AUDITION_HOME to another folder"
            problems.append(_problem("store", f"nothing can be written in {exists}", fix))
        disk = shutil.disk_usage(exists)
        found |= {"disk_free_bytes": disk.free, "disk_total_bytes": disk.total}
        if disk.free < LITTLE_DISK_BYTES:
            fix = "remove models (audition model rm), or set AUDITION_HOME to another disk"
            problems.append(_problem("store", "less than 2 GB of the disk is free", fix, fatal=False))
        store = Store()
        problems += [_problem("store", error.message, error.fix) for error in store.troubles()]
        installed, used = store.installed(), usage(store)
        left = [path.lstat().st_size for path in store.leftovers()]
        found |= {"models": len(installed), "bytes": used.own_bytes}
        found |= {"leftovers": len(left), "leftover_bytes": sum(left)}
        if left:
            message = "files are left over from transfers that did not end, or that are under way"
            problems.append(_problem("store", message, "audition cache prune", fatal=False))
    except AuditionError as error:
        problems.append(_problem("store", error.message, error.fix))
    except OSError as error:
        problems.append(_problem("store", f"the store cannot be read: {error.strerror or error}", None))
    return found


def _servers() -> list[dict[str, Any]]:
    """Return who answers at the usual addresses on this machine."""
    return [{"url": url, **identity.to_json()} for url, identity in local_servers(SERVERS_TIMEOUT_S).items()]


def _default_engine(format_: str | None) -> str | None:
    try:
        return None if format_ is None else engine_for(format_)
    except UsageError:
        return None


def _problem(where: str, message: str, fix: str | None, *, fatal: bool = True) -> dict[str, Any]:
    return {"where": where, "message": message, "fix": fix, "fatal": fatal}
