"""What every metric must keep to, whatever the records look like."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest

from audition.bench.sample import Memory
from audition.summary.metrics import METRICS, Metric, Records, metric
from handmade import load, sample, target

ODD = {
    "empty": ([], [], []),
    "one of each": ([sample()], [sample(phase="first")], [load()]),
    "all failed": ([sample("failed")] * 3, [sample("failed", phase="first")], [load("failed")]),
    "timed out half way": ([sample("timeout", ttft_ms=5.0, chunk_times_ms=(5.0, 6.0))], [], []),
    "no tokens counted": ([sample(completion_tokens=None, token_source=None, engine_timings=None)] * 2, [], []),
    "no text": ([sample(ttft_ms=None, chunk_times_ms=(), completion_tokens=0, text="")] * 2, [], []),
    "no time passed": (
        [
            sample(
                ttft_ms=0.0, latency_ms=0.0, chunk_times_ms=(0.0, 0.0), engine_timings={"prompt_n": 1, "prompt_ms": 0}
            )
        ],
        [],
        [load(load_ms=0.0, peak=Memory(0, 0, 0))],
    ),
    "nothing readable": ([], [], [load(load_ms=None, peak=None, after_unload=None)]),
    "only totals": ([], [], [load(peak=Memory(5), after_unload=Memory(5))]),
    "nonsense of an engine": (
        [sample(engine_timings={"prompt_n": math.nan, "prompt_ms": math.inf}), sample(engine_timings={"x": 1.0})],
        [],
        [],
    ),
    "some of everything": ([sample(), sample("failed"), sample("truncated"), sample("timeout")] * 20, [], [load()] * 3),
}

every_metric = pytest.mark.parametrize("each", METRICS, ids=lambda each: each.tag)


def test_tags_are_unique() -> None:
    tags = [each.tag for each in METRICS]
    assert len(tags) == len(set(tags)) == 12
    headers = [each.header for each in METRICS]
    assert len(headers) == len(set(headers))


@every_metric
def test_it_says_what_it_is(each: Metric) -> None:
    assert each.tag.isidentifier()
    assert each.header
    assert each.unit in ("ms", "tokens/s", "tokens", "bytes")
    assert len(each.formula) > 10
    assert each.better in ("lower", "higher")
    assert each.better == ("higher" if each.unit == "tokens/s" else "lower")
    assert metric(each.tag) is each


@every_metric
@pytest.mark.parametrize("records", ODD.values(), ids=ODD)
def test_it_takes_any_records(each: Metric, records: tuple[list, list, list]) -> None:  # type: ignore[type-arg]
    found = each.estimate(Records(target(), *records))
    if found.value is None:
        assert found.reason, "unknown needs a reason"
        assert (found.low, found.high, found.p95) == (None, None, None)
    else:
        assert found.reason is None
        assert found.n > 0
    assert 0 <= found.failed <= max(found.n, 0)
    numbers = [value for value in asdict(found).values() if isinstance(value, int | float)]
    assert not any(math.isnan(value) for value in numbers)
    json.dumps([value for value in numbers if not math.isinf(value)], allow_nan=False)


@every_metric
def test_the_order_of_the_records_is_no_matter(each: Metric) -> None:
    # 0.1 + 0.2 + 0.3 depends on the order when it is simply added up.
    measured = [sample(latency_ms=0.1 * i, ttft_ms=0.1 * i, completion_tokens=i) for i in range(1, 4)]
    first, loads = measured, [load(load_ms=0.1 * i, peak=Memory(i, i, i)) for i in range(1, 9)]
    forth = each.estimate(Records(target(), measured, first, loads))
    assert each.estimate(Records(target(), measured[::-1], first[::-1], loads[::-1])) == forth
