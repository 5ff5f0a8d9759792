"""The conformance kit: an adapter is run in a process of its own, as when it is measured, and asked to show faults."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from audition.bench.meters.memory import MemoryMeter
from audition.engines.adapter import PLAIN
from audition.engines.host import EngineProcess
from audition.engines.protocol import EngineDied, EngineError, Reply
from audition.engines.reference import engine_name, reference_to
from audition.engines.registry import find_engine
from audition.errors import UsageError
from audition.paths import expanded
from audition.testing.mending import HALF_CHARACTER, mend, mend_answer
from audition.text import one_line

PROMPT = "Name three colours, and say of each in one sentence where it is seen in nature."
OTHER_PROMPT = "What is the capital of France? Answer in one word."
FOREIGN_PROMPT = "Repeat: Grüße, 世界, \N{EARTH GLOBE EUROPE-AFRICA}!"

_TOKENS = 32
_FEW = 5
_STOP_AFTER_S = 0.3
_MEGABYTE = 2**20
_NOTEWORTHY = 32 * _MEGABYTE
_LOG = 4000


class Level(StrEnum):
    """How much a finding matters."""

    FAULT = "fault"
    """Requests fail, or what is measured is not what was asked for."""
    ADVICE = "advice"
    """It works, but less can be measured than could be."""
    NOTE = "note"
    """Good to know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, and what to mend."""

    level: Level
    check: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Conformance:
    """What became of it.

    Attributes:
        adapter: What the engine is called.
        findings: The gravest first.
        passed: The checks that found nothing to mend.
        facts: What was seen on the way: its description, times in milliseconds, pieces, memory.
        log: The end of what it printed, and of its tracebacks.
    """

    adapter: str
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    facts: dict[str, Any]
    log: str

    @property
    def ok(self) -> bool:
        """Whether it has no faults."""
        return not any(finding.level is Level.FAULT for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"ok      {check}" for check in self.passed]
        lines += [f"{finding.level:<7} {finding.check}: {finding.sentence}" for finding in self.findings]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"ok": self.ok, **asdict(self)}


def check_adapter(
    adapter: str | type,
    weights: str | Path | None = None,
    *,
    prompt: str = PROMPT,
    context: int = 2048,
    load_timeout_s: float = 300.0,
    answer_timeout_s: float = 120.0,
) -> Conformance:
    """Return what there is to mend about an adapter.

    Args:
        adapter: Its class, `package.module:Class`, or the name that it is registered under.
        weights: What it loads; None for one that brings its own.
        prompt: What it is asked; the answer should be longer than five words.
        context: Tokens of context, for an adapter that takes them.
        load_timeout_s: How long a load may take.
        answer_timeout_s: How long one answer may take.

    Raises:
        UsageError: There are no such weights or no such engine, or the class is where no other process could import it.
    """
    path = None if weights is None else expanded(str(weights)).absolute()
    if path is not None and not path.exists():
        raise UsageError(f"there are no weights at {path}", fix="name a file or a folder")
    reference = reference_to(adapter)
    find_engine(reference)
    with tempfile.TemporaryDirectory(prefix="audition-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "engine.log")
        examination = _Examination(reference, path, log, prompt, {"context": context}, load_timeout_s, answer_timeout_s)
        examination.run()
        return examination.result()


def assert_conforms(adapter: str | type, weights: str | Path | None = None, **options: Any) -> Conformance:
    """Raise `AssertionError` with every fault of an adapter, for a test of it; else return what was found."""
    result = check_adapter(adapter, weights, **options)
    if not result.ok:
        raise AssertionError(f"{result.adapter} is no adapter yet:\n{result}\n{result.log}")
    return result


@dataclass(slots=True)
class _Examination:
    """One adapter, from import to the end of its process."""

    engine: str
    weights: Path | None
    log: Path
    prompt: str
    settings: dict[str, Any]
    load_timeout_s: float
    answer_timeout_s: float
    findings: list[Finding] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def result(self) -> Conformance:
        order = list(Level)
        log = self.log.read_bytes().decode("utf-8", "replace")[-_LOG:] if self.log.is_file() else ""
        findings = sorted(self.findings, key=lambda finding: order.index(finding.level))
        return Conformance(engine_name(self.engine), tuple(findings), tuple(self.passed), self.facts, log)

    def run(self) -> None:
        """Check everything, as far as the adapter lets itself be checked."""
        check = "import"
        try:
            with EngineProcess(self.engine, self.log) as process, MemoryMeter(process.pid) as meter:
                self._describe(process)
                before = _total(meter)
                check = "estimate_memory"
                self._estimate(process)
                check = "load"
                self.facts["load_ms"] = round(process.load(self.weights, self.settings, self.load_timeout_s), 3)
                self._passed("load")
                check = "answer"
                if (first := self._first_answer(process)) is None:
                    return
                during = _total(meter)
                check = "repeat"
                again, after_another = self._repeats(process)
                check = "max_tokens"
                self._limit(process)
                check = "stop"
                self._stop(process, first)
                check = "unicode"
                self._asked(process, "unicode", FOREIGN_PROMPT)
                check = "temperature"
                self._temperature(process)
                check = "unload"
                process.unload()
                self._memory(before, during, _total(meter), process.description)
                check = "load again"
                process.load(self.weights, self.settings, self.load_timeout_s)
                self._asked(process, "load again", self.prompt)
            check = "repeat"
            with EngineProcess(self.engine, self.log) as process:
                process.load(self.weights, self.settings, self.load_timeout_s)
                self._compare(first, again, after_another, _text(self._ask(process, self.prompt)))
        except (EngineError, EngineDied) as error:
            self._found(Level.FAULT, check, mend(error, check) + self._hint(check, error))
        finally:
            self._printed()

    def _describe(self, process: EngineProcess) -> None:
        about = self.facts["description"] = process.description
        self.facts["import_ms"] = round(process.import_ms, 3)
        self._passed("import")
        if about.get("prompt") == PLAIN:
            self._found(
                Level.NOTE,
                "chat",
                "it has no chat(messages): generate is given the messages' text with blank lines between them, and has "
                "to put the model's chat template around it",
            )
        if "count_tokens" not in about.get("offers", ("count_tokens",)):
            self._found(
                Level.ADVICE, "count_tokens", "offer count_tokens(text) -> int, and speeds are known in tokens a second"
            )
        missing = [name for name in ("max_tokens", "temperature", "seed") if name not in about.get("takes", (name,))]
        if missing:
            self._found(
                Level.ADVICE,
                "params",
                f"it takes no {', '.join(missing)}: take **params, or these names, and heed them",
            )

    def _estimate(self, process: EngineProcess) -> None:
        """What it says of its memory decides whether a run loads it at all."""
        if "estimate_memory" not in process.description.get("offers", ()):
            return
        needed = self.facts["estimated_bytes"] = process.estimate_memory(self.weights, self.settings)
        here = psutil.virtual_memory().total
        if needed is not None and needed > here:
            self._found(
                Level.ADVICE,
                "estimate_memory",
                f"it expects {needed / 1e9:,.0f} GB of memory, and this machine has {here / 1e9:,.0f} GB: a run would "
                "not load it; give bytes",
            )
        else:
            self._passed("estimate_memory")

    def _hint(self, check: str, error: EngineError | EngineDied) -> str:
        """Return what may be the reason of a failed load: weights that nobody named."""
        is_missing = check == "load" and self.weights is None and isinstance(error, EngineError)
        return " (it was given no weights: name them with --weights)" if is_missing else ""

    def _first_answer(self, process: EngineProcess) -> str | None:
        reply = self._asked(process, "answer", self.prompt)
        if reply is None:
            return None
        pieces = [chunk for chunk in reply.chunks if chunk.text]
        self.facts["pieces"] = len(pieces)
        if not pieces:
            self._found(Level.FAULT, "answer", "the answer has no text: yield or return what the model says")
            return None
        latency, first = (at_ns - reply.sent_ns for at_ns in (reply.end_ns, pieces[0].at_ns))
        self.facts |= {"latency_ms": round(latency / 1e6, 3), "ttft_ms": round(first / 1e6, 3)}
        if len(pieces) == 1:
            self._found(
                Level.ADVICE,
                "stream",
                "the text came in one piece: yield pieces as they are made, and the time to the first token is known",
            )
        elif pieces[-1].at_ns - pieces[0].at_ns < 0.02 * latency and latency > 50e6:
            self._found(Level.ADVICE, "stream", "all pieces came together at the end: yield each as soon as it is made")
        else:
            self._passed("stream")
        if "count_tokens" in process.description.get("offers", ()):
            self._counts(reply)
        return _text(reply)

    def _counts(self, reply: Reply) -> None:
        if reply.finish is None or reply.finish.completion_tokens is None:
            self._found(Level.FAULT, "count_tokens", "count_tokens failed, see the log: give an int for any text")
        elif reply.finish.completion_tokens == 0:
            self._found(Level.FAULT, "count_tokens", "count_tokens gave 0 for an answer that has text")
        else:
            self._passed("count_tokens")

    def _repeats(self, process: EngineProcess) -> tuple[str, str]:
        again = _text(self._ask(process, self.prompt))
        self._ask(process, OTHER_PROMPT)
        return again, _text(self._ask(process, self.prompt))

    def _compare(self, first: str, again: str, after_another: str, elsewhere: str) -> None:
        if first == again == after_another == elsewhere:
            self._passed("repeat")
        elif first in (elsewhere, again):
            self._found(
                Level.FAULT,
                "repeat",
                "it keeps state between calls: the same request is answered differently after another one; begin each "
                "call with a fresh context",
            )
        else:
            self._found(
                Level.ADVICE,
                "repeat",
                "two calls with the same seed at temperature 0 differ: take the likeliest token at temperature 0, and "
                "seed the sampler from seed",
            )

    def _limit(self, process: EngineProcess) -> None:
        reply = self._asked(process, "max_tokens", self.prompt, max_tokens=_FEW)
        if reply is None:
            return
        tokens = None if reply.finish is None else reply.finish.completion_tokens
        words = len(_text(reply).split())
        # Counting the text again can give a token or two more than were made.
        if words > _FEW or (tokens or 0) > _FEW + 2:
            got = f"{tokens} tokens" if tokens is not None else f"{words} words"
            self._found(Level.FAULT, "max_tokens", f"max_tokens={_FEW} gave {got}: stop after so many tokens")

    def _stop(self, process: EngineProcess, first: str) -> None:
        """A request over its time limit is told to stop; the next one must not notice."""
        stopped = self._ask(process, self.prompt, timeout_s=_STOP_AFTER_S, max_tokens=1000)
        reply = self._ask(process, self.prompt)
        if reply.failure is not None or reply.cancelled:
            self._found(
                Level.FAULT,
                "stop",
                "after an answer that was stopped the next one fails: put things away in a finally, or when the "
                "generator is closed",
            )
        elif _text(reply) != first and stopped.cancelled:
            self._found(Level.ADVICE, "stop", "after an answer that was stopped the next one is another than before")
        else:
            self._passed("stop")

    def _temperature(self, process: EngineProcess) -> None:
        texts = {_text(self._ask(process, self.prompt, temperature=1.5, seed=seed)) for seed in (1, 2, 3)}
        if len(texts) == 1:
            self._found(
                Level.ADVICE,
                "temperature",
                "at temperature 1.5 three seeds give one and the same text: temperature or seed has no effect",
            )
        else:
            self._passed("temperature")

    def _memory(self, before: int | None, during: int | None, after: int | None, description: dict[str, Any]) -> None:
        if before is None or during is None or after is None:
            return
        taken, kept = during - before, after - before
        self.facts |= {"memory_taken_bytes": taken, "memory_kept_bytes": kept}
        if taken < _NOTEWORTHY:
            self._passed("unload")
        elif "unload" not in description.get("offers", ("unload",)):
            self._found(
                Level.ADVICE, "unload", f"offer unload(): {taken // _MEGABYTE:,} MB stay until the process ends"
            )
        elif kept > taken / 2:
            self._found(
                Level.ADVICE,
                "unload",
                f"unload frees too little: {kept // _MEGABYTE:,} of {taken // _MEGABYTE:,} MB are still there; drop "
                "every reference to the model",
            )
        else:
            self._passed("unload")

    def _asked(self, process: EngineProcess, check: str, prompt: str, **params: Any) -> Reply | None:
        """Return the reply; None where it failed, which is found then."""
        reply = self._ask(process, prompt, **params)
        if reply.failure is not None:
            self._found(Level.FAULT, check, mend_answer(reply.failure[1]))
            return None
        if reply.cancelled:
            self._found(Level.FAULT, check, f"there was no whole answer within {self.answer_timeout_s:g} s")
            return None
        if not _is_utf8(_text(reply)):
            self._found(Level.FAULT, check, HALF_CHARACTER)
            return None
        self._passed(check)
        return reply

    def _ask(self, process: EngineProcess, prompt: str, timeout_s: float | None = None, **params: Any) -> Reply:
        asked = {"max_tokens": _TOKENS, "temperature": 0.0, "seed": 1} | params
        limit = self.answer_timeout_s if timeout_s is None else timeout_s
        return process.chat([{"role": "user", "content": prompt}], asked, limit)

    def _printed(self) -> None:
        lines = self.log.read_bytes().count(b"\n") if self.log.is_file() else 0
        if lines and all(finding.level is not Level.FAULT for finding in self.findings):
            self._found(Level.NOTE, "output", f"it printed {lines:,} lines: that is allowed, and goes to its log")

    def _passed(self, check: str) -> None:
        if check not in self.passed:
            self.passed.append(check)

    def _found(self, level: Level, check: str, sentence: str) -> None:
        self.passed = [passed for passed in self.passed if passed != check]
        self.findings.append(Finding(level, check, one_line(sentence, 400)))


def _text(reply: Reply) -> str:
    return "".join(chunk.text for chunk in reply.chunks)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _total(meter: MemoryMeter) -> int | None:
    memory = meter.now(whole=True)
    return None if memory is None else memory.total
