"""The library: what the command line does, as functions.

```python
from audition import api

run = api.prepare(["smollm2-135m", "gemma-3-270m"], api.load_suite("prompts.json"))
api.resume(run)
print(api.conclude(run).pick.sentence)
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from audition.engines.host import probe
from audition.engines.registry import engine_for
from audition.engines.server import find_server
from audition.errors import AuditionError, UsageError
from audition.jsonfile import parse_json
from audition.models.catalog import Catalog, adhoc_spec, aliases_in, load_catalog
from audition.models.spec import ModelSpec, Variant
from audition.paths import expanded
from audition.quality import cases as _cases
from audition.quality.cases import Suite
from audition.store.blobs import Progress, no_progress
from audition.store.store import Installed, Store

if TYPE_CHECKING:
    from audition.pick.constraints import Constraints
    from audition.pick.decide import Pick
    from audition.pick.same_model import SameModel


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
    """Return the catalog entry and the variant that a name stands for: an alias, `alias:quant`, or a file's path.

    Raises:
        UsageError: Nothing has that name; the nearest ones are given.
    """
    catalog = catalog or load_catalog()
    looks_like_a_path = name.lower().endswith(".gguf") or "/" in name or "\\" in name
    if name not in catalog and (looks_like_a_path or Path(name).is_file()):
        path = expanded(name)
        if not path.is_file():
            raise UsageError(f"there is no file {name}", fix="give a model's name, or the path of a .gguf file")
        spec = adhoc_spec(path)
        return spec, spec.variants[0]
    variant = catalog.resolve(name)
    return catalog[variant.model], variant


def find_models(names: Sequence[str]) -> list[tuple[ModelSpec, Variant]]:
    """Return what a list of names stands for; a name that ends in `.json` is a `models.json`, all of it.

    Raises:
        UsageError: A name is unknown, the list is empty, or a model is named twice.
    """
    files = [Path(name) for name in names if name.lower().endswith(".json")]
    catalog = load_catalog(*files)
    wanted: list[str] = []
    for name in names:
        wanted += aliases_in(Path(name)) if Path(name) in files else [name]
    found = [find_model(name, catalog) for name in wanted]
    if not found:
        raise UsageError("no model is named", fix="--models smollm2-135m,gemma-3-270m")
    ids = [variant.id for _, variant in found]
    twice = next((id_ for id_ in ids if ids.count(id_) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice", fix="name each model once; --rounds repeats the measurement")
    return found


def install(
    spec: ModelSpec, variant: Variant, store: Store | None = None, progress: Progress = no_progress
) -> Installed:
    """Return the installed variant, downloading it first when it is not here.

    Raises:
        AuditionError: It cannot be had, with the cause and the fix.
    """
    return (store or Store()).ensure(variant, spec.licence, progress)


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
    targets: list[Target] = []
    parallel = max(level.concurrency or OPEN_LOOP_PARALLEL for level in levels)
    for spec, variant, installed in models:
        engine = engine_for(variant.format, spec.engine)
        if engine not in engines:
            engines[engine] = probe(engine, log or Store().root.parent / "logs" / f"probe-{engine}.log")
        targets.append(make_target(spec, variant, installed, engine, engines[engine], context, parallel))
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
                "sha256": installed.digest,
                "source": installed.source,
                "header": installed.header.to_json(),
            }
            for _, variant, installed in models
        },
    }
    return plan, host


def prepare(
    models: Sequence[str],
    suite: Suite,
    *,
    settings: Settings | None = None,
    servers: Sequence[dict[str, Any]] = (),
    levels: Sequence[Level] = (Level.closed(1),),
    out: Path | None = None,
    context: int | None = None,
    progress: Progress = no_progress,
) -> RunDir:
    """Download what is missing, make the plan, and return its run directory; nothing is measured yet.

    Args:
        models: Names, paths of `.gguf` files, or paths of `models.json` files.
        suite: The cases.
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
    found = find_models(models) if models or not servers else []
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
    weights = {entry.digest: entry.weights_path for entry in store.installed()}

    def locate(target: Target) -> Path:
        path = weights.get(target.digest or "")
        if path is None:
            raise AuditionError(
                f"the weights of {target.variant} are not in the store any more",
                fix=f"audition model download {target.model}",
                code="model_not_found",
            )
        return path

    with EnergyMeter.open() as meter:
        power = Power(meter, None) if meter.sources else None
        means = Means(locate, power=power, calibrate=lambda host: calibrate(host, run.plan, meter))
        run_plan(run, means, listener or Silent())
    return run


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
