"""The pick: constraints first, then quality, then the cheapest of those that are not shown to be worse.

No weights: they would let a fast model buy back wrong answers, and the winner would change when a loser is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from audition.bench.guards.endpoint import MissingChatTemplate
from audition.bench.rundir import RunDir
from audition.errors import AuditionError
from audition.jsonfile import read_json, write_json
from audition.pick.constraints import Constraints, Judgement, judge
from audition.stats.paired import PairedTest, sign_flip_test
from audition.summary.summarize import number

SCHEMA = 1
SEED = 20_260_101
ALPHA = 0.05
"""A target is shown to be worse when chance alone gives such a difference less often than this."""

# Below these differences two targets are the same to us: the resolution of the measurement, not a preference.
MEMORY_RESOLUTION_BYTES = 50e6
LATENCY_RESOLUTION = 0.02

Outcome = Literal["picked", "too_close_to_call", "nothing_feasible", "measure_more"]


@dataclass(frozen=True, slots=True)
class Loser:
    """Why a target was not picked."""

    target: str
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Pick:
    """A decision.

    Attributes:
        target: The id of the target picked, or None with another outcome.
        sentence: The decision in words.
        losers: One entry per other target.
        tie_group: Targets not shown to be worse in quality than the best, among those that may be picked.
        notes: What a reader must know to weigh it.
    """

    outcome: Outcome
    target: str | None
    sentence: str
    losers: tuple[Loser, ...]
    tie_group: tuple[str, ...]
    constraints: Constraints
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the content of `pick.json`."""
        return {"schema": SCHEMA, **asdict(self)}


def write_pick(run: RunDir, pick: Pick) -> None:
    """Write `pick.json`."""
    write_json(run.path / "pick.json", pick.to_json())


def read_pick(run: RunDir) -> Pick | None:
    """Read `pick.json`; None when no pick was made."""
    path = run.path / "pick.json"
    if not path.exists():
        return None
    try:
        data = read_json(path)
        del data["schema"]
        constraints = Constraints(**{**data["constraints"], "licences": tuple(data["constraints"]["licences"])})
        losers = tuple(Loser(**loser) for loser in data["losers"])
        sequences = {name: tuple(data[name]) for name in ("tie_group", "notes")}
        return Pick(**{**data, **sequences, "constraints": constraints, "losers": losers})
    except (KeyError, TypeError) as error:
        raise AuditionError(f"{path} is damaged ({error})", fix="make it again: audition pick RUN") from error


def decide(summary: dict[str, Any], constraints: Constraints) -> Pick:
    """Pick a target from a summary, or say why there is none."""
    losers: dict[str, Loser] = {}
    judged: dict[str, list[Judgement]] = {}
    open_: list[dict[str, Any]] = []
    for target in summary["targets"]:
        loser = _unusable(target)
        if loser is None:
            judged[target["id"]] = judge(target, constraints)
            loser = _excluded(target, judged[target["id"]])
        if loser is None:
            open_.append(target)
        else:
            losers[target["id"]] = loser
    notes = _notes(summary)
    if not open_:
        return _nobody(summary, losers, judged, constraints, notes)

    best, tests = _best_and_tests(open_)
    tied = [target for target in open_ if target is best or not _worse(tests.get(target["id"]))]
    for target in open_:
        if target not in tied:
            losers[target["id"]] = _worse_than(target, best, tests[target["id"]])
    group = tuple(target["id"] for target in tied)
    left, why = _cheapest(tied)
    for target in tied:
        if target not in left:
            losers[target["id"]] = Loser(target["id"], "costlier", _costlier(target, left[0], why))
    if len(left) > 1:
        names = " and ".join(target["id"] for target in left)
        sentence = f"Too close to call: {names} do not differ measurably in quality, memory, latency or disk."
        return Pick("too_close_to_call", None, sentence, _ordered(summary, losers), group, constraints, notes)
    picked = left[0]
    sentence = _sentence(picked, tied, open_, summary, why)
    return Pick("picked", picked["id"], sentence, _ordered(summary, losers), group, constraints, notes)


