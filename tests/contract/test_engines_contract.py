"""Every engine that works here keeps the same promises, those with a real model some more."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import ggufs
from audition.bench.meters.memory import MemoryMeter
from audition.engines.host import EngineProcess
from audition.engines.protocol import EngineError, Finish, Reply
from audition.store.store import Store

LONG = 240.0
"""Seconds; far more than any answer here takes, on any machine."""
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
MEGABYTE = 2**20


STORY = [{"role": "user", "content": "Tell a long story about a garden, a fox and a clock."}]
REAL = {
    "llamacpp": [pytest.mark.models],
    "openvino": [pytest.mark.models],
    "ortgenai": [pytest.mark.models, pytest.mark.torch],
    "foundry": [pytest.mark.models, pytest.mark.torch],
    "transformers": [pytest.mark.models, pytest.mark.torch],
}
"""The engines that run the small real model, and what they need for it: some take it only once it is converted."""
PACKAGES = {
    "foundry": "foundry_local_sdk",
    "llamacpp": "xllamacpp",
    "openvino": "openvino_genai",
    "ortgenai": "onnxruntime_genai",
}
UNTOLD = {"foundry"}
"""The engines that do not say what they fed the model."""
ENGINES = [pytest.param(engine, marks=marks) for engine, marks in REAL.items()]


@dataclass(frozen=True)
class Subject:
    """An engine, and what there is to load on it."""

    engine: str
    weights: Path
    log: Path

    @property
    def is_real(self) -> bool:
        return self.engine in REAL

    def start(self) -> EngineProcess:
        return EngineProcess(self.engine, self.log)

    def load(self, process: EngineProcess, context: int = 1024) -> float:
        return process.load(self.weights, {"context": context})


def weights_of(store: Path, variant: str) -> Path:
    return next(entry.weights_path for entry in Store(store).installed() if entry.id == variant)


def ask(process: EngineProcess, messages: Any = QUESTION, timeout_s: float = LONG, **params: Any) -> Reply:
    return process.chat(messages, {"max_tokens": 16, "temperature": 0.0, "seed": 1} | params, timeout_s)


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def end(reply: Reply) -> Finish:
    assert reply.failure is None, reply.failure
    assert reply.finish is not None
    return reply.finish


def subject_of(engine: str, request: pytest.FixtureRequest, folder: Path) -> Subject:
    if importlib.util.find_spec(PACKAGES.get(engine, engine)) is None:
        pytest.skip(f"the package of {engine} is not installed")
    fixtures = {"foundry": "onnx_folder", "ortgenai": "onnx_folder", "transformers": "safetensors_folder"}
    fixture = fixtures.get(engine, "gguf_file")
    return Subject(engine, request.getfixturevalue(fixture), folder / f"{engine}.log")


@pytest.fixture(params=["steady", "whole", *ENGINES])
def subject(request: pytest.FixtureRequest, tmp_path: Path, faulty: None) -> Subject:
    if request.param in REAL:
        return subject_of(request.param, request, tmp_path)
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")
    return Subject(request.param, weights, tmp_path / "engine.log")


@pytest.fixture(params=ENGINES)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    return subject_of(request.param, request, tmp_path)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, EngineProcess]]:
    """Real engines with the model loaded, which the tests of this file share: some take seconds to start."""
    processes: dict[str, EngineProcess] = {}
    yield processes
    for process in processes.values():
        process.close()


def shared(subject: Subject, running: dict[str, EngineProcess], logs: Path) -> EngineProcess:
    if subject.engine not in running or not psutil.pid_exists(running[subject.engine].pid):
        running[subject.engine] = process = EngineProcess(subject.engine, logs / f"{subject.engine}.log")
        subject.load(process)
    return running[subject.engine]


@pytest.fixture
def process(
    subject: Subject, running: dict[str, EngineProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineProcess]:
    if subject.is_real:
        yield shared(subject, running, tmp_path_factory.getbasetemp())
        return
    with subject.start() as process:
        subject.load(process)
        yield process


@pytest.fixture
def loaded(real: Subject, running: dict[str, EngineProcess], tmp_path_factory: pytest.TempPathFactory) -> EngineProcess:
    return shared(real, running, tmp_path_factory.getbasetemp())


def test_an_answer_has_text_times_and_an_end(subject: Subject, process: EngineProcess) -> None:
    reply = ask(process)
    assert text(reply).strip()
    times = [chunk.at_ns for chunk in reply.chunks if chunk.text]
    assert times
    assert times == sorted(times)
    assert reply.sent_ns < times[0]
    assert times[-1] <= reply.end_ns
    assert (reply.cancelled, reply.failure) == (False, None)
    assert reply.finish is not None
    assert reply.finish.reason in ("stop", "length", None)
    assert (reply.finish.completion_tokens is None) == (reply.finish.token_source is None)
    if subject.is_real:
        assert "paris" in text(reply).lower()
        assert reply.finish.token_source == "usage"


def test_the_token_limit_is_honoured(subject: Subject, process: EngineProcess) -> None:
    reply = ask(process, [{"role": "user", "content": "Tell a long story about a garden."}], max_tokens=5)
    assert reply.finish is not None
    if subject.is_real:
        assert (reply.finish.completion_tokens, reply.finish.reason) == (5, "length")
        assert 1 <= len(reply.chunks) <= 5


def test_the_same_seed_at_temperature_0_gives_the_same_text(process: EngineProcess) -> None:
    assert len({text(ask(process)) for _ in range(3)}) == 1


def test_a_run_is_repeated_by_a_new_process(subject: Subject, process: EngineProcess) -> None:
    with subject.start() as other:
        subject.load(other)
        assert text(ask(other)) == text(ask(process))


def test_unloading_gives_the_memory_back(subject: Subject) -> None:
    with subject.start() as process, MemoryMeter(process.pid) as meter:
        before = meter.now()
        subject.load(process)
        ask(process)
        during = meter.now()
        process.unload()
        after = meter.now()
        assert before is not None and during is not None and after is not None
        taken = during.total - before.total
        if subject.is_real:
            assert taken > 90 * MEGABYTE, "98 MB of weights"
        assert after.total - before.total < max(taken / 2, 32 * MEGABYTE)


def test_a_model_can_be_loaded_again_after_unloading(subject: Subject, process: EngineProcess) -> None:
    first = text(ask(process))
    process.unload()
    subject.load(process)
    assert text(ask(process)) == first


def test_unloading_twice_and_unloading_nothing_is_no_fault(subject: Subject) -> None:
    with subject.start() as process:
        process.unload()
        subject.load(process)
        process.unload()
        process.unload()


def test_a_request_without_a_model_fails_and_is_no_crash(subject: Subject) -> None:
    with subject.start() as process:
        reply = ask(process)
        assert not subject.is_real or reply.failure is not None
        subject.load(process)
        assert ask(process).failure is None


@pytest.mark.parametrize("timeout_s", [0.0, 0.05])
def test_after_a_request_that_was_stopped_the_next_one_is_whole(process: EngineProcess, timeout_s: float) -> None:
    expected = text(ask(process))
    for _ in range(3):
        stopped = ask(process, timeout_s=timeout_s, max_tokens=500)
        assert stopped.cancelled or stopped.finish is not None
        assert stopped.failure is None
    reply = ask(process)
    assert (text(reply), reply.cancelled, reply.failure) == (expected, False, None)


def test_a_file_that_is_not_there_is_refused(subject: Subject) -> None:
    with subject.start() as process:
        with pytest.raises(EngineError) as caught:
            process.load(subject.weights.with_name("nothing.gguf"), {"context": 512})
        assert caught.value.code == "load_failed"
        subject.load(process)
        assert text(ask(process)).strip()


def test_an_answer_stops_at_the_time_limit_and_what_came_is_kept(loaded: EngineProcess) -> None:
    whole = text(ask(loaded, STORY, max_tokens=150))
    start = time.monotonic()
    reply = ask(loaded, STORY, max_tokens=150, timeout_s=0.1)
    assert time.monotonic() - start < LONG / 2
    assert (reply.cancelled, reply.finish, reply.failure) == (True, None, None)
    assert len(text(reply)) < len(whole)
    assert whole.startswith(text(reply))


def test_every_token_is_counted_with_the_one_that_ends_the_answer(loaded: EngineProcess) -> None:
    # How long the model goes on depends on how the engine computes it: one of these answers ends soon.
    for question in ("Say a.", "Hi!", "Say yes.", "Bye.", "Thanks!", "What is 1 + 1?"):
        messages = [{"role": "user", "content": question}]
        reply = ask(loaded, messages, max_tokens=100)
        finish = end(reply)
        if finish.reason == "stop":
            break
    assert (finish.reason, finish.token_source) == ("stop", "usage")
    assert finish.completion_tokens is not None
    # SmolLM2's pieces are words or parts of words, each of one token; the last token is no text.
    assert finish.completion_tokens == len(reply.chunks) + 1
    cut = end(ask(loaded, messages, max_tokens=finish.completion_tokens - 1))
    assert (cut.reason, cut.completion_tokens) == ("length", finish.completion_tokens - 1)


def test_a_piece_of_text_comes_with_each_token(loaded: EngineProcess) -> None:
    reply = ask(loaded, STORY, max_tokens=40)
    assert (end(reply).reason, end(reply).completion_tokens) == ("length", 40)
    assert 38 <= len(reply.chunks) <= 40


def test_seeds_repeat_and_differ(loaded: EngineProcess) -> None:
    first, again, other = (text(ask(loaded, STORY, temperature=1.0, seed=seed)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    unseeded = {text(ask(loaded, STORY, temperature=1.0, seed=None)) for _ in range(3)}
    assert len(unseeded) > 1


def test_text_beyond_ascii_goes_in_and_comes_out_whole(loaded: EngineProcess) -> None:
    reply = ask(
        loaded,
        [
            {"role": "system", "content": "Você é útil \u2014 日本"},
            {"role": "user", "content": "Repeat: Äpfel 🍎🦊 日本語 ñ"},
        ],
        max_tokens=40,
    )
    assert not text(reply).isascii()
    assert "\N{REPLACEMENT CHARACTER}" not in text(reply)
    assert all(chunk.text for chunk in reply.chunks)
    assert text(reply).encode("utf-8")


def test_what_the_system_says_is_part_of_the_prompt(real: Subject, loaded: EngineProcess) -> None:
    without = end(ask(loaded, max_tokens=1))
    told = end(ask(loaded, [{"role": "system", "content": "Answer in French."}, *QUESTION], max_tokens=1))
    assert without.prompt_tokens is not None and told.prompt_tokens is not None
    assert without.prompt_tokens != told.prompt_tokens
    assert without.prompt_sha256 != told.prompt_sha256 or real.engine in UNTOLD


def test_every_engine_feeds_the_model_the_same_tokens(real: Subject, loaded: EngineProcess) -> None:
    # 42 tokens of SmolLM2's template with this question: <|im_start|> is 1, <|im_end|> 2, and nothing comes first.
    prompt = (
        "1,9690,198,2683,359,253,5356,5646,11173,3365,3511,308,34519,28,7018,411,407,19712,8182,2,198,1,4093,198,1780,"
        "314,260,3575,282,4649,47,19842,281,582,2229,30,2,198,1,520,9531,198"
    )
    finish = end(ask(loaded, max_tokens=1))
    assert (finish.prompt_tokens, finish.cached_tokens) == (42, 0)
    assert finish.prompt_sha256 == (None if real.engine in UNTOLD else hashlib.sha256(prompt.encode()).hexdigest())


def test_no_prompt_is_reused(real: Subject, loaded: EngineProcess) -> None:
    prompt = "Notes: " + " ".join(f"Item {number} costs {number * 7} euros." for number in range(40))
    ratios = []
    for number in range(8):
        reply = ask(loaded, [{"role": "user", "content": prompt}], max_tokens=6)
        finish = end(reply)
        assert finish.prompt_tokens is not None and finish.prompt_tokens > 300
        assert finish.cached_tokens == 0
        if real.engine == "llamacpp":
            assert finish.engine_timings is not None
            assert finish.engine_timings["prompt_n"] == finish.prompt_tokens
        times = [reply.sent_ns, *(chunk.at_ns for chunk in reply.chunks)]
        first, *others = (after - before for before, after in itertools.pairwise(times))
        ratios.append(first / statistics.median(others))
        # With the prompt in a cache the first token comes as fast as any other. On a machine that has much else to do
        # any two tokens can be far apart, so that one quiet moment has to be waited for.
        if number > 0 and ratios[-1] > 3:
            return
    pytest.fail(f"the first token of a repeated prompt came as fast as the others: {ratios}")


@pytest.mark.slow
def test_tokens_are_sampled_from_all_that_the_model_has(loaded: EngineProcess) -> None:
    """The first token of 160 answers: with the usual top_k of 40 or 50 there could not be more different ones."""
    question = [{"role": "system", "content": "Hi"}, {"role": "user", "content": "Tell a story"}]
    firsts = {text(ask(loaded, question, max_tokens=1, temperature=1.8, seed=7919 * seed)) for seed in range(160)}
    assert len(firsts) > 60


def test_a_prompt_that_does_not_fit_is_refused(real: Subject) -> None:
    with real.start() as process:
        real.load(process, context=256)
        reply = ask(process, [{"role": "user", "content": "word " * 500}])
        assert reply.failure is not None
        code, message = reply.failure
        assert code == "context_length_exceeded"
        assert "256" in message
        assert reply.chunks == ()
        finish = end(ask(process, STORY, max_tokens=5000, temperature=1.5))
        assert finish.prompt_tokens is not None and finish.completion_tokens is not None
        assert finish.prompt_tokens + finish.completion_tokens <= 257


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": "Say \ud83d"}]])
def test_what_is_no_question_is_a_fault_of_the_request(loaded: EngineProcess, messages: Any) -> None:
    reply = ask(loaded, messages)
    assert reply.failure is not None
    assert reply.failure[0] == "invalid_request"
    assert "paris" in text(ask(loaded)).lower()


def test_weights_that_are_broken_are_refused_with_a_reason(real: Subject, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    if real.weights.is_dir():
        broken.mkdir()
        weights = max(real.weights.iterdir(), key=lambda file: file.stat().st_size)
        for file in real.weights.iterdir():
            if file != weights:
                shutil.copy(file, broken)
    else:
        weights = real.weights
    with weights.open("rb") as whole:
        (broken / weights.name if broken.is_dir() else broken).write_bytes(whole.read(weights.stat().st_size // 2))
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"weights" * 100)
    empty = tmp_path / "empty"
    empty.mkdir()
    with real.start() as process:
        for path in (broken, garbage, empty, tmp_path / "nothing"):
            with pytest.raises(EngineError) as caught:
                process.load(path, {"context": 512})
            assert caught.value.code == "load_failed"
            assert len(caught.value.message) > len(f"{real.engine}: ") + 10, caught.value.message
            assert "\n" not in caught.value.message
        real.load(process)
        assert "paris" in text(ask(process)).lower()


def test_nothing_is_written_at_home_and_nobody_is_called(
    real: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a person's home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(folder)
    with real.start() as process:
        real.load(process)
        ask(process)
        sockets = psutil.Process(process.pid).net_connections()
        process.unload()
    assert list(folder.rglob("*")) == []
    if real.engine == "llamacpp":
        assert {socket.laddr.ip for socket in sockets} <= {"127.0.0.1"}
    else:
        assert sockets == []


def test_an_engine_says_what_it_is(real: Subject, loaded: EngineProcess) -> None:
    description = loaded.description
    assert re.match(r"[a-z-]+ \d", description["package"])
    assert description["device"] == "cpu"
    assert loaded.device == "cpu"
    assert description["sampling"]["top_k"] == 0


def changed(folder: Path, copy: Path, change: Callable[[Path], None]) -> Path:
    """Return a copy of a model's folder with something else in it."""
    shutil.copytree(folder, copy)
    change(copy)
    return copy


