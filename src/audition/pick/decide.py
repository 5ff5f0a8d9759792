"""The pick: constraints first, then quality, then the cheapest of those that are not shown to be worse.

No weights: they would let a fast model buy back wrong answers, and adding a target that is worse in everything could
change the winner. Here it cannot; a target with better answers can, because it shows what can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from audition.bench.guards.endpoint import MissingChatTemplate
from audition.bench.guards.failures import FailingRequests
from audition.bench.rundir import RunDir
from audition.errors import AuditionError
from audition.jsonfile import read_json, write_json
from audition.pick.constraints import Constraints, Judgement, judge
from audition.stats.multiple import holm, pairs_with_best
from audition.stats.paired import PairedTest, ratio_interval, sign_flip_test
from audition.summary.summarize import noise_floor_ms
from audition.summary.units import counted, duration, number, size
from audition.text import one_line

SCHEMA = 1
SEED = 20_260_101
ALPHA = 0.05
"""A target is shown to be worse when chance alone gives such a difference less often than this."""

# Below these differences two targets are the same to us: the resolution of the measurement, not a preference.
MEMORY_RESOLUTION_BYTES = 50e6
LATENCY_RESOLUTION = 0.02

_MANY_CASES = 30
_FEW_CASES = 3
"""With fewer judged cases, answers that all score 0 may be the checks' fault as well as the target's."""

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

    tied = _tie_group(open_, losers)
    group = tuple(target["id"] for target in tied)
    left, criteria = _cheapest(tied, losers, noise_floor_ms(summary) or 0.0)
    if len(left) > 1:
        judged_by = [*(["quality"] if _is_scored(left[0]) else []), "memory", "latency"]
        names = " and ".join(target["id"] for target in left)
        sentence = f"Too close to call: {names} do not differ measurably in {', '.join(judged_by)} or disk."
        return Pick("too_close_to_call", None, sentence, _ordered(summary, losers), group, constraints, notes)
    picked = left[0]
    sentence = _sentence(picked, tied, open_, summary, criteria)
    notes = (*notes, *_notes_on(picked))
    return Pick("picked", picked["id"], sentence, _ordered(summary, losers), group, constraints, notes)


def _unusable(target: dict[str, Any]) -> Loser | None:
    """Return why a target cannot be picked whatever is demanded: it failed, a guard forbids it, or nothing is right."""
    if target["status"] in ("failed", "not measured"):
        cause = "; ".join(one_line(error["message"]).rstrip(".") for error in target["errors"])
        what = "it failed every request" if target["status"] == "failed" else "it was not measured"
        return Loser(target["id"], "failed", f"{what}: {cause or 'no request was made'}")
    if target["metrics"]["latency"]["value"] == "inf":
        requests = target["requests"]
        failed = requests["failed"] + requests["timeout"]
        return Loser(target["id"], "failed", f"{failed} of {requests['measured']} requests to it failed")
    forbidding = [finding for finding in target["findings"] if finding["disqualifies"]]
    if forbidding:
        causes = [finding for finding in target["findings"] if finding["code"] == MissingChatTemplate.code]
        sentence = "; ".join(finding["sentence"] for finding in [*forbidding, *causes])
        return Loser(target["id"], forbidding[0]["code"], sentence)
    if _all_score_0(target) and target["quality"]["cases"] >= _FEW_CASES:
        advice = "if the model is right, mend the checks"
        if not target["requests"]["ok"]:
            advice = "all were cut at the token limit (--max-tokens)"
        return Loser(target["id"], "quality 0", f"{_nothing_right(target)}; {advice}")
    return None


def _all_score_0(target: dict[str, Any]) -> bool:
    scores = [entry["score"] for entry in target["by_case"].values() if entry["score"] is not None]
    return bool(scores) and not any(scores)


def _nothing_right(target: dict[str, Any]) -> str:
    return f"none of its answers to {counted(target['quality']['cases'], 'judged case')} scores above 0"


def _excluded(target: dict[str, Any], judgements: Sequence[Judgement]) -> Loser | None:
    for verdict, reason in (
        ("broken", "breaks a constraint"),
        ("uncertain", "not proven to keep a constraint"),
    ):
        hits = [judgement for judgement in judgements if judgement.verdict == verdict]
        if hits:
            return Loser(target["id"], reason, f"{reason}: " + "; ".join(hit.sentence for hit in hits))
    return None


def _tie_group(open_: list[dict[str, Any]], losers: dict[str, Loser]) -> list[dict[str, Any]]:
    """Return those not shown to be worse in quality than the best; the others become losers.

    Where some have a quality, one that has none is out: not knowing is no reason to pick it.
    """
    scored = [target for target in open_ if _is_scored(target)]
    if not scored:
        return open_
    # By id where scores are equal, so that the order in which the targets are named decides nothing.
    best = max(scored, key=lambda target: (target["quality"]["score"], target["id"]))
    tests: dict[str, PairedTest] = {}
    for target in open_:
        differences = _weighted_differences(best, target)
        if target is not best and differences:
            tests[target["id"]] = sign_flip_test(differences, np.random.default_rng(SEED))
        elif target is not best:
            reason = target["quality"].get("reason") or f"it shares no scored case with {best['id']}"
            losers[target["id"]] = Loser(target["id"], "quality unknown", f"its quality is unknown: {reason}")
    # Many comparisons, and the best was chosen by looking: each must be surer for all to be as sure as one.
    adjusted = holm([test.p for test in tests.values()], pairs_with_best(len(tests)))
    for (id_, test), p in zip(tests.items(), adjusted, strict=True):
        if test.difference > 0 and p < ALPHA:
            target = next(target for target in open_ if target["id"] == id_)
            losers[id_] = _worse_than(target, best, test.n, p)
    return [target for target in open_ if target["id"] not in losers]


def _weighted_differences(best: dict[str, Any], target: dict[str, Any]) -> list[float]:
    """Return best minus target for each case that both have a score of, weighted as the mean quality is."""
    pairs = [(best["by_case"][case], target["by_case"][case]) for case in best["by_case"]]
    both = [(a, b) for a, b in pairs if a["score"] is not None and b["score"] is not None]
    heaviest = max((a["weight"] for a, _ in both), default=1.0)
    return [a["weight"] / heaviest * (a["score"] - b["score"]) for a, b in both]


def _is_scored(target: dict[str, Any]) -> bool:
    return target["quality"]["score"] is not None


def _worse_than(target: dict[str, Any], best: dict[str, Any], cases: int, p: float) -> Loser:
    sentence = (
        f"its answers are worse: quality {_quality(target)} against {_quality(best)} of {best['id']}, paired over "
        f"{cases} cases (p = {p:.3f})"
    )
    return Loser(target["id"], "worse", sentence)


@dataclass(frozen=True, slots=True)
class _Cost:
    """A criterion inside the tie group, the less the better.

    Attributes:
        more: What is said of a target that takes more.
        same_up_to: The value up to which another is the same as the least one.
    """

    name: str
    tag: str
    more: str
    same_up_to: Callable[[float], float]

    def of(self, target: dict[str, Any]) -> float:
        return number(target["metrics"][self.tag]["value"])

    def is_known(self, target: dict[str, Any]) -> bool:
        return target["metrics"][self.tag]["value"] is not None

    def is_more(self, target: dict[str, Any], least: dict[str, Any], others: int, floor_ms: float) -> bool:
        """Return whether a target takes more than the least one, which was chosen among that many others."""
        more = self.of(target) > self.same_up_to(self.of(least))
        if self.tag != "latency":
            return more
        return more and self.of(target) - self.of(least) > floor_ms and _is_slower(target, least, others)

    def show(self, target: dict[str, Any]) -> str:
        value = self.of(target)
        return duration(value) if self.tag == "latency" else size(value)


def _is_slower(target: dict[str, Any], least: dict[str, Any], others: int) -> bool:
    """Return whether a target is shown to be slower, case by case.

    Prompts differ far more in latency than targets do, so targets are compared on the same prompt; and loads may
    differ, which is part of the interval where there are several.
    """
    ratio = ratio_interval(_latencies(least), _latencies(target), 1 - ALPHA / pairs_with_best(max(1, others)))
    return ratio.low is not None and ratio.low > 1


def _latencies(target: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [
        (case, load, number(value))
        for case, entry in target["by_case"].items()
        for load, value in entry["latency_by_load"].items()
    ]


_COSTS = (
    _Cost("memory", "peak_memory", "takes more memory", lambda least: least + MEMORY_RESOLUTION_BYTES),
    _Cost("latency", "latency", "is slower", lambda least: least * (1 + LATENCY_RESOLUTION)),
    _Cost("disk", "disk", "takes more disk", lambda least: least),
)


def _cheapest(
    tied: list[dict[str, Any]], losers: dict[str, Loser], floor_ms: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Narrow a tie group down by memory, then latency, then disk; those that drop out become losers.

    A target whose figure is unknown drops out where another's is known: not knowing is no reason to pick it.

    Returns:
        Who is left, and the costs that told them apart.
    """
    left, decisive = tied, []
    for cost in _COSTS:
        known = [target for target in left if cost.is_known(target)]
        if len(left) == 1 or not known:
            continue
        least = min(known, key=lambda target: (cost.of(target), target["id"]))
        kept = [target for target in known if not cost.is_more(target, least, len(known) - 1, floor_ms)]
        out = [target for target in left if target not in kept]
        for target in out:
            losers[target["id"]] = Loser(target["id"], "costlier", _costlier(target, least, cost))
        if out:
            decisive.append(cost.name)
        left = kept
    return left, decisive


