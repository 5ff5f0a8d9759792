"""A download brings the promised file, and only what is missing of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest

from audition.models.header import ModelFileError
from audition.models.spec import VariantFile
from downloads import (
    DATA,
    HALF,
    PATH,
    WIDE,
    blobs_are_what_they_say,
    content,
    fetch,
    left,
    promised,
    refusal,
    sha256,
    sink_in,
    where,
)
from file_server import Fault

CUT = Fault(cut=HALF)


# What is fetched.


@pytest.mark.parametrize("size", [0, 1, 1_048_575, 1_048_576, 1_048_577])
@pytest.mark.parametrize("known", [True, False])
def test_a_file_of_any_size(sink, server, size, known):
    data = content(size)
    server.files[PATH] = data
    file = promised(data) if known else VariantFile("model.gguf")
    stored = sink.download(file, where(server))
    assert (stored.size, stored.sha256) == (size, sha256(data))
    assert blobs_are_what_they_say(sink.blobs.root.parent) == [f"sha256-{sha256(data)}"]


def test_a_file_that_is_here_already_is_not_fetched(sink, server):
    fetch(sink, server)
    server.requests.clear()
    fetch(sink, server)
    fetch(sink, server, VariantFile("other.gguf", None, sha256(DATA)))
    assert server.requests == []


def test_a_blob_that_was_cut_is_fetched_again(sink, server):
    fetch(sink, server)
    os.truncate(sink.blobs.path(sha256(DATA)), 10)
    fetch(sink, server)
    assert len(server.requests) == 2


def test_progress_is_told_in_bytes(tmp_path, server):
    told = []
    server.rate = 2_000_000
    fetch(sink_in(tmp_path, lambda *arguments: told.append(arguments)), server)
    assert {name for name, _, _ in told} == {"model.gguf"}
    assert {total for _, _, total in told} == {len(DATA)}
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert len(done) > 2
    assert done[-1] == len(DATA)


def test_several_connections_fetch_a_file_in_pieces(sink, server, settings):
    settings(WIDE)
    server.rate = 3_000_000
    fetch(sink, server)
    ranges = [request.range for request in server.requests]
    assert len(ranges) > 2
    assert ranges[0] is None
    assert all((len(DATA) - 1 if last is None else last) - first < WIDE.piece for first, last in ranges[1:])
    assert server.sent < 1.5 * len(DATA)


def test_a_fast_connection_is_enough(sink, server, settings):
    settings(replace(WIDE, fast=1, piece=100_000))
    server.rate = 5_000_000
    fetch(sink, server)
    assert len(server.requests) == 1


def test_what_has_arrived_outlives_another_name_for_the_same_bytes(sink, server):
    """The servers of a content network need not agree on an ETag; the promised digest decides."""
    server.fail(PATH, CUT, Fault(headers={"ETag": '"other"'}))
    server.etags[PATH] = '"first"'
    server.fail_always(PATH, Fault(headers={"ETag": '"other"'}))
    fetch(sink, server)
    _, refused, second = server.requests
    assert refused.headers["if-range"] == '"first"'
    assert second.headers["range"] == f"bytes={HALF}-"
    assert "if-range" not in second.headers


# Digests.


def test_a_fresh_file_with_a_wrong_digest_is_refused_and_not_kept(sink, server):
    server.fail(PATH, Fault(flip=5))
    error = refusal(sink, server)
    assert error.code == "digest_mismatch"
    assert sha256(DATA) in error.message
    assert left(sink) == 0
    fetch(sink, server)


def test_a_resumed_file_with_a_wrong_digest_is_fetched_once_more(sink, server):
    server.fail(PATH, Fault(cut=HALF, flip=5))
    fetch(sink, server)
    assert [request.range for request in server.requests] == [None, (HALF, None), None]


def test_a_resumed_file_that_stays_wrong_is_refused(sink, server):
    server.fail(PATH, Fault(cut=HALF))
    server.fail_always(PATH, Fault(flip=HALF + 1))
    assert refusal(sink, server).code == "digest_mismatch"
    assert len(server.requests) == 3
    assert left(sink) == 0


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_the_digest_of_git_is_verified(sink, server):
    file = VariantFile("config.json", len(DATA))
    server.fail(PATH, CUT)
    fetch(sink, server, file, git_sha1=git_sha1(DATA))


def test_a_wrong_digest_of_git_is_refused(sink, server):
    server.fail_always(PATH, Fault(flip=5))
    error = refusal(sink, server, VariantFile("config.json", len(DATA)), git_sha1=git_sha1(DATA))
    assert error.code == "digest_mismatch"
    assert git_sha1(DATA) in error.message


def test_what_is_the_right_file_and_yet_no_model_is_not_kept(sink, server):
    def check(path):
        assert path.read_bytes() == DATA
        raise ModelFileError("no model", fix="another one")

    with pytest.raises(ModelFileError):
        replace(sink, check=check).download(promised(DATA), where(server))
    assert blobs_are_what_they_say(sink.blobs.root.parent) == []
    assert left(sink) == 0
