"""What an interrupted download leaves behind, and when it is gone on from."""

from __future__ import annotations

import json
import os

import pytest

from audition.models.spec import VariantFile
from audition.store.transfer.interrupted import interrupted
from audition.store.transfer.partial import Partial, Wanted, read_journal
from audition.store.transfer.ranges import Ranges
from downloads import DATA, HALF, PATH, WIDE, content, fetch, left, promised, refusal, sha256, sink_in, where
from file_server import Fault

CUT = Fault(cut=HALF)


def interrupt(sink, server, file=None):
    """Have half of the file arrive, and no more."""
    server.fail(PATH, CUT)
    server.fail_always(PATH, Fault(status=404))
    refusal(sink, server, file)
    server.fail_always(PATH, Fault())
    server.requests.clear()
    server.sent = 0
    (entry,) = interrupted(sink.partials.parent)
    return entry


def test_an_interrupted_download_is_listed(sink, server):
    entry = interrupt(sink, server)
    assert (entry.model, entry.source) == ("tiny:q4_0", "https://example.org/model.gguf")
    assert (entry.name, entry.size, entry.arrived, entry.key) == ("model.gguf", len(DATA), HALF, "tiny")
    assert entry.path.read_bytes() == DATA[:HALF]


def test_it_is_removed_on_request(sink, server):
    assert interrupt(sink, server).remove() == HALF
    assert list(sink.partials.iterdir()) == []


def test_another_process_goes_on_from_it(sink, server, tmp_path):
    interrupt(sink, server)
    fetch(sink_in(tmp_path), server)
    assert [request.headers["range"] for request in server.requests] == [f"bytes={HALF}-"]
    assert server.sent == len(DATA) - HALF


def test_what_has_arrived_whole_needs_no_server(sink, server):
    entry = interrupt(sink, server)
    entry.path.write_bytes(DATA)
    record = json.loads(entry.journal.read_text())
    entry.journal.write_text(json.dumps({**record, "arrived": [[0, len(DATA)]]}))
    fetch(sink, server)
    assert server.requests == []


def test_parts_that_are_not_at_the_front_count_as_well(sink, server, settings):
    settings(WIDE)
    entry = interrupt(sink, server)
    holes = [(10, 20_000), (300_000, 500_000)]
    with entry.path.open("r+b") as stream:
        stream.truncate(0)
        for start, end in holes:
            stream.seek(start)
            stream.write(DATA[start:end])
    record = json.loads(entry.journal.read_text())
    entry.journal.write_text(json.dumps({**record, "arrived": holes}))
    server.rate = 3_000_000
    fetch(sink, server)
    assert server.sent <= len(DATA) - sum(end - start for start, end in holes) + 200_000


@pytest.mark.parametrize(
    "harm",
    [
        lambda record: {**record, "schema": 99},
        lambda record: {**record, "arrived": [[-5, 10]]},
        lambda record: {**record, "arrived": [[10, 5]]},
        lambda record: {**record, "arrived": [[0, 10**30]]},
        lambda record: {**record, "arrived": [[0, True]]},
        lambda record: {**record, "arrived": "everything"},
        lambda record: {**record, "arrived": [1, 2]},
        lambda record: {**record, "size": -1},
        lambda record: {**record, "name": 5},
        lambda record: {**record, "validator": []},
        lambda record: {key: record[key] for key in record if key != "url"},
        lambda record: [],
        lambda record: None,
        lambda record: "[" * 100_000,
    ],
)
def test_a_damaged_journal_is_not_believed(sink, server, harm):
    entry = interrupt(sink, server)
    record = harm(json.loads(entry.journal.read_text()))
    entry.journal.write_text(record if isinstance(record, str) else json.dumps(record))
    assert read_journal(entry.journal) is None
    assert left(sink) == 0
    fetch(sink, server)
    assert server.sent == len(DATA)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"{}", b"x" * 5_000_000])
