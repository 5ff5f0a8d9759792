"""What is measured of the machine before a run, and what is not where it would say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from audition.bench import calibrate as calibrate_module
from audition.bench.calibrate import calibrate
from audition.bench.meters import bandwidth
from audition.bench.meters.bandwidth import Bandwidth
from audition.bench.meters.energy import EnergyMeter
from audition.bench.plan import SERVER, Level, Plan
from plans import a_plan, a_target

HOST = {"schema": 1, "machine": {"os": "Linux"}, "engines": {"steady": {}}, "models": {}}
OURS, THEIRS = a_target(), a_target(model="far", format=SERVER)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured, in its order; nothing takes time."""
    order: list[str] = []

    def measure_bandwidth() -> Bandwidth:
        order.append("bandwidth")
        return Bandwidth(25e9, "by hand", 2, 2**28)

    async def measure_noise_floor(concurrencies: Sequence[int]) -> dict[str, Any]:
        order.append("noise")
        return {"asked": list(concurrencies)}

    def background_now() -> float:
        order.append("background")
        return 0.25

    monkeypatch.setattr(bandwidth, "measure_bandwidth", measure_bandwidth)
    monkeypatch.setattr(calibrate_module, "measure_noise_floor", measure_noise_floor)
    monkeypatch.setattr(calibrate_module, "background_now", background_now)
    return order


class Counter:
    """Ten watts, by a clock that only sleeping moves."""

    source = "toy"

    def __init__(self, order: list[str]) -> None:
        self.order, self.now = order, 0.0

    def joules(self) -> float:
        return 10 * self.now

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.order.append("idle")
        self.now += seconds

    def meter(self) -> EnergyMeter:
        return EnergyMeter([self], {}, clock=self.clock, sleep=self.sleep)


def run(plan: Plan, meter: EnergyMeter) -> dict[str, Any]:
    return asyncio.run(calibrate(HOST, plan, meter))


def test_the_host_gets_what_was_measured_and_keeps_what_it_had(order: list[str]) -> None:
    host = run(a_plan([OURS, THEIRS], levels=(Level.closed(2), Level.closed(8))), Counter(order).meter())
    assert order == ["background", "idle", "bandwidth", "noise"], "what makes the machine busy comes last"
    assert host == {
        **HOST,
        "machine": {
            "os": "Linux",
            "memory_bandwidth": {
                "bytes_per_s": 25e9,
                "method": "by hand",
                "threads": 2,
                "array_bytes": 2**28,
                "reason": None,
            },
        },
        "background_cores": 0.25,
        "energy": {"sources": ["toy"], "idle_watts": pytest.approx(10.0), "reason": None},
        "noise_floor": {"asked": [1, 8]},
    }
    assert HOST["machine"] == {"os": "Linux"}, "what it was given is left as it is"


def test_the_memory_of_a_server_is_not_this_machines(order: list[str]) -> None:
    host = run(a_plan([THEIRS]), Counter(order).meter())
    assert host["machine"]["memory_bandwidth"] is None
    assert "bandwidth" not in order


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"rapl": "root only", "nvml": "no GPU"}, "root only; no GPU"),
        ({}, "there is no energy counter"),
    ],
)
def test_without_a_counter_there_is_a_reason_and_nobody_waits(
    order: list[str], missing: dict[str, str], reason: str
) -> None:
    host = run(a_plan(), EnergyMeter([], missing, sleep=lambda _: order.append("idle")))
    assert host["energy"] == {"sources": [], "idle_watts": None, "reason": reason}
    assert "idle" not in order


@pytest.mark.parametrize(
    ("levels", "asked"),
    [((Level.closed(1),), [1, 1]), ((Level.open(3.0),), [1, 1]), ((Level.open(3.0), Level.closed(4)), [1, 4])],
)
def test_the_noise_floor_is_measured_at_the_widest_level(
    order: list[str], levels: tuple[Level, ...], asked: list[int]
) -> None:
    host = run(a_plan(levels=levels), EnergyMeter([], {}))
    assert host["noise_floor"] == {"asked": asked}
