import itertools

import pytest
from endpoint_servers import chunked, exchange_of, sized
from hypothesis import given
from hypothesis import strategies as st

from audition.engines.endpoint import http

HEAD = b"HTTP/1.1 200 OK\r\n"
UNTIL_CLOSE = HEAD + b"Content-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "closed", "body", "reusable"),
    [
        (chunked(b"ab", b"c"), False, b"abc", True),
        (sized(b"abc"), False, b"abc", True),
        (sized(b""), False, b"", True),
        (sized(b"abc", headers="Connection: close\r\n"), False, b"abc", False),
        (UNTIL_CLOSE + b"abc", True, b"abc", False),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", True, b"abc", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", False, b"abc", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"abc"), False, b"abc", True),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + sized(b"abc"), False, b"abc", True),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + UNTIL_CLOSE + b"abc", True, b"abc", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, b"", True),
        (chunked(b"abc")[:-2] + b"Trailer: x\r\n\r\n", False, b"abc", True),
    ],
)
def test_every_framing_comes_to_its_end(answer: bytes, closed: bool, body: bytes, reusable: bool):
    for reads in ([answer], [answer[i : i + 1] for i in range(len(answer))]):
        exchange = exchange_of(*reads, end=closed)
        assert exchange.failure is None
        assert exchange.complete and exchange.done.done()
        assert exchange.body() == body == b"".join(piece for _, piece in exchange.pieces())
        assert exchange.reusable is reusable
        assert exchange.by_close is closed


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5), st.lists(st.integers(0, 300), max_size=20))
def test_each_piece_has_the_time_of_its_read(chunks: list[bytes], cuts: list[int]):
    answer = chunked(*chunks)
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(answer)}), len(answer)]
    reads = [answer[a:b] for a, b in itertools.pairwise(places)]
    exchange = exchange_of(*reads)
    pieces = list(exchange.pieces())
    assert b"".join(piece for _, piece in pieces) == b"".join(chunks)
    seen = 0
    for at_ns, piece in pieces:
        seen += len(piece)
        upto = exchange_of(*reads[: at_ns // 1_000_000])
        before = exchange_of(*reads[: at_ns // 1_000_000 - 1])
        assert len(upto.body()) == seen
        assert len(before.body()) == seen - len(piece)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "connection_lost"),
        (HEAD, "connection_lost"),
        (chunked(b"abc", end=False), "connection_lost"),
        (sized(b"abc")[:-1], "connection_lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad_response"),
        (b"\x00\xff\x00", "bad_response"),
        (chunked(b"abc", end=False) + b"zz\r\n", "bad_response"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "bad_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nx", "bad_response"),
    ],
)
def test_a_broken_answer_is_a_failure(answer: bytes, code: str):
    for reads in ([answer], [answer[i : i + 1] for i in range(len(answer))]):
        exchange = exchange_of(*reads, end=True)
        assert exchange.failure is not None and exchange.failure[0] == code
        assert exchange.done.done()
        assert not exchange.complete and not exchange.reusable


@pytest.mark.parametrize("answer", [sized(b"abc"), chunked(b"abc")])
def test_more_than_one_answer_is_not_taken_and_ends_the_connection(answer: bytes):
    together = exchange_of(answer + sized(b"other"))
    after = exchange_of(answer, sized(b"other"))
    for exchange in (together, after):
        assert exchange.complete and exchange.failure is None
        assert exchange.body() == b"abc"
        assert not exchange.reusable


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD, b"X-Name: value\r\n"),
        (HEAD + b"X: ", b"y" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (chunked(b"abc", end=False) + b"0\r\n", b"Trailer: x\r\n"),
        (chunked(b"abc", end=False) + b"1", b";extension=x"),
    ],
)
def test_endless_headers_end_as_a_failure(start: bytes, more: bytes):
    exchange = exchange_of(start, *[more] * 10_000)
    assert exchange.failure is not None and exchange.failure[0] == "bad_response"


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 10_000)
    exchange = exchange_of(UNTIL_CLOSE, *[b"x" * 1000] * 20)
    assert exchange.failure is not None and exchange.failure[0] == "answer_too_large"
    assert len(exchange.body()) <= 11_000
    monkeypatch.setattr(http, "MAX_PIECES", 100)
    exchange = exchange_of(chunked(*[b"x"] * 200, end=False))
    assert exchange.failure is not None and exchange.failure[0] == "answer_too_large"


def test_times_never_run_backwards_and_never_before_the_request():
    exchange = exchange_of()
    exchange.sent_ns = 100
    exchange.received(chunked(b"a", end=False), 90, 10)
    exchange.received(b"1\r\nb\r\n", 300, 10)
    exchange.received(b"1\r\nc\r\n0\r\n\r\n", 299, 10)
    assert [at for at, _ in exchange.pieces()] == [100, 300, 300]
    assert exchange.end_ns == 300


def test_the_lag_is_the_longest_wait_and_one_read_without_a_stamp_is_told():
    exchange = exchange_of()
    exchange.received(chunked(b"a", end=False), 1, 50)
    exchange.received(b"1\r\nb\r\n", 2, 70)
    exchange.received(b"1\r\nc\r\n", 3, 60)
    assert exchange.stamped and exchange.lag_ns == 70
    exchange.received(b"0\r\n\r\n", 4, None)
    assert not exchange.stamped
