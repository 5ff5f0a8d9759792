"""Runs made by hand: targets, samples and loads with known numbers, and the summaries that come of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from audition.bench.plan import Case, Plan, Settings, Target, make_blocks
from audition.bench.sample import Load, Memory, Sample
from audition.jsonfile import write_json
from audition.quality.scores import score_samples
from audition.summary.summarize import summarize

HOST: dict[str, Any] = {
    "schema": 1,
    "machine": {
        "os": "Linux",
        "os_release": "6.1",
        "architecture": "x86_64",
        "cpu": "Test Processor 9000",
        "cores_logical": 8,
        "cores_physical": 4,
        "memory_total_bytes": 16_000_000_000,
        "memory_available_bytes": 8_000_000_000,
        "python": "3.11.9",
        "audition": "0.0.0",
    },
    "engines": {"fake": {"package": "fakeengine 1.2.3", "device": "cpu"}},
    "models": {},
}
ANSWERS = {1.0: "yes sure", 0.5: "yes", 0.0: "no"}
"""Answers that get these scores from the two checks of `made_cases`."""


@dataclass(frozen=True)
class Made:
    """A target as a test wants it: one mark and one latency per case, the same in every round.

    A mark of None is a failed request, "cut" one that the token limit cut.
    """

    id: str
    marks: Sequence[float | str | None] = (1.0,) * 6
    latencies: Sequence[float] = (1000.0,)
    memory: int | None = 200_000_000
    disk: int = 100_000_000
    licence: str | None = "MIT"
    licence_class: str = "permissive"
    has_chat_template: bool | None = True
    load_fails: bool = False
    text: str | None = None

    def target(self) -> Target:
        return target(
            self.id,
            disk_bytes=self.disk,
            licence=self.licence,
            licence_class=self.licence_class,
            has_chat_template=self.has_chat_template,
        )


def target(id_: str = "a", **fields: Any) -> Target:
    given: dict[str, Any] = {
        "id": id_,
        "model": id_,
        "variant": id_,
        "format": "gguf",
        "quantization": "Q4_1",
        "engine": "fake",
        "device": "cpu",
        "settings": {"context": 4096},
        "digest": "d1ge57" * 10,
        "licence": "MIT",
        "licence_class": "permissive",
        "disk_bytes": 100_000_000,
        "has_chat_template": True,
    }
    return Target(**{**given, **fields})


def case(id_: str = "c1", prompt: str = "Say yes.", **fields: Any) -> Case:
    return Case(id_, ({"role": "user", "content": prompt},), **fields)


def made_cases(n: int, *, checked: bool = True) -> list[Case]:
    return [case(f"c{i}", expect=("yes", "sure") if checked else ()) for i in range(1, n + 1)]


def sample(status: str = "ok", **fields: Any) -> Sample:
    """One request: 11 tokens, the first after 100 ms, then one every 10 ms; the stream ends after 250 ms."""
    given: dict[str, Any] = {"target": "a", "case": "c1", "block": "b001", "round": 1, "phase": "measured"}
    if status in ("ok", "truncated"):
        given |= {
            "sent_ns": 1,
            "ttft_ms": 100.0,
            "ttfa_ms": 100.0,
            "latency_ms": 250.0,
            "elapsed_ms": 250.0,
            "chunk_times_ms": tuple(100.0 + 10 * i for i in range(11)),
            "prompt_tokens": 20,
            "completion_tokens": 11,
            "token_source": "engine",
            "finish_reason": "length" if status == "truncated" else "stop",
            "text": "yes sure",
            "engine_timings": {"prompt_n": 20, "prompt_ms": 80.0},
        }
    else:
        given |= {"error": {"code": "engine_died", "message": "the engine died"}}
    return Sample(status=status, **{**given, **fields})  # type: ignore[arg-type]


def load(status: str = "ok", **fields: Any) -> Load:
    given: dict[str, Any] = {"target": "a", "block": "b001", "round": 1, "attempt": 1, "started_at": "2026-01-01"}
    if status == "ok":
        given |= {
            "load_ms": 300.0,
            "baseline": Memory(30_000_000, 10_000_000, 20_000_000),
            "peak": Memory(200_000_000, 90_000_000, 110_000_000),
            "after_unload": Memory(60_000_000, 40_000_000, 20_000_000),
        }
    else:
        given |= {"error": {"code": "bad_model_file", "message": "the file is cut off"}}
    return Load(status=status, **{**given, **fields})  # type: ignore[arg-type]


def plan(targets: Sequence[Target], cases: Sequence[Case], *, rounds: int = 1, name: str = "hand made") -> Plan:
    settings = Settings(rounds=rounds, probes=False, warmup=0)
    blocks = make_blocks(targets, cases, settings)
    return Plan(name, "2026-01-01T00:00:00+00:00", tuple(targets), tuple(cases), settings, blocks)


@dataclass(frozen=True)
class Run:
    """A run in memory, and on disk once it is written."""

    plan: Plan
    samples: list[Sample]
    loads: list[Load]

    def summary(self) -> dict[str, Any]:
        return summarize(self.plan, self.samples, self.loads, score_samples(self.plan, self.samples))

    def write(self, path: Path, host: dict[str, Any] | None = None) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "plan.json", self.plan.to_json())
        write_json(path / "host.json", host or HOST)
        for name, records in (("samples", self.samples), ("loads", self.loads)):
            lines = [json.dumps({"schema": 1, **asdict(record)}) + "\n" for record in records]
            (path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        return path


def run(*targets: Made, rounds: int = 1, checked: bool = True, name: str = "hand made") -> Run:
    """Return the complete run of these targets; they have equally many marks."""
    cases = made_cases(len(targets[0].marks), checked=checked)
    made = plan([t.target() for t in targets], cases, rounds=rounds, name=name)
    by_id = {t.id: t for t in targets}
    now_ms = 0.0
    samples: list[Sample] = []
    loads: list[Load] = []
    for block in made.blocks:
        t = by_id[block.target]
        where: dict[str, Any] = {"target": t.id, "block": block.id, "round": block.round}
        asked = [(0, {"phase": "first", "case": cases[0].id}), *((i, {"case": c.id}) for i, c in enumerate(cases))]
        for index, which in asked:
            answer = _answer(t, index, where | which)
            if answer.sent_ns is not None:
                answer = replace(answer, sent_ns=int(now_ms * 1e6))
                now_ms += answer.elapsed_ms or 0.0
            samples.append(answer)
        if t.load_fails:
            loads.append(load("failed", **where))
        else:
            peak = None if t.memory is None else Memory(t.memory, t.memory // 2, t.memory // 2)
            loads.append(load(**where, peak=peak))
    return Run(made, samples, loads)


def summary(*targets: Made, rounds: int = 1, checked: bool = True) -> dict[str, Any]:
    return run(*targets, rounds=rounds, checked=checked).summary()


def _answer(made: Made, index: int, where: dict[str, Any]) -> Sample:
    mark, ms = made.marks[index], made.latencies[index % len(made.latencies)]
    if made.load_fails or mark is None:
        return sample("failed", **where)
    text = made.text if made.text is not None else ANSWERS.get(mark if isinstance(mark, float) else 1.0, "yes sure")
    times = tuple(round(ms * (0.4 + 0.05 * i), 3) for i in range(11))
    status = "truncated" if mark == "cut" else "ok"
    facts = {"latency_ms": ms, "elapsed_ms": ms, "ttft_ms": times[0], "ttfa_ms": times[0]}
    return sample(status, **where, **facts, chunk_times_ms=times, text=text)
