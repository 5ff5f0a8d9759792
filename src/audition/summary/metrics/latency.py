"""How long a request takes."""

from __future__ import annotations

from collections.abc import Sequence

from audition.bench.sample import Sample
from audition.summary.metrics.base import NO_SCHEDULE, PerRequest, Reading, Records, not_streamed
from audition.summary.metrics.estimate import Estimate, median_of_loads

_SENT = "request sent (open loop: request scheduled)"


class Ttft(PerRequest):
    """Time to first token."""

    tag = "ttft"
    header = "TTFT"
    unit = "ms"
    formula = f"first non-empty generated text (reasoning included) - {_SENT}"

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when no text came, or all of it at the end."""
        if sample.ttft_ms is not None:
            return sample.ttft_ms
        return "the answer was not streamed" if not_streamed(sample, records) else "no text came"


class Ttfa(PerRequest):
    """Time to first answer: what a person waits for who does not read the reasoning."""

    tag = "ttfa"
    header = "TTFA"
    unit = "ms"
    formula = f"first non-empty answer text (reasoning excluded) - {_SENT}"

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when no answer text came, or all of it at the end."""
        if sample.ttfa_ms is not None:
            return sample.ttfa_ms
        return "the answer was not streamed" if not_streamed(sample, records) else "no answer text came"


class Latency(PerRequest):
    """The whole answer."""

    tag = "latency"
    header = "Latency"
    unit = "ms"
    formula = f"end of the stream - {_SENT}, of the same fully drained request"

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when the stream did not end."""
        return "the stream did not end" if sample.latency_ms is None else sample.latency_ms


class TimeToAnswer(PerRequest):
    """What a complete answer takes, whatever tokens a model cuts it into; answers that were cut are left out."""

    tag = "time_to_answer"
    header = "Time to answer"
    unit = "ms"
    formula = "latency of the answers that the model ended itself"
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when the answer is not complete."""
        if sample.status == "truncated":
            return "cut at the token limit"
        return "the stream did not end" if sample.latency_ms is None else sample.latency_ms


class FirstRequest(PerRequest):
    """The first request after a load: what a person waits for when the model was not in use."""

    tag = "first_request"
    header = "First request"
    unit = "ms"
    formula = "latency of the first request after a load (always the same prompt); kept apart from `latency`"
    by_level = False

    def samples(self, records: Records) -> Sequence[Sample]:
        """Return the first request of each load."""
        return records.first

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when the stream did not end."""
        return "the stream did not end" if sample.latency_ms is None else sample.latency_ms

    def condense(self, used: Sequence[Reading], records: Records) -> Estimate:
        """Return the median over the loads; one that failed is infinitely slow, as among the measured requests."""
        return median_of_loads([value for reading in used for value in reading.values])


class Queue(PerRequest):
    """How late requests went out: the client, or the machine it shares with the model, could not keep the pace."""

    tag = "queue"
    header = "Queue"
    unit = "ms"
    formula = "request sent - request scheduled (open loop only)"
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason in the closed loop."""
        return NO_SCHEDULE if sample.queue_ms is None else sample.queue_ms


class ConnectTime(PerRequest):
    """Opening a connection, TLS included."""

    tag = "connect_time"
    header = "Connect"
    unit = "ms"
    formula = "opening the connection, before the request's timer starts; in no other figure"
    failures_count = False

    def value(self, sample: Sample, records: Records) -> float | str:
        """A reason when no connection was opened for the request."""
        if sample.wire is None:
            return "no connection: the engine runs in a process of its own"
        opened: float | None = sample.wire.get("connect_ms")
        return "an open connection was used again" if opened is None else opened
