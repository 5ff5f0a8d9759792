"""What every metric must keep to, whatever the records look like."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest

from audition.bench.plan import Level, Settings
from audition.bench.sample import Memory, Sample
from audition.summary.metrics import METRICS, Estimate, Metric, Records, metric
from handmade import load, sample, target

UNITS = ("ms", "tokens/s", "characters/s", "requests/s", "tokens", "bytes", "%", "J/token", "J/answer")
JOULES = {"joules_gross": 3.0, "joules_net": 1.0, "seconds": 1.0, "sources": ["rapl:package-0"]}
HOST = {"machine": {"memory_bandwidth": {"bytes_per_s": 1e10}}}


def timed(status: str = "ok", at: int = 1, **changes: Any) -> Sample:
    """Return a request that was sent at its own moment, with everything recorded."""
    given: dict[str, Any] = {"sent_ns": at * 10**9, "elapsed_ms": 250.0, "case": f"c{at}"}
    return sample(status, **{**given, **changes})


ODD: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "empty": ([], [], []),
    "one of each": ([timed(ttfa_ms=5.0, queue_ms=0.0)], [sample(phase="first")], [load(energy={"c1": JOULES})]),
    "all failed": ([timed("failed")] * 3, [sample("failed", phase="first")], [load("failed")]),
    "never sent": ([sample("failed")] * 3, [], [load("failed")]),
    "timed out half way": ([timed("timeout", ttft_ms=5.0, chunk_times_ms=(5.0, 6.0))], [], []),
    "no tokens counted": ([timed(completion_tokens=None, token_source=None, engine_timings=None)] * 2, [], []),
    "no text": (
        [timed(ttft_ms=None, chunk_times_ms=(), completion_tokens=0, text="")] * 2,
        [],
        [load(energy={"c1": JOULES})],
    ),
    "no time passed": (
        [
            sample(
                sent_ns=1,
                elapsed_ms=0.0,
                ttft_ms=0.0,
                latency_ms=0.0,
                chunk_times_ms=(0.0, 0.0),
                engine_timings={"prompt_n": 1, "prompt_ms": 0},
            )
        ],
        [],
        [load(load_ms=0.0, peak=Memory(0, 0, 0), energy={"c1": JOULES | {"joules_gross": math.nan}})],
    ),
    "nothing readable": ([], [], [load(load_ms=None, peak=None, after_unload=None)]),
    "only totals": ([], [], [load(peak=Memory(5), after_unload=Memory(5))]),
    "nonsense of an engine": (
        [sample(engine_timings={"prompt_n": math.nan, "prompt_ms": math.inf}), sample(engine_timings={"x": 1.0})],
        [],
        [],
    ),
    "some of everything": (
        [timed(at=1), timed("failed", 2), timed("truncated", 3), timed("timeout", 4)] * 20,
        [],
        [load(energy={"c1": JOULES}), load(block="b002"), load("failed", block="b003")],
    ),
}

every_metric = pytest.mark.parametrize("each", METRICS, ids=lambda each: each.tag)
every_oddity = pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())


def records(odd: tuple[list[Any], list[Any], list[Any]], **changes: Any) -> Records:
    return Records(target(active_bytes=10**8), *odd, **{"host": HOST, **changes})


def numbers(found: Estimate) -> list[float]:
    values = [getattr(found, each.name) for each in fields(found)]
    return [value for value in values if isinstance(value, int | float)]


def test_tags_are_unique() -> None:
    tags = [each.tag for each in METRICS]
    assert len(tags) == len(set(tags)) == 30
    headers = [each.header for each in METRICS]
    assert len(headers) == len(set(headers))


@every_metric
def test_it_says_what_it_is(each: Metric) -> None:
    assert each.tag.isidentifier()
    assert each.header
    assert each.unit in UNITS
    assert len(each.formula) > 10
    assert "|" not in each.formula, "it stands in tables"
    assert (each.__doc__ or "").strip()
    assert each.better in ("lower", "higher")
    assert (each.better == "higher") == (each.unit.endswith("/s") or each.tag == "bandwidth_use")
    assert metric(each.tag) is each


@every_metric
@every_oddity
def test_it_takes_any_records(each: Metric, odd: tuple[list[Any], list[Any], list[Any]]) -> None:
    found = each.estimate(records(odd))
    if found.value is None:
        assert found.reason, "unknown needs a reason"
        assert (found.low, found.high, found.p95, found.p99, found.scope) == (None, None, None, None, None)
    else:
        assert found.reason is None
        assert found.n > 0
    assert 0 <= found.failed <= found.n
    assert (found.low is None) == (found.high is None)
    assert (found.low is None) == (found.scope is None), "an interval says what it is about"
    assert found.tail == ("p5" if each.better == "higher" else "p95") or found.p95 is None
    assert not any(math.isnan(value) for value in numbers(found))
    assert json.loads(json.dumps(found.to_json(3), allow_nan=False)) == found.to_json(3)


@every_metric
@every_oddity
def test_its_readings_account_for_every_record_and_for_the_estimate(
    each: Metric, odd: tuple[list[Any], list[Any], list[Any]]
) -> None:
    readings, found = each.read(records(odd)), each.estimate(records(odd))
    about = [reading.record for reading in (*readings.used, *readings.left_out)]
    assert len(about) in (0, len(odd[0]), len(odd[1]), len(odd[2])), "a record is used or left out, once"
    assert all(reading.values and reading.reason is None for reading in readings.used)
    assert all(reading.reason and not reading.values for reading in readings.left_out)
    assert sum(found.left_out.values()) == len(readings.left_out)
    assert found.n == len(readings.used) or each.tag == "disk"


@every_metric
def test_nothing_is_never_0(each: Metric) -> None:
    found = each.estimate(records(ODD["empty"]))
    if each.tag != "disk":
        assert (found.value, found.n, found.reason) == (None, 0, "nothing was measured")


@every_metric
@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_failures_alone_are_no_good_figure(each: Metric, status: str) -> None:
    failed = [timed(status, i) for i in range(1, 80)]
    loads = [load(energy={"c1": JOULES})]
    found = each.estimate(Records(target(active_bytes=10**8), failed, failed, loads, host=HOST))
    if each.tag == "failure_rate":
        assert found.value == 100.0
    elif each.by_level:
        assert found.value is None or math.isinf(found.value)
        assert found.value is not None or found.reason == "every request failed"


@every_metric
def test_the_order_of_the_records_is_no_matter(each: Metric) -> None:
    # 0.1 + 0.2 + 0.3 depends on the order when it is simply added up.
    measured = [
        timed(at=i, latency_ms=0.1 * i, ttft_ms=0.1 * i, ttfa_ms=0.1 * i, elapsed_ms=0.1 * i, completion_tokens=i)
        for i in range(1, 8)
    ]
    measured += [replace(made, block=f"b{i}") for i in range(2, 5) for made in measured]
    energy = {"c1": {**JOULES, "joules_gross": 0.1, "joules_net": 0.7}}
    loads = [load(block=f"b{i}", load_ms=0.1 * i, peak=Memory(i, i, i), energy=energy) for i in range(1, 9)]
    forth = each.estimate(records((measured, measured, loads)))
    assert each.estimate(records((measured[::-1], measured[::-1], loads[::-1]))) == forth


@every_metric
def test_what_does_not_depend_on_the_level_gives_the_same_for_each(each: Metric) -> None:
    odd = ([timed(ttfa_ms=5.0, queue_ms=1.0)], [sample(phase="first")], [load()])
    one, four = (each.estimate(records(odd, level=Level.closed(n))) for n in (1, 4))
    other = each.estimate(records(([], odd[1], odd[2])))
    if not each.by_level:
        assert one == four == other
    else:
        assert other.reason == "nothing was measured"


@every_metric
def test_damaged_facts_of_the_host_are_no_crash(each: Metric) -> None:
    odd = ODD["one of each"]
    for host in ({}, {"machine": None, "energy": None}, {"machine": {"memory_bandwidth": {}}, "energy": {}}):
        found = each.estimate(records(odd, host=host, settings=Settings(power_watts=None)))
        assert found.value is not None or found.reason
