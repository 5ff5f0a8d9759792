"""Load time, memory, disk, bandwidth and energy, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from metric_records import estimate, sent

from audition.bench.plan import Level, Settings
from audition.bench.sample import Load, Memory
from handmade import load, sample

READINGS = {"joules_gross": 60.0, "joules_net": 40.0, "seconds": 2.0, "sources": ["rapl:package-0"]}
ENERGY = ("energy_per_token", "energy_per_token_net", "energy_per_answer", "energy_per_answer_net")


def test_load_time_is_the_median_over_the_loads_that_succeeded() -> None:
    found = estimate("load_time", [], [], [load(load_ms=300.0), load(load_ms=500.0), load("failed")])
    assert (found.statistic, found.value, found.n, found.p95_reason) == ("median", 400.0, 2, None)
    assert found.left_out == {"the load failed (bad_model_file)": 1}
    assert estimate("load_time", [], [], [load("failed")]).reason == "the load failed (bad_model_file)"
    assert estimate("load_time", [], [], [load(load_ms=None)]).reason == "no load was timed"


def test_a_load_that_failed_later_was_timed_all_the_same() -> None:
    found = estimate("load_time", [], [], [load("failed", load_ms=200.0)])
    assert (found.value, found.n, found.failed) == (200.0, 1, 0)


@pytest.mark.parametrize(
    ("tag", "field", "part"),
    [
        ("peak_memory", "peak", "total"),
        ("peak_memory_anonymous", "peak", "anonymous"),
        ("memory_after_unload", "after_unload", "total"),
    ],
)
def test_memory_is_the_largest_of_all_loads(tag: str, field: str, part: str) -> None:
    memories = [Memory(200, 90, 110), Memory(500, 400, 100), Memory(300, 120, 180)]
    found = estimate(tag, [], [], [load(**{field: memory}) for memory in memories])
    assert (found.statistic, found.value, found.n) == ("maximum", getattr(memories[1], part), 3)
    found = estimate(tag, [], [], [load(**{field: None})])
    assert (found.value, found.reason) == (None, "its memory could not be read")


def test_a_servers_memory_is_the_whole_servers_and_is_labelled_so() -> None:
    loads = [load(peak=Memory(500, 400, 100), after_unload=None, memory_reason="a server keeps its model")]
    assert estimate("peak_memory", [], [], loads, format="server").label == "Peak memory, whole server"
    found = estimate("peak_memory_anonymous", [], [], loads, format="server")
    assert (found.value, found.label) == (400.0, "Peak anonymous memory, whole server")
    assert estimate("peak_memory", [], [], loads).label is None
    found = estimate("memory_after_unload", [], [], loads, format="server")
    assert (found.value, found.reason) == (None, "a server keeps its model")
    elsewhere = [load(peak=None, memory_reason="the server is not on this machine")]
    for tag in ("peak_memory", "peak_memory_anonymous"):
        assert estimate(tag, [], [], elsewhere, format="server").reason == "the server is not on this machine"


def test_where_the_system_does_not_tell_anonymous_memory_apart_it_is_unknown() -> None:
    found = estimate("peak_memory_anonymous", [], [], [load(peak=Memory(500))])
    assert (found.value, found.reason) == (None, "the system does not tell anonymous memory apart")


def on_gpu(peak: int | None, method: str | None = "process", reason: str | None = None) -> Load:
    return load(gpu_memory={"peak_bytes": peak, "method": method, "reason": reason})


def test_gpu_memory_is_unknown_and_not_zero() -> None:
    found = estimate("peak_gpu_memory", [], [], [load()])
    assert (found.value, found.reason) == (None, "GPU memory was not recorded")
    found = estimate("peak_gpu_memory", [], [], [on_gpu(None, None, "there is no NVIDIA GPU")])
    assert (found.value, found.reason) == (None, "there is no NVIDIA GPU")


def test_gpu_memory_is_the_largest_of_all_loads_and_zero_is_a_measurement() -> None:
    found = estimate("peak_gpu_memory", [], [], [on_gpu(300), on_gpu(500), on_gpu(None, None, "NVML: lost")])
    assert (found.statistic, found.value, found.n, found.label) == ("maximum", 500.0, 2, None)
    assert found.left_out == {"NVML: lost": 1}
    assert estimate("peak_gpu_memory", [], [], [on_gpu(0)]).value == 0.0


def test_gpu_memory_that_others_may_have_a_part_in_says_so() -> None:
    found = estimate("peak_gpu_memory", [], [], [on_gpu(300), on_gpu(500, "whole device", "WDDM")])
    assert (found.value, found.label, found.reason) == (500.0, "Peak GPU memory, whole device", None)


def test_disk_is_the_size_in_the_manifest() -> None:
    found = estimate("disk", disk_bytes=98_362_432)
    assert (found.statistic, found.value, found.n) == ("constant", 98_362_432, 1)
    assert estimate("disk", disk_bytes=None).reason == "a server does not show its files"


def bandwidth_use(**changes: Any) -> Any:
    given: dict[str, Any] = {"active_bytes": 100_000_000, "loads": [load(device="cpu")]}
    given |= {"host": {"machine": {"memory_bandwidth": {"bytes_per_s": 20e9}}}}
    return estimate("bandwidth_use", [sample()], **{**given, **changes})


def test_bandwidth_use_is_bytes_per_token_times_tokens_per_second_over_the_bandwidth() -> None:
    # 100 MB for each of 100 tokens a second is 10 of 20 GB/s.
    found = bandwidth_use()
    assert (found.value, found.tail) == (pytest.approx(50.0), "p5")
    assert bandwidth_use(loads=[load(device=None)]).value == pytest.approx(50.0)
    assert bandwidth_use(device="unknown").value == pytest.approx(50.0), "it said so once it was loaded"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"active_bytes": None}, "the bytes that a token touches are not known"),
        ({"device": "vulkan0"}, "only the bandwidth of the CPU's memory is measured"),
        ({"loads": [load(device="CUDA0")]}, "only the bandwidth of the CPU's memory is measured"),
        (
            {"device": "unknown", "loads": [load(device=None)]},
            "the engine does not say which device it runs on",
        ),
        ({"host": {}}, "this machine's memory bandwidth was not measured"),
        ({"host": {"machine": {"memory_bandwidth": None}}}, "this machine's memory bandwidth was not measured"),
        (
            {"host": {"machine": {"memory_bandwidth": {"bytes_per_s": None, "reason": "memory is short"}}}},
            "memory bandwidth: memory is short",
        ),
    ],
)
def test_without_a_limit_there_is_no_share_of_it(changes: dict[str, Any], reason: str) -> None:
    found = bandwidth_use(**changes)
    assert (found.value, found.reason) == (None, reason)


def metered(record: dict[str, Any] | None, **fields: Any) -> Load:
    return load(energy={"c1": record} if record else None, **fields)


@pytest.mark.parametrize(
    ("tag", "expected"),
    # 60 J gross and 40 J net in each of two loads, for 11 + 11 + 0 tokens and 2 answers in each.
    list(zip(ENERGY, (120 / 44, 80 / 44, 120 / 4, 80 / 4), strict=True)),
)
def test_energy_is_a_ratio_of_sums_over_the_loads(tag: str, expected: float) -> None:
    rows = [
        made
        for block in ("b001", "b002")
        for made in (
            sample(block=block),
            sample("truncated", block=block, case="c2"),
            sample("failed", block=block, case="c3", completion_tokens=900),
        )
    ]
    found = estimate(tag, rows, [], [metered(READINGS), metered(READINGS, block="b002")])
    assert found.value == pytest.approx(expected)
    assert (found.n, found.failed, found.loads, found.label) == (6, 2, 2, None)


def test_loads_without_a_reading_are_left_out_with_their_tokens() -> None:
    rows = [sample(), sample(block="b002"), sample(block="b003")]
    found = estimate("energy_per_token", rows, [], [metered(READINGS), metered(None, block="b002")])
    assert (found.value, found.n) == (pytest.approx(60 / 11), 1)
    assert found.left_out == {"its load has no energy reading": 2}


def test_a_load_with_an_uncounted_answer_is_left_out_of_energy_per_token_alone() -> None:
    rows = [sample(completion_tokens=None), sample(case="c2")]
    assert estimate("energy_per_token", rows, [], [metered(READINGS)]).value is None
    assert estimate("energy_per_answer", rows, [], [metered(READINGS)]).value == 30.0


def test_the_reading_is_that_of_the_level() -> None:
    both = load(energy={"c1": READINGS, "c4": {**READINGS, "joules_gross": 6.0}})
    found = estimate("energy_per_answer", [sample(level="c4")], [], [both], level=Level.closed(4))
    assert found.value == 6.0


def test_net_energy_keeps_its_sign_and_needs_the_power_at_rest() -> None:
    noisy = {**READINGS, "joules_net": -1.0}
    assert estimate("energy_per_answer_net", [sample()], [], [metered(noisy)]).value == -1.0
    no_rest = {**READINGS, "joules_net": None, "reason": "idle power was not measured"}
    found = estimate("energy_per_answer_net", [sample()], [], [metered(no_rest)])
    assert (found.value, found.reason) == (None, "idle power was not measured")
    assert estimate("energy_per_answer", [sample()], [], [metered(no_rest)]).value == 60.0


def test_a_counter_that_stopped_says_so_and_a_persons_watts_take_its_place() -> None:
    stopped = metered({**READINGS, "joules_gross": None, "joules_net": None, "reason": "the counters stand still"})
    row = sent(sample(), 0, 1000)
    found = estimate("energy_per_answer", [row], [], [stopped])
    assert (found.value, found.reason) == (None, "the counters stand still")
    found = estimate("energy_per_answer", [row], [], [stopped], settings=Settings(power_watts=5.0))
    assert (found.value, found.label) == (5.0, "Energy per answer, power entered by hand")


@pytest.mark.parametrize("tag", ENERGY)
def test_without_counters_energy_is_unknown_and_says_why(tag: str) -> None:
    host = {"energy": {"reason": "/sys/class/powercap is readable by root alone"}}
    found = estimate(tag, [sample()], [], [load()], host=host)
    assert (found.value, found.reason) == (None, "/sys/class/powercap is readable by root alone")
    found = estimate(tag, [sample()], [], [load()])
    assert (found.value, found.reason) == (None, "this run has no energy readings")


def test_watts_that_a_person_entered_give_a_figure_that_says_so() -> None:
    rows = [sent(sample(), 0, 1000), sent(sample(case="c2"), 1000, 1000)]
    by_hand = Settings(power_watts=50.0)
    found = estimate("energy_per_answer", rows, [], [load()], settings=by_hand)
    assert (found.value, found.label) == (50.0, "Energy per answer, power entered by hand")
    found = estimate("energy_per_answer_net", rows, [], [load()], settings=by_hand)
    assert found.reason == "power at rest is not known where power was entered by hand"
    # A counter knows better, and the two are never added up.
    found = estimate("energy_per_answer", rows, [], [metered(READINGS)], settings=by_hand)
    assert (found.value, found.label) == (30.0, None)
    elsewhere = [*rows, sent(sample(block="b002"), 5000, 1000)]
    found = estimate("energy_per_answer", elsewhere, [], [metered(READINGS)], settings=by_hand)
    assert (found.value, found.n, found.left_out) == (30.0, 2, {"its load has no energy reading": 1})
    recorded = metered({**READINGS, "sources": ["entered"]})
    assert estimate("energy_per_answer", rows, [], [recorded]).label == "Energy per answer, power entered by hand"


def test_both_labels_stand_together() -> None:
    rows = [sent(sample(token_source="chunks"), 0, 1000)]
    found = estimate("energy_per_token", rows, [], [load()], settings=Settings(power_watts=11.0))
    assert (found.value, found.label) == (1.0, "Energy per token, power entered by hand, tokens estimated")
