"""Adapters of every shape in a process of their own, and what is left when one of them does its worst."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import faulty_engines
from audition.engines import host
from audition.engines.adapter import MAX_ANSWER, PLAIN, accepted
from audition.engines.host import EngineProcess, probe
from audition.engines.protocol import EngineDied, EngineError, Reply
from faulty_engines import Steady

pytestmark = pytest.mark.usefixtures("faulty")

PARAMS = {"max_tokens": 8, "temperature": 0.0, "seed": 1}
posix = pytest.mark.skipif(sys.platform == "win32", reason="has no signals and no forks")
LONG = 60.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def loaded(log: Path, tmp_path: Path) -> Callable[[str], EngineProcess]:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"weights")

    def load(engine: str) -> EngineProcess:
        process = EngineProcess(engine, log)
        process.load(weights, {"context": 512})
        return process

    return load


def ask(process: EngineProcess, prompt: str = "hello", timeout_s: float = LONG, **params: Any) -> Reply:
    return process.chat([{"role": "user", "content": prompt}], PARAMS | params, timeout_s)


def text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("engine", ["asyncpieces", "asyncpieceslater"])
def test_an_async_iterator_has_a_time_for_every_piece(loaded: Callable[[str], EngineProcess], engine: str) -> None:
    with loaded(engine) as process:
        for _ in range(2):
            reply = ask(process)
            assert [chunk.text for chunk in reply.chunks] == [f"{word} " for word in Steady.text.split()]
            times = [reply.sent_ns, *(chunk.at_ns for chunk in reply.chunks)]
            assert all(after - before >= 2_000_000 for before, after in itertools.pairwise(times))
            assert (reply.cancelled, reply.failure) == (False, None)
            assert reply.finish is not None and reply.finish.at_ns >= times[-1]


def test_a_coroutine_keeps_its_loop_from_load_to_unload(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("coroutine") as process:
        reply = ask(process)
        assert (text(reply), reply.failure) == ("hello, stopped 0 times", None)
        process.unload()


@pytest.mark.parametrize("engine", ["coroutine", "asyncpieces", "asyncpieceslater"])
def test_asynchronous_code_that_waits_can_be_stopped(loaded: Callable[[str], EngineProcess], engine: str) -> None:
    with loaded(engine) as process:
        for _ in range(2):
            start = time.monotonic()
            stopped = ask(process, "wait", timeout_s=0.2)
            assert (stopped.cancelled, stopped.finish, stopped.failure) == (True, None, None)
            assert time.monotonic() - start < host.CANCEL_GRACE_S / 2
            assert text(stopped) == ("" if engine == "coroutine" else "one ")
        assert text(ask(process, "so")) == ("so, stopped 2 times" if engine == "coroutine" else f"{Steady.text} ")


def test_a_list_of_strings_is_pieces(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("listed") as process:
        assert [chunk.text for chunk in ask(process).chunks] == ["one ", "two"]


def test_chat_may_give_strings_as_generate_does(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("plainchat") as process:
        reply = ask(process, "two")
        assert [chunk.text for chunk in reply.chunks] == ["one ", "two"]
        assert reply.finish is not None and reply.failure is None
        assert process.description["prompt"] == "messages"


def test_an_adapter_gets_only_the_parameters_that_it_takes(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("few") as process:
        assert text(ask(process, max_tokens=2)) == "one two "


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda prompt, **params: None, {"a", "b", "prompt"}),
        (lambda prompt, a: None, {"a"}),
        (lambda a, *, b=1: None, {"b"}),
        (lambda x, a, /, b: None, {"b"}),
        (max, {"a", "b", "prompt"}),
    ],
)
def test_which_parameters_a_function_takes(function: Any, names: set[str]) -> None:
    settings = {"a": 1, "b": 2, "prompt": 3}
    assert accepted(function)(settings) == {name: settings[name] for name in names}


def test_an_adapter_s_own_tokenizer_counts(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("tokens") as process:
        reply = process.chat(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}], PARAMS, LONG
        )
    assert reply.finish is not None
    finish = reply.finish
    assert (finish.completion_tokens, finish.token_source, finish.reason) == (8, "tokenizer", "length")
    assert finish.prompt_tokens is None, "what an adapter puts around the text is not known"
    assert finish.at_ns == reply.end_ns, "counting is not timed"


@pytest.mark.parametrize(
    ("engine", "why"), [("badtokens", "no tokenizer"), ("oddtokens", "count_tokens must give the number of tokens")]
)
def test_a_tokenizer_that_fails_costs_the_counts_only(
    loaded: Callable[[str], EngineProcess], log: Path, engine: str, why: str
) -> None:
    with loaded(engine) as process:
        reply = ask(process)
    assert text(reply).split() == Steady.text.split() and reply.failure is None
    assert reply.finish is not None
    assert (reply.finish.completion_tokens, reply.finish.token_source) == (None, None)
    assert why in log.read_text()


def test_what_an_adapter_says_of_itself_is_recorded(log: Path) -> None:
    description = probe("tokens", log)
    assert description == {
        "package": "faulty-engines 1.0",
        "class": "faulty_engines:Tokens",
        "offers": ["count_tokens", "estimate_memory"],
        "formats": ["gguf", "onnx-genai"],
        "capabilities": ["chat", "summarise"],
        "takes": ["max_tokens", "temperature", "seed"],
        "prompt": PLAIN,
    }


def test_memory_is_estimated_by_the_adapter_where_it_can(log: Path) -> None:
    with EngineProcess("tokens", log) as process:
        assert process.estimate_memory(None, {"context": 512, "parallel": 4}) == 512_000
    with EngineProcess("steady", log) as process:
        assert process.estimate_memory(None, {"context": 512}) is None


def test_an_adapter_may_have_no_weights(log: Path) -> None:
    with EngineProcess("counts", log) as process:
        process.load(None, {"context": 512})
        assert text(ask(process)) == "1: hello"


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("noload", "NoLoad has no load(weights_path)"),
        ("needsarguments", "missing 1 required positional argument: 'size'"),
    ],
)
def test_an_adapter_that_cannot_be_used_says_why(log: Path, engine: str, message: str) -> None:
    with pytest.raises(EngineError, match=re.escape(message)):
        EngineProcess(engine, log)


@pytest.mark.parametrize(
    ("prompt", "failure"),
    [
        ("exit", ("engine_error", "SystemExit: enough")),
        ("interrupt", ("engine_error", "KeyboardInterrupt: ")),
        ("memory", ("insufficient_memory", "the engine ran out of memory")),
        ("deep", ("engine_error", "RecursionError: maximum recursion depth exceeded")),
        ("folder", None),
        ("stdin", None),
        ("threads", None),
    ],
)
def test_an_adapter_cannot_end_its_process_by_the_way(
    loaded: Callable[[str], EngineProcess], prompt: str, failure: tuple[str, str] | None
) -> None:
    with loaded("quits") as process:
        for _ in range(2):
            reply = ask(process, prompt if failure else f"{prompt} once")
            assert text(reply) == ("one " if failure else "one two")
            if failure is None:
                assert reply.failure is None
                break
            assert reply.failure is not None
            assert (reply.failure[0], reply.failure[1][: len(failure[1])]) == failure
        assert text(ask(process)) == "one two"
    assert gone(process.pid)


def test_an_exit_in_asynchronous_code_is_that_request_s(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("quitsasync") as process:
        for _ in range(2):
            assert ask(process, "exit").failure == ("engine_error", "SystemExit: enough")
            assert text(ask(process)) == "one"


def test_an_exit_while_loading_is_a_failed_load(log: Path) -> None:
    with EngineProcess("quits", log) as process:
        with pytest.raises(EngineError, match="quits: SystemExit: 3") as caught:
            process.load(Path("quit"), {})
        assert caught.value.code == "load_failed"
        process.load(Path("model"), {})
        assert text(ask(process)) == "one two"


def test_where_an_adapter_failed_is_in_its_log(loaded: Callable[[str], EngineProcess], log: Path) -> None:
    with loaded("raises") as process:
        assert ask(process).failure is not None
    assert 'raise ValueError("no more words")' in log.read_text()


@posix
def test_a_segmentation_fault_is_named_and_its_place_is_in_the_log(
    loaded: Callable[[str], EngineProcess], log: Path
) -> None:
    with loaded("segfaults") as process, pytest.raises(EngineDied, match="SIGSEGV"):
        ask(process)
    assert "faulty_engines.py" in log.read_text()


@pytest.mark.parametrize("prompt", ["narrow", "wide"])
def test_an_answer_without_end_is_stopped_before_it_fills_the_memory(
    loaded: Callable[[str], EngineProcess], prompt: str
) -> None:
    with loaded("floods") as process:
        reply = ask(process, prompt)
        assert reply.failure == ("engine_error", "the answer is longer than can be kept, and was stopped")
        assert 0 < len(text(reply)) <= MAX_ANSWER
        assert psutil.Process(process.pid).memory_info().rss < 500 * 2**20


def test_an_answer_that_is_too_long_in_one_piece_is_refused(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("huge") as process:
        reply = ask(process)
        assert (text(reply), reply.finish) == ("", None)
        assert reply.failure is not None and "longer than can be kept" in reply.failure[1]


def test_processes_that_an_adapter_started_end_with_it(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("parents") as process:
        children = [int(pid) for pid in text(ask(process)).split()]
        assert not any(map(gone, children))
    wait_until(lambda: all(map(gone, children)))


@posix
def test_processes_that_a_crash_leaves_behind_are_ended(loaded: Callable[[str], EngineProcess], log: Path) -> None:
    with loaded("parents") as process:
        with pytest.raises(EngineDied, match="status 7"):
            ask(process, "crash")
        match = re.search(r"children (\d+) (\d+)", log.read_text())
        assert match is not None
        try:
            wait_until(lambda: gone(int(match[1])))
        finally:
            # One with a session of its own cannot be found any more once its parent is gone.
            psutil.Process(int(match[2])).kill()


@posix
def test_a_crash_is_noticed_though_a_fork_holds_the_pipe(loaded: Callable[[str], EngineProcess]) -> None:
    with loaded("forks") as process:
        start = time.monotonic()
        with pytest.raises(EngineDied, match="status 7") as caught:
            ask(process)
        assert caught.value.code == "engine_crashed"
        assert time.monotonic() - start < LONG / 2


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module that is installed nowhere."""
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "my_engine.py").write_text(
        "import json, random\n"
        "class Mine:\n"
        "    class Inner:\n"
        "        def load(self, weights_path): pass\n"
        "        def generate(self, prompt): return 'inner'\n"
        "    def load(self, weights_path, context=None): self.loaded = (weights_path, context)\n"
        "    def generate(self, prompt): return json.dumps(self.loaded)\n"
    )
    (folder / "random.py").write_text("raise RuntimeError('this is not the random that was meant')\n")
    return folder


