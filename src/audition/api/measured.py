"""What past runs measured of a model: the memory that it really took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audition.bench.plan import Target
from audition.bench.rundir import RunDir
from audition.errors import AuditionError
from audition.paths import runs_dir

_MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class MeasuredPeak:
    """The most memory that a model took in one run.

    Attributes:
        run: The run's name.
        target: The target's id.
        context: Tokens that it was loaded for; None where the run does not say.
        parallel: Requests at once.
        bytes: Anonymous and file-backed, of the engine's process tree; the maximum over the loads.
    """

    run: str
    target: str
    engine: str
    device: str
    context: int | None
    parallel: int
    bytes: int


def measured_peaks(digest: str, runs: Path | None = None) -> list[MeasuredPeak]:
    """Return what runs in the data folder measured of the weights with this digest; the newest run first.

    A run that cannot be read is passed over: `audition report` says what is wrong with it.

    Args:
        digest: SHA-256 of the weights.
        runs: The folder of runs; None takes the one in the data folder.
    """
    folder = runs or runs_dir()
    try:
        plans = sorted(folder.glob("*/plan.json"), key=lambda plan: plan.stat().st_mtime_ns, reverse=True)
    except OSError:
        return []
    found: list[MeasuredPeak] = []
    for plan in plans[:_MOST_RUNS]:
        try:
            # Parsing a plan takes longer than looking for the digest in its bytes.
            if digest.encode() in plan.read_bytes():
                found += _peaks(RunDir(plan.parent), digest)
        except (AuditionError, OSError):
            continue
    return found


def _peaks(run: RunDir, digest: str) -> list[MeasuredPeak]:
    targets = {target.id: target for target in run.plan.targets if target.digest == digest and not target.is_server}
    peaks: dict[str, int] = {}
    for load in run.loads():
        if load.target in targets and load.peak is not None and load.status == "ok":
            peaks[load.target] = max(peaks.get(load.target, 0), load.peak.total)
    return [_peak(run.path.name, targets[target], peak) for target, peak in peaks.items()]


def _peak(run: str, target: Target, peak: int) -> MeasuredPeak:
    context, parallel = target.settings.get("context"), target.settings.get("parallel", 1)
    return MeasuredPeak(
        run=run,
        target=target.id,
        engine=target.engine,
        device=target.device,
        context=context if isinstance(context, int) else None,
        parallel=parallel if isinstance(parallel, int) else 1,
        bytes=peak,
    )
