"""A download ends in the right file or in one sentence, whatever the server does."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from audition.errors import AuditionError
from audition.models.spec import VariantFile
from audition.store.transfer.download import KEPT
from audition.store.transfer.web import Location
from downloads import DATA, HALF, PATH, QUICK, WIDE, content, fetch, left, promised, refusal, sha256, where
from file_server import Fault, redirect

# What a server does once, and then no more; most of it is about going on in the middle.

CUT = Fault(cut=HALF)
ONCE = {
    "500": [Fault(status=500)],
    "502 and 503": [Fault(status=502), Fault(status=503)],
    "429 and a time": [Fault(status=429, headers={"Retry-After": "0"})],
    "429 and a date": [Fault(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})],
    "cut": [CUT],
    "cut at once": [Fault(cut=0)],
    "cut again and again": [Fault(cut=100_000)] * 10,
    "reset": [Fault(cut=HALF, reset=True)],
    "stall": [Fault(stall=HALF)],
    "stall before the body": [Fault(stall=0)],
    "silence": [Fault(silent=True)],
    "slow drip": [Fault(drip=0.05)],
    "ranges ignored": [CUT, Fault(no_ranges=True)],
    "416": [CUT, Fault(status=416)],
    "416 for ever after": [CUT, Fault(status=416), Fault(status=416)],
    "wrong part": [
        CUT,
        Fault(headers={"Content-Range": f"bytes {HALF - 9}-{len(DATA) - 10}/{len(DATA)}"}, body=DATA[HALF - 9 : -9]),
    ],
    "part that is none": [CUT, Fault(headers={"Content-Range": "bytes 9-1/2"})],
    "part without a range": [CUT, Fault(headers={"Content-Range": None})],
    "several parts": [CUT, Fault(headers={"Content-Type": "multipart/byteranges", "Content-Range": None})],
    "part larger than asked for": [
        Fault(status=206, headers={"Content-Range": f"bytes 0-9/{len(DATA)}"}, body=b"x" * 10)
    ],
    "wrong total": [CUT, Fault(headers={"Content-Range": f"bytes {HALF}-{len(DATA) - 1}/{len(DATA) + 5}"})],
    "no total": [CUT, Fault(headers={"Content-Range": f"bytes {HALF}-{len(DATA) - 1}/*"})],
    "wrong length": [Fault(body=DATA[:1000])],
    "wrong length later": [CUT, Fault(no_ranges=True, body=b"<html>please log in</html>")],
    "compressed": [Fault(headers={"Content-Encoding": "gzip"})],
    "chunks": [Fault(chunked=True)],
    "chunks that end early": [Fault(chunked=True, cut=HALF)],
    "another ETag": [CUT, Fault(headers={"ETag": '"other"'})],
    "another ETag, in spite of If-Range": [CUT, Fault(headers={"ETag": '"other"'}, ignore_if_range=True)],
    "more bytes than promised": [Fault(chunked=True, extra=b"more")],
    "more bytes than its length": [Fault(extra=b"more")],
    "huge headers": [Fault(huge_headers=100_000)],
    "many faults": [Fault(status=500), CUT, Fault(status=503), Fault(stall=10), Fault(no_ranges=True, cut=HALF + 9)],
}


@pytest.mark.parametrize("wide", [False, True], ids=["one connection, an ETag", "several, and none"])
@pytest.mark.parametrize("faults", ONCE.values(), ids=ONCE.keys())
def test_what_happens_once_is_overcome(sink, server, settings, faults, wide):
    if wide:
        settings(WIDE)
        server.rate = 4_000_000
        server.etags[PATH] = None
    server.fail(PATH, *faults)
    fetch(sink, server)


@pytest.mark.parametrize(
    "faults",
    [
        ONCE[name]
        for name in ("cut", "416", "ranges ignored", "wrong part", "no total", "another ETag", "chunks that end early")
    ],
)
def test_what_happens_once_is_overcome_without_a_promise(sink, server, faults):
    server.fail(PATH, *faults)
    fetch(sink, server, VariantFile("model.gguf"))


def test_two_versions_of_a_file_are_never_mixed(sink, server):
    """A file changes in the middle, and its server ignores If-Range."""
    new = content(len(DATA), seed=2)

    def answer(request):
        if request.range:
            server.files[PATH] = new
        return Fault(ignore_if_range=True)

    server.fail(PATH, CUT)
    server.fail_always(PATH, answer)
    assert sink.download(VariantFile("model.gguf"), where(server)).sha256 == sha256(new)


def test_after_a_cut_only_what_is_missing_is_asked_for(sink, server):
    server.fail(PATH, CUT)
    fetch(sink, server)
    first, second = server.requests
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={HALF}-"
    assert second.headers["if-range"] == f'"{hashlib.md5(DATA).hexdigest()}"'
    assert server.sent == len(DATA)


@pytest.mark.parametrize(
    ("etag", "condition"), [(None, True), ('W/"weak"', True), ('W/"weak"', False), ("no quotes", False)]
)
def test_only_what_is_strong_is_a_condition(sink, server, etag, condition):
    """Without a strong ETag a date is one, if it has settled; without either the digest has to do."""
    server.etags[PATH] = etag
    fault = {} if condition else {"Last-Modified": None}
    server.fail(PATH, Fault(cut=HALF, headers=fault))
    fetch(sink, server)
    assert server.requests[1].headers.get("if-range") == (server.last_modified if condition else None)
    assert server.requests[1].headers["range"] == f"bytes={HALF}-"


def test_a_date_that_has_not_settled_is_no_condition(sink, server):
    server.etags[PATH] = None
    server.last_modified = formatdate(usegmt=True)
    server.fail(PATH, CUT)
    fetch(sink, server)
    assert "if-range" not in server.requests[1].headers


def test_the_wait_that_a_server_asks_for_is_kept(sink, server):
    server.fail(PATH, Fault(status=503, headers={"Retry-After": "1"}))
    start = time.monotonic()
    fetch(sink, server)
    assert time.monotonic() - start >= 1


def test_compressed_bytes_are_never_asked_for(sink, server):
    fetch(sink, server)
    assert server.requests[0].headers["accept-encoding"] == "identity"


# What a server does for ever.

FOR_EVER = {
    "500": (Fault(status=500), "source_unavailable", "it answers 500"),
    "429": (Fault(status=429, headers={"Retry-After": "0"}), "source_unavailable", "429 and asks to wait 0 s"),
    "a long wait": (Fault(status=429, headers={"Retry-After": "86400"}), "source_unavailable", "wait 86,400 s"),
    "401": (Fault(status=401), "unauthorized", "401"),
    "403": (Fault(status=403), "unauthorized", "403"),
    "404": (Fault(status=404), "not_found", "there is no such file"),
    "410": (Fault(status=410), "not_found", "there is no such file"),
    "407": (Fault(status=407), "no_network", "the proxy asks for a name"),
    "418": (Fault(status=418), "source_unavailable", "418"),
    "204": (Fault(status=204), "source_unavailable", "204"),
    "304": (Fault(status=304), "source_unavailable", "304"),
    "stall": (Fault(stall=0), "stalled", "nothing has arrived"),
    "silence": (Fault(silent=True), "stalled", "it has not answered"),
    "slow drip": (Fault(drip=0.05), "stalled", "bytes a second"),
    "cut": (Fault(cut=10), "source_unavailable", "ended early"),
    "reset": (Fault(cut=10, reset=True), "source_unavailable", "the connection"),
    "cut, and no ranges": (Fault(cut=HALF, no_ranges=True), "source_unavailable", "ended early"),
    "compressed": (Fault(headers={"Content-Encoding": "gzip"}), "source_unavailable", "gzip"),
    "wrong length": (Fault(body=DATA[:1000]), "digest_mismatch", "has 1,000 bytes, not the 700,000"),
    "wrong bytes": (Fault(flip=7), "digest_mismatch", "its SHA-256 is"),
    "huge headers": (Fault(huge_headers=100_000), "source_unavailable", "could not be read"),
    "redirects nowhere": (Fault(status=302), "source_unavailable", "without saying where to"),
    "redirects in a circle": (redirect(PATH), "source_unavailable", "more than 5 times"),
    "redirects to a file": (redirect("file:///etc/passwd"), "source_unavailable", "redirects elsewhere"),
    "redirects to what is none": (redirect("http://[::1/x"), "source_unavailable", "no address"),
    "redirects beyond this machine": (redirect("http://192.0.2.1/x"), "source_unavailable", "not safe"),
    "an escape sequence": (Fault(headers={"Content-Encoding": "\x1b[31mred"}), "source_unavailable", "red"),
}


WITH_SEVERAL = ("500", "stall", "silence", "cut", "cut, and no ranges", "wrong bytes")


@pytest.mark.parametrize(
    ("name", "wide"), [*((name, False) for name in FOR_EVER), *((name, True) for name in WITH_SEVERAL)]
)
def test_what_happens_for_ever_is_told_in_one_sentence(sink, server, settings, name, wide):
    fault, code, words = FOR_EVER[name]
    if wide:
        settings(WIDE)
    server.fail_always(PATH, fault)
    error = refusal(sink, server)
    assert error.code == code
    assert words in error.message
    assert "\x1b" not in error.message
    assert "model.gguf" in error.message
    assert "127.0.0.1" in error.message
    assert len(server.requests) <= 16


def test_what_has_arrived_is_kept_and_the_same_command_goes_on(sink, server):
    server.fail(PATH, CUT)
    server.fail_always(PATH, Fault(status=503))
    error = refusal(sink, server)
    assert error.fix.endswith(KEPT)
    assert left(sink) == HALF
    server.fail_always(PATH, Fault())
    server.sent = 0
    fetch(sink, server)
    assert server.sent == len(DATA) - HALF


def test_nothing_is_said_to_be_kept_when_nothing_is(sink, server):
    server.fail_always(PATH, Fault(status=503))
    assert KEPT not in refusal(sink, server).fix


def test_a_login_page_does_not_cost_what_has_arrived(sink, server):
    server.fail(PATH, CUT)
    server.fail_always(PATH, Fault(status=200, body=b"<html>please log in</html>"))
    assert refusal(sink, server).code == "digest_mismatch"
    assert left(sink) == HALF


def test_patience_grows_once_something_has_arrived(sink, server):
    server.fail(PATH, *[Fault(status=503)] * (QUICK.first_tries - 1), CUT, *[Fault(status=503)] * (QUICK.tries - 1))
    fetch(sink, server)


def test_a_server_that_is_not_there_is_told_so(sink, server):
    server.close()
    error = refusal(sink, server)
    assert error.code == "no_network"
    assert "cannot be reached" in error.message
    assert "proxy" in error.fix


def test_a_look_up_that_never_ends_is_given_up(sink, settings, monkeypatch):
    """No time-out of a socket reaches it."""
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(30))
    settings(replace(QUICK, socket_s=0.1, drip_s=0.1))
    with pytest.raises(AuditionError, match=r"nothing has arrived for 0\.3 s") as caught:
        sink.download(promised(DATA), Location("https://example.org/model.gguf"))
    never.set()
    assert caught.value.code == "stalled"


def test_a_name_that_nobody_knows_is_told_so(sink):
    with pytest.raises(AuditionError) as caught:
        sink.download(promised(DATA), Location("https://no-such-host.invalid/model.gguf"))
    assert caught.value.code == "no_network"
