"""What an answer costs in energy: counters of the machine, gross and net of what it takes at rest.

Counters and not sampled power: sampling misses what happens between two looks (arXiv 2312.02741). Where there are
none, the watts of a person's meter times the window give an estimate, which says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from audition.bench.sample import Sample
from audition.summary.metrics.base import Metric, Reading, Readings, Records, by_load, has_failed, load_of
from audition.summary.metrics.estimate import Estimate
from audition.summary.metrics.speed import NO_TOKEN
from audition.summary.metrics.windows import IN_TURN, OTHER_NOT_COUNTED, grouped, why_uncounted, window_seconds
from audition.text import one_line

_ENTERED = "entered"
"""The source of a figure that a person typed in."""


class _Energy(Metric):
    """Joules of the measured requests, over what came of them; sums over the loads that have a reading."""

    statistic = "ratio of sums"
    net: ClassVar[bool] = False

    def read(self, records: Records) -> Readings:
        """Return what each request adds below the line: tokens, or 1 for an answer."""
        readings: list[Reading] = []
        for samples in by_load(records.measured).values():
            joules = self._joules(samples, records)
            uncounted = self.counts_tokens and any(why_uncounted(s) for s in samples)
            for sample in samples:
                if isinstance(joules, str):
                    readings.append(Reading(sample, reason=joules))
                elif uncounted:
                    readings.append(Reading(sample, reason=why_uncounted(sample) or OTHER_NOT_COUNTED))
                else:
                    readings.append(Reading(sample, (self._yield(sample),)))
        return Readings.sorted_out(readings)

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the ratio of sums; a failed request's energy counts, its tokens do not."""
        got = math.fsum(value for reading in used for value in reading.values)
        if got == 0:
            return Estimate(self.statistic, reason=NO_TOKEN)
        windows = grouped(used)
        found = [self._joules(samples, records) for samples in windows.values()]
        joules = math.fsum(value for value in found if not isinstance(value, str))
        cases = {sample.case for samples in windows.values() for sample in samples}
        estimate = Estimate(self.statistic, value=joules / got, cases=len(cases), loads=len(windows))
        entered = any(_entered(samples, records) for samples in windows.values())
        return replace(estimate, label=f"{self.header}, power entered by hand") if entered else estimate

    def _yield(self, sample: Sample) -> float:
        if has_failed(sample):
            return 0.0
        return float(sample.completion_tokens or 0) if self.counts_tokens else 1.0

    def _joules(self, samples: Sequence[Sample], records: Records) -> float | str:
        """Return the joules of one load's requests, or in words why they are not known."""
        watts = records.settings.power_watts
        if watts is None or _has_counters(records):
            return self._counted(_record(samples, records), records)
        if self.net:
            return "power at rest is not known where power was entered by hand"
        if records.settings.interleave:
            return IN_TURN
        seconds = window_seconds(samples)
        return watts * seconds if seconds > 0 else "no time passed"

    def _counted(self, record: dict[str, Any] | None, records: Records) -> float | str:
        """Return what the counters say of one load."""
        if record is None:
            return _why_none(records)
        joules = record.get("joules_net" if self.net else "joules_gross")
        if isinstance(joules, int | float) and math.isfinite(joules):
            return float(joules)
        return one_line(str(record.get("reason") or "the energy reading is damaged"))


class EnergyPerToken(_Energy):
    """Energy of a token, prefill and failed requests included."""

    tag = "energy_per_token"
    header = "Energy per token"
    unit = "J/token"
    formula = "joules of the measured requests / completion tokens, gross: what the counters cover, rest included"
    digits = 3
    counts_tokens = True


class EnergyPerTokenNet(_Energy):
    """Energy of a token above what the machine takes at rest; noise can make it negative."""

    tag = "energy_per_token_net"
    header = "Net energy per token"
    unit = "J/token"
    formula = "(joules of the measured requests - power at rest x their time) / completion tokens"
    digits = 3
    counts_tokens = True
    net = True


class EnergyPerAnswer(_Energy):
    """Energy of an answer."""

    tag = "energy_per_answer"
    header = "Energy per answer"
    unit = "J/answer"
    formula = "joules of the measured requests / requests completed, cut answers included, gross"


class EnergyPerAnswerNet(_Energy):
    """Energy of an answer above what the machine takes at rest; noise can make it negative."""

    tag = "energy_per_answer_net"
    header = "Net energy per answer"
    unit = "J/answer"
    formula = "(joules of the measured requests - power at rest x their time) / requests completed"
    net = True


def _record(samples: Sequence[Sample], records: Records) -> dict[str, Any] | None:
    """Return the energy record of the load that answered these requests."""
    load = next((load for load in records.loads if load_of(load) == load_of(samples[0])), None)
    return (load.energy or {}).get(records.level.id) if load is not None else None


def _has_counters(records: Records) -> bool:
    """Whether any load was metered; figures of a meter and of a person are not added up."""
    found = [(load.energy or {}).get(records.level.id) for load in records.loads]
    return any(record is not None and record.get("joules_gross") is not None for record in found)


def _entered(samples: Sequence[Sample], records: Records) -> bool:
    """Whether a person typed in what the figure of these requests rests on."""
    record = _record(samples, records)
    return not _has_counters(records) or (record is not None and _ENTERED in record.get("sources", ()))


def _why_none(records: Records) -> str:
    if _has_counters(records):
        return "its load has no energy reading"
    reason = (records.host.get("energy") or {}).get("reason")
    return one_line(str(reason)) if reason else "this run has no energy readings"
