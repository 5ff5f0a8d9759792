"""Runs: measure what is left of one, and conclude from what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audition.bench.block import Power
from audition.bench.calibrate import calibrate
from audition.bench.meters.energy import EnergyMeter
from audition.bench.plan import Block, Target
from audition.bench.rundir import RunDir, write_error
from audition.bench.runner import Listener, Means, run_plan
from audition.bench.sample import Load, Sample
from audition.bench.schedule import Added, Schedule
from audition.errors import AuditionError
from audition.models.spec import ANY
from audition.store.store import Store

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