def edited(name: str, **entries: Any) -> Callable[[Path], None]:
    """Return what sets entries of a JSON file in a folder."""

    def edit(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))

    return edit


_ONNX_WISHES = edited(
    "genai_config.json",
    search={"do_sample": True, "temperature": 3.0, "repetition_penalty": 3.0, "min_length": 90, "max_length": 8192},
)
WISHES = {
    "ortgenai": _ONNX_WISHES,
    "foundry": _ONNX_WISHES,
    "transformers": edited(
        "generation_config.json", do_sample=True, temperature=3.0, repetition_penalty=3.0, min_new_tokens=30, top_k=2
    ),
}


@pytest.mark.models
@pytest.mark.torch
@pytest.mark.parametrize("engine", WISHES)
def test_how_a_folder_wishes_to_be_sampled_changes_nothing(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    subject = subject_of(engine, request, tmp_path)
    other = changed(subject.weights, tmp_path / "wishes", WISHES[engine])
    answers = []
    with subject.start() as process:
        for weights in (subject.weights, other):
            process.load(weights, {"context": 512})
            answers.append([text(ask(process, STORY)), text(ask(process, STORY, temperature=1.0))])
    assert answers[0] == answers[1]


@pytest.mark.models
@pytest.mark.torch
def test_a_model_without_a_chat_template_gets_the_same_one_on_each_engine(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    hashes = set()
    for engine in ("ortgenai", "transformers"):
        subject = subject_of(engine, request, tmp_path)
        bare = changed(subject.weights, tmp_path / engine, lambda folder: (folder / "chat_template.jinja").unlink())
        with subject.start() as process:
            process.load(bare, {"context": 512})
            finish = end(ask(process, max_tokens=1))
        # The template of SmolLM2 would begin with a message of the system.
        assert finish.prompt_tokens is not None and finish.prompt_tokens < 30
        hashes.add(finish.prompt_sha256)
    assert len(hashes) == 1


@pytest.mark.models
@pytest.mark.torch
def test_transformers_unpacks_a_gguf_file(request: pytest.FixtureRequest, gguf_file: Path, tmp_path: Path) -> None:
    subject = subject_of("transformers", request, tmp_path)
    answers = []
    with subject.start() as process:
        for weights in (subject.weights, gguf_file):
            process.load(weights, {"context": 512})
            answers.append(text(ask(process, STORY)))
    assert answers[0] == answers[1]


@pytest.mark.models
@pytest.mark.torch
def test_transformers_reads_no_pickles(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    subject = subject_of("transformers", request, tmp_path)
    folder = tmp_path / "pickle"
    folder.mkdir()
    for file in subject.weights.iterdir():
        if file.suffix == ".safetensors":
            (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
        else:
            shutil.copy(file, folder)
    with subject.start() as process, pytest.raises(EngineError, match="safetensors") as caught:
        process.load(folder, {"context": 512})
    assert caught.value.code == "load_failed"


_SAVE_IR = """
import sys
sys.modules["openvino_telemetry"] = None
import openvino_genai
openvino_genai.LLMPipeline(sys.argv[1], "CPU", enable_save_ov_model=True)
"""


@pytest.mark.models
def test_openvino_runs_a_folder_in_its_own_format(
    request: pytest.FixtureRequest, gguf_file: Path, tmp_path: Path
) -> None:
    subject = subject_of("openvino", request, tmp_path)
    folder = tmp_path / "ir"
    folder.mkdir()
    named = folder / "model.gguf"
    named.symlink_to(gguf_file)
    subprocess.run([sys.executable, "-c", _SAVE_IR, str(named)], check=True, timeout=300)
    named.unlink()
    answers = []
    with subject.start() as process:
        for weights in (gguf_file, folder):
            process.load(weights, {"context": 512})
            reply = ask(process)
            answers.append((text(reply), end(reply).prompt_sha256))
    assert answers[0] == answers[1]


@pytest.fixture
def llama(real_models: Path, tmp_path: Path) -> Callable[[str], Subject]:
    return lambda variant: Subject("llamacpp", weights_of(real_models / "store", variant), tmp_path / "engine.log")


@pytest.fixture
def smollm(llama: Callable[[str], Subject]) -> Iterator[EngineProcess]:
    subject = llama("smollm2-135m:q4_1")
    with subject.start() as process:
        subject.load(process)
        yield process


@pytest.mark.models
def test_llamacpp_answers_without_a_chat_template(llama: Callable[[str], Subject]) -> None:
    subject = llama("gemma-3-270m:q4_k_m")
    with subject.start() as process:
        subject.load(process, context=512)
        reply = ask(process)
    assert text(reply).strip()
    assert reply.failure is None


@pytest.mark.models
def test_llamacpp_says_what_it_is(smollm: EngineProcess) -> None:
    description = smollm.description
    assert description["package"].startswith("xllamacpp 20")
    assert description["device"] == description["device"].lower()
    assert any(device["name"] == "CPU" for device in description["devices"])


def knock(port: int, method: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    body = json.dumps({"messages": QUESTION, "prompt": "x", "content": "x", "max_tokens": 1})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    connection.request(method, path, body if method == "POST" else None, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


@pytest.mark.models
def test_the_listener_of_llamacpp_is_closed_to_others(smollm: EngineProcess) -> None:
    sockets = psutil.Process(smollm.pid).net_connections()
    listening = [socket.laddr for socket in sockets if socket.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} <= {"127.0.0.1"}
    strangers: list[dict[str, str]] = [{}, {"Authorization": "Bearer guessed"}, {"Authorization": "Bearer "}]
    routes = [("GET", "/v1/models"), ("GET", "/slots"), ("GET", "/props"), ("GET", "/metrics"), ("GET", "/")]
    routes += [("POST", "/v1/chat/completions"), ("POST", "/completion"), ("POST", "/tokenize"), ("POST", "/props")]
    for address in listening:
        for headers in strangers:
            foreign = headers | {"Origin": "https://evil.example"}
            for method, path in routes:
                response = knock(address.port, method, path, foreign)
                assert response.status in (401, 403, 404), (method, path, headers)
                assert not response.getheader("Access-Control-Allow-Origin")
        for method, path in [("GET", "/health"), ("OPTIONS", "/v1/chat/completions")]:
            response = knock(address.port, method, path, {"Origin": "https://evil.example"})
            assert not response.getheader("Access-Control-Allow-Origin")
            assert response.getheader("Access-Control-Allow-Credentials") in (None, "false")
    assert ask(smollm).failure is None


def test_why_llamacpp_cannot_load_a_file_is_said_in_its_own_words(tmp_path: Path) -> None:
    unknown = ggufs.write_gguf(tmp_path / "a.gguf", metadata=ggufs.tiny_metadata(general__architecture="zzzzz"))
    short = ggufs.write_gguf(tmp_path / "b.gguf", size=600)
    empty = tmp_path / "c.gguf"
    empty.touch()
    reasons = {
        unknown: "unknown model architecture: 'zzzzz'",
        short: "failed to read key-value pairs",
        empty: "failed to read magic",
        tmp_path / "nothing.gguf": "No such file or directory",
    }
    with EngineProcess("llamacpp", tmp_path / "engine.log") as process:
        for path, reason in reasons.items():
            with pytest.raises(EngineError) as caught:
                process.load(path, {"context": 512})
            assert caught.value.code == "load_failed"
            assert reason in caught.value.message, caught.value.message


@pytest.mark.models
def test_a_real_model_that_is_cut_off_is_refused(llama: Callable[[str], Subject], tmp_path: Path) -> None:
    subject = llama("smollm2-135m:q4_1")
    cut = tmp_path / "cut.gguf"
    with subject.weights.open("rb") as whole:
        cut.write_bytes(whole.read(subject.weights.stat().st_size // 2))
    with subject.start() as process:
        with pytest.raises(EngineError, match="not within the file bounds") as caught:
            process.load(cut, {"context": 512})
        assert caught.value.code == "load_failed"
        subject.load(process)
        assert text(ask(process)).strip()
