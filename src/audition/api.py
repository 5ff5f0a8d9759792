"""The library: what the command line does, as functions.

```python
from audition import api

run = api.prepare(["smollm2-135m", "gemma-3-270m"], api.load_suite("prompts.json"))
api.resume(run)
print(api.conclude(run).pick.sentence)
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audition.bench.block import Power
from audition.bench.calibrate import calibrate
from audition.bench.machine import describe_machine
from audition.bench.meters.energy import EnergyMeter
from audition.bench.plan import Block, Case, Level, Plan, Settings, Target, check_design, check_targets, make_blocks
from audition.bench.rundir import RunDir, new_run_path, write_error
from audition.bench.runner import Listener, Means, run_plan
from audition.bench.sample import Load, Sample
from audition.bench.schedule import Added, Schedule
from audition.bench.targets import OPEN_LOOP_PARALLEL, make_server_target, make_target
from audition.engines.host import EngineProcess, probe
from audition.engines.reference import engine_name, reference_to
from audition.engines.registry import engine_for, formats_of, probe_log
from audition.engines.server import find_server
from audition.errors import AuditionError, UsageError
from audition.jsonfile import parse_json
from audition.models.catalog import Catalog, adhoc_spec, aliases_in
from audition.models.spec import ANY, Licence, ModelSpec, Variant
from audition.paths import expanded
from audition.quality import cases as _cases
from audition.quality.cases import Suite
from audition.store.blobs import Progress, no_progress
from audition.store.foundry.catalog import catalog_spec, is_catalog_name
from audition.store.known import known_models
from audition.store.own import own_weights
from audition.store.store import Installed, Store

if TYPE_CHECKING:
    from audition.pick.constraints import Constraints
    from audition.pick.decide import Pick
    from audition.pick.same_model import SameModel


Engines = Sequence[str | type] | Mapping[str, str | type]
"""Engines by name, adapters by their class or its place."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a run comes to.

    Attributes:
        same_models: The models that several targets have, and how these targets compare.
    """

    summary: dict[str, Any]
    pick: Pick
    reports: tuple[Path, ...]
    same_models: tuple[SameModel, ...] = ()


class Silent:
    """A listener that says nothing."""

    def resumed(self, done: int, total: int, torn: list[str]) -> None:
        """Nothing."""

    def block_started(self, block: Any, number: int, total: int) -> None:
        """Nothing."""

    def sample_added(self, sample: Sample) -> None:
        """Nothing."""

    def block_ended(self, load: Load) -> None:
        """Nothing."""

    def added(self, added: Added) -> None:
        """Nothing."""


def find_model(name: str, catalog: Catalog | None = None) -> tuple[ModelSpec, Variant]:
    """Return the entry and the variant that a name stands for.

    It is an alias, `alias:quant`, a file's or folder's path, or `foundry:name` for what Foundry Local's catalog lists.

    Raises:
        UsageError: Nothing has that name; the nearest ones are given.
    """
    if is_catalog_name(name):
        spec = catalog_spec(name)
        return spec, spec.variants[0]
    catalog = known_models(Store()) if catalog is None else catalog
    looks_like_a_path = name.lower().endswith(".gguf") or "/" in name or "\\" in name
    if name not in catalog and (looks_like_a_path or Path(name).exists()):
        path = expanded(name)
        if not path.exists():
            raise UsageError(
                f"there is no file {name}", fix="give a model's name, or the path of a .gguf file or a model's folder"
            )
        spec = adhoc_spec(path)
        return spec, spec.variants[0]
    variant = catalog.resolve(name)
    return catalog[variant.model], variant


def find_models(names: Sequence[str], engines: Engines = ()) -> list[tuple[ModelSpec, Variant]]:
    """Return what a list of names stands for; a name that ends in `.json` is a `models.json`, all of it.

    Args:
        names: The models.
        engines: With engines, each model comes once for each of them, in the first variant that it can run: installed
            ones before others, then in the catalog's order. The entry's `engine` is that engine. An adapter is named
            by its class or by `package.module:Class`; a mapping gives it a name.

    Raises:
        UsageError: A name is unknown, the list is empty, a model is named twice, or an engine can run no variant.
    """
    files = [Path(name) for name in names if name.lower().endswith(".json")]
    store = Store()
    catalog = known_models(store, *files)
    wanted: list[str] = []
    for name in names:
        wanted += aliases_in(Path(name)) if Path(name) in files else [name]
    found = [find_model(name, catalog) for name in wanted]
    if not found:
        raise UsageError("no model is named", fix="--models smollm2-135m,gemma-3-270m")
    if engines:
        pairs = [(spec, variant, name) for (spec, variant), name in zip(found, wanted, strict=True)]
        runs = {engine: formats_of(engine) for engine in _references(engines)}
        found = [_for_engine(store, *pair, engine, formats) for pair in pairs for engine, formats in runs.items()]
    ids = [(variant.id, spec.engine) for spec, variant in found]
    twice = next((id_ for id_, engine in ids if ids.count((id_, engine)) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice", fix="name each model once; --rounds repeats the measurement")
    return found


def _references(engines: Engines) -> list[str]:
    named = engines.items() if isinstance(engines, Mapping) else [(None, engine) for engine in engines]
    return [reference_to(engine, name) for name, engine in named]


def _for_engine(
    store: Store, spec: ModelSpec, variant: Variant, name: str, engine: str, formats: tuple[str, ...] | None
) -> tuple[ModelSpec, Variant]:
    """Return the entry for one engine, and the variant that it is to run."""
    candidates = (variant,) if ":" in name else spec.variants
    able = [each for each in candidates if formats is None or each.format in (ANY, *formats)]
    if not able:
        runs, called = " and ".join(formats or ()), engine_name(engine)
        convertible = any(each.format in ("gguf", "safetensors") for each in spec.variants)
        can_convert = convertible and "onnx-genai" in (formats or ())
        raise UsageError(
            f"{variant.id if ':' in name else spec.alias} has no variant that {called} can run (it runs {runs})",
            fix=f"audition model import {name} --to onnx-genai" if can_convert else f"leave {called} out of --engines",
            code="no_such_variant",
        )
    here = [each for each in able if store.find(each) is not None]
    return replace(spec, engine=engine), (here or able)[0]


def install(
    spec: ModelSpec, variant: Variant, store: Store | None = None, progress: Progress = no_progress
) -> Installed:
    """Return the installed variant, downloading it first when it is not here.

    Raises:
        AuditionError: It cannot be had, with the cause and the fix.
    """
    if variant.format == ANY:
        return own_weights(variant, spec.licence, progress)
    return (store or Store()).ensure(variant, spec.licence, progress)


def import_model(
    what: str,
    *,
    to: str | None = None,
    precision: str = "int4",
    name: str | None = None,
    licence: str | None = None,
    progress: Progress = no_progress,
) -> Installed:
    """Take a model of one's own into the store, converted first if that is asked.

    Args:
        what: The path of a `.gguf` file or of a model's folder; to convert, also the name of a model.
        to: `onnx-genai` converts; None takes it as it is.
        precision: Of a conversion: `int4`, `int8`, `fp16` or `fp32`.
        name: What it shall be called, `alias` or `alias:variant`; None keeps the name it has.
        licence: An identifier; None takes what its files or the catalog say.
        progress: Told of every step.

    Raises:
        UsageError: There is nothing of that name, or the new name is taken.
        AuditionError: It is no model that could be loaded, something is not installed, or the conversion failed.
    """
    from audition.convert import importing, onnx

    store = Store()
    terms = Licence.named(licence, source="import")
    spec, variant = find_model(what)
    is_path = variant.source.startswith("file:") and spec.origin == str(expanded(what))
    if to is None:
        if not is_path:
            raise UsageError(
                f"{what} is in the catalog, so there is nothing to import",
                fix=f"audition model download {what}, or convert it: audition model import {what} --to onnx-genai",
            )
        return importing.import_path(store, expanded(what), name=name, licence=terms, progress=progress)
    if to != "onnx-genai":
        raise UsageError(f'there is no conversion to "{to}"', fix="--to onnx-genai")
    if is_path:
        original = importing.original_at(expanded(what), terms, progress)
    else:
        if ":" not in what:
            variant = next((each for each in spec.variants if each.format in importing.CONVERTIBLE), variant)
        if store.find(variant) is None:
            onnx.need_tools()  # rather than after a download
        original = importing.original_of(install(spec, variant, store, progress))
        original = replace(original, licence=terms if licence else original.licence)
    log = store.root.parent / "logs" / "convert.log"
    return importing.import_onnx(store, original, precision, name=name, log=log, progress=progress)


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
            raise UsageError(
                f"two engines are called {called}", fix=f"give one another name: other={references[called]}"
            )
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


def resume(run: RunDir, listener: Listener | None = None) -> RunDir:
    """Run what is left of a run's plan; a complete run is left as it is.

    Raises:
        AuditionError: The run is in use, or a model it needs is not installed any more.
    """
    store = Store()
    installed = {entry.digest: entry for entry in store.installed()}

    def locate(target: Target) -> Path | None:
        if target.format == ANY:
            return _own(target)
        entry = installed.get(target.digest or "")
        if entry is None:
            raise AuditionError(
                f"the weights of {target.variant} are not in the store any more",
                fix=f"audition model download {target.model}, or import them again: audition model import --help",
                code="model_not_found",
            )
        return entry.weights_path

    with EnergyMeter.open() as meter:
        power = Power(meter, None) if meter.sources else None
        means = Means(locate, power=power, calibrate=lambda host: calibrate(host, run.plan, meter))
        run_plan(run, means, listener or Silent())
    return run


def _own(target: Target) -> Path | None:
    if target.weights is None:
        return None
    path = Path(target.weights)
    if not path.exists():
        raise AuditionError(
            f"the weights of {target.variant} are not at {path} any more", fix="put them back", code="model_not_found"
        )
    return path


def conclude(run: RunDir, constraints: Constraints | None = None) -> Conclusion:
    """Score, summarise, pick and report a run from its files; no model is asked again.

    Raises:
        AuditionError: The run's files are damaged, or its folder cannot be written.
    """
    # Not needed while something is measured, and numpy among it is large.
    from audition.pick.constraints import Constraints
    from audition.pick.decide import decide, write_pick
    from audition.pick.same_model import same_models
    from audition.quality.scores import score_samples, write_scores
    from audition.report.write import write_reports
    from audition.summary.summarize import summarize, write_summary

    plan, samples = run.plan, run.samples()
    added = run.added()
    blocks = Schedule(plan, added).blocks
    stopped = added[-1].reason if added and not added[-1].blocks else None
    _check_against(blocks, samples, run)
    scores = score_samples(plan, samples)
    loads, host = run.loads(), run.host
    summary = summarize(plan, samples, loads, scores, blocks=blocks, host=host, stopped=stopped)
    pick = decide(summary, constraints or Constraints())
    groups = tuple(same_models(plan, samples, loads, scores, host, summary))
    try:
        write_scores(run, scores)
        write_summary(run, summary)
        write_pick(run, pick)
        reports = write_reports(run, summary, pick, groups)
    except OSError as error:
        raise write_error(error, run.path) from error
    return Conclusion(summary, pick, tuple(reports), groups)


def _check_against(blocks: Sequence[Block], samples: Sequence[Sample], run: RunDir) -> None:
    """Refuse samples that the plan has no place for: somebody edited a file of the run."""
    planned = {(block.id, block.target, case) for block in blocks for case in block.cases}
    measured = [s for s in samples if s.phase == "measured"]
    stray = {(s.block, s.target, s.case) for s in measured} - planned
    twice = len(measured) - len({s.key for s in measured})
    if stray or twice:
        what = f"{twice} samples twice" if twice else f"samples of what is not in its plan, such as {min(stray)}"
        raise AuditionError(f"{run.samples_path} holds {what}", fix="restore the file", code="bad_run")
