import itertools
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audition.engines.endpoint import sse
from audition.engines.endpoint.sse import Event, TooLargeError, events


def by_the_standard(stream: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The standard's algorithm, byte by byte: where each event was complete, its data and its kind."""
    position, line, data, kind = 0, b"", [], b""
    if stream.startswith(b"\xef\xbb\xbf"):
        position = 3
    while position < len(stream):
        byte = stream[position : position + 1]
        if byte == b"\n" and position and stream[position - 1 : position] == b"\r":
            position += 1
            continue
        if byte not in (b"\r", b"\n"):
            line += byte
        elif not line:
            if data:
                yield position, b"\n".join(data), kind
            data, kind = [], b""
        else:
            name, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if name == b"data":
                data.append(value)
            elif name == b"event":
                kind = value
            line = b""
        position += 1


LINES = st.sampled_from(
    [
        *(b"data: {}", b"data:x", b"data", b"data: \xc3\xa4\xf0\x9f\x98\x80", b"data:  two", b": ping", b":"),
        *(b"event: error", b"event:x", b"id: 1", b"retry: 9", b"nonsense", b"datax: 1", b"", b"", b"", b"\xef\xbb\xbf"),
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=25).map(b"".join)


@given(STREAMS, st.booleans(), st.lists(st.integers(0, 400), max_size=30))
@example(b"data: x\r\n\r\n", False, [9, 10])
@example(b"data: x\r\rdata: y\n\n", False, [9])
@example(b"\xef\xbb\xbfdata: x\n\n", False, [1, 2])
def test_any_split_gives_the_events_of_the_standard_at_the_piece_that_completed_them(
    stream: bytes, bom: bool, cuts: list[int]
):
    stream = b"\xef\xbb\xbf" + stream if bom else stream
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [(number, stream[a:b]) for number, (a, b) in enumerate(itertools.pairwise(places))]
    piece_of = [number for number, piece in pieces for _ in piece]
    expected = [Event(piece_of[at], data, kind) for at, data, kind in by_the_standard(stream)]
    assert list(events(pieces, whole=False)) == expected


def test_a_last_event_without_its_blank_line_counts_in_a_stream_that_ended_properly():
    pieces = [(1, b"data: x\n\ndata: [DO"), (2, b"NE]\n")]
    assert list(events(pieces)) == [Event(1, b"x"), Event(2, b"[DONE]")]
    assert list(events(pieces, whole=False)) == [Event(1, b"x")]


def test_a_stream_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    monkeypatch.setattr(sse, "MAX_EVENTS", 10)
    assert list(events([(0, b"data: " + b"x" * 90 + b"\n\n")]))
    with pytest.raises(TooLargeError, match="one event"):
        list(events((i, b"x" * 20) for i in range(6)))
    with pytest.raises(TooLargeError, match="10 events"):
        list(events((i, b":\n\n") for i in range(11)))