def test_a_journal_that_is_none_is_not_believed(sink, server, content):
    interrupt(sink, server).journal.write_bytes(content)
    fetch(sink, server)


def test_a_journal_never_counts_for_more_than_the_file_holds(sink, server):
    entry = interrupt(sink, server)
    os.truncate(entry.path, 1000)
    assert left(sink) == 1000
    fetch(sink, server)
    assert server.sent == len(DATA) - 1000


def test_a_journal_without_its_file_counts_for_nothing(sink, server):
    interrupt(sink, server).path.unlink()
    assert left(sink) == 0
    fetch(sink, server)


def test_bytes_that_were_damaged_meanwhile_are_fetched_again(sink, server):
    entry = interrupt(sink, server)
    entry.path.write_bytes(bytes(HALF))
    fetch(sink, server)
    assert [request.range for request in server.requests] == [(HALF, None), None]


def test_bytes_after_what_the_journal_claims_are_overwritten(sink, server):
    entry = interrupt(sink, server)
    with entry.path.open("ab") as stream:
        stream.write(b"not noted yet" * 100_000)
    fetch(sink, server)


def test_of_another_file_nothing_is_taken_over(sink, server):
    interrupt(sink, server)
    server.files[PATH] = new = content(len(DATA), seed=2)
    stored = sink.download(promised(new), where(server))
    assert stored.sha256 == sha256(new)
    assert server.requests[0].range is None


def test_the_same_bytes_from_another_place_go_on(sink, server):
    """Their digest is promised, so it does not matter who sends them; the other's ETag does not count here."""
    interrupt(sink, server)
    server.files["/mirror.gguf"] = DATA
    sink.download(promised(DATA), replace_path(server, "/mirror.gguf"))
    assert server.requests[0].headers["range"] == f"bytes={HALF}-"
    assert "if-range" not in server.requests[0].headers


def replace_path(server, path):
    from audition.store.transfer.web import Location

    return Location(server.url + path)


@pytest.mark.parametrize(("etag", "goes_on"), [("strong", True), (None, False)])
def test_without_a_promise_only_the_same_version_goes_on(sink, server, etag, goes_on):
    if etag is None:
        server.etags[PATH] = None
        server.last_modified = "never"
    interrupt(sink, server, VariantFile("model.gguf"))
    fetch(sink, server, VariantFile("model.gguf"))
    assert server.requests[0].range == ((HALF, None) if goes_on else None)


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(sink, server):
    interrupt(sink, server, VariantFile("model.gguf"))
    server.files[PATH] = new = content(len(DATA) + 5, seed=2)
    stored = sink.download(VariantFile("model.gguf"), where(server))
    assert (stored.sha256, stored.size) == (sha256(new), len(new))
    assert server.requests[0].headers["if-range"]


@pytest.mark.parametrize("name", ["../../escape.gguf", "/etc/passwd", "con", "a\0b", "ü 模", "x" * 300, "..", "\udcff"])
def test_whatever_a_file_is_called_its_partial_one_lies_in_the_folder(tmp_path, name):
    partial = Partial(tmp_path, Wanted(name, "https://h/x"))
    assert partial.path.parent == partial.journal.parent == tmp_path
    assert len(partial.path.name) < 100
    partial.save(Ranges)
    assert read_journal(partial.journal) is not None


def test_names_that_look_alike_have_partial_files_of_their_own(tmp_path):
    names = ["a/b", "a-b", "A-B", "a b"]
    assert len({Partial(tmp_path, Wanted(name, "")).path for name in names}) == len(names)


def test_a_token_is_never_written_down(sink, server):
    from audition.store.transfer.web import Location

    server.fail(PATH, CUT)
    server.fail_always(PATH, Fault(status=404))
    with pytest.raises(Exception, match="404"):
        sink.download(promised(DATA), Location(server.url + PATH + "?secret=1", {"Authorization": "Bearer secret"}))
    (entry,) = interrupted(sink.partials.parent)
    assert "secret" not in entry.journal.read_text()
