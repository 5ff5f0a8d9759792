"""The records of a run: one sample per request, one load per load of a target."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from audition.engines.protocol import NOT_STREAMED, Reply

SCHEMA = 2

Phase = Literal["probe", "first", "warmup", "measured"]
Status = Literal["ok", "failed", "timeout", "truncated"]


HOPELESS = frozenset(
    {
        *("timeout", "connect_timeout", "connection_refused", "connection_lost", "connection_reset"),
        *("connection_failed", "host_not_found", "tls_error", "proxy_error", "unauthorized"),
    }
)
"""Codes of errors that every further request is likely to share."""

_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("target", "case", "block", "phase", "status", "level", "text", "reasoning"), (str,)),
    **dict.fromkeys(("round", "attempt", "repeat"), (int,)),
    **dict.fromkeys(("ttft_ms", "ttfa_ms", "latency_ms", "elapsed_ms", "queue_ms"), (int, float, _NONE)),
    **dict.fromkeys(("sent_ns", "prompt_tokens", "cached_tokens", "completion_tokens"), (int, _NONE)),
    **dict.fromkeys(("token_source", "finish_reason", "prompt_sha256"), (str, _NONE)),
    **dict.fromkeys(("error", "engine_timings", "asked", "wire"), (dict, _NONE)),
    "chunk_times_ms": (list, tuple),
}
_RESOLUTION_MS = 0.001
"""What times are rounded to."""
_AT_LEAST_ZERO = (
    *("ttft_ms", "ttfa_ms", "latency_ms", "elapsed_ms", "queue_ms"),
    *("prompt_tokens", "cached_tokens", "completion_tokens"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a run a request stands; the fields are those of its sample."""

    target: str
    case: str
    block: str
    round: int
    phase: Phase
    attempt: int = 1
    level: str = "c1"
    repeat: int = 0

    def facts(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Sample:
    """The record of one request.

    Attributes:
        case: The case, or the step of a probe, such as `seed_ignored/again`.
        attempt: Which load of the block answered; more than 1 after a resume.
        level: The load it was asked under: `c4` is four requests at a time, `r2.5` that many a second.
        repeat: How often this case had been asked at this level of this block before.
        asked: `max_tokens`, `temperature` and `seed` as sent, and the `mark` that made the prompt differ, if any.
        status: `truncated` is a complete measurement of an incomplete answer: the token limit cut it.
        error: `{"code", "message"}`, or None.
        sent_ns: Monotonic clock of the process that takes the times; None when nothing was sent.
        queue_ms: Sent minus scheduled, where requests have a schedule; every other time then counts from the schedule.
        ttft_ms: First non-empty text, reasoning included, minus sent. None when no text came.
        ttfa_ms: First non-empty text of the answer itself, reasoning excluded, minus sent.
        latency_ms: End of the same, fully drained stream minus sent. None unless the stream ended.
        elapsed_ms: End of the request minus sent, however it ended: a time-out's is a lower bound of its latency.
        chunk_times_ms: When each non-empty piece of text came, after sent.
        token_source: Who counted the tokens; None when nobody did.
        engine_timings: The engine's own figures, for comparison only.
        prompt_sha256: Of the tokens that the engine really fed; None where it does not tell.
        wire: What a client saw on the wire besides (`engines.protocol.Wire`); None for an engine in its own process.
    """

    target: str
    case: str
    block: str
    round: int
    phase: Phase
    status: Status
    error: dict[str, str] | None = None
    attempt: int = 1
    level: str = "c1"
    repeat: int = 0
    asked: dict[str, Any] | None = None
    sent_ns: int | None = None
    queue_ms: float | None = None
    ttft_ms: float | None = None
    ttfa_ms: float | None = None
    latency_ms: float | None = None
    elapsed_ms: float | None = None
    chunk_times_ms: tuple[float, ...] = ()
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    token_source: str | None = None
    finish_reason: str | None = None
    text: str = ""
    reasoning: str = ""
    engine_timings: dict[str, float] | None = None
    prompt_sha256: str | None = None
    wire: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the line of `samples.jsonl`."""
        return {"schema": SCHEMA, **{name: getattr(self, name) for name in self.__slots__}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sample:
        """Read a line of `samples.jsonl`.

        Raises:
            ValueError: A field is missing, or is not of its type.
        """
        fields = {name: value for name, value in data.items() if name in cls.__slots__}
        for name, kind in _TYPES.items():
            if not isinstance(fields.get(name), kind):
                raise ValueError(f"{name} is {fields.get(name)!r:.40}")
        if fields["status"] not in get_args(Status) or fields["phase"] not in get_args(Phase):
            raise ValueError("status or phase is none that there is")
        if any(value is not None and value < 0 for value in map(fields.get, _AT_LEAST_ZERO)):
            raise ValueError("a time or a count is negative")
        return cls(**{**fields, "chunk_times_ms": tuple(fields["chunk_times_ms"])})

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What makes a sample unique in a run."""
        return self.block, self.phase, self.level, self.case, self.repeat


def counted_latency(sample: Sample) -> float:
    """Return a sample's latency in milliseconds as comparisons take it: infinite where it failed, and never 0."""
    return math.inf if sample.latency_ms is None else max(sample.latency_ms, _RESOLUTION_MS)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of a process tree at one moment.

    Attributes:
        anonymous: Pages of the processes' own; None where the system does not tell.
        file_backed: Pages that belong to files, such as memory-mapped weights, which the system can drop again.
    """

    total: int
    anonymous: int | None = None
    file_backed: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The record of one load of a target, written when its block ends.

    Attributes:
        load_ms: What the engine took to load the weights; not the start of its process, not its import.
        baseline: Memory of the process with the engine imported and nothing loaded; of a server, as it was found.
        peak: The most seen while it loaded and answered (each figure's own maximum).
        after_unload: After the engine gave the model up, before its process ended.
        wall_s: The whole block, from the start of its process to the end of it.
        device: Where the model runs once it is loaded: in the engine's words, or by the GPU memory that it took.
        activity: What else the machine did meanwhile (`meters.activity.Activity`).
        energy: By load level, of the measured requests (`meters.energy.Energy`); None where nothing can be read.
        gpu_memory: `peak_bytes`, `method` and `reason` (`meters.gpu_memory.GpuMemoryMeter.record`).
        memory_reason: Why its memory is not known, in words; None where nothing is to be explained.
    """

    target: str
    block: str
    round: int
    attempt: int
    status: Literal["ok", "failed"]
    started_at: str
    error: dict[str, str] | None = None
    spawn_ms: float | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    baseline: Memory | None = None
    peak: Memory | None = None
    after_unload: Memory | None = None
    wall_s: float | None = None
    device: str | None = None
    activity: dict[str, Any] | None = None
    energy: dict[str, dict[str, Any]] | None = None
    gpu_memory: dict[str, Any] | None = None
    memory_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the line of `loads.jsonl`."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Load:
        """Read a line of `loads.jsonl`."""
        fields = {name: value for name, value in data.items() if name in cls.__slots__}
        for name in ("baseline", "peak", "after_unload"):
            if fields.get(name) is not None:
                fields[name] = Memory(**fields[name])
        return cls(**fields)


def measured(
    reply: Reply, place: Place, *, asked: dict[str, Any] | None = None, scheduled_ns: int | None = None
) -> Sample:
    """Turn a reply into its sample: every time is a difference to the moment of sending, or to the schedule's."""
    start_ns = reply.sent_ns if scheduled_ns is None else scheduled_ns
    texts = [chunk for chunk in reply.chunks if chunk.text]
    # An answer in one piece says nothing of when its first token was there.
    timed = () if reply.wire is not None and NOT_STREAMED in reply.wire.notes else texts
    times = tuple(round((chunk.at_ns - start_ns) / 1e6, 3) for chunk in timed)
    answer = next((time for time, chunk in zip(times, timed, strict=True) if not chunk.reasoning), None)
    elapsed = round((reply.end_ns - start_ns) / 1e6, 3)
    finish = reply.finish
    status, error = _outcome(reply)
    tokens, source = (finish.completion_tokens, finish.token_source) if finish else (None, None)
    return Sample(
        **place.facts(),
        status=status,
        error=error,
        asked=asked,
        sent_ns=reply.sent_ns,
        queue_ms=None if scheduled_ns is None else round(max(0, reply.sent_ns - scheduled_ns) / 1e6, 3),
        ttft_ms=times[0] if times else None,
        ttfa_ms=answer,
        latency_ms=elapsed if status in ("ok", "truncated") else None,
        elapsed_ms=elapsed,
        chunk_times_ms=times,
        prompt_tokens=finish.prompt_tokens if finish else None,
        cached_tokens=finish.cached_tokens if finish else None,
        completion_tokens=tokens,
        token_source=source,
        finish_reason=finish.reason if finish else None,
        text="".join(chunk.text for chunk in texts if not chunk.reasoning),
        reasoning="".join(chunk.text for chunk in texts if chunk.reasoning),
        engine_timings=finish.engine_timings if finish else None,
        prompt_sha256=finish.prompt_sha256 if finish else None,
        wire=None if reply.wire is None else asdict(reply.wire),
    )


def _outcome(reply: Reply) -> tuple[Status, dict[str, str] | None]:
    if reply.failure is not None:
        code, message = reply.failure
        return "failed", {"code": code, "message": message}
    if reply.cancelled:
        return "timeout", {"code": "timeout", "message": "the answer was not complete at the time limit"}
    if reply.finish is None:
        return "failed", {"code": "incomplete_stream", "message": "the answer stopped without an end"}
    return ("truncated", None) if reply.finish.reason == "length" else ("ok", None)
