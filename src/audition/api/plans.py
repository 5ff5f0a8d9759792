"""Plans: from names and prompts to a run directory in which nothing has been measured yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from audition.api.models import Engines, find_models, install
from audition.bench.machine import describe_machine
from audition.bench.plan import Case, Level, Plan, Settings, Target, check_design, check_targets, make_blocks
from audition.bench.rundir import RunDir, new_run_path
from audition.bench.targets import OPEN_LOOP_PARALLEL, make_server_target, make_target
from audition.engines.host import EngineProcess, probe
from audition.engines.reference import Reference, engine_name
from audition.engines.registry import engine_for, probe_log
from audition.engines.server import find_server
from audition.errors import UsageError
from audition.jsonfile import parse_json
from audition.models.spec import ANY, ModelSpec, Variant
from audition.quality import cases as _cases
from audition.quality.cases import Suite
from audition.store.blobs import Progress, no_progress
from audition.store.installed import Installed


def load_suite(path: str | Path) -> Suite:
    """Read a `prompts.json`; `demo` is the suite that comes with the program.

    Raises:
        UsageError: The file is wrong, with the place.
    """
    if str(path) == "demo":
        text = resources.files("audition.quality.suites").joinpath("demo.json").read_text(encoding="utf-8")
        return _cases.parse_suite(parse_json(text, "the demo suite"), "demo")
    return _cases.load_suite(Path(path))


def make_plan(
    models: Sequence[tuple[ModelSpec, Variant, Installed]],
    cases: Sequence[Case],
    settings: Settings,
    *,
    name: str,
    servers: Sequence[dict[str, Any]] = (),
    levels: Sequence[Level] = (Level.closed(1),),
    context: int | None = None,
    log: Path | None = None,
) -> tuple[Plan, dict[str, Any]]:
    """Return the plan for these models and servers, and the content of `host.json`.

    Each engine is started once without a model, so that a missing package is said before anything is measured.

    Args:
        models: Installed variants.
        cases: What they are asked.
        settings: What holds for every request.
        name: The plan's name, for people.
        servers: Settings of servers (`engines.server.settings_of`).
        levels: The loads that targets are put under.
        context: Tokens of context for every target; None takes 4096, or less where the model was trained for less.
        log: Where engines print while they are asked about themselves.

    Raises:
        AuditionError: An engine cannot be used here, or a server shows no model to ask.
        UsageError: The targets or the levels do not go together.
    """
    engines: dict[str, dict[str, Any]] = {}
    references: dict[str, str] = {}
    targets: list[Target] = []
    parallel = max(level.concurrency or OPEN_LOOP_PARALLEL for level in levels)
    for spec, variant, installed in models:
        engine = engine_for(variant.format, spec.engine)
        called = engine_name(engine)
        if references.setdefault(called, engine) != engine:
            raise UsageError(f"two engines are called {called}", fix=f"give one another name: other={_place(engine)}")
        if called not in engines:
            engines[called] = probe(engine, log or probe_log(engine))
        target = make_target(spec, variant, installed, engine, engines[called], context, parallel)
        targets.append(_as_its_engine_says(target, variant, installed, engine, engines[called]))
    found_servers: dict[str, dict[str, Any]] = {}
    for settings_ in servers:
        server = find_server(settings_)
        targets.append(make_server_target(server.settings, server.entry, server.identity))
        found_servers[targets[-1].id] = server.to_json()
    check_targets(targets)
    plan = Plan(
        name=name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        targets=tuple(targets),
        cases=tuple(cases),
        settings=settings,
        blocks=make_blocks(targets, cases, settings),
        levels=tuple(levels),
    )
    host = {
        "schema": 1,
        "machine": describe_machine(),
        "engines": engines,
        "servers": found_servers,
        "models": {
            variant.id: {
                "sha256": installed.digest if installed.files else None,
                "source": installed.source,
                "header": installed.header.to_json(),
            }
            for _, variant, installed in models
        },
    }
    return plan, host


def _place(engine: str) -> str:
    """Return an engine as it is named without a name of its own for it."""
    reference = Reference.parse(engine)
    return engine if reference is None else reference.value


def _as_its_engine_says(
    target: Target, variant: Variant, installed: Installed, engine: str, description: dict[str, Any]
) -> Target:
    """Return a target with what somebody's own engine says of the memory that it will need.

    Raises:
        UsageError: It says that it cannot load such a model.
        AuditionError: It failed at that.
    """
    formats = description.get("formats")
    if formats and variant.format not in (ANY, *formats):
        raise UsageError(f"{target.engine} does not run the format {variant.format}; it runs {', '.join(formats)}")
    if "estimate_memory" not in description.get("offers", ()):
        return target
    with EngineProcess(engine, probe_log(engine)) as process:
        needed = process.estimate_memory(installed.weights_path if installed.files else None, target.settings)
    return target if needed is None else replace(target, memory_estimate_bytes=needed)


def prepare(  # noqa: PLR0913 - what a person can choose
    models: Sequence[str],
    suite: Suite,
    *,
    engines: Engines = (),
    settings: Settings | None = None,
    servers: Sequence[dict[str, Any]] = (),
    levels: Sequence[Level] = (Level.closed(1),),
    out: Path | None = None,
    context: int | None = None,
    progress: Progress = no_progress,
) -> RunDir:
    """Download what is missing, make the plan, and return its run directory; nothing is measured yet.

    Args:
        models: Names, paths of `.gguf` files and of models' folders, or paths of `models.json` files.
        suite: The cases.
        engines: Each model is measured in each of these; none takes the one that suits its format. An adapter is named
            by its class or by `package.module:Class`; a mapping gives it a name.
        settings: None takes the defaults, with the suite's own limit of tokens.
        servers: Settings of servers (`engines.server.settings_of`).
        levels: The loads that targets are put under.
        out: The run directory, which must be new or empty; None makes one in the data folder.
        context: Tokens of context for every target.
        progress: Told of downloads.

    Raises:
        AuditionError: Something that no target is to blame for.
    """
    settings = settings or Settings(max_tokens=suite.max_tokens or Settings().max_tokens)
    path = out or new_run_path(suite.name)
    RunDir.refuse_used(path)
    found = find_models(models, engines) if models or not servers else []
    check_design(len(found) + len(servers), settings, levels)
    installed = [(spec, variant, install(spec, variant, progress=progress)) for spec, variant in found]
    plan, host = make_plan(
        installed, suite.cases, settings, name=suite.name, servers=servers, levels=levels, context=context
    )
    return RunDir.create(path, plan, host)