def _costlier(target: dict[str, Any], least: dict[str, Any], cost: _Cost) -> str:
    quality = "its answers are not shown to be better, and " if _is_scored(target) else ""
    if not cost.is_known(target):
        return f"{quality}its {cost.name} is not known well enough to compare it with {least['id']}"
    return f"{quality}it {cost.more}: {cost.show(target)} against {cost.show(least)} of {least['id']}"


def _quality(target: dict[str, Any]) -> str:
    score = target["quality"]["score"]
    return "unknown" if score is None else f"{score:.2f}"


def _sentence(
    picked: dict[str, Any],
    tied: list[dict[str, Any]],
    open_: list[dict[str, Any]],
    summary: dict[str, Any],
    criteria: list[str],
) -> str:
    quality = picked["quality"]
    parts = []
    if quality["score"] is not None:
        interval = f"[{quality['low']:.2f}, {quality['high']:.2f}]"
        parts.append(f"quality {quality['score']:.2f} {interval} over {counted(quality['cases'], 'case')}")
    latency = picked["metrics"]["latency"]["value"]
    if latency is not None:
        parts.append(f"median answer after {duration(number(latency))}")
    memory = picked["metrics"]["peak_memory"]["value"]
    if memory is not None:
        parts.append(f"{size(memory)} of memory")
    facts = ", ".join(parts)
    if len(summary["targets"]) == 1:
        reason = "it is the only target, and nothing rules it out"
    elif len(open_) == 1:
        reason = "it is the only one that can be used"
    elif sum(map(_is_scored, open_)) == 1:
        reason = "it is the only one whose answers were judged"
    elif len(tied) == 1:
        reason = "its answers are measurably the best"
    else:
        alike = "whose answers are too close to call" if _is_scored(picked) else "whose answers were not judged"
        reason = f"among {len(tied)} {alike}, it is the cheapest by {', then '.join(criteria)}"
    but = f", but {_nothing_right(picked)}" if _all_score_0(picked) else ""
    return f"Pick {picked['id']}: {reason}{but}" + (f" ({facts})." if facts else ".")


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
        sentence = f"No pick yet: {' and '.join(uncertain)} may keep to the constraints, but this run does not show it."
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
    measured = [target for target in summary["targets"] if target["status"] != "not measured"]
    if len(measured) > 1 and all(len({load for _, load, _ in _latencies(target)}) <= 1 for target in measured):
        notes.append("each target was measured in one load, whose luck may look like a difference between targets")
    judged = max((target["quality"]["cases"] for target in measured), default=0)
    if measured and not judged:
        reasons = sorted({target["quality"]["reason"] for target in measured})
        notes.append(f"quality was not measured: {', '.join(reasons)}")
    elif 0 < judged < _MANY_CASES:
        notes.append(
            f"{counted(judged, 'judged case')} can show only large differences in quality; add cases of your own"
        )
    return tuple(notes)


def _notes_on(picked: dict[str, Any]) -> tuple[str, ...]:
    """Return what speaks against the target that is picked all the same."""
    requests = picked["requests"]
    failed = requests["failed"] + requests["timeout"]
    notes = [f"{failed} of {requests['measured']} requests to {picked['id']} failed"] if failed else []
    codes = [finding["code"] for finding in picked["findings"] if finding["code"] != FailingRequests.code]
    if codes:
        notes.append(f"{picked['id']}: the guards found {', '.join(codes)} (see Guards and errors in the report)")
    return tuple(notes)
