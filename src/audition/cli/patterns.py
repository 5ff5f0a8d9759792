"""Load patterns and stopping rules as people write them on the command line."""

from __future__ import annotations

import math
import re

from audition.bench.plan import Level
from audition.errors import UsageError
from audition.summary.units import parse_duration

MOST_AT_ONCE = 512
MOST_A_SECOND = 10_000.0


def parse_levels(concurrency: str | None, rate: str | None, duration: str | None) -> tuple[Level, ...]:
    """Return the load levels for `--concurrency 1,2,4`, `--rate 0.5,2` and `--duration 10m`.

    Raises:
        UsageError: A number is none, is out of bounds or comes twice, or both patterns are asked for.
    """
    seconds = None if duration is None else parse_duration(duration) / 1000
    if seconds is not None and seconds <= 0:
        raise UsageError("--duration takes a time above 0", fix="--duration 30s")
    if rate is not None:
        if concurrency is not None:
            raise UsageError(
                "--rate sends requests whether or not earlier ones ended, so --concurrency has no say",
                fix="leave one of them out",
            )
        rates = _numbers("--rate", rate, 0.001, MOST_A_SECOND)
        return tuple(Level.open(value, seconds) for value in rates)
    counts = _numbers("--concurrency", "1" if concurrency is None else concurrency, 1, MOST_AT_ONCE)
    if any(value != int(value) for value in counts):
        raise UsageError("--concurrency takes whole numbers", fix="--concurrency 1,2,4,8")
    return tuple(Level.closed(int(value), seconds) for value in counts)


def parse_until(text: str) -> float:
    """Return 0.05 for `ci=5%`.

    Raises:
        UsageError: It is not written so, or out of bounds.
    """
    match = re.fullmatch(r"\s*ci\s*=\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    share = float(match[1]) / 100 if match else 0.0
    if not 0.001 <= share <= 1:
        raise UsageError(
            f"--until takes the half-width of an interval from 0.1 % to 100 %, not {text!r:.40}",
            fix="write --until ci=5%",
        )
    return share


def _numbers(option: str, text: str, least: float, most: float) -> list[float]:
    fix = f"{option} {'1,2,4,8' if option == '--concurrency' else '0.5,1,2'}"
    values: dict[str, float] = {}
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise UsageError(f"{option} takes numbers from {least:g} to {most:g}, not {part.strip()!r:.40}", fix=fix)
        if f"{value:g}" in values:  # as a level's name has it
            raise UsageError(f"{option} names {value:g} twice", fix="name each once; --rounds repeats the measurement")
        values[f"{value:g}"] = value
    return list(values.values())
