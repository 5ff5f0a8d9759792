"""Servers that answer, fail, lie and die, measured through the real command line and compared with their own logs."""

from __future__ import annotations

import csv
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from audition.mock.faults import FAILURES, LIES
from audition.mock.process import MockServer
from cli import Bench, audition, bench, endpoints, prompts_file, read_summary, records, served, start, wait_until

ANSWERED = ("ok", "truncated")
# What a busy test machine does is a fact about it, and no accusation of the server.
MACHINE = {"background_load", "cpu_steal", "client_lag", "throttled", "swapping", "on_battery"}


# --- An honest server: what is reported is what happened. ---


def test_what_is_reported_is_what_the_server_did(tmp_path: Path) -> None:
    script = {"ttft_ms": 60.0, "itl_ms": 5.0, "tokens": 40}
    run = bench(tmp_path, {"it": script}, "--rounds", 2, cases=8)
    assert run.result.returncode == 0, run.result.stderr
    summary = read_summary(run.out)
    (target,) = summary["targets"]
    assert (summary["complete"], target["status"], target["requests"]["ok"]) == (True, "ok", 16)
    assert {finding["code"] for finding in target["findings"]} <= MACHINE

    samples, truth = run.sent("it"), run.truth("it")
    assert len(samples) == len(truth)
    pairs = [(s, t) for s, t in zip(samples, truth, strict=True) if s["phase"] == "measured"]
    assert len(pairs) == 16
    written = [[at / 1e6 for at in t["written_ns"]] for _, t in pairs]
    gaps = [later - earlier for times in written for earlier, later in pairwise(times)]
    reported = {tag: metric["value"] for tag, metric in target["metrics"].items()}

    # The server's times begin when it has read the request; being woken is in ours. Medians, for the odd late one.
    ttft = statistics.median(times[0] - t["received_ns"] / 1e6 for times, (_, t) in zip(written, pairs, strict=True))
    latency = statistics.median((t["end_ns"] - t["received_ns"]) / 1e6 for _, t in pairs)
    assert ttft - 0.5 < reported["ttft"] < ttft + 4
    assert latency - 0.5 < reported["latency"] < latency + 4
    decode = statistics.median(39_000 / (times[-1] - times[0]) for times in written)
    assert reported["decode_tps"] == pytest.approx(decode, rel=0.02)
    assert reported["tpot"] == pytest.approx(1000 / decode, rel=0.02)
    assert reported["itl"] == pytest.approx(statistics.median(gaps), rel=0.03)
    assert reported["completion_tokens"] == 40
    assert target["token_sources"] == ["usage"]
    assert [s["prompt_tokens"] for s, _ in pairs] == [t["prompt_tokens"] for _, t in pairs]

    windows = []
    for number in (1, 2):
        window = [t for s, t in pairs if s["round"] == number]
        windows.append((max(t["end_ns"] for t in window) - min(t["received_ns"] for t in window)) / 1e9)
    assert reported["throughput"] == pytest.approx(16 * 40 / sum(windows), rel=0.03)
    assert reported["request_rate"] == pytest.approx(16 / sum(windows), rel=0.03)
    assert no_invented_zeros(run) == []


# --- Failures: each is counted under its code, and what is unknown is nowhere a number. ---

CODES = {
    "http_500": "http_500",
    "http_429": "rate_limited",
    "hang": "timeout",
    "hang_midway": "timeout",
    "cut": "connection_lost",
    "reset": "connection_reset",
    "error_event": "error_event",
    "broken_json": "broken_event",
    "broken_sse": "broken_event",
    "not_sse": "not_a_stream",
    "empty_stream": "incomplete_stream",
}
HOPELESS = {"timeout", "connection_lost", "connection_reset"}
HARMLESS = "no_done"
"""The answer is whole and says why it ended: it counts, and its sample says what was missing."""

