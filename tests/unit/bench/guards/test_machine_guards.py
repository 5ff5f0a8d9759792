"""What else the machine did: each guard speaks when it has to, and is silent where nothing is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from audition.bench.guards import Evidence, Finding
from audition.bench.guards.base import Guard
from audition.bench.guards.drift import Drift
from audition.bench.guards.machine import BackgroundLoad, MemoryKept, OnBattery, Steal, Swapping, Throttled
from audition.bench.meters.activity import Activity
from audition.bench.plan import Settings
from audition.bench.sample import Load, Memory, Sample
from plans import MEGABYTE, a_load, a_sample, a_target


def check(guard: Guard, loads: Sequence[Load] = (), samples: Sequence[Sample] = (), **machine: Any) -> Finding | None:
    return guard.check(Evidence(a_target(), samples, [], loads, {}, Settings(), {}, {"machine": machine}))


def found(*args: Any, **more: Any) -> Finding:
    finding = check(*args, **more)
    assert finding is not None
    return finding


def active(**values: Any) -> Load:
    return a_load(activity=Activity(60.0, **values).to_json())


@pytest.mark.parametrize(
    ("guard", "bad", "good"),
    [
        (BackgroundLoad(), {"background_cores": 0.6}, {"background_cores": 0.4}),
        (Steal(), {"steal_share": 0.05}, {"steal_share": 0.01}),
        (Swapping(), {"swap_in_bytes": 6_000_000, "swap_out_bytes": 6_000_000}, {"swap_in_bytes": 6_000_000}),
        (Throttled(), {"throttle_events": 3}, {"throttle_events": 0}),
        (OnBattery(), {"on_battery": True}, {"on_battery": False}),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_a_disturbed_load_marks_all_times(guard: Guard, bad: dict[str, Any], good: dict[str, Any]) -> None:
    assert {"ttft", "latency", "decode_tps", "throughput", "load_time"} <= set(
        found(guard, [active(**good), active(**bad)]).taints
    )
    assert check(guard, [active(**good)] * 3) is None
    assert check(guard, [active(), a_load()]) is None, "not known"
    assert check(guard, [replace(active(**bad), round=0)]) is None, "nothing was measured while it was probed"
    assert check(guard) is None


def test_half_a_core_is_much_of_few() -> None:
    assert check(BackgroundLoad(), [active(background_cores=0.4)], cores_logical=2) is not None
    loads = [active(background_cores=1.5), replace(active(background_cores=0.0), round=2)]
    finding = found(BackgroundLoad(), loads, cores_logical=16)
    assert finding.sentence == "in 1 of 2 rounds other programs kept up to 1.5 of 16 cores busy"
    assert check(BackgroundLoad(), [active(background_cores=0.4)], cores_logical=16) is None


def test_a_clock_that_falls_between_loads_is_found_where_heat_is_not_counted() -> None:
    slower = [active(frequency_mhz_mean=mhz) for mhz in (3000.0, 2900.0, 2200.0)]
    assert "2,200 MHz in one load and 3,000" in found(Throttled(), slower).sentence
    assert check(Throttled(), slower[:2]) is None
    assert check(Throttled(), slower[2:], cpu_mhz_base=3000) is None, "waiting lets it fall too"
    counted = [active(frequency_mhz_mean=mhz, throttle_events=0) for mhz in (3000.0, 2200.0)]
    assert check(Throttled(), counted) is None


def memory(megabytes: int) -> Memory:
    return Memory(megabytes * MEGABYTE)


def a_load_of(baseline: int | None, peak: int | None, after: int | None) -> Load:
    sizes = {"baseline": baseline, "peak": peak, "after_unload": after}
    return a_load(**{name: None if size is None else memory(size) for name, size in sizes.items()})


@pytest.mark.parametrize(
    "loads",
    [
        [],
        [(50, 550, 60)],
        [(50, 550, 300)],
        [(50, 550, 40)],
        [(None, 550, 550), (50, None, 550), (50, 550, None)],
        [(50, 50, 50)],
        [(50, 52, 52)],
    ],
    ids=["nothing", "given back", "half", "less than before", "unknown", "nothing taken", "noise"],
)
def test_memory_that_was_given_back_is_no_finding(loads: list[tuple[int | None, int | None, int | None]]) -> None:
    assert check(MemoryKept(), [a_load_of(*sizes) for sizes in loads]) is None


def test_the_worst_load_counts() -> None:
    finding = found(MemoryKept(), [a_load_of(50, 550, 60), a_load_of(50, 550, 500), a_load_of(50, 550, 350)])
    assert finding.code == "memory_not_given_back"
    assert "90%" in finding.sentence
    assert finding.taints == ("memory_after_unload",)


def a_run(
    rng: random.Random,
    *,
    loads: int = 3,
    cases: int = 12,
    within: float = 0.0,
    over: float = 0.0,
    shift: float = 0.0,
    level: str = "c1",
) -> tuple[list[Load], list[Sample]]:
    """Return a run whose latency grows by so much within each load, and over the loads; each load has a shift."""
    base = {f"case{n}": rng.lognormvariate(6, 1) for n in range(cases)}
    records, samples = [], []
    for number in range(loads):
        # The names of blocks say nothing of their order.
        block = f"b{(number * 37) % 100:03d}"
        records.append(a_load(block=block, round=number + 1, started_at=f"2026-11-22T12:{number:02d}:00+00:00"))
        load_effect = (1 + over * number / max(1, loads - 1)) * rng.lognormvariate(0, shift)
        order = rng.sample(sorted(base), cases)
        for position, case in enumerate(order):
            slower = 1 + within * position / (cases - 1)
            latency = base[case] * load_effect * slower * rng.lognormvariate(0, 0.02)
            sent = (number * 60 + position) * 10**9 + 1
            samples.append(a_sample(case=case, block=block, latency_ms=latency, sent_ns=sent, level=level))
    rng.shuffle(samples)
    return records, samples


def test_a_target_that_becomes_slower_within_its_loads_is_found() -> None:
    finding = found(Drift(), *a_run(random.Random(1), within=0.3))
    assert finding.sentence.startswith("latency rises by ")
    assert "within a load" in finding.sentence
    assert check(Drift(), *a_run(random.Random(1), within=0.3, shift=0.5)) is not None, "whatever the loads' shifts"
    assert {"ttft", "latency", "throughput"} <= set(finding.taints)
    falls = found(Drift(), *a_run(random.Random(1), within=-0.3, level="c4"))
    assert falls.sentence.startswith("latency falls by ")
    assert "(c4)" in falls.sentence


def test_a_target_that_becomes_slower_from_load_to_load_is_found() -> None:
    finding = found(Drift(), *a_run(random.Random(2), loads=10, over=0.5))
    assert "from the first load to the last" in finding.sentence


def test_prompts_and_loads_that_differ_are_no_drift() -> None:
    rng = random.Random(3)
    runs = [a_run(rng, shift=0.1, loads=3) for _ in range(60)] + [a_run(rng, shift=0.1, loads=9) for _ in range(60)]
    accused = sum(check(Drift(), *run) is not None for run in runs)
    assert accused <= 4, "1 % by chance"


def test_too_little_says_nothing() -> None:
    assert check(Drift()) is None
    assert check(Drift(), *a_run(random.Random(4), loads=1, within=0.5)) is None, "each case was asked once"
    assert check(Drift(), *a_run(random.Random(4), loads=2, cases=5, within=0.5)) is None
    records, samples = a_run(random.Random(1), within=0.3)
    assert check(Drift(), records, [replace(s, status="failed", latency_ms=None) for s in samples]) is None


def repeated(times: int, growth: float) -> list[Sample]:
    """Return one case asked again and again in one load, a little slower each time."""
    return [a_sample(latency_ms=500 * (1 + growth * n / (times - 1)), sent_ns=n + 1, repeat=n) for n in range(times)]


def test_a_trend_needs_requests_and_a_size() -> None:
    assert check(Drift(), [a_load()], repeated(12, 0.1)) is not None
    assert check(Drift(), [a_load()], repeated(11, 0.1)) is None
    assert check(Drift(), [a_load()], repeated(40, 0.03)) is None