def _unusable(target: dict[str, Any]) -> Loser | None:
    """Return why a target cannot be picked whatever is demanded: it failed, or a guard forbids it."""
    if target["status"] in ("failed", "not measured"):
        cause = "; ".join(error["message"] for error in target["errors"]) or "no request was made"
        return Loser(
            target["id"],
            "failed",
            f"it {target['status'].replace('failed', 'failed every request')}: {cause}",
        )
    forbidding = [finding for finding in target["findings"] if finding["disqualifies"]]
    if not forbidding:
        return None
    causes = [finding for finding in target["findings"] if finding["code"] == MissingChatTemplate.code]
    sentence = "; ".join(finding["sentence"] for finding in [*forbidding, *causes])
    return Loser(target["id"], forbidding[0]["code"], sentence)


def _excluded(target: dict[str, Any], judgements: Sequence[Judgement]) -> Loser | None:
    for verdict, reason in (
        ("broken", "breaks a constraint"),
        ("uncertain", "not proven to keep a constraint"),
    ):
        hits = [judgement for judgement in judgements if judgement.verdict == verdict]
        if hits:
            return Loser(target["id"], reason, f"{reason}: " + "; ".join(hit.sentence for hit in hits))
    return None


def _best_and_tests(targets: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, PairedTest]]:
    """Return the target with the best quality, and each other one's paired test against it."""
    import numpy as np

    scored = [target for target in targets if target["quality"]["score"] is not None]
    if not scored:
        return targets[0], {}
    best = max(scored, key=lambda target: target["quality"]["score"])
    tests = {}
    for target in scored:
        if target is best:
            continue
        pairs = [(best["by_case"][case]["score"], target["by_case"][case]["score"]) for case in best["by_case"]]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if differences:
            tests[target["id"]] = sign_flip_test(differences, np.random.default_rng(SEED))
    return best, tests


def _worse(test: PairedTest | None) -> bool:
    return test is not None and test.difference > 0 and test.p < ALPHA


def _worse_than(target: dict[str, Any], best: dict[str, Any], test: PairedTest) -> Loser:
    sentence = (
        f"its answers are worse: quality {_quality(target)} against {_quality(best)} of {best['id']}, paired over "
        f"{test.n} cases (p = {test.p:.3f})"
    )
    return Loser(target["id"], "worse", sentence)


