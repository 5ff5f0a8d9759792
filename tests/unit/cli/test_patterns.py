"""Load patterns and stopping rules on the command line: what they mean, and what is refused with a fix."""

from __future__ import annotations

import pytest

from audition.bench.plan import Level
from audition.cli.patterns import MOST_A_SECOND, MOST_AT_ONCE, parse_levels, parse_until
from audition.errors import UsageError


@pytest.mark.parametrize(
    ("concurrency", "rate", "duration", "levels"),
    [
        (None, None, None, [Level("c1", concurrency=1)]),
        ("4", None, None, [Level("c4", concurrency=4)]),
        ("1,2, 8", None, None, [Level.closed(1), Level.closed(2), Level.closed(8)]),
        ("2", None, "30s", [Level("c2", concurrency=2, duration_s=30.0)]),
        (None, None, "1.5h", [Level("c1", concurrency=1, duration_s=5400.0)]),
        (None, "2.5", None, [Level("r2.5", rate=2.5)]),
        (None, "0.5,10", "10m", [Level.open(0.5, 600.0), Level.open(10.0, 600.0)]),
        (str(MOST_AT_ONCE), None, None, [Level.closed(512)]),
        (None, "0.001,10000", None, [Level("r0.001", rate=0.001), Level("r10000", rate=MOST_A_SECOND)]),
    ],
)
def test_levels(concurrency: str | None, rate: str | None, duration: str | None, levels: list[Level]) -> None:
    assert list(parse_levels(concurrency, rate, duration)) == levels


@pytest.mark.parametrize(
    ("concurrency", "rate", "duration", "said"),
    [
        ("0", None, None, "--concurrency takes numbers from 1 to 512, not '0'"),
        ("513", None, None, "--concurrency takes numbers from 1 to 512"),
        ("-1", None, None, "--concurrency takes numbers"),
        ("1.5", None, None, "--concurrency takes whole numbers"),
        ("two", None, None, "not 'two'"),
        ("1,,2", None, None, "not ''"),
        ("", None, None, "not ''"),
        ("1,2,1", None, None, "--concurrency names 1 twice"),
        ("2,2.0", None, None, "--concurrency names 2 twice"),
        ("nan", None, None, "not 'nan'"),
        ("inf", None, None, "not 'inf'"),
        ("x" * 500, None, None, "not 'xxx"),
        (None, "0", None, "--rate takes numbers from 0.001 to 10000"),
        (None, "10001", None, "--rate takes numbers"),
        (None, "nan", None, "not 'nan'"),
        (None, "", None, "not ''"),
        (None, "1;2", None, "not '1;2'"),
        (None, "5,5.0", None, "--rate names 5 twice"),
        (None, "1.0000001,1.0000002", None, "--rate names 1 twice"),
        ("2", "3", None, "--concurrency has no say"),
        (None, None, "30", "is not a duration"),
        (None, None, "0s", "is not a duration"),
        (None, None, "-5s", "is not a duration"),
        (None, None, "", "is not a duration"),
        (None, None, f"0.{'0' * 321}1ms", "--duration takes a time above 0"),
    ],
)
def test_levels_that_are_refused(concurrency: str | None, rate: str | None, duration: str | None, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_levels(concurrency, rate, duration)
    assert said in caught.value.message
    assert len(caught.value.message) < 120
    assert caught.value.fix
    assert caught.value.exit_code == 2


def test_levels_that_can_be_told_apart_are_taken() -> None:
    levels = parse_levels(None, "1,1.00001,2", None)
    assert len({level.id for level in levels}) == len(levels) == 3


@pytest.mark.parametrize(
    ("text", "share"), [("ci=5%", 0.05), (" ci = 2.5 % ", 0.025), ("ci=0.1%", 0.001), ("ci=100%", 1.0)]
)
def test_until(text: str, share: float) -> None:
    assert parse_until(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["", "5%", "ci=5", "ci=0%", "ci=0.05%", "ci=101%", "ci=-5%", "ci=5%%", "CI=5%", "ci=x%"]
)
def test_until_that_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_until(text)
    expected = f"--until takes the half-width of an interval from 0.1 % to 100 %, not {text!r}"
    assert (caught.value.message, caught.value.fix) == (expected, "write --until ci=5%")
    assert caught.value.exit_code == 2
