"""What is known of the machine that a run was made on, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audition.report.markup import cell
from audition.summary.units import counted, duration


def machine_lines(host: Mapping[str, Any]) -> list[str]:
    """Return sentences, without full stops, about the machine, its GPUs, its power, and what measuring itself adds.

    Args:
        host: The content of `host.json`; whatever an older or damaged one lacks is left out.
    """
    machine = host["machine"]
    lines = []
    where = [machine.get("model"), machine.get("container"), _if("virtual machine", machine.get("virtual_machine"))]
    clock = machine.get("cpu_mhz_max") or machine.get("cpu_mhz_base")
    where += [f"{clock:,.0f} MHz" if isinstance(clock, int | float) else None, _governors(machine.get("cpu_governor"))]
    where += [_if("power from", machine.get("power_source"))]
    if known := [cell(str(fact)) for fact in where if fact]:
        lines.append(f"Machine: {', '.join(known)}")
    if machine.get("threading"):
        lines.append(f"Threads as the environment has them: {cell(str(machine['threading']))}")
    gpus = machine.get("gpus") or []
    if gpus:
        lines.append("GPUs: " + ", ".join(cell(str(gpu.get("name"))) for gpu in gpus))
    bandwidth = machine.get("memory_bandwidth") or {}
    if bandwidth.get("bytes_per_s"):
        threads = counted(bandwidth.get("threads") or 0, "thread")
        lines.append(f"Memory read bandwidth: {bandwidth['bytes_per_s'] / 1e9:,.1f} GB/s, measured with {threads}")
    background = host.get("background_cores")
    if background is not None:
        lines.append(f"Before the run other programs kept {background:.1f} cores busy")
    energy = host.get("energy") or {}
    if energy.get("sources"):
        idle = energy.get("idle_watts")
        rest = f", {idle:.1f} W at rest" if idle is not None else ""
        lines.append(f"Energy counters: {cell(', '.join(energy['sources']))}{rest}")
    elif energy.get("reason"):
        lines.append(f"No energy: {cell(energy['reason'])}")
    lines += _noise(host.get("noise_floor") or {})
    return lines


def server_line(about: Mapping[str, Any]) -> str:
    """Return who a server said that it was, and what it said of the model, in one line.

    Args:
        about: Its record in `host.json`.
    """
    named = {
        "model": about.get("model"),
        "family": about.get("family"),
        "quantization": about.get("quantization"),
        "context": about.get("context"),
        "slots": about.get("slots"),
    }
    facts = [str(about.get("package"))]
    facts += [f"{name} {fact}" for name, fact in named.items() if fact is not None]
    return "; ".join([", ".join(facts), *map(str, about.get("notes") or ())])


def _noise(floor: Mapping[str, Any]) -> list[str]:
    if floor.get("reason"):
        return [cell(floor["reason"])]
    lines = []
    for concurrency, found in (floor.get("by_concurrency") or {}).items():
        ttft, gap = found["ttft_ms"], found["gap_ms"]
        at = "one request" if concurrency == "1" else f"{concurrency} requests"
        lines.append(
            f"Noise floor with {at} at a time: the client's TTFT is off by {duration(max(0.0, ttft['p50']))} (at most "
            f"{duration(ttft['max'])}), a gap by {duration(gap['p50'])} (at most {duration(gap['max'])})"
        )
    return lines


def _if(words: str, fact: Any) -> str | None:
    if not fact:
        return None
    return words if fact is True else f"{words} {fact}"


def _governors(governors: Any) -> str | None:
    if not governors:
        return None
    return "governor " + (governors if isinstance(governors, str) else " and ".join(map(str, governors)))
