"""The conformance kit: a good adapter passes, and of every other it says what to mend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from audition.errors import UsageError
from audition.testing import Conformance, Level, assert_conforms, check_adapter

GOOD = '''
import random, time

class Good:
    """Words from a seeded generator."""

    formats = ("gguf",)

    def load(self, weights_path, context=512):
        self.weights = weights_path

    def generate(self, prompt, max_tokens=16, temperature=0.0, seed=None):
        draw = random.Random(seed if temperature else 0)
        for _ in range(max_tokens):
            time.sleep(0.002)
            yield draw.choice(["red ", "green ", "blue "])

    def count_tokens(self, text):
        return len(text.split())

    def unload(self):
        self.weights = None
'''

BAD = {
    "Bytes": ("answer", "generate gave bytes: give str; decode with utf-8", "return b'one two'"),
    "Nothing": ("answer", "generate gave None: return the text", "return None"),
    "Mapping": ("answer", "generate gave dict: return str", "return {'text': 'one'}"),
    "Half": ("answer", "the text has half a character", "yield 'Gr'; yield chr(0xDCC3); yield 'n'"),
    "Empty": ("answer", "the answer has no text", "return iter(())"),
    "Raises": ("answer", "ValueError: no more", "raise ValueError('no more')"),
    "Crashes": ("answer", "ended by itself with status 7", "import os; os._exit(7)"),
    "Quits": ("answer", "SystemExit: 3", "import sys; sys.exit(3)"),
    "Endless": ("answer", "there was no whole answer within 1 s", "while True: yield 'word '; time.sleep(0.01)"),
    "Long": ("max_tokens", "max_tokens=5 gave 40 words", "yield from ['word '] * 40"),
    "Remembers": (
        *("repeat", "it keeps state between calls"),
        "self.n = getattr(self, 'n', 0) + 1; yield f'answer '; yield str(self.n)",
    ),
    "Hears": (
        *("repeat", "it keeps state between calls"),
        "last, self.last = getattr(self, 'last', prompt), prompt; yield 'to '; yield last[:4]",
    ),
}  # fmt: skip
ADVICE = {
    "Whole": ("stream", "the text came in one piece", "return 'one two three'"),
    "AtOnce": ("stream", "all pieces came together at the end", "time.sleep(0.2); yield 'one '; yield 'two'"),
    "Random": ("repeat", "two calls with the same seed at temperature 0 differ", "yield 'a '; yield str(time.time())"),
    "Greedy": ("temperature", "three seeds give one and the same text", "yield 'one '; yield 'two'"),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lines = [GOOD, "class NoLoad:\n    def generate(self, prompt): return 'one'\n"]
    lines.append("class LoadTakesNothing:\n    def load(self): pass\n    def generate(self, prompt): return 'one'\n")
    lines.append("class NeedsWeights(Good):\n    def load(self, path): self.size = len(path)\n")
    lines.append("class Huge(Good):\n    def estimate_memory(self, path): return 10**15\n")
    lines.append("class Modest(Good):\n    def estimate_memory(self, path): return 10**6\n")
    lines.append("class Vague(Good):\n    def estimate_memory(self, path): return 'lots'\n")
    lines.append("class NeedsSize(Good):\n    def __init__(self, size): pass\n")
    lines.append("class LoadHangs(Good):\n    def load(self, path): time.sleep(3600)\n")
    lines.append("class Prints(Good):\n    def load(self, path): print('loading')\n")
    lines.append("class Miscounts(Good):\n    def count_tokens(self, text): return 'many'\n")
    lines.append(
        "class Keeps(Good):\n    def load(self, path): self.data = bytearray(80_000_000)\n    def unload(self): pass\n"
    )
    for name, (_, _, body) in {**BAD, **ADVICE}.items():
        lines.append(
            f"class {name}:\n    def load(self, weights_path): pass\n    def generate(self, prompt, **params):\n"
            f"        {body}\n"
        )
    (tmp_path / "my_engines.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(name: str, **options: float) -> Conformance:
    return check_adapter(f"my_engines:{name}", **({"answer_timeout_s": 1.0} | options))  # type: ignore[arg-type]


def sentences(result: Conformance, level: Level) -> dict[str, str]:
    return {finding.check: finding.sentence for finding in result.findings if finding.level is level}


def test_a_good_adapter_has_nothing_to_mend(project: Path) -> None:
    weights = project / "model.gguf"
    weights.write_bytes(b"weights")
    result = assert_conforms("my_engines:Good", weights)
    assert [finding.level for finding in result.findings] == [Level.NOTE], str(result)
    expected = "import load answer stream count_tokens repeat max_tokens stop unicode temperature unload load_again"
    assert set(result.passed) == {name.replace("_again", " again") for name in expected.split()}
    assert result.facts["pieces"] == 32
    assert result.facts["latency_ms"] > 32 * 2 > result.facts["ttft_ms"] > 2


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_fault_is_said_with_what_to_mend(project: Path, name: str) -> None:
    step, sentence, _ = BAD[name]
    result = check(name)
    assert not result.ok
    assert sentence in sentences(result, Level.FAULT)[step], str(result)
    assert step not in result.passed


@pytest.mark.parametrize("name", sorted(ADVICE))
def test_what_could_be_better_is_said_and_is_no_fault(project: Path, name: str) -> None:
    step, sentence, _ = ADVICE[name]
    result = check(name)
    assert result.ok, str(result)
    assert sentence in sentences(result, Level.ADVICE)[step], str(result)


@pytest.mark.parametrize(
    ("name", "step", "sentence"),
    [
        ("NoLoad", "import", "NoLoad has no load(weights_path)"),
        ("Absent", "import", "there is no Absent in"),
        ("NeedsSize", "import", "it is made without arguments; take what you need in load"),
        ("NeedsWeights", "load", "has no len() (it was given no weights: name them with --weights)"),
        ("Vague", "estimate_memory", "estimate_memory must give a number of bytes as int, not 'lots'"),
        ("LoadTakesNothing", "load", "load cannot be called with a path alone: define load(self, weights_path)"),
        ("LoadHangs", "load", "load has to return once the model can answer"),
        ("Miscounts", "count_tokens", "count_tokens failed"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_told_why(project: Path, name: str, step: str, sentence: str) -> None:
    result = check(name, load_timeout_s=1.0)
    assert sentence in sentences(result, Level.FAULT)[step], str(result)


def test_an_estimate_that_keeps_a_run_from_loading_it_is_said(project: Path) -> None:
    result = check("Huge")
    assert result.ok, "it may be meant for another machine"
    assert "it expects 1,000,000 GB of memory" in sentences(result, Level.ADVICE)["estimate_memory"]
    assert result.facts["estimated_bytes"] == 10**15


def test_an_estimate_that_fits_passes(project: Path) -> None:
    assert "estimate_memory" in check("Modest").passed


def test_an_engine_that_is_not_there_is_no_finding(project: Path) -> None:
    with pytest.raises(UsageError, match='there is no engine "my_engines"') as caught:
        check_adapter("my_engines")
    assert "package.module:Class" in str(caught.value.fix)


def test_memory_that_stays_after_unloading_is_said(project: Path) -> None:
    assert "unload frees too little: 7" in sentences(check("Keeps"), Level.ADVICE)["unload"]


def test_printing_is_allowed(project: Path) -> None:
    result = check("Prints")
    assert result.ok
    assert "it printed 3 lines" in sentences(result, Level.NOTE)["output"], str(result)


def test_faults_fail_a_test_with_all_of_them_and_the_log(project: Path) -> None:
    with pytest.raises(AssertionError, match="Raises is no adapter yet") as caught:
        assert_conforms("my_engines:Raises")
    assert "raise ValueError('no more')" in str(caught.value)


def test_weights_that_are_not_there_are_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="there are no weights at"):
        check_adapter("my_engines:Good", "nothing.gguf")


@pytest.mark.parametrize(("name", "code"), [("Good", 0), ("Bytes", 1), ("Good:Bad", 2)])
def test_in_a_terminal(project: Path, name: str, code: int) -> None:
    command = [sys.executable, "-m", "audition.testing", f"my_engines:{name}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == code, done.stderr
    if code == 2:
        assert "error: " in done.stderr and "fix: " in done.stderr
    else:
        answer = json.loads(done.stdout)
        assert (answer["ok"], answer["adapter"]) == (code == 0, f"my_engines:{name}")