def _cheapest(tied: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Narrow a tie group down by memory, then latency, then disk; return who is left and by which it was decided."""
    left, decided_by = tied, ""
    for name, keep in (("memory", _least_memory), ("latency", _fastest), ("disk", _least_disk)):
        if len(left) == 1:
            break
        kept = keep(left)
        if len(kept) < len(left):
            left, decided_by = kept, name
    return left, decided_by


def _least_memory(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = [t for t in targets if t["metrics"]["peak_memory"]["value"] is not None]
    if len(known) < len(targets):
        return targets
    least = min(t["metrics"]["peak_memory"]["value"] for t in known)
    return [t for t in known if t["metrics"]["peak_memory"]["value"] <= least + MEMORY_RESOLUTION_BYTES]


def _fastest(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep those whose latency interval still overlaps with that of the fastest."""

    def bound(target: dict[str, Any], end: str) -> float | None:
        value = target["metrics"]["latency"][end]
        return None if value is None else number(value)

    if any(bound(target, "low") is None or bound(target, "high") is None for target in targets):
        return targets
    fastest = min(targets, key=lambda target: bound(target, "value") or 0.0)
    high = bound(fastest, "high") or 0.0
    kept = []
    for target in targets:
        low, value = bound(target, "low") or 0.0, bound(target, "value") or 0.0
        near = value <= (bound(fastest, "value") or 0.0) * (1 + LATENCY_RESOLUTION)
        if target is fastest or near or low <= high:
            kept.append(target)
    return kept


def _least_disk(targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    least = min(target["metrics"]["disk"]["value"] for target in targets)
    return [target for target in targets if target["metrics"]["disk"]["value"] == least]


def _costlier(target: dict[str, Any], picked: dict[str, Any], why: str) -> str:
    ours, theirs = _cost(target, why), _cost(picked, why)
    scored = target["quality"]["score"] is not None
    quality = "its answers are not shown to be better, and " if scored else ""
    return f"{quality}it takes more {why}: {ours} against {theirs}"


def _cost(target: dict[str, Any], name: str) -> str:
    metrics = target["metrics"]
    if name == "latency":
        return f"{number(metrics['latency']['value']):,.0f} ms"
    return f"{metrics['peak_memory' if name == 'memory' else 'disk']['value'] / 1e6:,.0f} MB"


def _quality(target: dict[str, Any]) -> str:
    score = target["quality"]["score"]
    return "unknown" if score is None else f"{score:.2f}"


def _sentence(
    picked: dict[str, Any],
    tied: list[dict[str, Any]],
    open_: list[dict[str, Any]],
    summary: dict[str, Any],
    why: str,
) -> str:
    quality = picked["quality"]
    parts = []
    if quality["score"] is not None:
        interval = f"[{quality['low']:.2f}, {quality['high']:.2f}]"
        parts.append(f"quality {quality['score']:.2f} {interval} over {quality['cases']} cases")
    latency = picked["metrics"]["latency"]["value"]
    if latency is not None:
        parts.append(f"median answer after {number(latency) / 1000:,.2f} s")
    memory = picked["metrics"]["peak_memory"]["value"]
    if memory is not None:
        parts.append(f"{memory / 1e6:,.0f} MB of memory")
    facts = ", ".join(parts)
    if len(summary["targets"]) == 1:
        reason = "it is the only target, and nothing speaks against it"
    elif len(open_) == 1:
        reason = "it is the only one that can be used"
    elif len(tied) == 1:
        reason = "its answers are measurably the best"
    else:
        reason = f"among {len(tied)} whose answers are too close to call, it takes the least {why}"
    return f"Pick {picked['id']}: {reason}" + (f" ({facts})." if facts else ".")


def _nobody(
    summary: dict[str, Any],
    losers: dict[str, Loser],
    judged: dict[str, list[Judgement]],
    constraints: Constraints,
    notes: tuple[str, ...],
) -> Pick:
    """Say that nothing can be picked, and who came nearest."""
    uncertain = [id_ for id_, js in judged.items() if js and all(j.verdict != "broken" for j in js)]
    if uncertain:
        sentence = (
            f"No pick yet: {' and '.join(uncertain)} may keep to the constraints, but the run is too short to say."
        )
        return Pick("measure_more", None, sentence, _ordered(summary, losers), (), constraints, notes)
    sentence = "Nothing is feasible: no target can be used."
    misses = {id_: sum(j.miss for j in js if j.verdict == "broken") for id_, js in judged.items() if js}
    if misses:
        nearest_ = min(misses, key=lambda id_: misses[id_])
        broken = "; ".join(j.sentence for j in judged[nearest_] if j.verdict == "broken")
        sentence = f"Nothing is feasible. The nearest miss is {nearest_}: {broken}."
    return Pick("nothing_feasible", None, sentence, _ordered(summary, losers), (), constraints, notes)


def _ordered(summary: dict[str, Any], losers: dict[str, Loser]) -> tuple[Loser, ...]:
    return tuple(losers[target["id"]] for target in summary["targets"] if target["id"] in losers)


def _notes(summary: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if not summary["complete"]:
        notes.append("the run is not complete: audition bench --resume goes on with it")
    if all(target["quality"]["score"] is None for target in summary["targets"]):
        notes.append("quality was not measured: no case says what is expected of its answer")
    elif summary["cases"] < 30:
        notes.append(f"{summary['cases']} cases can show only large differences in quality; add cases of your own")
    return tuple(notes)
