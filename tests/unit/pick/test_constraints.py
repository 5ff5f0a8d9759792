from __future__ import annotations

import math
from typing import Any

import pytest

from audition.errors import UsageError
from audition.pick.constraints import Constraints, Judgement, judge
from audition.summary.units import parse_duration, parse_size
from handmade import Made, summary


def judged(made: Made, constraints: Constraints, **replaced: Any) -> Judgement:
    """Return the one judgement of a target, some of whose metrics were replaced."""
    (target,) = summary(made)["targets"]
    for tag, fields in replaced.items():
        (target["quality"] if tag == "quality" else target["metrics"][tag]).update(fields)
    (found,) = judge(target, constraints)
    return found


@pytest.mark.parametrize(
    ("text", "ms"),
    [("800ms", 800), ("2s", 2000), ("1.5min", 90_000), (" 2 S ", 2000), ("0.25 s", 250), ("1MS", 1)],
)
def test_durations(text: str, ms: float) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("512MB", 512e6),
        ("2GB", 2e9),
        ("1.5GiB", 1.5 * 2**30),
        ("100 kb", 100e3),
        ("1kib", 1024),
        ("3TB", 3e12),
        ("7B", 7),
    ],
)
def test_sizes(text: str, n_bytes: float) -> None:
    assert parse_size(text) == n_bytes


BAD = ["", " ", "2", "s", "-2s", "0s", "0MB", "2s2s", "2d", "1,5s", "1e3ms", "nan", "infs", ".5s", "5.", "2 GB RAM"]
BAD += [
    "2G",
    "2GiBB",
    "5iB",
    "0.0GB",
    "-1GB",
    "infGB",
    "2PB",
    "9" * 400 + "GB",
    "9" * 400 + "s",
    "\N{SUPERSCRIPT TWO}s",
]


@pytest.mark.parametrize("text", BAD)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    for parse, example in ((parse_duration, "800ms"), (parse_size, "512MB")):
        with pytest.raises(UsageError, match=r"is not a (duration|size)") as error:
            parse(text)
        assert example in (error.value.fix or "")


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["max_latency_ms", "max_memory_bytes", "max_disk_bytes", "min_quality"])
def test_a_limit_that_is_no_number_is_refused(name: str, limit: float) -> None:
    with pytest.raises(UsageError, match="finite number"):
        Constraints(**{name: limit})  # type: ignore[arg-type]


def test_what_is_not_demanded_is_not_judged() -> None:
    (target,) = summary(Made("a"))["targets"]
    assert judge(target, Constraints()) == []
    everything = Constraints(1.0, 1.0, 1.0, ("permissive",), 0.5)
    assert [found.constraint for found in judge(target, everything)] == [
        "max_latency",
        "max_memory",
        "max_disk",
        "licence",
        "min_quality",
    ]


SPREAD = (500.0, 600.0, 700.0, 800.0, 900.0, 1000.0)
"""Median 750, interval 500 to 1000."""


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(1000, "met"), (999, "uncertain"), (751, "uncertain"), (500, "uncertain"), (499, "broken")],
)
def test_latency_is_judged_by_the_ends_of_its_interval(limit: float, verdict: str) -> None:
    found = judged(Made("a", latencies=SPREAD), Constraints(max_latency_ms=limit))
    assert found.verdict == verdict
    assert "median latency 750 ms (95 % interval 500 ms to 1.00 s)" in found.sentence


def test_without_an_interval_a_latency_is_uncertain_however_fast() -> None:
    found = judged(Made("a", (1.0,) * 5, (1.0,)), Constraints(max_latency_ms=1e6))
    assert (found.verdict, found.miss) == ("uncertain", 0.0)
    assert "5 requests are too few" in found.sentence


def test_failures_make_a_latency_infinite_and_say_so_in_words() -> None:
    mostly = (1.0, 1.0, 1.0, 1.0, *((None,) * 5))
    found = judged(Made("a", mostly), Constraints(max_latency_ms=2000))
    assert found.verdict == "uncertain"
    assert "median latency infinite" in found.sentence
    assert "inf ms" not in found.sentence
    # The interval's low end is a failure, too: no request of a better half answered in time.
    assert judged(Made("a", (1.0, *((None,) * 8))), Constraints(max_latency_ms=2000)).verdict == "broken"


def test_an_unknown_latency_is_uncertain() -> None:
    found = judged(Made("a"), Constraints(max_latency_ms=1.0), latency={"value": None, "reason": "no one looked"})
    assert (found.verdict, found.sentence) == ("uncertain", "its latency is unknown: no one looked")


@pytest.mark.parametrize(
    ("constraints", "what"),
    [
        (lambda x: Constraints(max_memory_bytes=x), "peak memory 300 MB"),
        (lambda x: Constraints(max_disk_bytes=x), "disk 100 MB"),
    ],
)
def test_memory_and_disk_may_reach_their_limit_but_not_pass_it(constraints: Any, what: str) -> None:
    made = Made("a", memory=300_000_000, disk=100_000_000)
    size = 300e6 if "memory" in what else 100e6
    assert judged(made, constraints(size)).verdict == "met"
    found = judged(made, constraints(size / 2))
    assert (found.verdict, found.miss) == ("broken", 1.0)
    assert what in found.sentence


def test_an_unknown_memory_is_not_within_any_limit() -> None:
    found = judged(Made("a", memory=None), Constraints(max_memory_bytes=1e15))
    assert (found.verdict, found.sentence) == ("uncertain", "its peak memory is unknown: its memory could not be read")


@pytest.mark.parametrize(
    ("cls", "allowed", "verdict"),
    [
        ("permissive", ("permissive",), "met"),
        ("non-commercial", ("permissive", "non-commercial"), "met"),
        ("use-restricted", ("permissive",), "broken"),
        ("unknown", ("permissive",), "broken"),
        ("unknown", ("unknown",), "met"),
    ],
)
def test_licences(cls: str, allowed: tuple[str, ...], verdict: str) -> None:
    made = Made("a", licence=None if cls == "unknown" else "X-1.0", licence_class=cls)
    found = judged(made, Constraints(licences=allowed))
    assert found.verdict == verdict
    assert f"({cls})" in found.sentence
    assert ("not stated" in found.sentence) == (cls == "unknown")


@pytest.mark.parametrize(
    ("least", "verdict"),
    [(0.0, "met"), (0.53, "met"), (0.54, "uncertain"), (0.88, "uncertain"), (0.89, "broken")],
)
def test_quality_is_judged_by_the_ends_of_its_interval(least: float, verdict: str) -> None:
    # 15 of 20.
    found = judged(Made("a", (1.0,) * 15 + (0.0,) * 5), Constraints(min_quality=least))
    assert found.verdict == verdict
    assert "quality 0.75 (95 % interval 0.53 to 0.89)" in found.sentence
    assert found.miss == pytest.approx(max(0.0, (least - 0.75) / least) if least else 0.0)


def test_an_unknown_quality_is_uncertain() -> None:
    (target,) = summary(Made("a"), checked=False)["targets"]
    (found,) = judge(target, Constraints(min_quality=0.1))
    assert (found.verdict, found.sentence) == ("uncertain", "its quality is unknown: no case has a check")


def test_demands_in_words() -> None:
    assert Constraints().demands() == []
    assert Constraints(1500.0, 2e9, 5e8, ("permissive", "non-commercial"), 0.7).demands() == [
        "median latency at most 1.50 s",
        "peak memory at most 2.00 GB",
        "disk at most 500 MB",
        "licence permissive or non-commercial",
        "quality at least 0.70",
    ]
