"""Small plans, samples and loads for tests, complete but for what a test changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audition.bench.plan import Case, Level, Plan, Settings, Target, make_blocks, target_id
from audition.bench.rundir import RunDir
from audition.bench.sample import Load, Sample

MEGABYTE = 2**20


def a_case(case_id: str, prompt: str | None = None, **changes: Any) -> Case:
    """Return a case with one user message."""
    return Case(case_id, ({"role": "user", "content": prompt or f"Please answer {case_id}."},), **changes)


def a_target(engine: str = "steady", model: str = "tiny", **changes: Any) -> Target:
    """Return a target of a tiny model on an engine."""
    facts: dict[str, Any] = {
        "id": target_id(f"{model}:q4_0", engine, "cpu", {}, {}),
        "model": model,
        "variant": f"{model}:q4_0",
        "format": "gguf",
        "quantization": "Q4_0",
        "engine": engine,
        "device": "cpu",
        "settings": {"context": 512},
        "digest": "0" * 64,
        "licence": "MIT",
        "licence_class": "permissive",
        "disk_bytes": 7,
    }
    return Target(**facts | changes)


def a_plan(targets: Sequence[Target] = (), cases: Sequence[Case] = (), **settings: Any) -> Plan:
    """Return a plan; by default one target and three cases."""
    targets = targets or [a_target()]
    cases = cases or [a_case("red"), a_case("green"), a_case("blue")]
    levels = settings.pop("levels", (Level.closed(1),))
    chosen = Settings(**{"rounds": 1, "timeout_s": 60.0, "probes": False} | settings)
    blocks = make_blocks(targets, cases, chosen)
    return Plan("test", "2026-11-22T12:00:00+00:00", tuple(targets), tuple(cases), chosen, blocks, levels)


def a_run(path: Path, plan: Plan | None = None) -> RunDir:
    """Return a new run directory."""
    return RunDir.create(path, plan or a_plan(), {"schema": 1, "machine": {}, "engines": {}, "models": {}})


def a_sample(**changes: Any) -> Sample:
    """Return a measured sample of the default plan's first block."""
    facts: dict[str, Any] = {
        "target": a_target().id,
        "case": "red",
        "block": "b001",
        "round": 1,
        "phase": "measured",
        "status": "ok",
    }
    return Sample(**facts | changes)


def a_load(**changes: Any) -> Load:
    """Return the load of the default plan's first block."""
    facts: dict[str, Any] = {
        "target": a_target().id,
        "block": "b001",
        "round": 1,
        "attempt": 1,
        "status": "ok",
        "started_at": "2026-11-22T12:00:00+00:00",
    }
    return Load(**facts | changes)