ZERO = re.compile(r"(?<![\d.,:/#\[-])0(?:\.0+)? ?(?:ms|s|tok|tokens|characters|requests/s|J|B|kB|MB|GB)\b")
MAY_BE_ZERO = ("failure_rate", "requests_", "quality_cases")


def no_invented_zeros(run: Bench) -> list[str]:
    """Return the figures of 0 that a run's reports show: none of what these tests measure can be 0."""
    report = (run.out / "benchmark_report.md").read_text()
    found = [match.group() for text in (report, run.result.stdout) for match in ZERO.finditer(text)]
    found += re.findall(r"\| 0(?:\.0+)? !?\|", report)
    found += re.findall(r"\bnan\b|\binf\b", report + run.result.stdout, re.IGNORECASE)
    with (run.out / "benchmark_report.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for column, cell in row.items():
                known = cell and not column.endswith("_n") and not column.startswith(MAY_BE_ZERO)
                # `inf` is the end of an interval that falls among failed requests.
                if known and re.fullmatch(r"0(\.0+)?|nan", cell, re.IGNORECASE):
                    found.append(f"{column} {cell}")
    for target in read_summary(run.out)["targets"]:
        found += [
            f"{tag} 0" for tag, metric in target["metrics"].items() if metric["value"] == 0 and tag != "failure_rate"
        ]
    return found


def test_every_failure_has_its_code() -> None:
    assert {*CODES, HARMLESS} == set(FAILURES)


@pytest.fixture(scope="module")
def all_fail(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Servers of which each fails every request in its way, measured in one run."""
    scripts = {kind: {"failures": {kind: 1}} for kind in CODES}
    return bench(tmp_path_factory.mktemp("all"), scripts, "--rounds", 1, "--timeout", 0.7)


@pytest.fixture(scope="module")
def fifth_fails(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Servers of which each fails every fifth request."""
    scripts = {kind: {"failures": {kind: 5}} for kind in FAILURES}
    options = ("--rounds", 1, "--timeout", 1, "--no-probes")
    return bench(tmp_path_factory.mktemp("fifth"), scripts, *options, cases=9)


def test_when_nothing_answers_the_run_ends_and_fails(all_fail: Bench) -> None:
    assert all_fail.result.returncode == 1
    assert "no target answered a single request" in all_fail.result.stderr
    assert "audition pick" not in all_fail.result.stderr
    # Two of them hang: two probes and a first request, of 0.7 s each; then they are given up. The rest fails at once.
    assert [len(all_fail.truth(kind)) for kind in ("hang", "hang_midway")] == [3, 3]
    assert all_fail.seconds < 30
    assert no_invented_zeros(all_fail) == []


@pytest.mark.parametrize("kind", CODES)
def test_a_server_that_always_fails_is_counted_under_the_code(kind: str, all_fail: Bench) -> None:
    target = all_fail.target(kind)
    assert target["status"] == "failed"
    assert target["requests"]["measured"] == target["requests"]["failed"] + target["requests"]["timeout"] == 3
    # First request, warm-up and three cases; what every request will share is not tried five times.
    counted = {CODES[kind]: 1, "gave_up": 4} if CODES[kind] in HOPELESS else {CODES[kind]: 5}
    assert {error["code"]: error["requests"] for error in target["errors"]} == counted
    assert target["metrics"]["failure_rate"]["value"] == 100
    for tag in ("ttft", "latency", "decode_tps", "itl", "throughput", "request_rate", "first_request"):
        assert target["metrics"][tag]["value"] is None
        assert target["metrics"][tag]["reason"]
    assert {finding["code"] for finding in target["findings"]} - MACHINE == {"failing_requests"}
    for sample, entry in zip(all_fail.sent(kind), all_fail.truth(kind), strict=True):
        assert entry["failure"] == kind
        assert sample["error"]["code"] == CODES[kind]
        assert sample["status"] == ("timeout" if CODES[kind] == "timeout" else "failed")
        assert sample["latency_ms"] is None


def test_when_most_answers_come_the_run_succeeds(fifth_fails: Bench) -> None:
    assert fifth_fails.result.returncode == 0, fifth_fails.result.stderr
    assert fifth_fails.seconds < 40
    assert no_invented_zeros(fifth_fails) == []


@pytest.mark.parametrize("kind", CODES)
def test_every_fifth_failure_is_counted_and_no_other_request(kind: str, fifth_fails: Bench) -> None:
    target = fifth_fails.target(kind)
    samples, truth = fifth_fails.sent(kind), fifth_fails.truth(kind)
    assert len(samples) == len(truth) == 11
    for sample, entry in zip(samples, truth, strict=True):
        code = CODES[entry["failure"]] if entry["failure"] else None
        assert (sample["error"] or {}).get("code") == code
        assert (sample["status"] in ANSWERED) == (code is None)
    assert target["status"] == "partly failed"
    assert [(error["code"], error["requests"]) for error in target["errors"]] == [(CODES[kind], 2)]
    assert (target["requests"]["measured"], target["requests"]["ok"]) == (9, 7)
    assert target["metrics"]["failure_rate"]["value"] == pytest.approx(100 * 2 / 9, abs=0.1)
    assert f"{CODES[kind]} (2 of 9 measured)" in fifth_fails.result.stdout


def test_a_missing_done_is_noted_and_nothing_is_lost(fifth_fails: Bench) -> None:
    target = fifth_fails.target(HARMLESS)
    assert (target["status"], target["requests"]["ok"], target["errors"]) == ("ok", 9, [])
    for sample, entry in zip(fifth_fails.sent(HARMLESS), fifth_fails.truth(HARMLESS), strict=True):
        assert sample["status"] in ANSWERED
        assert ("no_done" in sample["wire"]["notes"]) == (entry["failure"] == HARMLESS)


def test_a_server_that_is_killed_midway(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with served(tmp_path, {"it": {"ttft_ms": 30.0}}) as servers:
        options = ("--prompts", prompts_file(tmp_path, 8), "--rounds", "2", "--no-probes", "--out", out)
        process = start("bench", *endpoints(servers["it"].url), *options)
        wait_until(lambda: len(records(tmp_path / "it.jsonl")) >= 6, process)
        psutil.Process(servers["it"].pid).kill()
        killed = time.monotonic()
        stdout, stderr = process.communicate(timeout=30)
    assert time.monotonic() - killed < 15
    assert process.returncode == 0, stderr
    (target,) = read_summary(out)["targets"]
    counts = target["requests"]
    assert target["status"] == "partly failed"
    assert counts["measured"] == 16
    assert 3 <= counts["ok"] <= 8
    codes = {error["code"]: error["requests"] for error in target["errors"]}
    assert set(codes) <= {"connection_lost", "connection_reset", "connection_refused"}
    # Of the second round's first request and warm-up as well.
    assert sum(codes.values()) == counts["failed"] + 2
    assert "connection_refused" in stdout


# --- Servers that cannot be talked to. ---


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with served(tmp_path_factory.mktemp("locked"), {"it": {"api_key": "sk-the-true-key"}}) as servers:
        yield servers["it"]


def refused(prompts: Path, *args: str | Path, code: int, says: Sequence[str]) -> str:
    """Run what must be refused in one sentence with a fix, quickly, with nothing written; return what was said."""
    started = time.monotonic()
    result = audition("bench", *args, "--prompts", prompts, "--out", prompts.parent / "out")
    assert time.monotonic() - started < 10
    assert result.returncode == code, result.stderr
    assert [line.split(":")[0].strip() for line in result.stderr.splitlines() if line] == ["error", "fix"]
    for words in says:
        assert words in result.stderr
    assert not (prompts.parent / "out").exists()
    return result.stderr


def test_nobody_listens_where_a_model_is_named(tmp_path: Path) -> None:
    with served(tmp_path, {"gone": {}}) as servers:
        url = servers["gone"].url
    out = tmp_path / "out"
    result = audition("bench", "--endpoint", f"{url}#mock", "--prompts", prompts_file(tmp_path, 3), "--out", out)
    assert result.returncode == 1
    run = Bench(out, result, 0.0, servers, tmp_path)
    (target,) = read_summary(run.out)["targets"]
    assert target["status"] == "failed"
    assert [(error["code"], error["requests"]) for error in target["errors"]] == [("connection_refused", 15)]
    assert no_invented_zeros(run) == []


@pytest.mark.parametrize(
    ("address", "code", "says"),
    [
        ("{url}", 1, ("the API key", "--key-env")),
        ("{url}/nowhere", 2, ("{url}/nowhere/models is not there: unknown path", "end in /v1")),
        ("{tls}", 1, ("TLS failed", "http")),
        ("http://127.0.0.1:9/v1", 1, ("nobody listens at 127.0.0.1:9", "start the server")),
    ],
    ids=["no key", "wrong path", "https to http", "nobody listens"],
)
def test_no_model_named_and_no_list_to_take_it_from(
    address: str, code: int, says: Sequence[str], locked: MockServer, tmp_path: Path
) -> None:
    names = {"url": locked.url, "tls": locked.url.replace("http:", "https:")}
    words = [text.format(**names) for text in says]
    refused(prompts_file(tmp_path, 1), "--endpoint", address.format(**names), code=code, says=words)


@pytest.mark.parametrize("address", ["", "hello world", "ftp://127.0.0.1/v1", "http://127.0.0.1:99999/v1", "#mock"])
def test_an_address_that_is_none(address: str, tmp_path: Path) -> None:
    refused(prompts_file(tmp_path, 1), "--endpoint", address, code=2, says=("http://127.0.0.1:8080/v1",))


def test_a_key_that_is_not_where_it_is_said_to_be(locked: MockServer, tmp_path: Path) -> None:
    prompts = prompts_file(tmp_path, 1)
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for option, value, says in (
        ("--key-env", "NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE is not set"),
        ("--key-file", str(tmp_path / "absent"), "cannot read the key"),
        ("--key-file", str(empty), "is empty"),
    ):
        refused(prompts, "--endpoint", locked.url, option, value, code=2, says=(says,))


@pytest.mark.parametrize("place", ["--key-env", "--key-file"])
@pytest.mark.parametrize("key", ["sk-the-true-key", "sk-another-key"])
def test_the_key_is_written_nowhere(
    key: str, place: str, locked: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("SERVER_KEY", key)
    (tmp_path / "key").write_text(f"{key}\n")
    where = "SERVER_KEY" if place == "--key-env" else str(tmp_path / "key")
    options = ("--prompts", prompts_file(tmp_path, 2), "--rounds", "1", "--out", out)
    result = audition("bench", "--endpoint", f"{locked.url}#mock", place, where, *options)
    (target,) = read_summary(out)["targets"]
    if key == "sk-the-true-key":
        assert (result.returncode, target["requests"]["ok"]) == (0, 2)
    else:
        assert result.returncode == 1
        assert {error["code"] for error in target["errors"]} == {"unauthorized", "gave_up"}
    assert key not in result.stdout + result.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if key.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("address", "code"),
    [("{url}/nowhere#mock", "not_found"), ("{url}#other", "not_found"), ("{tls}#mock", "tls_error")],
)
def test_a_named_model_that_cannot_be_asked(address: str, code: str, tmp_path: Path) -> None:
    with served(tmp_path, {"it": {}}) as servers:
        url = address.format(url=servers["it"].url, tls=servers["it"].url.replace("http:", "https:"))
        result = audition("bench", "--endpoint", url, "--prompts", prompts_file(tmp_path, 2), "--out", tmp_path / "out")
    assert result.returncode == 1
    (target,) = read_summary(tmp_path / "out")["targets"]
    assert target["status"] == "failed"
    assert [error["code"] for error in target["errors"]] == [code]


# --- Lies: each is found by name, and an honest server is accused of nothing. ---

FOUND = {
    "ignore_temperature": "temperature_ignored",
    "ignore_seed": "seed_ignored",
    "fixed_output": "temperature_ignored",
    "ignore_max_tokens": "max_tokens_ignored",
    "no_usage": "usage_missing",
    "wrong_usage": "usage_implausible",
    "zero_usage": "usage_implausible",
    "wrong_finish_reason": "finish_reason_wrong",
    "small_context": "context_too_small",
    "prompt_cache": "prompt_cached_silently",
    "prompt_cache_reported": "cached_prompt",
    "response_cache": "response_cached",
    "wrong_model": "wrong_model",
    "cpu_fallback": "device_fallback",
    "buffered": "buffered_stream",
    "no_template": "template_not_applied",
    "empty": "empty_output",
    "echo": "prompt_echo",
    "loop": "repetition_loop",
    "special_tokens": "special_tokens",
    "unclosed_reasoning": "unclosed_reasoning",
    "wrong_script": "wrong_script",
    "rejects_stream_options": "usage_missing",
    "rejects_seed": "seed_ignored",
}
TELLING: dict[str, Any] = {"ttft_ms": 12.0, "itl_ms": 1.0, "tokens": 48, "context": 2048}
CACHES = ("prompt_cache", "prompt_cache_reported", "response_cache")
HONEST: dict[str, dict[str, Any]] = {
    "plain": {},
    "jitter": {"jitter": 0.5},
    "reasoning": {"reasoning_tokens": 20},
    "slow": {"ttft_ms": 100.0, "itl_ms": 4.0},
    "stalls": {"stall_ms": 60.0, "stall_every": 20},
    "prefill": {"prefill_tps": 4000.0},
    "pings": {"keepalive": True, "role_delay_ms": 5.0},
    "device": {"device": "cpu"},
}


@pytest.fixture(scope="module")
def liars(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Servers of which each tells one lie, and honest ones among them; their targets' summaries by name."""
    lies = {lie: {**TELLING, "lies": [lie]} for lie in LIES if lie not in CACHES}
    honest = {f"honest_{name}": {**TELLING, **script} for name, script in HONEST.items()}
    run = bench(tmp_path_factory.mktemp("lies"), {**lies, **honest}, "--rounds", 1, "--timeout", 10)
    # Of a cache it matters that prompts come again.
    caches = {lie: {**TELLING, "prefill_tps": 4000.0, "lies": [lie]} for lie in CACHES}
    options = ("--rounds", 2, "--deterministic", "--prompt-cache", "keep", "--timeout", 10)
    again = bench(tmp_path_factory.mktemp("caches"), caches, *options)
    return {name: each.target(name) for each in (run, again) for name in each.servers}


def test_every_lie_has_its_finding() -> None:
    assert set(FOUND) == set(LIES)


@pytest.mark.slow
@pytest.mark.parametrize("lie", FOUND)
def test_a_lie_is_found(lie: str, liars: dict[str, dict[str, Any]]) -> None:
    target = liars[lie]
    found = {finding["code"]: finding for finding in target["findings"]}
    assert FOUND[lie] in found
    for tag in found[FOUND[lie]]["taints"]:
        tainted = target["quality"] if tag == "quality" else target["metrics"][tag]
        assert FOUND[lie] in tainted["tainted_by"]


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_server_is_accused_of_nothing(name: str, liars: dict[str, dict[str, Any]]) -> None:
    findings = liars[f"honest_{name}"]["findings"]
    assert [finding["code"] for finding in findings if finding["taints"] and finding["code"] not in MACHINE] == []
