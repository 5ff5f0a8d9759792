"""Load patterns and stopping rules through the real command line, against mock servers and their own logs."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli import Bench, audition, bench, endpoints, prompts_file, read_summary, records, served, start, wait_until

FIXED = ("--rounds", 1, "--no-probes")


def measured(samples: Iterable[dict[str, Any]], level: str | None = None) -> list[dict[str, Any]]:
    return [s for s in samples if s["phase"] == "measured" and level in (None, s["level"])]


def values(run: Bench, name: str, level: int = 0) -> dict[str, Any]:
    """Return a server's metrics at a level by tag."""
    metrics = run.target(name)["levels"][level]["metrics"]
    return {tag: metric["value"] for tag, metric in metrics.items()}


def matched(run: Bench, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return each measured sample with what the server's log says of it, in the order of their ends.

    Requests that overlap may be read in another order than they were sent in; these answers differ in their ends.
    """
    first = len(run.sent(name)) - len(measured(run.sent(name)))
    samples = sorted(
        measured(run.sent(name)), key=lambda s: s["sent_ns"] + 1e6 * (s["elapsed_ms"] - (s["queue_ms"] or 0))
    )
    truth = sorted(run.truth(name)[first:], key=lambda entry: entry["end_ns"])
    return list(zip(samples, truth, strict=True))


def most_at_once(truth: Iterable[dict[str, Any]]) -> int:
    """Return how many requests a server had under way at the same time."""
    moments = sorted((at, step) for t in truth for at, step in ((t["received_ns"], 1), (t["end_ns"], -1)))
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


def test_four_at_a_time_do_four_times_as_much(tmp_path: Path) -> None:
    script = {"ttft_ms": 40.0, "itl_ms": 3.0, "tokens": 30}
    run = bench(tmp_path, {"it": script}, *FIXED, "--concurrency", "1,4", cases=8)
    assert run.result.returncode == 0, run.result.stderr
    levels = run.target("it")["levels"]
    assert [level["level"] for level in levels] == ["c1", "c4"]
    assert [level["requests"]["ok"] for level in levels] == [8, 16]
    for number, (level, concurrency) in enumerate((("c1", 1), ("c4", 4))):
        sent = measured(run.sent("it"), level)
        begin = min(s["sent_ns"] for s in sent)
        end = max(s["sent_ns"] + 1e6 * s["elapsed_ms"] for s in sent)
        # On the clock that all processes share: the server's log of the same time.
        window = [t for t in run.truth("it") if begin <= t["received_ns"] and t["end_ns"] <= end]
        assert len(window) == len(sent)
        assert most_at_once(window) == concurrency
        seconds = (max(t["end_ns"] for t in window) - min(t["received_ns"] for t in window)) / 1e9
        assert values(run, "it", number)["throughput"] == pytest.approx(len(sent) * 30 / seconds, rel=0.03)
        assert values(run, "it", number)["request_rate"] == pytest.approx(len(sent) / seconds, rel=0.03)
    ratio = values(run, "it", 1)["throughput"] / values(run, "it", 0)["throughput"]
    assert 3.5 < ratio < 4.3
    assert "4 requests at a time" in run.result.stdout


def test_a_rate_does_not_wait_for_answers(tmp_path: Path) -> None:
    """Each answer stalls for 400 ms: one at a time would get 7 of them in 3 seconds, and the rate asks for 60."""
    script = {"ttft_ms": 10.0, "itl_ms": 1.0, "tokens": 15, "stall_ms": 400.0, "stall_every": 15}
    run = bench(tmp_path, {"it": script}, *FIXED, "--rate", 20, "--duration", "3s", cases=4)
    assert run.result.returncode == 0, run.result.stderr
    pairs = matched(run, "it")
    # Poisson with mean 60: the schedule is drawn with a recorded seed, and this leaves it four standard deviations.
    assert 29 <= len(pairs) <= 91
    assert most_at_once(t for _, t in pairs) >= 5
    scheduled = sorted(s["sent_ns"] - 1e6 * s["queue_ms"] for s, _ in pairs)
    gaps = [(later - earlier) / 1e6 for earlier, later in pairwise(scheduled)]
    assert statistics.mean(gaps) == pytest.approx(50, rel=0.5)
    # Exponential: as wide as their mean. Even gaps would have 0 here.
    assert 0.6 < statistics.stdev(gaps) / statistics.mean(gaps) < 1.5
    assert min(gaps) < 10 and max(gaps) > 100
    late = []
    for sample, truth in pairs:
        assert sample["queue_ms"] is not None and sample["queue_ms"] >= 0
        assert sample["latency_ms"] >= 400
        # From its schedule to the end that the server wrote.
        start_ns = sample["sent_ns"] - 1e6 * sample["queue_ms"]
        late.append(sample["latency_ms"] - (truth["end_ns"] - start_ns) / 1e6)
    assert -0.5 < statistics.median(late) < 4
    known = values(run, "it")
    assert known["queue"] is not None
    assert known["latency"] == pytest.approx(statistics.median(s["latency_ms"] for s, _ in pairs), abs=0.1)
    seconds = (max(t["end_ns"] for _, t in pairs) - min(t["received_ns"] for _, t in pairs)) / 1e9
    assert known["request_rate"] == pytest.approx(len(pairs) / seconds, rel=0.03)


def test_the_schedule_is_not_forgiven_for_a_client_that_stood_still(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with served(tmp_path, {"it": {}}) as servers:
        options = ("--prompts", prompts_file(tmp_path, 4), "--out", out, "--rate", "20", "--duration", "2s")
        process = start("bench", *endpoints(servers["it"].url), *map(str, FIXED), *options)
        wait_until(lambda: len(measured(records(out / "samples.jsonl"))) >= 5, process)
        client = psutil.Process(process.pid)
        client.suspend()
        time.sleep(0.6)
        client.resume()
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    run = Bench(out, subprocess.CompletedProcess((), 0, stdout, stderr), 0.0, servers, tmp_path)
    queued = [(s, t) for s, t in matched(run, "it") if s["queue_ms"] > 100]
    # About ten of them were due meanwhile.
    assert len(queued) >= 3
    assert max(s["queue_ms"] for s, _ in queued) < 700
    for sample, truth in queued:
        # What the server took is short; the rest is waiting, and it is in every time.
        took = (truth["end_ns"] - truth["received_ns"]) / 1e6
        assert sample["ttft_ms"] > sample["queue_ms"]
        assert sample["latency_ms"] > sample["queue_ms"] + took - 0.5


def test_a_duration_shows_drift(tmp_path: Path) -> None:
    drifts = {"ttft_ms": 20.0, "drift": 20.0}
    run = bench(tmp_path, {"it": drifts}, *FIXED, "--duration", "3s", cases=4)
    assert run.result.returncode == 0, run.result.stderr
    samples = measured(run.sent("it"))
    seconds = max(s["sent_ns"] / 1e9 + s["elapsed_ms"] / 1e3 for s in samples) - samples[0]["sent_ns"] / 1e9
    # It ends with the first answer after the time is over.
    assert 3 <= seconds < 3.5
    finding = next(f for f in run.target("it")["findings"] if f["code"] == "drift")
    assert "latency rises by" in finding["sentence"]
    assert "drift" in run.target("it")["metrics"]["latency"]["tainted_by"]
    # Every case came about as often as every other.
    counts = Counter(s["case"] for s in samples)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_interleaved_targets_are_asked_in_turn(tmp_path: Path) -> None:
    run = bench(tmp_path, {"one": {}, "two": {}}, "--rounds", 2, "--no-probes", "--interleave", cases=6)
    assert run.result.returncode == 0, run.result.stderr
    asked = sorted(measured([*run.sent("one"), *run.sent("two")]), key=lambda s: s["sent_ns"])
    assert len(asked) == 24
    for round_ in (1, 2):
        names = [s["target"] for s in asked if s["round"] == round_]
        # In each pair of requests each target comes once, so that none is asked three times running.
        assert all(len(set(names[at : at + 2])) == 2 for at in range(0, 12, 2))
        assert max(len(list(group)) for _, group in groupby(names)) <= 2
    for name in ("one", "two"):
        metric = run.target(name)["metrics"]["throughput"]
        assert (metric["value"], "in turn" in metric["reason"]) == (None, True)
        assert most_at_once(run.truth(name)) == 1


def test_until_stops_when_the_latency_is_known(tmp_path: Path) -> None:
    run = bench(tmp_path, {"it": {"jitter": 0.5}}, *FIXED, "--until", "ci=20%")
    assert run.result.returncode == 0, run.result.stderr
    decisions = records(run.out / "blocks.jsonl")
    assert all(decision["blocks"] for decision in decisions[:-1])
    assert decisions[-1]["blocks"] == []
    assert "20.0% or better" in decisions[-1]["reason"]
    assert read_summary(run.out)["complete"]
    rounds = {load["round"] for load in records(run.out / "loads.jsonl")}
    assert rounds == set(range(1, len(decisions) + 1))
    assert 3 * len(rounds) == run.target("it")["requests"]["measured"]


@pytest.mark.parametrize("interleave", [(), ("--interleave",)], ids=["in blocks", "interleaved"])
def test_a_budget_is_kept_and_used(interleave: tuple[str, ...], tmp_path: Path) -> None:
    """Two servers that are alike stay too close to call, so that only the budget ends it."""
    alike = {name: {"jitter": 0.3} for name in ("one", "two")}
    run = bench(tmp_path, alike, *FIXED, "--budget", "3s", *interleave)
    assert run.result.returncode == 0, run.result.stderr
    last = records(run.out / "blocks.jsonl")[-1]
    assert last["blocks"] == []
    assert "the budget of 3 s" in last["reason"]
    samples = records(run.out / "samples.jsonl")
    ends = [s["sent_ns"] / 1e9 + s["elapsed_ms"] / 1e3 for s in samples]
    assert 2 < max(ends) - min(s["sent_ns"] for s in samples) / 1e9 < 5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is a POSIX signal")
@pytest.mark.parametrize(
    ("options", "after", "duration"),
    [
        (("--rounds", "2", "--concurrency", "1,4"), 10, None),
        (("--rounds", "1", "--rate", "20", "--duration", "3s"), 20, 3.0),
        (("--rounds", "1", "--duration", "3s"), 10, 3.0),
        (("--rounds", "2", "--interleave"), 7, None),
        (("--rounds", "1", "--until", "ci=20%"), 5, None),
        (("--rounds", "1", "--budget", "4s"), 10, None),
    ],
    ids=["concurrency", "rate", "duration", "interleave", "until", "budget"],
)
def test_ctrl_c_leaves_a_run_that_goes_on(
    options: tuple[str, ...], after: int, duration: float | None, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = {"ttft_ms": 60.0, "itl_ms": 2.0, "tokens": 20, "jitter": 0.3}
    names = ("one", "two") if {"--interleave", "--budget"} & set(options) else ("one",)
    with served(tmp_path, dict.fromkeys(names, script)) as servers:
        urls = endpoints(*(server.url for server in servers.values()))
        process = start("bench", *urls, "--prompts", prompts_file(tmp_path, 5), "--no-probes", "--out", out, *options)
        wait_until(lambda: len(measured(records(out / "samples.jsonl"))) >= after, process)
        stderr = interrupted(process)
        assert f"audition bench --resume '{out}'" in stderr
        assert not read_summary(out)["complete"]
        report = audition("report", out)
        assert (report.returncode, "not complete" in report.stdout) == (0, True)
        before = records(out / "samples.jsonl")

        resumed = audition("bench", "--resume", out)
    assert resumed.returncode == 0, resumed.stderr
    assert f"Going on: {len(before)} " in resumed.stderr
    assert (f"{len(before)} of " in resumed.stderr) == (duration is None)
    assert read_summary(out)["complete"]
    samples = records(out / "samples.jsonl")
    assert samples[: len(before)] == before
    assert len(samples) > len(before)
    assert {s["status"] for s in samples} <= {"ok", "truncated"}
    keys = [(s["block"], s["phase"], s["level"], s["case"], s["repeat"]) for s in samples]
    assert len(keys) == len(set(keys))
    if "--until" in options or "--budget" in options:
        assert records(out / "blocks.jsonl")[-1]["blocks"] == []
    if duration is not None:
        assert duration - 0.3 < sum(windows(samples)) < duration + 0.6


def interrupted(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C and return what was said."""
    os.kill(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    _, stderr = process.communicate(timeout=30)
    assert time.monotonic() - pressed < 10
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    return stderr


def windows(samples: Iterable[dict[str, Any]]) -> list[float]:
    """Return the seconds that each attempt measured for."""
    found = []
    chosen = sorted(measured(samples), key=lambda s: s["attempt"])
    for _, group in groupby(chosen, key=lambda s: s["attempt"]):
        mine = list(group)
        begin = min(s["sent_ns"] for s in mine)
        found.append((max(s["sent_ns"] + 1e6 * (s["elapsed_ms"] - (s["queue_ms"] or 0)) for s in mine) - begin) / 1e9)
    return found