def test_a_class_in_a_folder_runs_under_the_name_that_it_is_given(project: Path, log: Path) -> None:
    with EngineProcess(f"mine=my_engine:Mine@{project}", log) as process:
        assert process.engine == "mine"
        digest = hashlib.sha256((project / "my_engine.py").read_bytes()).hexdigest()[:12]
        assert process.description["package"] == f"my_engine.py {digest}"
        process.load(project, {"context": 256})
        assert json.loads(text(ask(process))) == [str(project), 256]


def test_a_class_inside_a_class_can_be_named(project: Path, log: Path) -> None:
    with EngineProcess(f"my_engine:Mine.Inner@{project}", log) as process:
        process.load(None, {})
        assert text(ask(process)) == "inner"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("your_engine:Mine", "your_engine:Mine: there is no module your_engine in {folder}, nor installed"),
        ("my_engine:Yours", "my_engine:Yours: there is no Yours in {folder}{sep}my_engine.py"),
        ("my_engine:Mine.Yours", "has no attribute 'Yours'"),
        ("my_engine.sub:Mine", "there is no module my_engine.sub"),
    ],
)
def test_a_reference_that_leads_nowhere_is_said(project: Path, log: Path, value: str, message: str) -> None:
    with pytest.raises(EngineError) as caught:
        probe(f"{value}@{project}", log)
    assert message.format(folder=project, sep=os.sep) in caught.value.message


def test_a_package_that_an_adapter_lacks_is_named(project: Path, log: Path) -> None:
    (project / "needs.py").write_text("import a_package_that_is_not_installed\n")
    with pytest.raises(EngineError, match="a package is missing: a_package_that_is_not_installed") as caught:
        probe(f"needs:Needs@{project}", log)
    assert caught.value.code == "engine_unavailable"


def test_an_import_that_hangs_is_ended(project: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "sleeps.py").write_text("import time\ntime.sleep(3600)\n")
    with pytest.raises(EngineDied, match="sleeps:Sleeps did not answer within 1 s"):
        probe(f"sleeps:Sleeps@{project}", log, 1.0)


def test_every_faulty_engine_is_registered() -> None:
    assert set(faulty_engines.NAMES) <= set(vars(faulty_engines))
