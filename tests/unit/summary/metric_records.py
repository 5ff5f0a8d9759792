"""Records made by hand, and the estimate that a metric makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from audition.bench.plan import Level, Settings
from audition.bench.sample import Load, Sample
from audition.summary.metrics import Estimate, Readings, Records, metric
from handmade import sample, target


def records(
    measured: Sequence[Sample] = (),
    first: Sequence[Sample] = (),
    loads: Sequence[Load] = (),
    *,
    level: Level | None = None,
    host: dict[str, Any] | None = None,
    settings: Settings | None = None,
    **fields: Any,
) -> Records:
    """Return records; further fields are those of the target."""
    return Records(
        target(**fields), measured, first, loads, level or Level.closed(1), host or {}, settings or Settings()
    )


def estimate(tag: str, *args: Any, **fields: Any) -> Estimate:
    return metric(tag).estimate(records(*args, **fields))


def readings(tag: str, *args: Any, **fields: Any) -> Readings:
    return metric(tag).read(records(*args, **fields))


def each_case(**columns: Sequence[Any]) -> list[Sample]:
    """Return one sample per value, each of a case of its own."""
    rows = zip(*columns.values(), strict=True)
    return [sample(case=f"c{i}", **dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)]


def sent(made: Sample, at_ms: float, for_ms: float, **fields: Any) -> Sample:
    """Return a sample that was under way from `at_ms` on, for `for_ms`."""
    return replace(made, sent_ns=round(at_ms * 1e6), elapsed_ms=for_ms, **fields)
