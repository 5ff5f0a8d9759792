"""`audition doctor`: what works on this machine and what does not, or what is wrong with a model's files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}
_INDENT = " " * 8


@click.command()
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON.")
def doctor(path: str | None, as_json: bool) -> None:
    """Check engines, machine and store, or a model's files.

    PATH is a model's folder or a .gguf file: then its files are checked, and nothing is loaded. Exit code 0: something
    can run here, and nothing is broken; 1: nothing can run, or something is broken.
    """
    from audition.cli import output
    from audition.doctor import diagnose, examine
    from audition.errors import UsageError

    if path is not None and not path.strip():
        raise UsageError("PATH is empty", fix="name a model's folder or a .gguf file")
    found = diagnose() if path is None else examine(Path(path))
    if as_json:
        output.print_json(found)
    else:
        console = output.stdout()
        lines = _machine_lines(found) if path is None else _model_lines(found)
        for status, text in lines:
            _print(console, status, text)
    if not found["ok"]:
        sys.exit(1)


Line = tuple[str, str]
"""A status (`ok`, `warn`, `bad`, nothing, or `#` for a heading) and a text."""


def _print(console: Console, status: str, text: str) -> None:
    from rich.text import Text

    from audition.text import printable

    if status == "#":
        console.print(Text(printable(text), style="bold"), soft_wrap=True)
        return
    mark = f"  {status:<6}"
    console.print(Text.assemble((mark, _STYLES.get(status, "")), printable(text)), soft_wrap=True)


def _machine_lines(found: dict[str, Any]) -> Iterator[Line]:
    machine = found["machine"]
    yield "#", f"Audition {machine['audition']}, Python {machine['python']}, {machine['os']} {machine['architecture']}"
    yield "#", "Engines"
    for engine in found["engines"]:
        yield from _engine_lines(engine)
    yield "#", "Machine"
    yield from _hardware_lines(machine, found["problems"])
    yield "#", "Store"
    yield from _store_lines(found["store"], found["problems"])
    yield "#", "Settings"
    for setting in found["settings"]:
        if setting["value"] is not None:
            yield "", f"{setting['name']}: {setting['value']} (from the {setting['from']})"
    if hidden := [setting["name"] for setting in found["settings"] if setting["value"] is None]:
        yield "", f"set in the environment, values not shown: {', '.join(hidden)}"
    if not found["settings"]:
        yield "", "all are at their defaults"
    yield "#", "Servers"
    for server in found["servers"]:
        yield "ok", f"{server['url']}: {server['package']}"
    if not found["servers"]:
        yield "", "none answers at the usual addresses on this machine"
    yield "#", _verdict(found)


def _engine_lines(engine: dict[str, Any]) -> Iterator[Line]:
    from audition.text import one_line

    name = f"{one_line(engine['name']):<14}"
    if engine["status"] == "ok":
        about = engine["description"]
        package = one_line(str(about.get("package", "version unknown")))
        device = one_line(str(about.get("device", "device unknown")))
        runs = f"; runs {', '.join(engine['formats'])}" if engine["formats"] else ""
        yield "ok", f"{name}{package}, on {device}{runs}"
        yield from (("", _INDENT + text) for text in _besides(about))
        return
    yield "bad" if engine["status"] == "broken" else "", f"{name}{engine['status']}: {engine['message']}"
    if engine["fix"]:
        yield "", f"{_INDENT}fix: {engine['fix']}"


def _besides(about: dict[str, Any]) -> Iterator[str]:
    """Yield what else an engine could run on, in its own words."""
    from audition.text import one_line

    devices = about.get("devices") or about.get("execution_providers")
    if isinstance(devices, list) and len(devices) > 1:
        names = [str(device.get("name")) for device in devices if isinstance(device, dict)]
        yield f"it knows: {one_line(', '.join(names), 160)}"


def _hardware_lines(machine: dict[str, Any], problems: Sequence[dict[str, Any]]) -> Iterator[Line]:
    from audition.report.figures import size
    from audition.summary.units import counted

    cores = machine["cores_logical"]
    where = [machine["container"], "virtual machine" if machine["virtual_machine"] else None]
    facts = [machine["cpu"] or "processor unknown", counted(cores, "core") if cores else "cores unknown"]
    if machine["cores_quota"]:
        facts.append(f"a limit of {machine['cores_quota']:g} cores")
    yield "ok", ", ".join(str(fact) for fact in [*facts, *where] if fact)
    total, available = machine["memory_total_bytes"], machine["memory_available_bytes"]
    free = "unknown" if available is None or total is None else f"{size(available)} of {size(total)}"
    yield _status("memory", problems), f"memory available: {free}"
    gpus = machine["gpus"]
    names = ", ".join(str(gpu["name"]) for gpu in gpus or ())
    yield "ok" if gpus else "", f"GPU: {names or machine['gpus_reason'] or 'none'}"


def _store_lines(store: dict[str, Any], problems: Sequence[dict[str, Any]]) -> Iterator[Line]:
    from audition.report.figures import UNKNOWN, size
    from audition.summary.units import counted

    origin = "AUDITION_HOME" if store["from"] == "AUDITION_HOME" else "the system's place for data"
    yield _status("store", problems), f"{store['home'] or UNKNOWN} ({origin})"
    if store["models"] is not None:
        yield "", f"{counted(store['models'], 'model')}, {size(store['bytes'])}"
    if store["disk_free_bytes"] is not None:
        yield "", f"disk free: {size(store['disk_free_bytes'])} of {size(store['disk_total_bytes'])}"
    for problem in problems:
        if problem["where"] == "store":
            yield from _problem_lines(problem)


def _status(where: str, problems: Sequence[dict[str, Any]]) -> str:
    mine = [problem["fatal"] for problem in problems if problem["where"] == where]
    return "bad" if any(mine) else "warn" if mine else "ok"


def _problem_lines(problem: dict[str, Any]) -> Iterator[Line]:
    yield "bad" if problem["fatal"] else "warn", problem["message"]
    if problem["fix"]:
        yield "", f"fix: {problem['fix']}"


def _verdict(found: dict[str, Any]) -> str:
    from audition.summary.units import counted

    working = sum(engine["status"] == "ok" for engine in found["engines"])
    broken = sorted({problem["where"] for problem in found["problems"] if problem["fatal"]})
    if not working and not found["servers"]:
        return "Nothing can run a model here."
    said = f"{counted(working, 'engine')} can be used here"
    return f"{said}; broken: {', '.join(broken)}." if broken else f"{said}, and nothing is broken."


def _model_lines(found: dict[str, Any]) -> Iterator[Line]:
    facts = found["facts"]
    runs = f", run by {found['engine']}" if found["engine"] else ""
    yield "#", f"{found['path']}: {found['format'] or 'no model'}{runs}"
    for problem in found["problems"]:
        yield from _problem_lines(problem)
    if facts is not None:
        yield "ok", ", ".join(_facts(facts))
    fatal = sum(problem["fatal"] for problem in found["problems"])
    yield "#", "It cannot be used." if fatal else "It can be used."


def _facts(facts: dict[str, Any]) -> Iterator[str]:
    from audition.report.figures import size

    yield facts["architecture"] or "architecture unknown"
    if facts["parameters"]:
        yield f"{facts['parameters'] / 1e6:,.0f} M parameters"
    yield facts["quantization"] or "quantization unknown"
    yield f"{size(facts['tensor_bytes'])} of weights"
    if facts["context_length"]:
        yield f"context {facts['context_length']:,}"
    yield "with a chat template" if facts["has_chat_template"] else "without a chat template"
